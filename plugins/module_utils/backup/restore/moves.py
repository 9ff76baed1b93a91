# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The moves of a restore: which paths are replaced, created or removed."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.compare import Comparer
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.cover import by_move
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination, in_the_way
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Items
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.present import Present, format_listing
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.workspace import Workspace, Workspaces
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import DirectoryCursor


@dataclass
class Move:
    """A path that is replaced, created or removed.

    :param path: relative to the destination.
    :param in_backup: the backup has it; otherwise it is removed.
    :param old: its status before; None if it does not exist.
    :param new: the status of its replacement, once that is copied.
    :param number: the replacement's name in the staging directory.
    """

    path: bytes
    workspace: Workspace
    in_backup: bool
    old: os.stat_result | None = None
    new: os.stat_result | None = None
    number: bytes = b""

    @property
    def saved_path(self) -> bytes:
        """Path in the saved directory for the replaced file."""
        return self.workspace.relative(self.path)


def plan_moves(destination: Destination, items: Items, present: Present, paths: list[bytes], workspaces: Workspaces) -> list[Move]:
    """Return a move for each path that differs from the backup.

    :param paths: relative to the destination; none inside another.
    :raises ConflictError: a parent of a path is not a directory.
    """
    return [
        Move(path, workspaces.get(path.rpartition(b"/")[0]), path in items, lstat_in(destination, path))
        for path in _differing(destination, items, present, paths)
    ]


def lstat_in(destination: Destination, path: bytes) -> os.stat_result | None:
    """Return the status of a path in a destination; None if it does not exist.

    :raises ConflictError: one of its parents is not a directory.
    """
    with DirectoryCursor(destination.fd) as cursor:
        try:
            return cursor.lstat(path)
        except NotADirectoryError as error:
            raise in_the_way(path.rpartition(b"/")[0], destination.path) from error


def _differing(destination: Destination, items: Items, present: Present, paths: list[bytes]) -> list[bytes]:
    """Return the paths whose contents differ from the backup."""
    current, desired = by_move(paths, present.statuses), by_move(paths, items)
    comparer, differing = Comparer(destination.fd), []
    for path in paths:
        desired_items = {nested: items[nested] for nested in desired[path]}
        before = format_listing({nested: present.statuses[nested] for nested in current[path]})
        after = format_listing({nested: item.status for nested, item in desired_items.items()})
        if before != after or not comparer.is_equal(desired_items):
            differing.append(path)
    return differing
