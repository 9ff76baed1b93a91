#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_profile
short_description: Install, remove and copy Incus profiles from a library of templates
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Renders profile templates and installs them into the Incus project C(default), or removes profiles from it.
  - A template is a YAML file C(NAME.yml) in the user's or the vendor's directory; a user's file shadows the vendor file of the same name.
    The variables C(${HOST_LAN_IP}), C(${USER}) and C(${HOME}) are replaced.
  - An installed profile is compared with its template as data, so a different notation is not a change.
  - A profile that others made or changed is saved before it is replaced, as a file that C(incus profile edit) takes, in C(replaced) below the registry's
    C(logdir), which is C(~/.local/state/repoman) by default.
options:
  names:
    description: Names of profiles. Either this or O(all) is required.
    type: list
    elements: str
  all:
    description: Every profile of the library, in alphabetical order.
    type: bool
    default: false
  state:
    description:
      - V(present) installs missing profiles and updates those that differ.
      - V(absent) removes profiles from Incus. Template files stay. A profile in use is not removed.
      - V(copied) writes templates unchanged to the user's directory, where each copy can be edited and shadows the vendor's
        template. A file with other contents is not replaced. Incus is not changed.
    type: str
    choices: [present, absent, copied]
    default: present
  new_name:
    description:
      - 'With V(copied), the name of the copy (default: the same name).'
      - Only for one template.
    type: str
  force:
    description: Replace Incus's own profile C(default), too.
    type: bool
    default: false
  lan_ip:
    description:
      - Value of C(HOST_LAN_IP), instead of the address in the registry.
      - For check mode, in which M(homelab.repoman.repoman_registry) returns the address without writing it to the registry.
    type: str
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.attributes
seealso:
  - module: homelab.repoman.repoman_profile_info
"""

EXAMPLES = r"""
- name: Install two profiles
  homelab.repoman.repoman_profile:
    names:
      - claude-share
      - dotfiles

- name: Install the whole library for alice, from a play that runs as root
  homelab.repoman.repoman_profile:
    all: true
    user: alice
  become: true

- name: Copy the vendor's template, to change it
  homelab.repoman.repoman_profile:
    names: [llm-share]
    state: copied

- name: Remove a profile
  homelab.repoman.repoman_profile:
    names: [llm-share]
    state: absent
"""

RETURN = r"""
profiles:
  description: Result for each profile; in check mode, the predicted result.
  returned: success, and failure of single profiles
  type: list
  elements: dict
  sample:
    - name: claude-share
      action: installed
      source: vendor
      file_path: /usr/local/share/repoman/profiles/claude-share.yml
  contains:
    name:
      description: Name of the profile.
      returned: always
      type: str
      sample: claude-share
    action:
      description: One of V(installed), V(updated), V(unchanged), V(removed), V(absent), V(copied), V(failed).
      returned: always
      type: str
      sample: installed
    source:
      description: V(user) or V(vendor); with V(copied), of the original.
      returned: unless O(state=absent), or there is no such template
      type: str
      sample: vendor
    file_path:
      description: Path of the template; with V(copied), of the copy; with V(absent), empty if there is no such file.
      returned: unless there is no such template
      type: str
      sample: /usr/local/share/repoman/profiles/claude-share.yml
    saved:
      description: File with the profile as it was before it was replaced; in check mode, the predicted one.
      returned: if a profile that others made or changed is replaced
      type: str
      sample: /home/alice/.local/state/repoman/replaced/claude-share-20261129T080000Z.yml
    restore_command:
      description: Command that brings the saved profile back.
      returned: together with RV(profiles[].saved)
      type: str
      sample: incus profile edit --project default local:claude-share </home/alice/.local/state/repoman/replaced/claude-share-20261129T080000Z.yml
    referenced_by:
      description: Projects that still use a removed profile, and C([defaults]) if it is a default profile.
      returned: O(state=absent), unless it failed
      type: list
      elements: str
      sample: [isurus]
    warning:
      description: Why no container can use the installed profile yet. It is also in RV(ignore:warnings).
      returned: O(state=present), if something that a device requires is missing on the host
      type: str
      sample: "claude-share cannot be used: ~/.local/bin/claude is missing"
    warning_hints:
      description: Remedies for the warning, each a command.
      returned: together with RV(profiles[].warning)
      type: list
      elements: str
      sample: [repoman profile install claude-share]
    suggestions:
      description: Names of installed profiles similar to one that is not installed.
      returned: O(state=absent), if the profile is not installed
      type: list
      elements: str
      sample: [dotfiles]
    msg:
      description:
        - Why the profile failed.
        - If the action is V(installed) or V(updated), why Incus could not apply the profile to every instance that uses it.
      returned: if it failed, or Incus could not apply it to every instance
      type: str
      sample: "profile 'claude-share': incus refused: Device validation failed."
    hints:
      description: Remedies, each a command or a sentence.
      returned: together with RV(profiles[].msg)
      type: list
      elements: str
      sample: [repoman profile list]
    exit_code:
      description: As RV(exit_code), for this profile.
      returned: together with RV(profiles[].msg)
      type: int
      sample: 1
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
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.run import run

SPEC = {
    "argument_spec": COMMON_ARGS
    | PREDICT_ARGS
    | {
        "names": {"type": "list", "elements": "str"},
        "all": {"type": "bool", "default": False},
        "state": {"type": "str", "choices": ["present", "absent", "copied"], "default": "present"},
        "new_name": {"type": "str"},
        "force": {"type": "bool", "default": False},
        "lan_ip": {"type": "str"},
    },
}


if __name__ == "__main__":
    main(run, SPEC)
