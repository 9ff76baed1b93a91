#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_sync
short_description: Back up all repositories
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Mirrors everything in C(repos_root) to C(backup_root), so that each mirror of a repository is one that C(git fsck) or C(hg verify)
    accepts, whatever writes to the repository meanwhile.
  - Each directory in C(repos_root) is one unit, whether a project is registered for it or not, but for projects with C(backup=false);
    loose files are one more unit. A symbolic link is copied as a link, whatever it points at.
  - Projects deeper in C(repos_root) are backed up with the directory they are in. That one of them has C(backup=false) cannot be honoured;
    there is a warning.
  - What a run replaces or removes in a mirror is kept for O(keep_days).
  - A target that is missing, is another one than it should be, or does not answer, and a source that vanished, change nothing anywhere.
  - One unit's failure is that unit's alone; the task fails, and the others are backed up.
  - Each unit has its own lock. A unit that another run is working on is C(busy), and the task fails with exit code 4; the rest is
    backed up.
  - If the log or state directory cannot be written, there is a warning, and the backup goes on.
  - Needs C(git) and C(hg) if there are such repositories.
options:
  names:
    description:
      - Projects, or directories of C(repos_root), to back up. Where not set, all of them.
    type: list
    elements: str
  init:
    description:
      - Take C(backup_root) as the target if it carries no mark yet. It is to lie on another file system than C(/) and C(repos_root);
        it may be a directory in one.
    type: bool
    default: false
  allow_local:
    description: With O(init), take C(backup_root) wherever it lies.
    type: bool
    default: false
  full:
    description:
      - Compare everything with the mirrors. Otherwise that happens every 7 days and where the last run cannot be relied on; what
        changed in between is told by what the last run saw.
    type: bool
    default: false
  verify:
    description:
      - Compare the contents of sources and mirrors, let git and Mercurial check the mirrors, and change nothing. Differences are a failure.
      - These are not differences - files that are never mirrored, such as locks; excluded files; changes made during the comparison;
        files that git can rebuild; and problems in old history that git reports on both sides.
    type: bool
    default: false
  allow_shrink:
    description:
      - Let a run remove more than half of a unit's files.
      - Together with O(names), also let it empty a mirror whose source is empty, and put away a mirror whose source is gone.
    type: bool
    default: false
  list_versions:
    description: Only list the versions of this project or directory in the history.
    type: str
    aliases: [list_kept]
  jobs:
    description: Units to work on at once. V(0) lets the distance of the target decide.
    type: int
    default: 0
  keep_days:
    description: Days for which replaced and removed files are kept.
    type: int
    default: 30
  xattrs:
    description: Also mirror extended attributes. It costs a remote target an extra answer for each file.
    type: bool
    default: false
  acls:
    description: Also mirror POSIX access lists. NFS 4 has none.
    type: bool
    default: false
  exclude:
    description:
      - Patterns of files not to back up, as in a C(.gitignore), relative to each directory of C(repos_root). They come after those of the
        registry (C(exclude) in C([defaults]), in a project's entry and in its override), so V(!name) includes a name again.
      - Nothing inside C(.git), C(.hg) or a bare repository can be excluded, but a directory that contains one can.
      - Files in the mirror that become excluded are moved to the history, like removed files.
    type: list
    elements: str
  exclude_caches:
    description:
      - Skip the contents of directories with a valid C(CACHEDIR.TAG), except the tag itself. A tag in the top directory of a repository is ignored.
      - If it is not set, the registry decides.
    type: bool
  follow_mounts:
    description:
      - Also back up file systems that are mounted inside a repository, and btrfs subvolumes there. Otherwise each is an empty directory in
        the mirror, each run names it, and files that the mirror already has there stay.
      - If it is not set, the registry decides.
    type: bool
  probe_timeout:
    description:
      - Seconds that the target may take for its first answer. A disk that sleeps, or an automount, may want more.
    type: float
    default: 3.0
  idle_timeout:
    description:
      - Seconds without progress after which the run fails, if the target does not answer a simple request either.
      - With O(verify), also seconds after which a repository that does not respond fails.
      - There is no limit for slow work on a target that answers.
    type: float
    default: 60.0
    aliases: [patience]

extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.common.foreseen
  - homelab.repoman.attributes
seealso:
  - module: homelab.repoman.repoman_restore
"""

EXAMPLES = r"""
- name: The first backup to a target
  homelab.repoman.repoman_sync:
    init: true

- name: Back up all repositories
  homelab.repoman.repoman_sync:

- name: See whether the mirrors are what the repositories are
  homelab.repoman.repoman_sync:
    verify: true
"""

RETURN = r"""
units:
  description: What came of each unit.
  returned: success or failure of single units
  type: list
  elements: dict
  sample:
    - name: isurus
      action: synced
      created: 3
      changed: 2
      removed: 0
      files: 5
      bytes: 18234
      kept_bytes: 411
  contains:
    name:
      description: Name of the directory; what is not text in it is escaped.
      type: str
    action:
      description:
        - C(synced), C(unchanged), C(retired) (its source is gone, and its mirror was moved to the history), C(failed), or C(busy).
        - C(busy) is a unit that kept changing, or that another run was working on.
        - With O(verify), C(same), C(differs), C(busy) or C(failed).
      type: str
    files:
      description: Files, links and directories written or removed, or that would be.
      type: int
    bytes:
      description: Contents copied; in check mode 0.
      type: int
    kept_bytes:
      description: Contents kept of what was replaced or removed; in check mode 0.
      type: int
    notes:
      description: Remarks, such as attributes that the target cannot store. A note is reported once, not by each run.
      type: list
      elements: str
    damaged:
      description: Damage in the unit's git repositories, and the mirror's copy of it, one line each, at most 1000.
      returned: if there is damage
      type: list
      elements: str
    differences:
      description:
        - With O(verify), the differences, one line each, in the format of C(rsync --itemize-changes).
        - There are at most 1000 lines, and one with the number of further differences.
      type: list
      elements: str
    msg:
      description: Of a failure, what is wrong.
      type: str
    hints:
      description: Of a failure, what to do about it.
      type: list
      elements: str
summary:
  description: How many units came to what, files, bytes, kept bytes, and seconds.
  returned: success or failure of single units
  type: dict
  sample: {synced: 1, unchanged: 4, files: 5, bytes: 18234, kept_bytes: 411, seconds: 0.8}
steps:
  description: What was done beside the units, or would be in check mode.
  returned: success
  type: list
  elements: str
  sample: ["make /nfs/repos the backup of /home/alice/repos"]
expired:
  description: Times whose kept files were removed, or would be.
  returned: success
  type: list
  elements: str
  sample: [20261001T030000Z]
target:
  description: The target, links resolved.
  returned: success
  type: str
  sample: /nfs/repos
kept:
  description: What is kept, oldest first.
  returned: O(list_versions)
  type: list
  elements: dict
  sample:
    - time: 20261125T030000Z
      path: /nfs/repos/.repoman/kept/20261125T030000Z/isurus
      files: 2
      bytes: 411
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

from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.run import run
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON, FORESEEN, main

SPEC = {
    "argument_spec": COMMON
    | FORESEEN
    | {
        "names": {"type": "list", "elements": "str"},
        "init": {"type": "bool", "default": False},
        "allow_local": {"type": "bool", "default": False},
        "full": {"type": "bool", "default": False},
        "verify": {"type": "bool", "default": False},
        "allow_shrink": {"type": "bool", "default": False},
        "list_versions": {"type": "str", "aliases": ["list_kept"]},
        "jobs": {"type": "int", "default": 0},
        "keep_days": {"type": "int", "default": 30},
        "xattrs": {"type": "bool", "default": False},
        "acls": {"type": "bool", "default": False},
        "exclude": {"type": "list", "elements": "str"},
        "exclude_caches": {"type": "bool"},
        "follow_mounts": {"type": "bool"},
        "probe_timeout": {"type": "float", "default": 3.0},
        "idle_timeout": {"type": "float", "default": 60.0, "aliases": ["patience"]},
    },
}


if __name__ == "__main__":
    main(run, SPEC)
