#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_project
short_description: Create, start, stop, restart and remove the Incus container of a repository
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Creates a container with the repository mounted at the same path, and an account with the name, IDs and home of the host's user.
  - Settings come from the options given here, then the project's override in C(repos.d/), then its registry entry, then the registry's defaults.
  - Instances that were not created by repoman, or that belong to another user of this host, are never changed. The keys C(user.repoman.owner)
    and C(user.repoman.uid) of an instance name its user; without them, the user is who has its repository in C(repos_root).
options:
  name:
    description: Name of the project and of its instance. One of this, O(projects) and O(all) is required.
    type: str
  all:
    description:
      - All projects of the registry, and all of the user's containers that are not in it. With O(create=false), only those with a container.
      - With O(projects), all these and the listed ones, which may be new.
      - Not with O(state=absent).
    type: bool
  projects:
    description:
      - Several projects, each with the options of a single one. Incus and the registry are read once for all.
      - A failure does not stop the remaining projects. An interrupt ends the run; finished projects stay.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the project and of its instance.
        type: str
        required: true
      repo:
        description: 'Directory of the repository in C(repos_root), relative to it or absolute (default: the name of the project).'
        type: str
      image:
        description: Image of a new container, C(remote:alias) or a local alias or fingerprint. For an existing one, another image is an error.
        type: str
      profiles:
        description: Incus profiles of the container, in order.
        type: list
        elements: str
      add_profiles:
        description: Profiles of the container in addition to its others; see O(add_profiles).
        type: list
        elements: str
      backup:
        description: Include the repository in backups.
        type: bool
      config:
        description: Configuration keys of the instance; see O(config).
        type: dict
      devices:
        description: Devices of the instance; see O(devices).
        type: dict
      target:
        description: Member of the Incus cluster, or C(@group), for a new container; see O(target).
        type: str
      adopt:
        description: Take over an existing container that has no keys of repoman and mounts the repository; see O(adopt).
        type: bool
  state:
    description:
      - V(present) creates the container if it does not exist, starts it, and updates it to its configuration.
      - V(started) and V(stopped) also start or stop it. A running container has 30 seconds to shut down, and is stopped by force after that.
      - V(restarted) also stops a running container and starts it again; a stopped one is started. It always changes something.
      - V(absent) deletes the container and the registry entry. A running container has 30 seconds to shut down. The repository and its
        backup stay.
    type: str
    choices: [present, started, stopped, restarted, absent]
    default: present
  create:
    description:
      - V(false) creates no container; a project without one is an error, unless O(state=absent).
      - Then O(state=stopped) only stops a container, and does not change its configuration or the registry.
    type: bool
    default: true
  repo:
    description: 'Directory of the repository in C(repos_root), relative to it or absolute (default: the name of the project).'
    type: str
  image:
    description:
      - Image of a new container, V(remote:alias) or a local alias or fingerprint. For an existing one, another image is an error.
      - Remotes are C(images) and those in the configuration of the C(incus) client, with the protocols simplestreams, incus and oci.
      - A private image on another Incus server is fetched with the certificate of the user's client, C(client.crt).
    type: str
  profiles:
    description: Incus profiles of the container, in order.
    type: list
    elements: str
  add_profiles:
    description:
      - Profiles of the container in addition to its others, which are O(profiles), or without that those of the override, the registry entry
        or the defaults.
      - They become part of the registry entry. If an override lists profiles, the next task without this option uses its list, and a warning
        says so.
    type: list
    elements: str
  backup:
    description: Include the repository in backups.
    type: bool
  config:
    description:
      - Configuration keys of the instance, in the format of Incus. Values are text, numbers or booleans.
      - A null or empty value unsets the key in the instance, whether an earlier task, the project's override or C(incus config set) has set
        it. If a profile has the key, its value applies. Keys of Incus itself, which start with C(volatile.), stay. C(user-data) and
        C(vendor-data) of cloud-init are only unset if a task or the override has set them, because they may also hold the account that
        repoman makes.
      - C(cloud-init.user-data), C(cloud-init.vendor-data), C(cloud-init.network-config) and their old names with C(user.) also take a
        mapping, which becomes YAML.
      - They are stored in the instance only, not in the registry. If not set, those of an earlier task stay, and what it has unset stays
        unset; V({}) removes them. In a loop, Ansible shows the item, also with secrets in it; O(projects) takes the list without a loop, and
        C(no_log) hides the task.
      - If this or O(devices) is malformed, the project fails, except with O(state=absent); with O(state=stopped), an existing container is
        stopped and keeps its configuration.
    type: dict
  devices:
    description:
      - Devices of the instance by name, in the format of Incus. The device C(repo) is reserved. A device that is null and a setting
        that is null or empty are left out.
      - They are stored in the instance only, not in the registry. If not set, those of an earlier task stay; V({}) removes them.
    type: dict
  target:
    description:
      - 'Member of the Incus cluster, or C(@group), for a new container (default: the member that the task runs on).'
      - To use another member, the repository must be on a file system that all members share.
    type: str
  adopt:
    description:
      - Take over an existing container of that name in the Incus project that has no keys of repoman and mounts the repository, such as one
        of an earlier version. It gets the device C(repo), the account, and the rest of its configuration. Its files stay.
      - Without such a container it has no effect.
    type: bool
  accept_protected:
    description:
      - Accept changes of the hooks and settings that C(protect) of an override covers. C(status) reports only later changes.
      - V(false) keeps the earlier record of an existing container. Either way, a warning names what has changed.
    type: bool
    default: true
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.common.predicted_registry
  - homelab.repoman.attributes
seealso:
  - module: homelab.repoman.repoman_project_info
"""

EXAMPLES = r"""
- name: A container for ~/repos/isurus
  homelab.repoman.repoman_project:
    name: isurus
    profiles: [default, claude-share]

