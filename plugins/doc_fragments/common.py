# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options that all modules of the collection have."""

    DOCUMENTATION = r"""
options:
  user:
    description:
      - Login name of the user to serve. Its home holds the registry and the profile templates, and O(user) fills the variable
        C(USER) of templates.
      - Where not set, it is the user the task runs as, with E(HOME) of its environment, and with E(USER) where that is a name of this user.
      - Set it where the task runs with C(become).
    type: str
  socket:
    description:
      - Path of Incus's unix socket.
      - Where not set, it is found as the C(incus) client finds it, through E(INCUS_SOCKET), E(INCUS_DIR),
        C(/run/incus/unix.socket) and C(/var/lib/incus/unix.socket).
    type: str
  registry_path:
    description:
      - Path of the registry. Overrides lie in C(repos.d/) beside it.
      - Where not set, it is C(.config/repoman/repoman.toml) in the home of the user.
    type: str
  user_dir:
    description:
      - Directory of the user's own profile templates.
      - Where not set, it is C(.config/repoman/profiles.d) in the home of the user.
    type: str
  vendor_dir:
    description:
      - Directory of the vendor's profile templates.
      - Where not set, it is E(REPOMAN_VENDOR_DIR), else C(/usr/local/share/repoman/profiles), else the collection's own.
    type: str
  vendor_templates:
    description:
      - Vendor templates, name to text, used where the vendor directory does not exist.
      - The collection hands its own along when the task runs on another host; there is no need to set it.
    type: dict
  timeout:
    description:
      - Seconds that Incus may take for a single answer. Creating and starting an instance have longer limits of their own.
    type: float
    default: 30.0
requirements:
  - python >= 3.11
  - pyyaml
  - tomlkit
"""

    PREDICT = r"""
options:
  predict:
    description:
      - In check mode, what is missing and may be what an earlier task makes is a warning and no error, and counts as a change.
        That is the account O(user), Incus and its project, a Python library, the registry, a template, a profile, a repository,
        the directory of the backup or what is to be mounted there.
    type: bool
    default: false
"""

    FORESEEN = r"""
options:
  registry_text:
    description:
      - With O(predict) in check mode, what stands for the registry, which an earlier task did not write.
      - It is what M(homelab.repoman.repoman_registry) returns as RV(homelab.repoman.repoman_registry#module:text).
    type: str
  registry_text_path:
    description:
      - Path of the registry that O(registry_text) stands for; another one is read from its file.
      - It is what M(homelab.repoman.repoman_registry) returns as RV(homelab.repoman.repoman_registry#module:path).
      - Where not set, O(registry_text) stands for any.
    type: str
"""
