#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_project_info
short_description: Tell of projects and their containers
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Tells of each project of the registry, and of each container repoman made, from one read of Incus.
options:
  names:
    description: The projects; all of them where not set.
    type: list
    elements: str
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.attributes.info
seealso:
  - module: homelab.repoman.repoman_project
"""

EXAMPLES = r"""
- name: Look at all projects
  homelab.repoman.repoman_project_info:
  register: all
"""

RETURN = r"""
projects:
  description: The projects, in alphabetical order or that of O(names).
  returned: success
  type: list
  elements: dict
  sample:
    - name: isurus
      state: Running
      repo: /home/alice/repos/isurus
      repo_exists: true
      vcs: git
      image: images:ubuntu/26.04/cloud
      profiles: [default]
      created: "2026-04-28T15:00:00Z"
      last_sync: ""
      backup: true
      incus_project: repoman
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
from ansible_collections.homelab.repoman.plugins.module_utils.project import info

SPEC = {"argument_spec": COMMON | {"names": {"type": "list", "elements": "str"}}}


if __name__ == "__main__":
    main(info, SPEC)
