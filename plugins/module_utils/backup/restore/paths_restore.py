# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore paths of an existing directory: each is exchanged atomically, and either all are restored or none.

A directory that cannot be exchanged itself is restored like this, too: a mount point, a subvolume, one that contains either, or one
whose parent is not writable. Replaced files are saved on the same file system: next to the directory, or inside it if it is a
separate file system.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.cover import Coverer, by_move
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Items
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.moves import lstat_in, plan_moves
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.operation import RestoreOperation
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.path_replacer import PathReplacer
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.present import Present, format_listing
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.space import Copy
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.workspace import SAVED_INSIDE, Workspaces
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import plural
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path


class PathsRestore(RestoreOperation):
    """Replaces paths of an existing directory.

    :param paths: relative to the directory; the empty path is the whole directory.
    :param in_place: nothing can be created next to the directory.
    :param saved_base: how the saved directory's name begins if it lies in the directory.
    :param subpath: the restored project's repository in the destination; saved paths are shown relative to it.
    """

    is_whole: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        destination: Destination,
        items: Items,
        present: Present,
        paths: list[bytes],
        *,
        in_place: bool,
        saved_base: bytes,
        subpath: bytes = b"",
    ) -> None:
        super().__init__(name, destination, items, present)
        self.paths, self.subpath = paths, subpath
        self.has_all_paths = paths == [b""]
        self._cover = Coverer(destination.fd, items, present, in_place=in_place).cover(paths)
        self._workspaces = Workspaces(destination, in_place=in_place, saved_base=saved_base)
        self.moves = plan_moves(destination, items, present, self._cover.moves, self._workspaces)
        self._replacer = PathReplacer(destination, items, self.moves, self._workspaces, self._cover.entered)

    def close(self) -> None:
        """Close the directories."""
        self._replacer.close()
        self._workspaces.close()

    @cached_property
    def replaces(self) -> bool:
        """Whether one of the paths exists."""
        return any(move.old is not None for move in self.moves)

    @cached_property
    def differs(self) -> bool:
        """Whether a path differs from the backup."""
        return bool(self.moves)

    @property
    def saved(self) -> str:
        """Paths of the saved directories, separated by commas; empty if nothing is replaced."""
        return ", ".join(escape_path(os.path.join(path, self.subpath) if self.subpath else path) for path in self._saved_directories)

    @property
    def _saved_directories(self) -> list[bytes]:
        return list(dict.fromkeys(move.workspace.saved_path for move in self.moves if move.old is not None))

    def description(self, files: int) -> str:
        """Return the step as a sentence."""
        selected = "" if self.has_all_paths else f"{', '.join(escape_path(path) for path in self.paths)} of "
        return f"restore {selected}{self.name} in {escape_path(self.destination.path)} ({plural(files)})"

    def place_notes(self) -> list[str]:
        """Return warnings about skipped paths and about saved files inside the repository."""
        notes = [
            f"{escape_path(os.path.join(self.destination.path, path))} {reason}; it was not changed."
            for path, reason in self._cover.skipped.items()
        ]
        workspaces = [move.workspace for move in self.moves if move.old is not None and move.workspace.saved_base == SAVED_INSIDE]
        inside = dict.fromkeys(workspace.saved_path for workspace in workspaces)
        return notes + [
            f"{escape_path(path)} is inside the repository, and the next sync backs it up; delete it when you no longer need it."
            for path in inside
        ]

    @cached_property
    def before(self) -> str:
        """A listing of the paths before the restore."""
        chosen = by_move([move.path for move in self.moves], self.present.statuses)
        return format_listing({path: self.present.statuses[path] for paths in chosen.values() for path in paths})

    @cached_property
    def after(self) -> str:
        """A listing of the paths after the restore."""
        chosen = by_move([move.path for move in self.moves], self.items)
        return format_listing({path: self.items[path].status for paths in chosen.values() for path in paths})

    def existing_path(self) -> bytes:
        """Return the first requested path that exists."""
        if self.has_all_paths:
            return self.destination.path
        return os.path.join(self.destination.path, next(path for path in self.paths if lstat_in(self.destination, path) is not None))

    def copies(self) -> Iterator[Copy]:
        """Yield what is copied for each path that differs."""
        chosen = by_move([move.path for move in self.moves], self.items)
        for move in self.moves:
            yield move.workspace.fd, [self.items[path] for path in chosen[move.path]]

    def apply(self) -> None:
        """Copy all paths, then move each into place and its previous contents to the saved directory."""
        try:
            self._replacer.apply()
        finally:
            self.notes |= self._replacer.notes

    def undo(self) -> None:
        """Restore the previous contents of each path."""
        self._replacer.undo()
