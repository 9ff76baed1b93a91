#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_project
short_description: Make, start, stop and remove the Incus container of a repository
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Makes a container whose user has the name, ids and home of the host's user, with the repository mounted at the same path.
  - The configuration is the registry's defaults, then the project's entry, then its override in C(repos.d/), then the options given here.
  - Instances that repoman did not make are never touched.
options:
  name:
    description: Name of the project and of its instance. Either this or O(projects) is needed.
    type: str
  projects:
    description:
      - Several projects, each with the options of a single one. The world is read once for all of them.
      - What fails for one does not stop the others. An interrupt ends the run; what was finished stays.
    type: list
    elements: dict
    suboptions:
      name:
        description: Name of the project and of its instance.
        type: str
        required: true
      repo:
        description: Directory of the repository in C(repos_root), relative to it or absolute. Where not set, it is called as the project.
        type: str
      image:
        description: Image of a new container, C(remote:alias) or a local alias or fingerprint.
        type: str
      profiles:
        description: Incus profiles of the container, in order.
        type: list
        elements: str
      backup:
        description: Whether the repository is backed up.
        type: bool
      config:
        description: Configuration keys of the instance, as Incus takes them; see O(config).
        type: dict
      devices:
        description: Devices of the instance, name to device, as Incus takes them; see O(devices).
        type: dict
      target:
        description:
          - Member of the Incus cluster, or C(@group), that a new container is made on. Where not set, the member that the task runs on.
          - On another member the repository must be on a file system that all members share.
        type: str
  state:
    description:
      - V(present) makes the container if there is none, starts it, and brings it to its configuration.
      - V(started) and V(stopped) also start or stop it.
      - V(absent) deletes the container and the registry entry. A running one is stopped gracefully first, for half a minute at most.
        The repository and its backup stay.
    type: str
    choices: [present, started, stopped, absent]
    default: present
  repo:
    description: Directory of the repository in C(repos_root), relative to it or absolute. Where not set, it is called as the project.
    type: str
  image:
    description:
      - Image of a new container, V(remote:alias) or a local alias or fingerprint.
      - The remotes are C(images) and those of the C(incus) client's configuration, of the protocols simplestreams, incus and oci.
      - An image of another Incus that is not public is fetched with the certificate of the user's client, C(client.crt).
    type: str
  profiles:
    description: Incus profiles of the container, in order.
    type: list
    elements: str
  backup:
    description: Whether the repository is backed up.
    type: bool
  config:
    description:
      - Configuration keys of the instance, as Incus takes them.
      - They are kept with the instance alone. Where not set, those of an earlier task stay as they are; an empty one takes them away.
    type: dict
  devices:
    description:
      - Devices of the instance, name to device, as Incus takes them. The device C(repo) is repoman's own.
      - They are kept with the instance alone. Where not set, those of an earlier task stay as they are; an empty one takes them away.
    type: dict
  target:
    description:
      - Member of the Incus cluster, or C(@group), that a new container is made on. Where not set, the member that the task runs on.
      - On another member the repository must be on a file system that all members share.
    type: str
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.common.foreseen
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

- name: Remove the container; the repository stays
  homelab.repoman.repoman_project:
    name: isurus
    state: absent
