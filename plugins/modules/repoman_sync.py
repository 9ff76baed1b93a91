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
  - Mirrors everything in C(repos_root) to C(backup_root). C(git fsck) and C(hg verify) accept each mirror of a repository, even if the
    repository changes during the run.
  - Each directory in C(repos_root) is a unit, with or without a project in the registry, except projects with C(backup=false). Files
    in C(repos_root) itself are one more unit. Symbolic links are copied as links.
  - Projects deeper in C(repos_root) are backed up with the directory that contains them. C(backup=false) has no effect for them, except
    a warning.
  - Files that a run replaces or removes in a mirror are moved to the history and kept for O(keep_days).
  - Nothing is changed if the target is missing, is not the expected one or does not respond, or if a source has vanished.
  - Each run also backs up the settings of the host - the registry, the overrides and the user's profile templates - to
    C(.repoman/settings) of the target. The times of backups in the registry do not count as a change. Settings that look lost replace
    nothing, and the task fails with exit code 4. They look lost if all projects in the registry, all overrides or all templates are gone
    (from two on), or more than three and more than half of one of these, or of all together; and if anything is gone that the backup has
    of another host or user.
  - If a unit fails, the remaining units are backed up, and then the task fails.
  - Each unit has a lock. A unit that another run is working on is C(busy); the remaining units are backed up, and then the task fails
    with exit code 4.
  - If the log or state directory cannot be written, the backup continues with a warning.
  - Requires C(git) and C(hg) for repositories of that kind.
options:
  names:
    description:
      - 'Projects, or directories of C(repos_root), to back up (default: all).'
      - V((settings\)) is the settings of the host. They are part of each run anyway; alone, it backs up nothing else.
    type: list
    elements: str
  init:
    description:
      - Make C(backup_root) the target if it has no marker yet. It must be on a different file system than C(/) and C(repos_root), and may be
        a directory in it.
    type: bool
    default: false
  allow_local:
    description: With O(init), accept a C(backup_root) on the same disk.
    type: bool
    default: false
  take_over:
    description:
      - If the marker names another host or user, make this host and this user the owner. Everything is compared with the mirrors, and only
        differences are copied; the history stays. The task fails while the other host is working on the target.
      - If the target is yours already, nothing is taken over.
    type: bool
    default: false
  full:
    description:
      - Compare everything with the mirrors. By default that happens every 7 days, and if the records of the last run are not reliable.
        Other runs compare with the manifest of the last run. The settings of the host are compared fully when a unit is.
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
      - Allow a run to remove more than half of a unit's files.
      - Without O(names), or if V((settings\)) is one of them, also allow it to remove settings of the host from the backup that look lost here.
      - With O(names), also allow it to empty a mirror whose source is empty, and to retire a mirror whose source is gone.
    type: bool
    default: false
  list_versions:
    description: Only list the versions of this project or directory in the history.
    type: str
    aliases: [list_kept]
  jobs:
    description: Units to work on at once. V(0) chooses a number from the latency of the target.
    type: int
    default: 0
  keep_days:
    description: Days to keep replaced and removed files; V(0) keeps them for ever.
    type: int
    default: 30
  xattrs:
    description: Also mirror extended attributes. A remote target needs an additional request for each file.
    type: bool
    default: false
  acls:
    description: Also mirror POSIX access control lists. NFS 4 does not support them.
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
        the mirror, each run lists it, and files that the mirror already has there stay.
      - If it is not set, the registry decides.
    type: bool

extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.common.predicted_registry
  - homelab.repoman.common.target
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

- name: Check whether the mirrors match the repositories
  homelab.repoman.repoman_sync:
    verify: true
"""

RETURN = r"""
units:
  description: Result for each unit.
  returned: unless O(list_versions), or the whole run failed
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
      description: Name of the directory, with bytes that are not UTF-8 escaped.
      returned: always
      type: str
    action:
      description:
        - C(synced), C(unchanged), C(retired) (its source is gone, and its mirror was moved to the history), C(failed), or C(busy).
        - C(busy) means that the unit kept changing, or that another run was working on it.
        - With O(verify), C(same), C(differs), C(busy) or C(failed).
      returned: always
      type: str
    first:
      description: V(true) for the first backup of the unit, or V(false).
      returned: if the action is C(synced)
      type: bool
    created:
      description: Number of files, links and directories that are new in the mirror; in check mode, the predicted number.
      returned: if the action is C(synced)
      type: int
    changed:
      description: Number of files, links and directories that were replaced in the mirror; in check mode, the predicted number.
      returned: if the action is C(synced)
      type: int
    removed:
      description: Number of files, links and directories that were removed from the mirror; in check mode, the predicted number.
      returned: if the action is C(synced)
      type: int
    files:
      description: Number of files, links and directories written or removed; in check mode, the predicted number.
      returned: unless it failed
      type: int
    bytes:
      description: Bytes copied; 0 in check mode.
      returned: unless O(verify), or it failed
      type: int
    kept_bytes:
      description: Bytes moved to the history; 0 in check mode.
      returned: unless O(verify), or it failed
      type: int
    notes:
      description: Remarks, such as attributes that the target cannot store. A note is reported once, not by each run.
      returned: if there are any
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
      returned: with O(verify), if there are any
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
    sync_age:
      description: Seconds since the last backup of the unit's project, the longest if it has several.
      returned: if it failed, and one of its projects has been backed up
      type: int
      sample: 86400
