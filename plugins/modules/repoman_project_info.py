#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_project_info
short_description: Get information about projects and their containers
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Returns each project in the registry, and each container created by repoman, after reading Incus once.
  - With O(status), also returns the state of the host and of each repository, and differences from the configuration. It runs nothing
    that a repository configures, and uses no network.
options:
  names:
    description: 'Names of projects (default: all).'
    type: list
    elements: str
  status:
    description:
      - Also return RV(host), and more keys for each project, as noted below.
      - This takes two more requests to Incus, and a few processes for each repository, which run as O(user).
    type: bool
    default: false
  all_users:
    description: Without O(status), also return the containers that repoman made for other users of this host.
    type: bool
    default: false
  vcs:
    description: Without O(status), also return C(vcs) of each project. This takes a few processes for each repository, which run as O(user).
    type: bool
    default: false
  vcs_timeout:
    description:
      - With O(status) or O(vcs), timeout in seconds for each command of git or Mercurial.
      - If a command takes longer, C(problem) in RV(projects[].vcs) says so.
    type: float
    default: 5.0
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.common.predicted_registry
  - homelab.repoman.attributes.info
seealso:
  - module: homelab.repoman.repoman_project
"""

EXAMPLES = r"""
- name: List all projects
  homelab.repoman.repoman_project_info:
  register: all

- name: Show the state of everything
  homelab.repoman.repoman_project_info:
    status: true
  register: page

- name: Fail if a project, or a directory without a project, was not backed up for stale_after, or never
  ansible.builtin.assert:
    that:
      - page.host.backup.state == "ready"
      - (page.projects + page.host.directories) | selectattr("sync_state", "in", ["old", "never", "future"]) | length == 0
