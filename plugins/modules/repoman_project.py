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
    description: Name of the project and of its instance.
    type: str
    required: true
  state:
    description:
      - V(present) makes the container if there is none, starts it, and brings it to its configuration.
      - V(started) and V(stopped) also start or stop it.
      - V(absent) deletes the container and the registry entry. The repository and its backup stay.
    type: str
    choices: [present, started, stopped, absent]
    default: present
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
    description: Configuration keys of the instance, as Incus takes them.
    type: dict
  devices:
    description: Devices of the instance, name to device, as Incus takes them.
    type: dict
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.attributes
seealso:
  - module: homelab.repoman.repoman_project_info
"""

EXAMPLES = r"""
- name: A container for ~/repos/isurus
  homelab.repoman.repoman_project:
    name: isurus
    profiles: [default, claude-share]

- name: Remove the container; the repository stays
  homelab.repoman.repoman_project:
    name: isurus
    state: absent
"""

RETURN = r"""
project:
  description: The project.
  returned: success
  type: dict
  sample:
    name: isurus
    state: Running
    repo: /home/alice/repos/isurus
    image: images:ubuntu/26.04/cloud
    profiles: [default, claude-share]
    backup: true
    incus_project: repoman
account:
  description: The account inside.
  returned: success, unless removed
  type: dict
  sample: {name: alice, uid: 1000, gid: 1000, group: alice, home: /home/alice, shell: /bin/bash}
socket:
  description: Path of the Incus socket that was used.
  returned: success, unless removed
  type: str
  sample: /run/incus/unix.socket
kept:
  description: What stays when a project is removed.
  returned: O(state=absent)
  type: dict
  sample: {repo: /home/alice/repos/isurus, mirror: /nfs/repos/isurus}
steps:
  description: What was done, or would be in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample: ["create container isurus from images:ubuntu/26.04/cloud"]
msg:
  description: What is wrong, in one sentence.
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
    - The exit code of the command C(repoman) for this failure.
    - V(1) it failed, V(2) wrong usage, V(3) something needed is not known, V(4) conflict, V(130) interrupted.
  returned: failure
  type: int
  sample: 3
"""

from ansible_collections.homelab.repoman.plugins.module_utils.module import COMMON, main
from ansible_collections.homelab.repoman.plugins.module_utils.project import run

SPEC = {
    "argument_spec": COMMON
    | {
        "name": {"type": "str", "required": True},
        "state": {"type": "str", "choices": ["present", "started", "stopped", "absent"], "default": "present"},
        "repo": {"type": "str"},
        "image": {"type": "str"},
        "profiles": {"type": "list", "elements": "str"},
        "backup": {"type": "bool"},
        "config": {"type": "dict"},
        "devices": {"type": "dict"},
    },
}


if __name__ == "__main__":
    main(run, SPEC)
