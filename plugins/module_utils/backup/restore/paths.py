# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore paths of an existing directory: each is exchanged atomically, and either all are restored or none.

So is a directory restored that cannot be exchanged itself: a mount point, a subvolume, one that holds such, one whose parent may
not be written. What is replaced is saved on the same file system: beside the directory, or in it where that is one of its own.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, suppress
from functools import cached_property
from typing import ClassVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import shown
from ansible_collections.homelab.repoman.plugins.module_utils.backup.progress_display import counted
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.compare import Comparer, Present, listed
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.copy import LayerCopier, write_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.cover import SAVED_INSIDE, Coverer, by_move
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination, in_the_way
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layers import Items, parents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.moves import Holder, Move, can_exchange, exchange, lstat_at
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.operation import DirectoryRestore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Staging, free_name
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, InterruptedRunError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import DirectoryCursor, is_own_place, remove_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import made_writable, rename_new


class PathsRestore(DirectoryRestore):
    """Paths of an existing directory.

    :param paths: relative to the directory; the empty path is the whole directory.
    :param in_place: nothing is made beside the directory.
    """

    is_whole: ClassVar[bool] = False

    def __init__(
        self, name: str, destination: Destination, items: Items, present: Present, paths: list[bytes], *, in_place: bool, base: bytes
    ) -> None:
        super().__init__(name, destination, items, present)
        self.paths, self.in_place, self.root_fd = paths, in_place, destination.fd
        self.whole = paths == [b""]
        self._holders: dict[bytes, Holder] = {}
        self._base = base
        self._begun: list[Move] = []
        self._made: list[bytes] = []
        self._dressed: list[tuple[int, os.stat_result]] = []
        self._stack = ExitStack()
        self._cover = Coverer(self.root_fd, items, present, in_place=in_place).cover(paths)
        self.moves = [self._move(path) for path in self._different(self._cover.moves)]

    # Planning

    def _different(self, moves: list[bytes]) -> list[bytes]:
        """Return the moves whose paths are not what the backup holds."""
        here, there = by_move(moves, self.present.statuses), by_move(moves, self.items)
        comparer, different = Comparer(self.root_fd), []
        for path in moves:
            items = {each: self.items[each] for each in there[path]}
            now = listed({each: self.present.statuses[each] for each in here[path]})
            then = listed({each: item.status for each, item in items.items()})
            if now != then or not comparer.is_equal(items):
                different.append(path)
        return different

    def _move(self, path: bytes) -> Move:
        return Move(path, self._holder(path.rpartition(b"/")[0]), path in self.items, self._lstat(path))

    def _lstat(self, path: bytes) -> os.stat_result | None:
        with DirectoryCursor(self.root_fd) as cursor:
            try:
                return cursor.lstat(path)
            except NotADirectoryError as error:
                raise in_the_way(path.rpartition(b"/")[0], self.destination.path) from error

    def _holder(self, directory: bytes) -> Holder:
        """Return the holder for what is in a directory: the nearest mount point or subvolume above it holds it."""
        prefix = b""
        with DirectoryCursor(self.root_fd) as cursor, suppress(FileNotFoundError, NotADirectoryError):
            parts = directory.split(b"/") if directory else []
            with DirectoryCursor(self.root_fd) as above:
                for count in range(1, len(parts) + 1):
                    path = b"/".join(parts[:count])
                    if is_own_place(above.open(path.rpartition(b"/")[0]), cursor.open(path)):
                        prefix = path
        if prefix not in self._holders:
            if not prefix and not self.in_place:
                fd, where, base = self.destination.parent_fd, os.path.dirname(self.destination.path), self.destination.name
            else:
                with DirectoryCursor(self.root_fd) as cursor:
                    fd = os.dup(cursor.open(prefix))
                self._stack.callback(os.close, fd)
                where = os.path.join(self.destination.path, prefix) if prefix else self.destination.path
                base = SAVED_INSIDE if prefix else self._base
            self._holders[prefix] = Holder(fd, where, prefix, base, free_name(fd, base))
        return self._holders[prefix]

    # Telling

    def close(self) -> None:
        """Let go of the directories."""
        self._stack.close()

    @cached_property
    def replaces(self) -> bool:
        """Whether one of the paths is there."""
        return any(move.old is not None for move in self.moves)

    @cached_property
    def differs(self) -> bool:
        """Whether a path differs from the backup."""
        return bool(self.moves)

    @property
    def saved(self) -> str:
        """Where what is replaced is saved; empty if nothing is."""
        places = dict.fromkeys(move.holder.saved for move in self.moves if move.old is not None)
        return ", ".join(shown(os.path.join(place, self.within) if self.within else place) for place in places)

    within = b""
    """The single restored project's repository in the destination; saved paths are shown relative to it."""

    def description(self, files: int) -> str:
        """Return what is done, as a sentence."""
        where = shown(self.destination.path)
        if self.whole:
            what = f"restore {self.name} in {where} ({counted(files)})"
        else:
            what = f"restore {', '.join(shown(path) for path in self.paths)} of {self.name} in {where} ({counted(files)})"
        return f"{what}, saving what it replaces in {self._saved_in}" if self.replaces else what

    @property
    def _saved_in(self) -> str:
        return ", ".join(dict.fromkeys(shown(move.holder.saved) for move in self.moves if move.old is not None))

    def place_notes(self) -> list[str]:
        """Return warnings about skipped paths and about saved data inside the repository."""
        notes = [f"{shown(os.path.join(self.destination.path, path))} {why}; it was not changed." for path, why in self._cover.left.items()]
        inside = dict.fromkeys(move.holder.saved for move in self.moves if move.old is not None and move.holder.base == SAVED_INSIDE)
        return notes + [
            f"{shown(path)} is inside the repository, and the next sync backs it up; delete it when you no longer need it."
            for path in inside
        ]

    @cached_property
    def before(self) -> str:
        """A list of what the paths are."""
        chosen = by_move([move.path for move in self.moves], self.present.statuses)
        return listed({path: self.present.statuses[path] for paths in chosen.values() for path in paths})

    @cached_property
    def after(self) -> str:
        """A listing of the paths after the restore."""
        chosen = by_move([move.path for move in self.moves], self.items)
        return listed({path: self.items[path].status for paths in chosen.values() for path in paths})

    def found(self) -> bytes:
        """Return what is in the way of a restore that may not replace anything."""
        if self.whole:
            return self.destination.path
        return os.path.join(self.destination.path, next(path for path in self.paths if self._lstat(path) is not None))

    # Doing

    def apply(self) -> None:
        """Copy all paths, then move each into place and its previous contents to the saved directory."""
        self._check_movable()
        try:
            self._copy()
            for move in self.moves:
                try:
                    self._put(move)
                except OSError as error:
                    place = os.path.join(self.destination.path, move.path)
                    raise RepomanError(
                        f"{shown(place)} cannot be moved into place: {error.strerror}; nothing was restored.",
                        f"ls -ld {shell_word(place)}",
                    ) from error
        finally:
            self._end_staging()
        self._finish_directories()  # last: what is made or removed in one changes its time

    def _end_staging(self) -> None:
        interrupted: InterruptedRunError | None = None
        for holder in self._holders.values():
            staging, holder.staging = holder.staging, None
            if staging is None:
                continue
            try:
                with suppress(OSError), made_writable((holder.fd, b".")):
                    staging.end(holder.saved_name)
            except InterruptedRunError as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted

    def _check_movable(self) -> None:
        """Refuse to replace a directory of another user, before anything is changed.

        :raises ConflictError: it cannot be moved to the saved directory.
        """
        for move in self.moves if os.geteuid() else ():
            if move.old is None or not stat.S_ISDIR(move.old.st_mode) or move.old.st_uid == os.geteuid():
                continue
            with DirectoryCursor(self.root_fd) as cursor:
                parent_fd, name = cursor.reach(move.path)
                if os.access(name, os.W_OK, dir_fd=parent_fd, effective_ids=True, follow_symlinks=False):
                    continue
            path = os.path.join(self.destination.path, move.path)
            raise ConflictError(
                f"{shown(path)} belongs to another user, and you cannot move it to save it; nothing was restored.",
                f"ls -ld {shell_word(path)}",
                f"move it away yourself: sudo mv {shell_word(path)} {shell_word(path + b'.old')}",
            )

    def _copy(self) -> None:
        """Copy what is wanted to staging directories, each path under a number."""
        chosen = by_move([move.path for move in self.moves], self.items)
        for holder in self._holders.values():
            moves = [move for move in self.moves if move.holder is holder]
            if not moves:
                continue
            with made_writable((holder.fd, b".")):
                try:
                    holder.staging = Staging(holder.fd, self.destination.name)
                except OSError as error:
                    raise write_error(holder.path, error) from error
            holder.exchanges = can_exchange(holder.staging.fd)
            items: Items = {}
            for number, move in enumerate(moves):
                move.number = b"%d" % number
                items |= {move.number + path[len(move.path) :]: self.items[path] for path in chosen[move.path]}
            copier = LayerCopier(holder.staging.fd, holder.path)
            copier.copy(items)
            self.notes |= copier.notes

    def _put(self, move: Move) -> None:
        holder = move.holder
        staging = holder.staging
        if staging is None:
            raise RuntimeError("nothing was copied")
        parent, _slash, name = move.path.rpartition(b"/")
        with DirectoryCursor(self.root_fd) as cursor, ExitStack() as stack:
            self._made += [each for each in parents(move.path) if cursor.lstat(each) is None]
            try:
                there = cursor.open(parent, make=0o755)
            except NotADirectoryError as error:
                raise in_the_way(parent, self.destination.path) from error
            move.old = cursor.lstat(move.path)
            there = cursor.open(parent)
            if move.wanted:
                move.new = os.stat(move.number, dir_fd=staging.fd, follow_symlinks=False)
            self._begun.append(move)
            stack.enter_context(made_writable((there, b"."), (there, name), (staging.fd, move.number)))
            if move.old is None:
                rename_new(staging.fd, move.number, there, name)
                return
            with made_writable((holder.fd, b".")):
                holder.open_saved()
            saved = stack.enter_context(DirectoryCursor(holder.saved_fd))
            relative = holder.relative(move.path)
            kept_fd, kept = saved.open(relative.rpartition(b"/")[0], make=0o700), relative.rpartition(b"/")[2]
            if not move.wanted:
                rename_new(there, name, kept_fd, kept)
            elif holder.exchanges:
                rename_new(staging.fd, move.number, kept_fd, kept)
                exchange(kept_fd, kept, there, name)
            else:
                rename_new(there, name, kept_fd, kept)
                rename_new(staging.fd, move.number, there, name)

    def _finish_directories(self) -> None:
        """Give directories that were made or entered the attributes that the backup has."""
        with DirectoryCursor(self.root_fd) as cursor:
            for path in sorted({*self._made, *(self._cover.entered if self.moves else ())}, reverse=True):
                item = self.items.get(path)
                if item is None:
                    continue
                fd = os.dup(cursor.open(path))
                self._stack.callback(os.close, fd)
                found = os.fstat(fd)
                if os.geteuid() not in (0, found.st_uid):
                    continue
                self._dressed.append((fd, found))
                copier = LayerCopier(-1, os.path.join(self.destination.path, path))
                copier.finish(fd, item)
                self.notes |= copier.notes

    # Undoing

    def undo(self) -> None:
        """Give each path back what was there.

        :raises RepomanError: it cannot be moved back; the error names the saved path.
        """
        where = self._saved_in or shown(self.destination.path)
        left: list[Move] = []
        try:
            left = [move for move in reversed(self._begun) if not self._take_back(move)]
            with DirectoryCursor(self.root_fd) as cursor:
                for parent in sorted(self._made, reverse=True):
                    with suppress(OSError):
                        above, name = cursor.reach(parent)
                        os.rmdir(name, dir_fd=above)
            for fd, found in reversed(self._dressed):
                with suppress(OSError):
                    itself = f"/proc/self/fd/{fd}"
                    os.chmod(itself, stat.S_IMODE(found.st_mode))
                    os.utime(itself, ns=(found.st_atime_ns, found.st_mtime_ns))
        except OSError as error:
            raise RepomanError(f"{error.strerror}; the previous contents are in {where}.") from error
        if left:
            place = shown(os.path.join(self.destination.path, left[0].path))
            raise RepomanError(f"{place} changed during the restore; its previous contents are in {where}.")
        for holder in self._holders.values():
            if holder.saved_fd >= 0:
                os.close(holder.saved_fd)
                holder.saved_fd = -1
                with suppress(FileNotFoundError), made_writable((holder.fd, b".")):
                    remove_beneath(holder.saved_name, holder.fd)  # the new things that took the places

    def _take_back(self, move: Move) -> bool:
        """Put back what was at a path; return False if something else is there by now, and what was there stays saved."""
        parent, _slash, name = move.path.rpartition(b"/")
        relative = move.holder.relative(move.path)
        with ExitStack() as stack:
            there = stack.enter_context(DirectoryCursor(self.root_fd)).open(parent)
            now = lstat_at(name, there)
            kept_fd, kept, saved = -1, relative.rpartition(b"/")[2], None
            if move.holder.saved_fd >= 0:
                with suppress(FileNotFoundError):
                    kept_fd = stack.enter_context(DirectoryCursor(move.holder.saved_fd)).open(relative.rpartition(b"/")[0])
                    saved = lstat_at(kept, kept_fd)
            is_saved = saved is not None and move.old is not None and os.path.samestat(saved, move.old)
            stack.enter_context(made_writable((there, b"."), (there, name), *([(kept_fd, kept)] if saved else [])))
            if now is not None and move.new is not None and os.path.samestat(now, move.new):
                if move.old is None:
                    remove_beneath(name, there)
                elif is_saved and move.holder.exchanges:
                    exchange(kept_fd, kept, there, name)
                elif is_saved:
                    remove_beneath(name, there)
                    rename_new(kept_fd, kept, there, name)
            elif now is None and is_saved:
                rename_new(kept_fd, kept, there, name)
            else:
                return not is_saved
        return True
