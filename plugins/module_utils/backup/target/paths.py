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
    backup_root/.repoman/settings/               the host's settings; see ``backup/settings``

A file server that is down blocks every access to these paths, so code that uses them runs in a child process; see ``child.py``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.host.machine import host_name

INTERNAL_DIRECTORY = ".repoman"
"""The directory in ``backup_root`` that holds repoman's own files."""
SETTINGS = "(settings)"
"""The name of the host's settings in the history, next to the units; no unit may have this name."""


@dataclass(frozen=True)
class BackupRoots:
    """Source and target of a backup, as the registry gives them, expanded.

    :param backup_root: absolute; links not resolved.
    :param repos_root: absolute; links not resolved.
    :param registry_path: path of the registry, for hints.
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
            object.__setattr__(self, "host", host_name())


@dataclass(frozen=True)
class Target:
    """The directory that holds a backup. It has a marker, or is about to get one.

    :param root: its directory, links resolved.
    :param ident: ID in its marker, which distinguishes it from another target mounted at the same path.
    """

    root: str
    ident: str

    def internal_path(self, *parts: str) -> Path:
        """Return a path below repoman's own directory."""
        return Path(self.root, INTERNAL_DIRECTORY, *parts)

    def mirror(self, unit: str) -> Path:
        """Return the path of a unit's mirror, or of the backup of the settings."""
        return self.internal_path("settings") if unit == SETTINGS else Path(self.root, unit)


def nearest_directory(path: str) -> Path:
    """Return the directory, or its nearest parent that exists."""
    return next(directory for directory in (Path(path), *Path(path).parents) if directory.is_dir())


def remove_directory(path: Path) -> None:
    """Remove a directory and its contents, even if directories in it are not writable; follow no link."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        remove_tree(os.fsencode(path.name), parent)
    finally:
        os.close(parent)
