# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The directory that holds the backup, and the paths in it.

::

    backup_root/<unit>/                          a mirror
    backup_root/.repoman/mirror.toml             the marker; see ``marker.py``
    backup_root/.repoman/lock                    which host is working; see ``host_lock.py``
    backup_root/.repoman/stamps.json             the record of each mirror; see ``records.py``
    backup_root/.repoman/history.json, kept, created   see ``history.py``

A file server that is down blocks every access to these paths, so all of it runs in a child process; see ``child.py``.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

INTERNAL_DIRECTORY = ".repoman"
"""The directory of repoman's own in ``backup_root``."""


@dataclass(frozen=True)
class BackupRoots:
    """Where from and where to, as the registry says, expanded.

    :param backup_root: absolute; links not resolved.
    :param repos_root: absolute; links not resolved.
    :param registry_path: for hints.
    :param owner: the account whose backup it is.
    :param host: name of this host.
    """

    backup_root: str
    repos_root: str
    registry_path: str
    owner: Account
    host: str = ""

    def __post_init__(self) -> None:
        if not self.host:
            object.__setattr__(self, "host", socket.gethostname())


@dataclass(frozen=True)
class Target:
    """A backup's place that carries our mark, or will in a moment.

    :param root: its directory, links resolved.
    :param ident: from its mark; tells it from another that is mounted at the same place.
    """

    root: str
    ident: str

    def internal_path(self, *parts: str) -> Path:
        """Return a path in the directory of repoman's own."""
        return Path(self.root, INTERNAL_DIRECTORY, *parts)

    def mirror(self, unit: str) -> Path:
        """Return the path of a unit's mirror."""
        return Path(self.root, unit)


def nearest_directory(path: str) -> Path:
    """Return the directory, or where it is not there yet, the nearest one above it that is."""
    return next(each for each in (Path(path), *Path(path).parents) if each.is_dir())


def remove_directory(path: Path) -> None:
    """Remove a directory of ours and all it holds, following no link; also where directories in it cannot be written."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(os.fsencode(path.name), parent)
    finally:
        os.close(parent)