- name: Containers for several repositories
  homelab.repoman.repoman_project:
    projects:
      - name: isurus
        profiles: [default, claude-share]
      - name: lamna
        repo: sharks/lamna
        config: {limits.cpu: "2"}

- name: One more profile for a container
  homelab.repoman.repoman_project:
    name: isurus
    add_profiles: [dotfiles]

- name: Stop all containers
  homelab.repoman.repoman_project:
    all: true
    state: stopped
    create: false

- name: Remove the container; the repository stays
  homelab.repoman.repoman_project:
    name: isurus
    state: absent
"""

RETURN = r"""
projects:
  description: Result for each project, in the given order.
  returned: unless the whole run failed
  type: list
  elements: dict
  contains:
    name:
      description: Name of the project.
      type: str
      returned: always
      sample: isurus
    action:
      description: Result of the task; in check mode, the predicted result.
      type: str
      returned: always
      sample: created
      choices: [created, updated, started, stopped, restarted, removed, unchanged, absent, failed]
    changed:
      description: V(true) if anything was changed, or in check mode would be.
      type: bool
      returned: always
      sample: true
    steps:
      description: The steps, one sentence each. In check mode, those that would be taken.
      type: list
      elements: str
      returned: always
      sample: ["create container isurus from images:ubuntu/26.04/cloud"]
    differences:
      description: Differences between an existing instance and its configuration, one phrase each, which are corrected.
      type: list
      elements: str
      returned: unless it failed or O(state=absent)
      sample: ["key limits.cpu was changed", "device data is missing"]
    incus_project:
      description: The Incus project of the instance.
      type: str
      returned: always
      sample: repoman
    state:
      description: State of the instance in Incus, or V(absent).
      type: str
      returned: unless it failed
      sample: Running
    repo:
      description: Path of the repository, on the host and in the container.
      type: str
      returned: unless it failed or O(state=absent)
      sample: /home/alice/repos/isurus
    image:
      description: Image that the container was made from.
      type: str
      returned: unless it failed or O(state=absent)
      sample: images:ubuntu/26.04/cloud
    profiles:
      description: Incus profiles of the container.
      type: list
      elements: str
      returned: unless it failed or O(state=absent)
      sample: [default, claude-share]
    environment:
      description: Names of the environment variables in its configuration.
      type: list
      elements: str
      returned: unless it failed or O(state=absent)
      sample: [OLLAMA_HOST]
    backup:
      description: V(true) if backups include the repository.
      type: bool
      returned: unless it failed or O(state=absent)
      sample: true
    kept:
      description: Repository and mirror, which stay after the project is removed.
      type: dict
      returned: O(state=absent)
      sample: {repo: /home/alice/repos/isurus, mirror: /nfs/repos/isurus}
    suggestions:
      description: Names of projects similar to one that does not exist.
      type: list
      elements: str
      returned: O(state=absent), if the project does not exist
      sample: [isurus]
    near:
      description: The same as RV(projects[].suggestions), under the name that it had in earlier versions.
      type: list
      elements: str
      returned: O(state=absent), if the project does not exist
      sample: [isurus]
    failed:
      description: V(true).
      type: bool
      returned: if it failed
    msg:
      description: The error, in one sentence.
      type: str
      returned: if it failed
      sample: "there is no image 'isuru'."
    hints:
      description: Remedies, each a command or a sentence.
      type: list
      elements: str
      returned: if it failed
      sample: ["incus image list local:"]
    exit_code:
      description: The exit code of the command C(repoman) for this failure.
      type: int
      returned: if it failed
      sample: 3
account:
  description: The account in the container.
  returned: unless the whole run failed
  type: dict
  sample: {name: alice, uid: 1000, gid: 1000, group: alice, home: /home/alice, shell: /bin/bash}
socket:
  description: Path of the Incus socket.
  returned: unless the whole run failed
  type: str
  sample: /run/incus/unix.socket
output:
  description: The key C(output) of the registry's table C([repoman]) - V(quiet), V(normal) or V(verbose). The command C(repoman) prints accordingly.
  returned: if the registry was read
  type: str
  sample: quiet
msg:
  description: The errors, one sentence for each project that failed.
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
    - The highest exit code of the command C(repoman) for these failures.
    - V(1) failed, V(2) wrong usage, V(3) not found, V(4) conflict with the current state, V(130) interrupted.
  returned: failure
  type: int
  sample: 3
"""

from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS, PREDICTED_REGISTRY_ARGS, main
from ansible_collections.homelab.repoman.plugins.module_utils.projects.run import run

SETTINGS = {
    "repo": {"type": "str"},
    "image": {"type": "str"},
    "profiles": {"type": "list", "elements": "str"},
    "add_profiles": {"type": "list", "elements": "str"},
    "backup": {"type": "bool"},
    "config": {"type": "dict"},
    "devices": {"type": "dict"},
    "target": {"type": "str"},
    "adopt": {"type": "bool"},
}
SPEC = {
    "argument_spec": COMMON_ARGS
    | PREDICTED_REGISTRY_ARGS
    | SETTINGS
    | {
        "name": {"type": "str"},
        "projects": {"type": "list", "elements": "dict", "options": {"name": {"type": "str", "required": True}} | SETTINGS},
        "all": {"type": "bool"},
        "state": {"type": "str", "choices": ["present", "started", "stopped", "restarted", "absent"], "default": "present"},
        "create": {"type": "bool", "default": True},
        "accept_protected": {"type": "bool", "default": True},
    },
    "mutually_exclusive": [(several, option) for several in ("projects", "all") for option in ("name", *SETTINGS)],
    "required_one_of": [("name", "projects", "all")],
}


if __name__ == "__main__":
    main(run, SPEC)
