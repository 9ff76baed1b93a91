# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations


class ModuleDocFragment:
    """Options of all modules of the collection."""

    DOCUMENTATION = r"""
options:
  user:
    description:
      - Login name of the user whose projects they are. The registry and profile templates are in the user's home directory, and the
        variable C(USER) of templates is this name.
      - If not set, it is the user that runs the task. Then E(HOME) is used, and E(USER) if it is a name of the same user.
      - Set it if the task uses C(become). If the task becomes root without it, the projects are root's own, and a warning says so.
    type: str
  socket:
    description:
      - Path of the Incus unix socket.
      - If not set, it is found like by the C(incus) client, with E(INCUS_SOCKET), E(INCUS_DIR),
        C(/run/incus/unix.socket) and C(/var/lib/incus/unix.socket).
    type: str
  registry_path:
    description:
      - Path of the registry. Overrides are in C(repos.d/) in the same directory.
      - If not set, it is C(~/.config/repoman/repoman.toml).
    type: str
  user_dir:
    description:
      - Directory of the user's profile templates.
      - If not set, it is C(~/.config/repoman/profiles.d).
    type: str
  vendor_dir:
    description:
      - Directory of the vendor's profile templates.
      - If not set, it is E(REPOMAN_VENDOR_DIR), else C(/usr/local/share/repoman/profiles), else the directory of the collection.
    type: str
  vendor_templates:
    description:
      - Vendor templates by name, used if the vendor directory does not exist.
      - The collection sets it when a task runs on another host. You need not set it.
    type: dict
  timeout:
    description:
      - Seconds to wait for each response of Incus. Creating and starting an instance have separate, longer timeouts.
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
      - In check mode, warn and predict the result, instead of failing, if something is missing that an earlier task may create -
        the account O(user), Incus and its project, a Python library, the registry, a template, a profile, a repository, the directory of
        the backup, or a mount there. Without Incus, no container or profile is assumed to exist, and options are not compared with the host.
    type: bool
    default: false
"""

    PREDICTED_REGISTRY = r"""
options:
  registry_text:
    description:
      - With O(predict) in check mode, text to use instead of the registry, which an earlier task would have written.
      - M(homelab.repoman.repoman_registry) returns it as RV(homelab.repoman.repoman_registry#module:text).
    type: str
  registry_text_path:
    description:
      - Path of the registry that O(registry_text) replaces. Registries with other paths are read from their files.
      - M(homelab.repoman.repoman_registry) returns it as RV(homelab.repoman.repoman_registry#module:path).
      - If not set, O(registry_text) replaces every registry.
    type: str
"""

    TARGET = r"""
options:
  probe_timeout:
    description:
      - Seconds to wait for the first response of the target. A sleeping disk or an automount may need more.
    type: float
    default: 3.0
  idle_timeout:
    description:
      - Seconds without progress after which the run fails, if the target does not answer a simple request either.
      - A comparison with the mirrors also fails a repository that does not respond for this time.
      - Slow operations on a target that responds have no time limit.
    type: float
    default: 60.0
    aliases: [patience]
"""
