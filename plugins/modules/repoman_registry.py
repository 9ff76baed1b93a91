#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_registry
short_description: Write the registry and create the Incus project for the containers
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Ensures that the registry exists, has the newest schema and contains the host's address, and that its Incus project exists and
    shares the images and profiles of C(default).
  - Comments, order and unknown keys are preserved. The first write after a migration keeps a copy of the old file next to it.
options:
  state:
    description: The registry exists.
    type: str
    choices: [present]
    default: present
  host:
    description: The table C([host]).
    type: dict
    suboptions:
      lan_ip:
        description:
          - Address of the host for its containers.
          - If not set, it is the first global IPv4 address of C(br0), or without one the address in the registry if the host has it, or else
            the source address of the IPv4 default route.
          - If neither has one, the address in the registry stays.
        type: str
  defaults:
    description: Keys of the table C([defaults]). Keys that are not set here are not changed.
    type: dict
    suboptions:
      repos_root:
        description: Directory of the repositories.
        type: str
      backup_root:
        description: Directory of the backup; C({host}) in it stands for the name of the host.
        type: str
      logdir:
        description: Directory of the logs.
        type: str
      incus_project:
        description: Incus project of the instances.
        type: str
      default_image:
        description: Image of new instances.
        type: str
      profiles:
        description: Profiles of new instances.
        type: list
        elements: str
      exclude:
        description: Patterns of files that backups skip in each repository, as in a C(.gitignore).
        type: list
        elements: str
      exclude_caches:
        description: Skip the contents of directories with a valid C(CACHEDIR.TAG) in backups.
        type: bool
      follow_mounts:
        description: Include file systems that are mounted inside repositories in backups.
        type: bool
      stale_after:
        description:
          - Age at which C(repoman status) and C(repoman doctor) call a backup too old, such as V(3d) or V(36h).
          - A number and a unit - C(s), C(m), C(h), C(d) or C(w). V(never) turns it off.
        type: str
  output:
    description:
      - The key C(output) of the registry's table C([repoman]), which is how much the command C(repoman) prints.
      - V(quiet) prints what was done, what failed and a summary. V(normal) adds a line for each unchanged thing, and V(verbose) the steps.
    type: str
    choices: [quiet, normal, verbose]
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.attributes
"""

EXAMPLES = r"""
- name: Set repoman up
  homelab.repoman.repoman_registry:

- name: Set repoman up with another address and other directories
  homelab.repoman.repoman_registry:
    host:
      lan_ip: 192.0.2.10
    defaults:
      repos_root: ~/src
      backup_root: /nfs/src
"""

RETURN = r"""
path:
  description: Path of the registry.
  returned: success
  type: str
  sample: /home/alice/.config/repoman/repoman.toml
text:
  description: Text of the registry; in check mode, the text that would be written.
  returned: success
  type: str
  sample: "[repoman]\\nschema = 3\\n"
lan_ip:
  description: The host's address in the registry; in check mode, the address that would be written.
  returned: success
  type: str
  sample: 192.0.2.10
incus_project:
  description: Incus project of the instances.
  returned: success
  type: str
  sample: repoman
detected:
  description: Detected properties of the host. C(interface) has the address; it is empty if none was detected.
  returned: success
  type: dict
  sample: {lan_ip: 192.0.2.10, interface: br0, user: alice, home: /home/alice}
steps:
  description: The steps, one sentence each. In check mode, those that would be taken.
  returned: success
  type: list
  elements: str
  sample: ["create the Incus project repoman"]
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

from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS, PREDICT_ARGS, main
from ansible_collections.homelab.repoman.plugins.module_utils.registry.setup import run

SPEC = {
    "argument_spec": COMMON_ARGS
    | PREDICT_ARGS
    | {
        "state": {"type": "str", "choices": ["present"], "default": "present"},
        "host": {"type": "dict", "options": {"lan_ip": {"type": "str"}}},
        "defaults": {
            "type": "dict",
            "options": {
                "repos_root": {"type": "str"},
                "backup_root": {"type": "str"},
                "logdir": {"type": "str"},
                "incus_project": {"type": "str"},
                "default_image": {"type": "str"},
                "profiles": {"type": "list", "elements": "str"},
                "exclude": {"type": "list", "elements": "str"},
                "exclude_caches": {"type": "bool"},
                "follow_mounts": {"type": "bool"},
                "stale_after": {"type": "str"},
            },
        },
        "output": {"type": "str", "choices": ["quiet", "normal", "verbose"]},
    },
}


if __name__ == "__main__":
    main(run, SPEC)