summary:
  description: Number of units for each action, files, bytes, bytes moved to the history, seconds, and repositories that cannot be verified.
  returned: unless O(list_versions), or the whole run failed
  type: dict
  sample: {synced: 1, unchanged: 4, files: 5, bytes: 18234, kept_bytes: 411, seconds: 0.8, unverified: 0}
settings:
  description: Result for the settings of the host, which are not a unit.
  returned: unless O(list_versions), or the whole run failed
  type: dict
  sample:
    name: "(settings)"
    action: synced
    first: false
    created: 1
    changed: 1
    removed: 0
    files: 2
    bytes: 1834
    kept_bytes: 411
  contains:
    name:
      description: C((settings)), their name in the history.
      returned: always
      type: str
    action:
      description:
        - C(synced), C(unchanged), C(failed), or C(skipped) if the run refused all units and so did not change the target.
        - With O(verify), C(same), C(differs) or C(failed).
      returned: always
      type: str
    first:
      description: V(true) for the first backup of the settings, or V(false).
      returned: if they differ
      type: bool
    created:
      description: Number of files that are new in the backup; in check mode, the predicted number.
      returned: if they differ
      type: int
    changed:
      description: Number of files that were replaced in the backup; in check mode, the predicted number.
      returned: if they differ
      type: int
    removed:
      description: Number of files that were removed from the backup; in check mode, the predicted number.
      returned: if they differ
      type: int
    files:
      description: Number of files written or removed; in check mode, the predicted number.
      returned: always
      type: int
    bytes:
      description: Bytes written; 0 in check mode.
      returned: always
      type: int
    kept_bytes:
      description: Bytes copied to the history; 0 in check mode.
      returned: always
      type: int
    differences:
      description: With O(verify), the files that differ, one line each, without their content.
      returned: with O(verify)
      type: list
      elements: str
    msg:
      description: For a failure, the error in one sentence.
      returned: if they failed or differ
      type: str
    hints:
      description: For a failure, remedies, each a command or a sentence.
      returned: if they failed or differ
      type: list
      elements: str
    exit_code:
      description: For a failure, the exit code of the command C(repoman).
      returned: if they failed or differ
      type: int
steps:
  description: Steps of the run besides those of units; in check mode, those that would be taken.
  returned: unless O(list_versions), or the whole run failed
  type: list
  elements: str
  sample: ["make /nfs/repos the backup of /home/alice/repos"]
previous_owner:
  description:
    - The owner of the target before this run, with the time of the last run as C(last_run), which is empty if there was none; in check mode,
      if the target would be taken over.
  returned: O(take_over), if the target belongs to another host or user
  type: dict
  sample: {host: oldhost, user: alice, last_run: "2026-11-25T03:00:00Z"}
expired:
  description: Versions removed from the history; in check mode, those that would be removed.
  returned: unless O(verify) or O(list_versions), or the whole run failed
  type: list
  elements: str
  sample: [20261001T030000Z]
target:
  description: Path of the target with symbolic links resolved.
  returned: success
  type: str
  sample: /nfs/repos
name:
  description: Name of the project or directory whose versions are listed.
  returned: O(list_versions)
  type: str
  sample: isurus
kept:
  description: Versions in the history, oldest first.
  returned: O(list_versions)
  type: list
  elements: dict
  sample:
    - time: 20261125T030000Z
      path: /nfs/repos/.repoman/kept/20261125T030000Z/isurus
      files: 2
      bytes: 411
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

from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.run import run
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS, PREDICTED_REGISTRY_ARGS, TARGET_ARGS, main

SPEC = {
    "argument_spec": COMMON_ARGS
    | PREDICTED_REGISTRY_ARGS
    | TARGET_ARGS
    | {
        "names": {"type": "list", "elements": "str"},
        "init": {"type": "bool", "default": False},
        "allow_local": {"type": "bool", "default": False},
        "take_over": {"type": "bool", "default": False},
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
    },
}


if __name__ == "__main__":
    main(run, SPEC)