"""

RETURN = r"""
projects:
  description: What became of each project, in the order given.
  returned: always, unless nothing could be done at all
  type: list
  elements: dict
  contains:
    name:
      description: Name of the project.
      type: str
      returned: always
      sample: isurus
    action:
      description: What was done, or would be in check mode.
      type: str
      returned: always
      sample: created
      choices: [created, updated, started, stopped, removed, unchanged, absent, failed]
    changed:
      description: Whether anything was changed, or would be.
      type: bool
      returned: always
      sample: true
    steps:
      description: What was done, or would be in check mode, one sentence a step.
      type: list
      elements: str
      returned: always
      sample: ["create container isurus from images:ubuntu/26.04/cloud"]
    differences:
      description: How an instance that was there differed from its configuration, one phrase each; that is corrected, or would be.
      type: list
      elements: str
      returned: unless it failed or was to go
      sample: ["key limits.cpu was changed", "device data is missing"]
    incus_project:
      description: The Incus project its instance is in.
      type: str
      returned: always
      sample: repoman
    state:
      description: State of the instance, as Incus calls it; V(absent) where there is none.
      type: str
      returned: unless it failed
      sample: Running
    repo:
      description: Path of the repository, on the host and inside.
      type: str
      returned: unless it failed or was to go
      sample: /home/alice/repos/isurus
    image:
      description: Image of a new container.
      type: str
      returned: unless it failed or was to go
      sample: images:ubuntu/26.04/cloud
    profiles:
      description: Its Incus profiles.
      type: list
      elements: str
      returned: unless it failed or was to go
      sample: [default, claude-share]
    environment:
      description: Names of the variables that its configuration sets.
      type: list
      elements: str
      returned: unless it failed or was to go
      sample: [OLLAMA_HOST]
    backup:
      description: Whether the repository is backed up.
      type: bool
      returned: unless it failed or was to go
      sample: true
    kept:
      description: What stays when it is removed.
      type: dict
      returned: O(state=absent)
      sample: {repo: /home/alice/repos/isurus, mirror: /nfs/repos/isurus}
    near:
      description: Names of projects that are nearest to one that is not known.
      type: list
      elements: str
      returned: O(state=absent), where there is no such project
      sample: [isurus]
    msg:
      description: What is wrong, in one sentence.
      type: str
      returned: where it failed
      sample: "there is no image 'isuru'."
    hints:
      description: What to do about it, one command or sentence each.
      type: list
      elements: str
      returned: where it failed
      sample: ["incus image list"]
    exit_code:
      description: The exit code of the command C(repoman) for this failure.
      type: int
      returned: where it failed
      sample: 3
account:
  description: The account inside.
  returned: always, unless nothing could be done at all
  type: dict
  sample: {name: alice, uid: 1000, gid: 1000, group: alice, home: /home/alice, shell: /bin/bash}
socket:
  description: Path of the Incus socket that was used.
  returned: always, unless nothing could be done at all
  type: str
  sample: /run/incus/unix.socket
msg:
  description: What is wrong, one sentence for each project that failed.
  returned: failure
  type: str
  sample: "there is no incus socket at /run/incus/unix.socket."
hints:
  description: What to do about it, one command or sentence each.
  returned: failure
  type: list
  elements: str
  sample: ["is incus installed and running? sudo systemctl start incus"]
exit_code:
  description:
    - The worst exit code of the command C(repoman) for these failures.
    - V(1) it failed, V(2) wrong usage, V(3) something needed is not known, V(4) conflict, V(130) interrupted.
  returned: failure
  type: int
  sample: 3
"""

from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON, FORESEEN, main
from ansible_collections.homelab.repoman.plugins.module_utils.projects.project import run

SETTINGS = {
    "repo": {"type": "str"},
    "image": {"type": "str"},
    "profiles": {"type": "list", "elements": "str"},
    "backup": {"type": "bool"},
    "config": {"type": "dict"},
    "devices": {"type": "dict"},
    "target": {"type": "str"},
}
SPEC = {
    "argument_spec": COMMON
    | FORESEEN
    | SETTINGS
    | {
        "name": {"type": "str"},
        "projects": {"type": "list", "elements": "dict", "options": {"name": {"type": "str", "required": True}} | SETTINGS},
        "state": {"type": "str", "choices": ["present", "started", "stopped", "absent"], "default": "present"},
    },
    "mutually_exclusive": [("projects", option) for option in ("name", *SETTINGS)],
    "required_one_of": [("name", "projects")],
}


if __name__ == "__main__":
    main(run, SPEC)
