#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_restore
short_description: Restore repositories from their mirrors, or the settings of the host
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Restores repositories, or some paths in one, from their mirrors, or from an earlier version in the history.
  - With O(names) or O(all), one failure does not stop the others. Directories that already match the backup are not changed, so
    after an interruption the same task goes on.
  - If there is not enough space for everything, nothing is changed.
  - Files are copied next to the destination first and then renamed into place. Replaced files are saved next to it.
  - An earlier version consists of the mirror and the files that later runs replaced or removed. Files that they created are left out if
    that was recorded. Permissions and times of directories are those of the mirror.
  - Restoring from a backup of another host or user works, with a warning.
  - It runs nothing that the repository configures.
options:
  name:
    description:
      - Project, or directory of C(repos_root).
      - One of O(name), O(names), O(all) and O(settings) is required.
    type: str
  names:
    description:
      - Projects, or directories of C(repos_root).
      - The result has RV(units) then, and not RV(restored).
    type: list
    elements: str
  all:
    description:
      - Restore everything that the backup has.
      - With O(from), also what was deleted since then, and nothing that did not exist yet.
      - Directories that are backups themselves are left out.
    type: bool
    default: false
  to:
    description:
      - Restore to this directory, not in place.
      - With O(names) and O(all), each directory is restored below it.
    type: str
  from:
    description:
      - Restore the version before this time.
      - This is the state before the run of this time and all later runs.
      - ISO 8601, in local time unless it has a zone. O(homelab.repoman.repoman_sync#module:list_versions) lists the times.
    type: str
  paths:
    description:
      - Restore only these paths of the repository, relative to it.
      - Requires O(name).
    type: list
    elements: str
  overwrite:
    description: Replace existing files; they are saved first.
    type: bool
    default: false
  objects:
    description:
      - Restore only missing or damaged objects.
      - Copies them from the mirrors of git and Mercurial repositories and verifies each. Nothing else is changed.
      - Damaged files are moved to the local state directory below C(logdir) first.
      - Cannot be combined with O(to), O(from), O(paths) and O(overwrite).
    type: bool
    default: false
  settings:
    description:
      - Restore registry, overrides and profile templates.
      - They are the settings of the host; nothing else is restored.
      - Existing files are saved first, in a directory C(before-TIME) next to the registry, so O(overwrite) is not needed. Files that are not
        in the backup stay.
      - In the registry, C(lan_ip) and C(backup_root) keep the values of this host. Paths in another home, and the name of another host,
        are not changed; a warning names each with its file.
      - Cannot be combined with O(name), O(names), O(all), O(to), O(paths) and O(objects); the playbook and the command do one after the other.
    type: bool
    default: false
  jobs:
    description:
      - Repositories to work on at once.
      - V(0) chooses a number from the latency of the backup. It has no effect on O(name).
    type: int
    default: 0

extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.common.predicted_registry
  - homelab.repoman.common.target
  - homelab.repoman.attributes
seealso:
  - module: homelab.repoman.repoman_sync
"""

EXAMPLES = r"""
- name: A repository that was deleted
  homelab.repoman.repoman_restore:
    name: isurus

- name: Everything, on a new host
  homelab.repoman.repoman_restore:
    all: true

- name: A file from before last night's run, in another directory
  homelab.repoman.repoman_restore:
    name: isurus
    from: 20261125T030000Z
    paths: [src/main.c]
    to: ~/isurus-yesterday

- name: Objects that a power cut damaged
  homelab.repoman.repoman_restore:
    name: isurus
    objects: true

- name: Registry, overrides and profile templates on a new host
  homelab.repoman.repoman_restore:
    settings: true
"""

RETURN = r"""
restored:
  description:
    - The restored files; in check mode, those that would be restored.
    - C(replaces_directory) is V(true) if the directory itself is replaced. Running containers show the previous one until it is mounted again.
    - With O(settings), C(name) is C((settings)), C(to) the directory of the registry, and C(saved) the directory with the replaced files.
    - With O(objects), C(objects) are the restored files, and C(saved) is the directory with the damaged ones.
  returned: with O(name), unless it failed
  type: dict
  sample:
    name: isurus
    to: /home/alice/repos/isurus
    from: ""
    files: 411
    bytes: 1823400
    saved: /home/alice/repos/isurus.before-20261125T120000Z
    has_container: true
    replaces_directory: true
path:
  description: Path of the registry.
  returned: with O(settings), unless it failed
  type: str
  sample: /home/alice/.config/repoman/repoman.toml
text:
  description: The registry that is in force afterwards, also in check mode. Give it to the next task as O(registry_text).
  returned: with O(settings), unless it failed
  type: str
  sample: "[repoman]\nschema = 3\n"
units:
  description: What became of each directory, or in check mode would.
  returned: with O(names) or O(all), unless the whole run failed
  type: list
  elements: dict
  sample:
    - name: isurus
      action: restored
      to: /home/alice/repos/isurus
      files: 411
      bytes: 1823400
      saved: ""
      has_container: true
      replaces_directory: true
  contains:
    name:
      description: Name of the directory, or as it was given, with bytes that are not UTF-8 escaped.
      returned: always
      type: str
    action:
      description: C(restored), C(same) (it already matched the backup), C(failed), or C(busy) (another run was working on it).
      returned: always
      type: str
    to:
      description: The directory that was restored; empty if it failed.
      returned: always
      type: str
    files:
      description: Number of its files; 0 if it failed.
      returned: always
      type: int
    bytes:
      description: Their size; 0 if it failed.
      returned: always
      type: int
    saved:
      description: Where existing files were saved; empty if there were none. In check mode, the time in the name is that of the check.
      returned: always
      type: str
    has_container:
      description: Whether it is the directory of a project, which running containers may have mounted.
      returned: always
      type: bool
    replaces_directory:
      description: Whether the directory itself was replaced. Running containers show the previous one until it is mounted again.
      returned: always
      type: bool
    objects:
      description: The restored objects.
      returned: with O(objects), unless it failed
      type: list
      elements: str
    msg:
      description: For a failure, the error in one sentence.
      returned: if it failed
      type: str
    hints:
      description: For a failure, remedies, each a command or a sentence.
      returned: if it failed
      type: list
      elements: str
    exit_code:
      description: For a failure, its exit code; see RV(exit_code).
      returned: if it failed
      type: int
summary:
  description: Number of directories for each action, restored files and bytes, and seconds.
  returned: with O(names) or O(all), unless the whole run failed
  type: dict
  sample: {restored: 11, same: 1, failed: 1, files: 411, bytes: 1823400, seconds: 3.2}
steps:
  description: The steps, one sentence each. In check mode, those that would be taken.
  returned: unless the whole run failed
  type: list
  elements: str
  sample: ["restore isurus to /home/alice/repos/isurus (411 files)"]
output:
  description: The key C(output) of the registry's table C([repoman]) - V(quiet), V(normal) or V(verbose). The command C(repoman) prints accordingly.
  returned: if the registry was read
  type: str
  sample: quiet
msg:
  description: The error, in one sentence.
  returned: failure
  type: str
  sample: "/nfs/repos is not a backup of repoman: it has no marker; nothing was written."
hints:
  description: Remedies, each a command or a sentence.
  returned: failure
  type: list
  elements: str
  sample: ["is it mounted? findmnt --target /nfs/repos"]
exit_code:
  description:
    - The exit code of the command C(repoman) for this failure.
    - V(1) failed, V(2) wrong usage, V(3) not found, V(4) conflict with the current state, V(130) interrupted.
  returned: failure
  type: int
  sample: 4
"""

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.run import run
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS, PREDICTED_REGISTRY_ARGS, TARGET_ARGS, main

SPEC = {
    "argument_spec": COMMON_ARGS
    | PREDICTED_REGISTRY_ARGS
    | TARGET_ARGS
    | {
        "name": {"type": "str"},
        "names": {"type": "list", "elements": "str"},
        "all": {"type": "bool", "default": False},
        "to": {"type": "str"},
        "from": {"type": "str"},
        "paths": {"type": "list", "elements": "str"},
        "overwrite": {"type": "bool", "default": False},
        "objects": {"type": "bool", "default": False},
        "settings": {"type": "bool", "default": False},
        "jobs": {"type": "int", "default": 0},
    },
}


if __name__ == "__main__":
    main(run, SPEC)
