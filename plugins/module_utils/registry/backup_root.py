# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The directory of the backup, from ``backup_root`` in the registry."""

from __future__ import annotations

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.host.machine import host_name
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Defaults
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_reader import HOST_PLACEHOLDER


def backup_root(defaults: Defaults, account: Account) -> str:
    """Return the directory of the backup, absolute and normalized, with the home directory and the name of this host filled in.

    :raises ConflictError: it needs the name of this host, which cannot be the name of a directory.
    """
    path = account.expand(defaults.backup_root)
    if HOST_PLACEHOLDER not in path:
        return path
    name = host_name()
    if not name or name in (".", "..") or "/" in name or not name.isprintable():
        raise ConflictError(
            f"backup_root has {HOST_PLACEHOLDER}, but the name of this host, {name!r}, cannot be the name of a directory.",
            "hostnamectl hostname NAME   # gives it another name",
            f"or write a name instead of {HOST_PLACEHOLDER} in [defaults].backup_root of the registry",
        )
    return path.replace(HOST_PLACEHOLDER, name)