"""

RETURN = r"""
projects:
  description: The projects, in alphabetical order or that of O(names).
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: Name of the project and of its container.
      returned: always
      type: str
      sample: isurus
    state:
      description: State of the container in Incus, or V(missing).
      returned: always
      type: str
      sample: Running
    unfinished:
      description: V(true) if the creation of the container was interrupted; C(repoman new) completes it.
      returned: always
      type: bool
    registered:
      description: V(true) if the project is in the registry.
      returned: always
      type: bool
    relation:
      description:
        - How the container belongs to the user. V(own) is one that repoman made for this user and project. V(renamed) and V(copy) are
          containers that were renamed or copied by hand, from that of the project C(origin). V(adoptable) is one without keys of repoman that
          mounts a repository of the user. V(foreign) is one of another user, and V(unmanaged) another instance of that name; unless
          O(all_users), the other keys are then those of a project without a container.
        - It is empty if no instance has that name.
      returned: always
      type: str
      sample: own
    owner:
      description: Login name of the user that the container was made for; empty if it was made by an earlier version.
      returned: always
      type: str
      sample: alice
    origin:
      description: Project that the container was made for, if that is not its name, or empty.
      returned: always
      type: str
      sample: ""
    repo:
      description: Path of the repository that the container mounts, or of the one that it would mount.
      returned: always
      type: str
      sample: /home/alice/repos/isurus
    repo_real_path:
      description: The same path without links; empty if its file system does not answer.
      returned: always
      type: str
      sample: /data/alice/repos/isurus
    container_path:
      description: Path at which the container mounts the repository; empty if it does not.
      returned: always
      type: str
      sample: /home/alice/repos/isurus
    repo_exists:
      description: V(true) if the repository exists.
      returned: always
      type: bool
    stale_mount:
      description: V(true) if the container shows a directory that was deleted or replaced on the host since; C(repoman new) mounts it anew.
      returned: always
      type: bool
    image:
      description: Image that the container was made from, or would be made from.
      returned: always
      type: str
      sample: images:ubuntu/26.04/cloud
    profiles:
      description: Profiles of the container, or those that it would get.
      returned: always
      type: list
      elements: str
      sample: [default]
    created:
      description: UTC time at which the project was created, ISO 8601.
      returned: always
      type: str
      sample: "2026-04-28T15:00:00Z"
    last_sync:
      description: UTC time of the last successful backup, ISO 8601, or empty.
      returned: always
      type: str
      sample: ""
    sync_age:
      description: Seconds since the last successful backup, or null. It is 0 if the time is in the future.
      returned: always
      type: int
      sample: 86400
    sync_state:
      description:
        - V(ok), V(old) if the last backup is older than RV(stale_after), V(never) if it is missing (neither if RV(stale_after) is null), or
          V(future) if its time is in the future because the clock is or was wrong; empty if the project is not backed up.
      returned: always
      type: str
      sample: ok
    backup:
      description: Whether C(repoman sync) backs up the repository.
      returned: always
      type: bool
    incus_project:
      description: The Incus project of the container.
      returned: always
      type: str
      sample: repoman
    environment:
      description: Names of the environment variables in the container's configuration.
      returned: always
      type: list
      elements: str
      sample: [OLLAMA_HOST]
    problem:
      description: Why information is incomplete or the container cannot be used, such as an override that cannot be read, or empty.
      returned: always
      type: str
      sample: ""
    hints:
      description: Commands that take back a container that is not V(own), or otherwise help.
      returned: always
      type: list
      elements: str
      sample: []
    addresses:
      description: Addresses of the container, IPv4 first. Like all following keys, only with O(status); C(vcs) also with O(vcs).
      returned: with O(status)
      type: list
      elements: str
      sample: [10.158.77.12]
    profile_drift:
      description: Profiles of the container that differ from their templates.
      returned: with O(status)
      type: list
      elements: str
      sample: [claude-share]
    profiles_missing:
      description: Profiles in its configuration that are not installed.
      returned: with O(status)
      type: list
      elements: str
      sample: []
    missing_sources:
      description: Disk devices that are skipped because their optional source does not exist on the host.
      returned: with O(status)
      type: list
      elements: dict
      sample: [{device: hgrc, source: /home/alice/.hgrc}]
    notes:
      description:
        - What is unusual about the repository in its container, one sentence each - a git directory or a file system that the container does
          not have, set-user-ID files, and hooks or settings under C(protect) that changed since the last C(repoman new).
      returned: with O(status)
      type: list
      elements: str
      sample: []
    security_notes:
      description: Those of the notes that need a look at once - set-user-ID files, and hooks or settings under C(protect) that changed.
      returned: with O(status)
      type: list
      elements: str
      sample: []
    overlaps:
      description:
        - Mounts inside a directory that another container can write, so that it could put a link to any directory of the host there,
          which the next start of the container mounts. Such containers are from earlier versions, or made by hand.
        - C(container) mounts C(source) with C(device); C(writer) can write to C(directory). C(hints) has commands that end it.
      returned: with O(status)
      type: list
      elements: dict
      sample: []
    differences:
      description: Differences between the container and its configuration, except the image, one phrase each. C(repoman new) corrects them.
      returned: with O(status)
      type: list
      elements: str
      sample: [key limits.memory was changed]
    left_out:
      description:
        - Files that backups leave out of the directory in C(repos_root) that contains the repository.
        - C(skipped_mounts) are file systems that are mounted in its repository, or btrfs subvolumes the last backup found there.
          C(exclude) are the patterns in effect, and C(exclude_caches) is whether caches are left out. C(excluded) is the
          number of files and directories that the last backup excluded.
        - C(unverified) are the repositories in it that the last backup mirrored but could not verify, each with the reason.
      returned: with O(status)
      type: dict
      sample:
        skipped_mounts: [/home/alice/repos/isurus/data]
        exclude: [node_modules/]
        exclude_caches: true
        excluded: 2
        unverified: []
    vcs:
      description:
        - State of the repository, or null if it does not exist. C(kind) is V(git), V(hg), or empty.
        - C(staged), C(unstaged), C(conflicts) and C(untracked) count files. C(ahead) and C(behind) count commits against
          C(upstream) as of the last fetch; for Mercurial, ancestors that are not public, and newer changesets on the branch.
        - C(problem) is why the other keys are incomplete. Names come from the repository and may contain any characters.
      returned: with O(status) or O(vcs)
      type: dict
      sample:
        kind: git
        branch: main
        bookmark: ""
        commit: 1f0c7a5d0e3b8a5c2f9d1f6b0f3a4c5d6e7f8091
        detached: false
        bare: false
        staged: 0
        unstaged: 2
        conflicts: 0
        untracked: 1
        upstream: origin/main
        ahead: 3
        behind: 0
        last_commit: "2026-04-28T15:00:00Z"
        problem: ""
