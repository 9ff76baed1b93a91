#!/usr/bin/python
# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: repoman_profile_info
short_description: List, show and compare the profile templates of the library
version_added: 0.4.0
author: the repoman contributors (@homelab)
description:
  - Lists the templates with their source, and whether they are installed and up to date in Incus.
options:
  names:
    description:
      - 'Names of profiles (default: all).'
      - A name that does not exist fails; all other profiles are returned.
    type: list
    elements: str
  rendered:
    description: Return the rendered templates of O(names).
    type: bool
    default: false
  raw:
    description: Return the texts of the templates of O(names) as written, with their variables.
    type: bool
    default: false
  diff:
    description:
      - Return how the installed profiles of O(names) differ from their rendered templates.
      - Values that may be secret are not shown, but a different one is still a difference.
    type: bool
    default: false
  vendor_diff:
    description: Return how the user's templates of O(names) differ from the vendor templates that they shadow, with secrets like O(diff).
    type: bool
    default: false
extends_documentation_fragment:
  - homelab.repoman.common
  - homelab.repoman.common.predict
  - homelab.repoman.attributes.info
seealso:
  - module: homelab.repoman.repoman_profile
"""

EXAMPLES = r"""
- name: List the library
  homelab.repoman.repoman_profile_info:
  register: library

- name: Fail if an installed profile differs from its template, or a template cannot be compared
  ansible.builtin.assert:
    that:
      - library.profiles | selectattr('drift') | length == 0
      - library.profiles | selectattr('error') | length == 0
"""

RETURN = r"""
profiles:
  description: The templates, in alphabetical order, or the profiles of O(names) in their order.
  returned: success, and failure of single profiles
  type: list
  elements: dict
  sample:
    - name: claude-share
      source: vendor
      file_path: /usr/local/share/repoman/profiles/claude-share.yml
      installed: true
      drift: false
      shadows: false
      error: ""
      empty_file: ""
  contains:
    name:
      description: Name of the profile.
      returned: always
      type: str
      sample: claude-share
    source:
      description: V(user) or V(vendor); empty if there is no such template.
      returned: always
      type: str
      sample: vendor
    file_path:
      description: Path of the template; empty if there is none.
      returned: always
      type: str
      sample: /usr/local/share/repoman/profiles/claude-share.yml
    installed:
      description: Whether Incus has a profile with this name.
      returned: with O(diff), and without O(rendered), O(raw) and O(vendor_diff), which do not need Incus
      type: bool
      sample: true
    drift:
      description: V(true) if the installed profile differs from the rendered template, compared as data.
      returned: together with RV(profiles[].installed)
      type: bool
      sample: false
    shadows:
      description: V(true) for a user's template that shadows a vendor template.
      returned: always
      type: bool
      sample: false
    error:
      description: Why there is no template, or it cannot be rendered or compared; or empty.
      returned: always
      type: str
      sample: ""
    empty_file:
      description: Path of a user's file that is empty, and so does not shadow the vendor template; or empty.
      returned: always
      type: str
      sample: ""
    rendered:
      description: The rendered template, with O(rendered) and O(diff).
      returned: with O(rendered) and O(diff), unless it failed
      type: str
      sample: "name: claude-share"
    raw:
      description: The template as written, with O(raw).
      returned: with O(raw), unless it failed
      type: str
      sample: "name: claude-share"
    diff:
      description: Unified diff from the installed profile to the template, with O(diff); empty if they are equal.
      returned: with O(diff), unless it failed
      type: str
      sample: ""
    vendor_diff:
      description: Unified diff from the vendor template to the user's template, with O(vendor_diff); empty if they are equal.
      returned: with O(vendor_diff), unless it failed
      type: str
      sample: ""
    msg:
      description: Why a profile of O(names) failed.
      returned: if it failed
      type: str
      sample: there is no profile template called 'x' in /home/alice/.config/repoman/profiles.d or /usr/local/share/repoman/profiles.
    hints:
      description: Remedies, each a command or a sentence.
      returned: if it failed
      type: list
      elements: str
      sample: [repoman profile list]
    exit_code:
      description: As RV(exit_code), for this profile.
      returned: if it failed
      type: int
      sample: 3
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
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.run import info

SPEC = {
    "argument_spec": COMMON_ARGS
    | PREDICT_ARGS
    | {
        "names": {"type": "list", "elements": "str"},
        "rendered": {"type": "bool", "default": False},
        "raw": {"type": "bool", "default": False},
        "diff": {"type": "bool", "default": False},
        "vendor_diff": {"type": "bool", "default": False},
    },
    "required_if": [
        ("rendered", True, ("names",)),
        ("raw", True, ("names",)),
        ("diff", True, ("names",)),
        ("vendor_diff", True, ("names",)),
    ],
}


if __name__ == "__main__":
    main(info, SPEC)
