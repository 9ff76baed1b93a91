# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose which paths of a directory to exchange, so that none contains a mount point or a subvolume."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import is_lost_found
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Items, parents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.present import Present, Statuses
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import RESTORING_PREFIX
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import DirectoryCursor

OWN_NAMES = re.compile(rb"(?:\.repoman\.before-\d{8}T\d{6}Z(?:-\d+)?|" + re.escape(os.fsencode(RESTORING_PREFIX)) + rb".+)\Z", re.DOTALL)
"""Names of a restore's own directories inside a separate file system."""


@dataclass
class Cover:
    """How to replace paths without crossing file systems.

    :param moves: paths to exchange.
    :param entered: directories that stay and only get the backup's attributes.
    :param skipped: directories that do not change, with the reason.
    """

    moves: list[bytes] = field(default_factory=list)
    entered: list[bytes] = field(default_factory=list)
    skipped: dict[bytes, str] = field(default_factory=dict)


class Coverer:
    """Finds the cover for paths of a destination.

    :param root_fd: the destination.
    :param in_place: treat the destination as a separate file system: nothing is created next to it.
    """

    def __init__(self, root_fd: int, items: Items, present: Present, *, in_place: bool) -> None:
        self.root_fd, self.items, self.present, self.in_place = root_fd, items, present, in_place
        self._cover = Cover()

    def cover(self, paths: Iterable[bytes]) -> Cover:
        """Return how to replace paths; the empty path is the destination itself."""
        for path in paths:
            self._cover_path(path)
        return self._cover

    def _cover_path(self, path: bytes) -> None:
        """Cover a path: exchange it, or its entries one by one if it contains a separate file system."""
        file_systems = self.present.file_systems
        contains_file_system = path in self._above_file_systems or not path
        if path in file_systems and path in self.items and not self.items[path].is_directory:
            self._cover.skipped[path] = "is a mount point and cannot be replaced"
        elif path in file_systems and path not in self._filled:
            self._cover.skipped[path] = "is a separate file system that is not in the backup"
        elif path not in file_systems and not contains_file_system:
            self._cover.moves.append(path)
        elif path and (path not in self.items or not self.items[path].is_directory):
            self._cover.skipped[path] = "contains a separate file system that is not in the backup"
        else:
            self._cover.entered.append(path)
            is_file_system = path in file_systems or (not path and self.in_place)
            for name in sorted(self._names[path]):
                child_path = path + b"/" + name if path else name
                if is_file_system and self._must_stay(name, child_path):
                    continue
                self._cover_path(child_path)

    @cached_property
    def _above_file_systems(self) -> set[bytes]:
        return {parent for path in self.present.file_systems for parent in parents(path)}

    @cached_property
    def _filled(self) -> set[bytes]:
        return {path.rpartition(b"/")[0] for path in self.items if path}

    @cached_property
    def _names(self) -> dict[bytes, set[bytes]]:
        """The names in each directory that may be entered, in the destination or in the backup."""
        names: dict[bytes, set[bytes]] = {path: set() for path in {b"", *self.present.file_systems, *self._above_file_systems}}
        for path in (*self.present.statuses, *self.items):
            parent, _slash, name = path.rpartition(b"/")
            if path and parent in names:
                names[parent].add(name)
        return names

    def _must_stay(self, name: bytes, path: bytes) -> bool:
        """Return whether to keep an entry of a separate file system: its ``lost+found``, a restore's own, or one that this user cannot move."""
        status = self.present.statuses.get(path)
        if status is None:
            return False
        if OWN_NAMES.match(name):
            return True
        if stat.S_ISDIR(status.st_mode) and os.geteuid() not in (0, status.st_uid):
            with DirectoryCursor(self.root_fd) as cursor:
                parent_fd, last = cursor.reach(path)
                if not os.access(last, os.W_OK, dir_fd=parent_fd, effective_ids=True, follow_symlinks=False):
                    if not is_lost_found(last, parent_fd):
                        self._cover.skipped[path] = "belongs to another user, and you cannot move it"
                    return True
        with DirectoryCursor(self.root_fd) as cursor, suppress(OSError):
            parent_fd, last = cursor.reach(path)
            return is_lost_found(last, parent_fd)
        return False


def by_move(moves: list[bytes], paths: Statuses | Items | Iterable[bytes]) -> dict[bytes, list[bytes]]:
    """Return the paths at or below each move."""
    covered: dict[bytes, list[bytes]] = {move: [] for move in moves}
    for path, move in _covered(sorted(moves, key=_depth_first), sorted((path for path in paths if path), key=_depth_first)):
        covered[move].append(path)
    return covered


def _covered(moves: list[bytes], paths: list[bytes]) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    for path in paths:
        while at < len(moves) and _depth_first(moves[at]) < _depth_first(path) and not path.startswith(moves[at] + b"/"):
            at += 1
        if at < len(moves) and (path == moves[at] or path.startswith(moves[at] + b"/")):
            yield path, moves[at]


def _depth_first(path: bytes) -> bytes:
    return path.replace(b"/", b"\0")
