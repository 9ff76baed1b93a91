#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_registry
short_description: Write the registry and make Incus's project for the containers
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Makes sure that the registry of repoman exists, is of the newest schema and holds the host's address, and that Incus has the
    project it names, sharing the images and profiles of C(default).
  - Comments, order and keys of your own stay as they are. The first write after a migration keeps the old file beside it.
options:
  state:
    description: The registry is to exist.
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
          - Where not set, it is the first global IPv4 address of C(br0); an address in the registry stays where C(br0) has none.
        type: str
  defaults:
    description: Keys of the table C([defaults]); what is not set stays as it is.
    type: dict
    suboptions:
      repos_root:
        description: Directory of the repositories.
        type: str
      backup_root:
        description: Directory of the backup.
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
        description: Whether backups skip the contents of directories with a valid C(CACHEDIR.TAG).
        type: bool
      follow_mounts:
        description: Whether backups include file systems that are mounted inside repositories.
        type: bool
  output:
    description: The key C(output) of the registry's table C([repoman]). It is kept for its users; this version does not read it.
    type: str
    choices: [quiet, verbose]
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.attributes
"""

EXAMPLES = r"""
- name: Set repoman up
  homelab.repoman.repoman_registry:

- name: Set repoman up with an address and directories of our own
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
  description: The registry as it is, or would be in check mode.
  returned: success
  type: str
  sample: "[repoman]\\nschema = 3\\n"
lan_ip:
  description: The host's address as the registry has it, or will have it.
  returned: success
  type: str
  sample: 192.0.2.10
incus_project:
  description: Incus project of the instances.
  returned: success
  type: str
  sample: repoman
detected:
  description: What was found out about the host.
  returned: success
  type: dict
  sample: {lan_ip: 192.0.2.10, interface: br0, user: alice, home: /home/alice}
steps:
  description: What was done, or would be in check mode, one sentence a step.
  returned: success
  type: list
  elements: str
  sample: ["make the incus project repoman"]
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

from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON, PREDICT, main
from ansible_collections.homelab.repoman.plugins.module_utils.registry.setup import run

SPEC = {
    "argument_spec": COMMON
    | PREDICT
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
            },
        },
        "output": {"type": "str", "choices": ["quiet", "verbose"]},
    },
}


if __name__ == "__main__":
    main(run, SPEC)
