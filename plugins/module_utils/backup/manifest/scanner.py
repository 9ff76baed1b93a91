# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Walk a directory tree with ``lstat``, without leaving it and without following links."""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Container, Iterator
from operator import itemgetter

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import (
    BLOCK_HEADER,
    RECORD,
    entry_from_stat,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError, too_deep
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath

_by_name = itemgetter(0)
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""Flags to open a directory for listing."""
REACH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to open a directory only to reach its entries."""

UNSEEN_MOUNT = os.stat_result(
    (stat.S_IFDIR | 0o700, 0, -1, 2, os.geteuid(), os.getegid(), 0, 0, 0, 0), {"st_mtime_ns": 0, "st_ctime_ns": 0, "st_rdev": 0}
)
"""Placeholder for a mount point whose status cannot be read."""
MAX_OPEN = 32
"""Maximum number of directories that one walk has open."""
DEEPEST = 3400
"""Maximum length, in bytes, of the path of a directory whose subdirectories are walked: neither git nor rsync nor a user can open a path of
more than 4096 bytes, and time and memory for a tree of thousands of levels grow with the square of its depth."""


def walk_blocks(
    top: bytes | int,
    start: bytes = b"",
    *,
    files_only: bool = False,
    skip: frozenset[bytes] = frozenset(),
    unreadable: dict[bytes, UnreadableError] | None = None,
    display_path: bytes = b"",
    tree: TreeFilter | None = None,
) -> Iterator[bytes]:
    """Yield the blocks of a tree, with their heads, in a manifest's order.

    Never follows a symbolic link, even if one replaces a directory during the walk; stays on the file system, unless ``tree`` follows
    mounts; skips what vanishes.

    :param top: base directory: its path, or a descriptor, which the caller closes.
    :param start: directory below it to begin with; its own record is not part of the walk unless it is ``top`` itself.
    :param files_only: leave out directories, and ``top`` itself.
    :param skip: paths of directories whose contents are left out.
    :param unreadable: gets the directories below ``start`` that cannot be read, or lie too deep; they have no block. Without it, a directory that
        cannot be read raises an error, and no directory is too deep.
    :param display_path: the path of ``top`` that errors show.
    :param tree: rules for skipped paths in the whole tree; it also learns about mounted file systems.
    :raises UnreadableError: a directory cannot be read.
    :raises FileNotFoundError: ``start`` is not there.
    :raises NotADirectoryError: ``start``, or a part of its path, is not a directory.
    """
    if isinstance(top, int):
        yield from _Walk(top, display_path or os.readlink(b"/proc/self/fd/%d" % top), files_only, skip, unreadable, tree).blocks(start)
        return
    top_fd = os.open(top, REACH)
    try:
        yield from _Walk(top_fd, display_path or top, files_only, skip, unreadable, tree).blocks(start)
    finally:
        os.close(top_fd)


class _Level:
    """A parent directory of the current position of a walk.

    :param fd: its descriptor; -1 once it is closed because too many others are open.
    :param waiting: names of the directories in it that are still to be walked, the next one last.
    """

    __slots__ = ("fd", "path", "waiting")

    def __init__(self, fd: int, path: bytes, waiting: list[bytes]) -> None:
        self.fd, self.path, self.waiting = fd, path, waiting

    def close(self) -> None:
        """Close the descriptor."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class _Walk:
    """A walk of one tree, see :func:`walk_blocks`.

    Each directory is opened by its name in the one above it, which stays open until its last directory has been opened. So no
    exchange of names leads out of the tree. At most ``MAX_OPEN`` are open: of a deeper tree those at the top are opened again later.
    """

    def __init__(
        self,
        top: int,
        display_path: bytes,
        files_only: bool,
        skip: frozenset[bytes],
        unreadable: dict[bytes, UnreadableError] | None,
        tree: TreeFilter | None = None,
    ) -> None:
        self.top, self.display_path, self.files_only = top, display_path, files_only
        self.skip, self.unreadable, self.tree = skip, unreadable, tree
        self.levels: list[_Level] = []
        self.device = -1

    def blocks(self, start: bytes) -> Iterator[bytes]:
        """Yield the blocks of ``start`` and of the directories below it."""
        at: tuple[bytes, int] | None = (start, self._begin(start))
        try:
            while at is not None:
                block = self._enter(*at, begin=at[0] == start)
                if block is not None:
                    yield block
                at = self._next()
        finally:
            for level in self.levels:
                level.close()

    def _display_path(self, directory: bytes) -> bytes:
        return os.path.join(self.display_path, directory) if directory else self.display_path

    def _begin(self, start: bytes) -> int:
        above, _slash, name = start.rpartition(b"/")
        try:
            parent = open_beneath(self.top, above, REACH)
            try:
                return open_beneath(parent, name, LIST)
            finally:
                os.close(parent)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise UnreadableError(self._display_path(start), error) from error

    def _note_unreadable(self, directory: bytes, error: OSError, *, begin: bool = False) -> None:
        """Note that a directory cannot be read."""
        problem = UnreadableError(self._display_path(directory), error)
        if self.unreadable is None or begin:
            raise problem from error
        self.unreadable[directory] = problem

    def _enter(self, directory: bytes, fd: int, *, begin: bool) -> bytes | None:
        """Return the block of an open directory, which is closed unless there are directories in it to be walked."""
        below: list[bytes] = []
        try:
            status = os.fstat(fd)
            if begin:
                self.device = status.st_dev
            elif status.st_dev != self.device and (self.tree is None or not self.tree.is_followed(directory)):
                return None
            tree = self.tree
            if tree is not None and tree.is_target(directory, status):
                return None
            entries = _read_directory(fd, self._mounted(directory))
            if tree is not None:
                entries = tree.keep(directory, fd, entries)
            block, below, outside = _block(directory, status, entries, self.files_only)
            if tree is not None and (outside or tree.rules.mounts):
                below = tree.enter(directory, below, outside)
            if below and (self.skip or len(directory) > DEEPEST):
                below = self._subdirectories_to_walk(directory, below)
            return block
        except OSError as error:
            self._note_unreadable(directory, error, begin=begin)
            return None
        finally:
            if below:
                below.reverse()
                self.levels.append(_Level(fd, directory, below))
                if len(self.levels) > MAX_OPEN:
                    self.levels[-MAX_OPEN - 1].close()
            else:
                os.close(fd)

    def _mounted(self, directory: bytes) -> frozenset[bytes]:
        """Return the names in a directory that are mount points."""
        if self.tree is None or not self.tree.rules.mounts:
            return frozenset()
        return frozenset(path.rpartition(b"/")[2] for path in self.tree.rules.mounts if path.rpartition(b"/")[0] == directory)

    def _subdirectories_to_walk(self, directory: bytes, names: list[bytes]) -> list[bytes]:
        """Return the subdirectories to walk."""
        prefix = directory + b"/" if directory else b""
        subdirectories = [name for name in names if prefix + name not in self.skip]
        if self.unreadable is None or len(directory) <= DEEPEST:
            return subdirectories
        for name in subdirectories:
            self.unreadable[prefix + name] = too_deep(self._display_path(prefix + name))
        return []

    def _next(self) -> tuple[bytes, int] | None:
        """Return the next directory's path and descriptor; None if there are no more."""
        while self.levels:
            level = self.levels[-1]
            name = level.waiting.pop()
            directory = level.path + b"/" + name if level.path else name
            try:
                if level.fd < 0:
                    self._reopen()
                return directory, os.open(name, LIST, dir_fd=level.fd)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if error.errno != errno.ELOOP:
                    self._note_unreadable(directory, error)
            finally:
                if not level.waiting:
                    level.close()
                    self.levels.pop()
        return None

    def _reopen(self) -> None:
        """Open the last levels again, beginning at the top."""
        levels = {level.path: level for level in self.levels[-MAX_OPEN:]}
        fd, path = os.dup(self.top), b""
        try:
            for part in (*self.levels[-1].path.split(b"/"), b""):
                level = levels.get(path)
                if level is not None and level.fd < 0:
                    level.fd = os.dup(fd)
                if part:
                    next_fd = open_beneath(fd, part, REACH)
                    os.close(fd)
                    fd, path = next_fd, path + b"/" + part if path else part
        finally:
            os.close(fd)


def _block(
    directory: bytes, directory_status: os.stat_result, entries: list[tuple[bytes, os.stat_result, bytes]], files_only: bool
) -> tuple[bytes, list[bytes], list[bytes]]:
    """Return a directory's block, with its head, and the names of the directories in it: on its file system, and on others."""
    device = directory_status.st_dev
    record, is_dir = RECORD.pack, stat.S_IFDIR
    devices = (stat.S_IFBLK, stat.S_IFCHR)
    records: list[bytes] = []
    subdirectories: list[bytes] = []
    outside: list[bytes] = []
    if not directory and not files_only:
        records.append(entry_from_stat(b"", directory_status).record())
    for name, status, link in entries:
        mode = status.st_mode
        file_type = mode & 0o170000
        if file_type == is_dir:
            if files_only:
                continue
            (subdirectories if status.st_dev == device else outside).append(name)
        try:
            records.append(
                record(
                    mode,
                    status.st_uid,
                    status.st_gid,
                    status.st_rdev if file_type in devices else status.st_size,
                    status.st_mtime_ns,
                    status.st_ctime_ns,
                    status.st_ino,
                    status.st_nlink,
                    len(name),
                    len(link),
                )
                + name
                + link
            )
        except struct.error:  # a time beyond what a record holds
            records.append(entry_from_stat(name, status, link).record())
    block = b"".join(records)
    return BLOCK_HEADER.pack(len(directory), len(block)) + directory + block, subdirectories, outside


def _read_directory(directory_fd: int, mounted: Container[bytes] = ()) -> list[tuple[bytes, os.stat_result, bytes]]:
    """Return name, status and link target of each entry of an open directory, sorted; entries that vanish during the call are skipped.

    :param mounted: names of mount points. One whose status cannot be read, such as another user's FUSE mount or one whose server
        is down, does not make its neighbours unreadable: it counts as a directory on another file system.
    """
    entries: list[tuple[bytes, os.stat_result, bytes]] = []
    add, encode, is_link = entries.append, os.fsencode, stat.S_IFLNK
    with os.scandir(directory_fd) as iterator:
        for entry in iterator:
            try:
                status = entry.stat(follow_symlinks=False)
                name = encode(entry.name)
                add((name, status, os.readlink(name, dir_fd=directory_fd) if status.st_mode & 0o170000 == is_link else b""))
            except FileNotFoundError:
                continue
            except OSError as error:
                if encode(entry.name) in mounted:
                    add((encode(entry.name), UNSEEN_MOUNT, b""))
                elif error.errno != errno.EINVAL:  # a link that became something else
                    raise
    entries.sort(key=_by_name)
    return entries
