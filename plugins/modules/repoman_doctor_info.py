#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_doctor_info
short_description: Check the host, Incus, the projects and the backup
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Checks what repoman needs and returns one result for each check, with hints for what does not work.
  - A problem does not fail the module. To stop a play because of it, test RV(summary).
  - Without Incus or without a registry, the checks that need it are listed in one result, and all other checks run.
  - It changes nothing, runs nothing that a repository configures, and uses no network. A file system that does not answer costs a few
    seconds.
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.attributes.info
seealso:
  - module: homelab.repoman.repoman_project_info
  - module: homelab.repoman.repoman_registry
"""

EXAMPLES = r"""
- name: Make the checks
  homelab.repoman.repoman_doctor_info:
  register: doctor

- name: Stop if something does not work
  ansible.builtin.assert:
    that: doctor.summary.fail == 0
    fail_msg: "{{ doctor.checks | selectattr('status', 'eq', 'fail') | map(attribute='message') | join('; ') }}"
"""

RETURN = r"""
checks:
  description:
    - The result of each check, in the order of the command C(repoman doctor).
    - V(access), V(incus), V(incus_project), V(storage), V(root_disk) and V(network) are about Incus and the profiles that new
      containers get. V(registry), V(repos_root) and V(lan_address) are about the host. V(library), V(containers) and V(sources) are
      about profiles and projects. V(backup), V(backup_age) and V(locks) are about the backup. V(python), V(git) and V(hg) are programs.
    - V(without_incus), V(without_incus_project), V(without_registry) and V(without_repos_root) list the checks that could not be made.
  returned: success
  type: list
  elements: dict
  sample:
    - name: incus
      status: ok
      message: Incus 6.0.4 at /run/incus/unix.socket
      hints: []
    - name: network
      status: warn
      message: Incus's profile 'default' has no network, so containers have none
      hints: ["incus profile device add --project default local:default eth0 nic network=incusbr0"]
  contains:
    name:
      description: Name of the check.
      returned: success
      type: str
      sample: network
    status:
      description: V(ok), V(warn) if something should be looked at, or V(fail) if something does not work.
      returned: success
      type: str
      sample: warn
    message:
      description: The state, or the problem, in a phrase.
      returned: success
      type: str
      sample: Incus's profile 'default' has no network, so containers have none
    hints:
      description: Remedies, each a command or a sentence.
      returned: success
      type: list
      elements: str
      sample: ["incus profile device add --project default local:default eth0 nic network=incusbr0"]
summary:
  description: Number of results of each status.
  returned: success
  type: dict
  sample: {ok: 17, warn: 1, fail: 0}
stale_after:
  description: Age in seconds at which a backup is too old, the key C(stale_after) of the registry, or null for V(never).
  returned: if the registry can be read
  type: int
  sample: 259200
msg:
  description: The error, in one sentence.
  returned: failure
  type: str
  sample: "user 'bob' is not known on this host."
hints:
  description: Remedies, each a command or a sentence.
  returned: failure
  type: list
  elements: str
  sample: ["getent passwd   lists the accounts"]
exit_code:
  description:
    - The exit code of the command C(repoman) for this failure.
    - V(1) failed, V(2) wrong usage, V(3) not found, V(4) conflict with the current state, V(130) interrupted.
  returned: failure
  type: int
  sample: 3
"""

from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS, PREDICT_ARGS, main
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.run import run

SPEC = {"argument_spec": COMMON_ARGS | PREDICT_ARGS}


if __name__ == "__main__":
    main(run, SPEC)
