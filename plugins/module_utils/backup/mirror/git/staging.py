# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keep the metadata of a repository after reading it: small files in memory, large ones in a scratch file, holes nowhere.

A container can make an index or a list of references any size. Memory is bounded in any case, and holes cost neither time nor disk space.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from typing import Union

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.file_copier import is_unchanged, recently_changed
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.files.source_files import GONE, MEMORY_BYTES, MIB, STAGED_MEMORY_BYTES

BLOCK = 4096


class _ScratchFile:
    """A file without a name that is closed with the last of its pieces."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        os.unlink(path)

    def __del__(self) -> None:
        os.close(self.fd)


class Piece:
    """The contents of one file, in a scratch file that others share.

    :param file: the scratch file.
    :param start: offset of the contents.
    :param size: of the file, with its holes.
    """

    __slots__ = ("fd", "file", "size", "start")

    def __init__(self, file: _ScratchFile, start: int, size: int) -> None:
        self.file, self.fd, self.start, self.size = file, file.fd, start, size

    def __len__(self) -> int:
        return self.size

    def parts(self) -> Iterator[tuple[int, bytes]]:
        """Yield pieces of data, each with its offset from the beginning of the contents."""
        end = self.start + self.size
        position = self.start
        while position < end:
            try:
                begin = os.lseek(self.fd, position, os.SEEK_DATA)
                position = min(os.lseek(self.fd, begin, os.SEEK_HOLE), end)
            except OSError:  # only a hole follows
                return
            while begin < position:
                part = os.pread(self.fd, min(MIB, position - begin), begin)
                if not part:
                    return
                yield begin - self.start, part
                begin += len(part)

    def write_to(self, out: int) -> None:
        """Write the contents to an empty open file, with their holes."""
        for position, part in self.parts():
            view = memoryview(part)
            done = 0
            while done < len(view):
                done += os.pwrite(out, view[done:], position + done)
        os.ftruncate(out, self.size)

    def equals(self, fd: int) -> bool:
        """Return whether an open file has these contents."""
        if os.fstat(fd).st_size != self.size:
            return False
        own_parts, file_parts = (_non_zero(parts) for parts in (self.parts(), source_files.data_parts(fd, self.size)))
        return next(own_parts, None) == next(file_parts, None) and all(one == two for one, two in zip(own_parts, file_parts, strict=False))

    def lines(self) -> Iterator[bytes]:
        """Yield lines, without their ends; see :func:`source_files.lines_of`."""
        return source_files.lines_of(self.parts())


def _non_zero(parts: Iterator[tuple[int, bytes]]) -> Iterator[tuple[int, bytes]]:
    """Yield blocks that are not zero, each with its offset: zeros may be a hole in one file and data in another."""
    for position, part in parts:
        first = -position % BLOCK
        cuts = [0, *range(first, len(part), BLOCK), len(part)]
        for begin, end in itertools.pairwise(cuts):
            block = part[begin:end]
            if block.strip(b"\0"):
                yield position + begin, block


Data = Union[bytes, Piece]  # noqa: UP007 - pylint knows no other way


class Spool:
    """Takes the contents of files of one repository.

    :param path: for the scratch file, which has no name once it is open.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.in_memory = 0
        self._file: _ScratchFile | None = None
        self._end = 0

    def clear(self) -> None:
        """Start over; contents handed out before stay valid."""
        self._file, self._end, self.in_memory = None, 0, 0

    def read(self, fd: int) -> Data:
        """Return the contents of an open file, up to its current size."""
        size = os.fstat(fd).st_size
        if size <= MEMORY_BYTES and self.in_memory + size <= STAGED_MEMORY_BYTES:
            self.in_memory += size
            return source_files.read_at_most(fd, size)
        if self._file is None:
            self._file = _ScratchFile(self.path)
        piece = Piece(self._file, self._end, size)
        for position, part in source_files.data_parts(fd, size):
            os.pwrite(piece.fd, part, self._end + position)
        self._end += -(-size // BLOCK) * BLOCK + BLOCK
        os.ftruncate(piece.fd, self._end)
        return piece

    def stage(self, top_fd: int, path: bytes, limit: int) -> tuple[Entry, Data | None] | None:
        """Read a file below an open directory.

        :param limit: a larger file gives its entry and no contents.
        :return: the entry (with ``ctime_ns`` 0 if it may have changed while it was read) and the contents; None if it is gone, or is
            not a regular file.
        :raises UnreadableError: it cannot be opened.
        """
        try:
            fd = source_files.open_regular(top_fd, path)
        except OSError as error:
            if error.errno in GONE:
                return None
            raise UnreadableError(os.path.join(os.readlink(b"/proc/self/fd/%d" % top_fd), path), error) from error
        if fd is None:
            return None
        try:
            before = os.fstat(fd)
            entry = entry_from_stat(path, before)
            if before.st_size > limit:
                return entry, None
            data = self.read(fd)
            after = os.fstat(fd)
            return (entry if is_settled(before, after) else entry._replace(ctime_ns=0))._replace(size=len(data)), data
        finally:
            os.close(fd)


def is_settled(before: os.stat_result, after: os.stat_result) -> bool:
    """Return whether a file did not change, and is old enough that another change would change its times."""
    return is_unchanged(before, after) and not recently_changed(before)


def in_full(data: Data | None, limit: int) -> bytes:
    """Return contents as bytes; empty if the file is missing or larger than ``limit``."""
    if isinstance(data, Piece):
        if data.size > limit:
            return b""
        contents = bytearray(data.size)
        for position, part in data.parts():
            contents[position : position + len(part)] = part
        return bytes(contents)
    return data or b""


def write_out(data: Data, path: bytes) -> None:
    """Write contents to a new file."""
    with open(path, "wb", buffering=0) as file:
        if isinstance(data, Piece):
            data.write_to(file.fileno())
        else:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]


def same_data(data: Data, fd: int) -> bool:
    """Return whether an open file has these contents."""
    if isinstance(data, Piece):
        return data.equals(fd)
    return os.fstat(fd).st_size == len(data) and source_files.read_at_most(fd, len(data)) == data


def small(data: Data | None, limit: int) -> bytes | None:
    """Return contents as bytes; None if the file is missing or larger than ``limit``."""
    return None if data is None or len(data) > limit else in_full(data, limit)


def write_file(path: bytes, data: Data) -> None:
    """Write staged data to a new file; its directory is created if necessary."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    write_out(data, path)
