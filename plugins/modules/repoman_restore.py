#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_restore
short_description: Restore a repository from its mirror, or the settings of the host
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Restores a repository, or some paths in it, from its mirror, or from an earlier version in the history.
  - Files are copied next to the destination first and then renamed into place. Replaced files are saved next to it.
  - An earlier version consists of the mirror and the files that later runs replaced or removed. Files that they created are left out if
    that was recorded. Permissions and times of directories are those of the mirror.
  - Restoring from a backup of another host or user works, with a warning.
  - It runs nothing that the repository configures.
options:
  name:
    description:
      - Project, or directory of C(repos_root).
      - Required, unless O(settings).
    type: str
  to:
    description:
      - Restore to this directory, not in place.
    type: str
  from:
    description:
      - Restore the version before this time.
      - This is the state before the run of this time and all later runs.
      - ISO 8601, in local time unless it has a zone. O(homelab.repoman.repoman_sync#module:list_versions) lists the times.
    type: str
  paths:
    description: Restore only these paths of the repository, relative to it.
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
      - Cannot be combined with O(name), O(to), O(paths) and O(objects).
    type: bool
    default: false
  probe_timeout:
    description:
      - Seconds to wait for the first response of the target. A sleeping disk or an automount may need more.
    type: float
    default: 3.0
  idle_timeout:
    description:
      - Seconds without progress after which the restore fails, if the target does not answer a simple request either.
      - Slow operations on a target that responds have no time limit.
    type: float
    default: 60.0
    aliases: [patience]

extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.attributes
seealso:
  - module: homelab.repoman.repoman_sync
"""

EXAMPLES = r"""
- name: A repository that was deleted
  homelab.repoman.repoman_restore:
    name: isurus

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
  returned: success
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
steps:
  description: The steps, one sentence each. In check mode, those that would be taken.
  returned: success
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
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS, PREDICT_ARGS, main

SPEC = {
    "argument_spec": COMMON_ARGS
    | PREDICT_ARGS
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
        "probe_timeout": {"type": "float", "default": 3.0},
        "idle_timeout": {"type": "float", "default": 60.0, "aliases": ["patience"]},
    },
}


if __name__ == "__main__":
    main(run, SPEC)