host:
  description:
    - State of the host. C(lan_ip.matches) is null if one of the two addresses is unknown, C(lan_ip.interface) empty if none was detected.
    - C(backup) is the target and the newest backup of anything. C(backup.state) is V(ready), V(missing), V(unmarked), V(foreign),
      V(unreadable) or V(unreachable). C(directories) are what C(repoman sync) backs up in C(repos_root) without a project - directories, and
      the loose files. In both, C(last_sync), C(sync_age) and C(sync_state) are as for a project.
    - C(skipped_mounts) are all file systems inside repositories that backups leave out, C(unverified) all repositories that the last one could not verify.
  returned: with O(status)
  type: dict
  sample:
    incus_version: 6.0.4
    incus_project: repoman
    registry: /home/alice/.config/repoman/repoman.toml
    lan_ip: {registry: 192.0.2.10, detected: 192.0.2.10, interface: br0, matches: true}
    library: {profiles: 3, installed: 3, drift: [], errors: []}
    backup: {path: /nfs/repos, state: ready, detail: "", free: 1099511627776, last_sync: "2026-04-28T14:48:00Z", sync_age: 720, sync_state: ok}
    directories: [{name: notes, last_sync: "2026-04-28T14:48:00Z", sync_age: 720, sync_state: ok}]
    skipped_mounts: []
    unverified: []
stale_after:
  description: Age in seconds at which a backup is too old, the key C(stale_after) of the registry, or null for V(never).
  returned: success
  type: int
  sample: 259200
time:
  description: UTC time of this information, ISO 8601.
  returned: with O(status)
  type: str
  sample: "2026-04-28T15:00:00Z"
account:
  description: The account in the container.
  returned: success
  type: dict
  sample: {name: alice, uid: 1000, gid: 1000, group: alice, home: /home/alice, shell: /bin/bash}
socket:
  description: Path of the Incus socket.
  returned: without O(status)
  type: str
  sample: /run/incus/unix.socket
output:
  description: The key C(output) of the registry's table C([repoman]) - V(quiet), V(normal) or V(verbose). The command C(repoman) prints accordingly.
  returned: if the registry was read
  type: str
  sample: quiet
msg:
  description: The error, in one sentence.
  returned: failure
  type: str
  sample: "there is no incus socket at /run/incus/unix.socket."
hints:
  description: Remedies, each a command or a sentence.
  returned: failure
  type: list
  elements: str
  sample: ["is incus installed and running? sudo systemctl start incus"]
exit_code:
  description:
    - The exit code of the command C(repoman) for this failure.
    - V(1) failed, V(2) wrong usage, V(3) not found, V(4) conflict with the current state, V(130) interrupted.
  returned: failure
  type: int
  sample: 3
"""

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS, PREDICTED_REGISTRY_ARGS, main, predicting
from ansible_collections.homelab.repoman.plugins.module_utils.projects import listing
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import load_context

SPEC = {
    "argument_spec": COMMON_ARGS
    | PREDICTED_REGISTRY_ARGS
    | {
        "names": {"type": "list", "elements": "str"},
        "status": {"type": "bool", "default": False},
        "all_users": {"type": "bool", "default": False},
        "vcs": {"type": "bool", "default": False},
        "vcs_timeout": {"type": "float", "default": 5.0},
    }
}


def predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result on a host that has no account, library, registry or Incus yet."""
    from ansible_collections.homelab.repoman.plugins.module_utils.projects.prediction import predict_info

    result = predict_info(params)
    if params["status"]:
        from ansible_collections.homelab.repoman.plugins.module_utils.backup.status import add_unknown

        add_unknown(result)
    return result


@predicting(predict)
def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Return the result. With ``status`` it joins the projects and the backup, whose code does not import each other."""
    context = load_context(params, check and params["predict"])
    if not params["status"]:
        return listing.run(context, params)
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.status import BackupStatus  # "list" starts faster without it

    return BackupStatus(context.account, context.registry_path, context.registry).complete(lambda: listing.run(context, params))


if __name__ == "__main__":
    main(run, SPEC)
