#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_restore
short_description: Get a repository back from its mirror
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Restores a repository, or some paths of it, from its mirror, or as it was at an earlier time.
  - Everything is copied beside the destination first and takes its place at once. What it replaces is saved beside it.
  - The state of an earlier time is put together from the mirror and from what later runs replaced or removed. What they created is left
    out as far as it was noted; permissions and times of directories are the mirror's.
  - A backup of another host or user can be restored from; there is a warning.
  - Nothing that the repository configures is run.
options:
  name:
    description: Project, or directory of C(repos_root).
    type: str
    required: true
  to:
    description:
      - Restore to this directory, not in place.
    type: str
  from:
    description:
      - Restore the version before this time.
      - This is the state before the run of this time and all later runs.
      - ISO 8601, local time where it names no zone; as O(homelab.repoman.repoman_sync#module:list_kept) tells them.
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
      - They come from the mirrors of git and Mercurial repositories, and each is verified. Nothing else is changed.
      - Damaged files are moved to the local state directory below C(logdir) first.
      - Cannot be combined with O(to), O(from), O(paths) and O(overwrite).
    type: bool
    default: false
  probe_timeout:
    description:
      - Seconds that the target may take for its first answer. A disk that sleeps, or an automount, may want more.
    type: float
    default: 3.0
  patience:
    description:
      - Seconds of silence after which a target that also does not answer a plain question is given up on.
      - Work that takes long on a target that answers is waited for.
    type: float
    default: 60.0

extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.attributes
seealso:
  - module: homelab.repoman.repoman_sync
"""

EXAMPLES = r"""
- name: A repository that was deleted
  homelab.repoman.repoman_restore:
    name: isurus

- name: A file as it was before the run of last night, beside the repository
  homelab.repoman.repoman_restore:
    name: isurus
    from: 20261125T030000Z
    paths: [src/main.c]
    to: ~/isurus-yesterday

- name: Objects that a power cut damaged
  homelab.repoman.repoman_restore:
    name: isurus
    objects: true
"""

RETURN = r"""
restored:
  description:
    - What was restored, or would be.
    - With O(objects), C(objects) are the files that were put back, and C(saved) is the directory with the damaged ones.
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
steps:
  description: What was done, or would be in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample: ["restore isurus to /home/alice/repos/isurus (411 files)"]
msg:
  description: What is wrong, in one sentence.
  returned: failure
  type: str
  sample: "/nfs/repos is not a backup of repoman: it has no mark of ours; nothing was written."
hints:
  description: What to do about it, one command or sentence each.
  returned: failure
  type: list
  elements: str
  sample: ["is it mounted? findmnt --target /nfs/repos"]
exit_code:
  description:
    - The exit code of the command C(repoman) for this failure.
    - V(1) it failed, V(2) wrong usage, V(3) something needed is not known, V(4) conflict, V(130) interrupted.
  returned: failure
  type: int
  sample: 4
"""

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.run import run
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON, main

SPEC = {
    "argument_spec": COMMON
    | {
        "name": {"type": "str", "required": True},
        "to": {"type": "str"},
        "from": {"type": "str"},
        "paths": {"type": "list", "elements": "str"},
        "overwrite": {"type": "bool", "default": False},
        "objects": {"type": "bool", "default": False},
        "probe_timeout": {"type": "float", "default": 3.0},
        "patience": {"type": "float", "default": 60.0},
    },
}


if __name__ == "__main__":
    main(run, SPEC)
