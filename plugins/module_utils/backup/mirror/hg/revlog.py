# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Indexes of Mercurial's revlogs (format 1), read block by block, so that memory does not depend on a revlog's size.

Only the structure is checked here; hg verifies revisions against their nodes, see ``prover``.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

from ansible_collections.homelab.repoman.plugins.module_utils.files import common_prefix

RECORD = struct.Struct(">QiiiiII20s12x")
"""Offset and flags, compressed and full size, delta base, linked changeset, both parents, node."""
RECORD_SIZE = RECORD.size
INLINE_FLAG = 1 << 16
MAX_INLINE_BYTES = 256 << 20
"""Maximum plausible size of a revlog that contains its data: hg moves the data to a separate file in the commit that exceeds 128 KiB."""
FORMAT_MASK = 0xFFFF
BLOCK = 1 << 20
NULL = 0xFFFFFFFF
NULL_NODE = bytes(20)
_NOT_A_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ESPIPE)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Revision(NamedTuple):
    """One entry of an index.

    :param start: position of the entry in the index file, in bytes.
    :param offset: position of its data, counting data only.
    :param size: of its data, in bytes.
    :param base: first revision of its delta chain, or the revision that its delta is based on.
    :param link: number of its changeset.
    """

    number: int
    start: int
    offset: int
    size: int
    base: int
    link: int
    parents: tuple[int, int]
    node: bytes


class RevlogIndex:
    """The index of a revlog.

    :param path: of the ``.i`` file, a regular file.

    ``is_known``: the format is supported here. ``is_inline``: the data follows each entry; otherwise it is in the ``.d`` file.
    ``size``: of the file, in bytes.
    """

    def __init__(self, path: bytes) -> None:
        self.path = path
        with self._open() as file:
            status = os.fstat(file.fileno())
            self.size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            head = file.read(4).ljust(4, b"\0") if self.size else b"\0\0\0\1"
        (header,) = struct.unpack(">I", head)
        self.is_too_long = header & FORMAT_MASK == 1 and bool(header & INLINE_FLAG) and self.size > MAX_INLINE_BYTES
        self.is_known = header & FORMAT_MASK == 1 and not self.is_too_long
        self.is_inline = self.is_known and bool(header & INLINE_FLAG)
        self._count = -1 if self.is_inline else self.size // RECORD_SIZE

    def _open(self) -> _File:
        return _File(self.path)

    @property
    def count(self) -> int:
        """Number of complete revisions."""
        if not self.is_known:
            return 0
        if self._count < 0:
            self._count = sum(1 for _revision in self.revisions())
        return self._count

    def revisions(self, first: int = 0) -> Iterator[Revision]:
        """Yield revisions in order, up to the first whose node is zero.

        hg never writes such an entry. Nothing after it is read: a hole of terabytes would look like billions of entries.

        :param first: number of the first revision to yield.
        """
        with self._open() as file:
            yield from self._read_inline(file, first) if self.is_inline else self._read_separate(file, first)

    def _read_separate(self, file: _File, first: int) -> Iterator[Revision]:
        number = first
        at = first * RECORD_SIZE
        end = self.size - self.size % RECORD_SIZE
        per_block = BLOCK - BLOCK % RECORD_SIZE
        while at < end:
            block = file.read_at(at, min(per_block, end - at))
            complete = len(block) - len(block) % RECORD_SIZE
            if not complete:
                return
            for record in RECORD.iter_unpack(block[:complete]):
                yield _revision(number, at, record)
                if record[-1] == NULL_NODE:
                    return
                number += 1
                at += RECORD_SIZE

    def _read_inline(self, file: _File, first: int) -> Iterator[Revision]:
        at = number = 0
        begin, block = 0, b""
        while at + RECORD_SIZE <= self.size:
            if at + RECORD_SIZE > begin + len(block):
                begin, block = at, file.read_at(at, BLOCK)
                if len(block) < RECORD_SIZE:
                    return
            revision = _revision(number, at, RECORD.unpack_from(block, at - begin))
            end = at + RECORD_SIZE + max(0, revision.size)
            if end > self.size:
                return
            if number >= first:
                yield revision
            if revision.node == NULL_NODE:
                return
            number += 1
            at = end

    def revision(self, number: int) -> Revision | None:
        """Return a revision by its number; None if it does not exist."""
        return next(self.revisions(number), None)

    def revisions_before(self, changesets: int) -> int:
        """Return the number of revisions up to the last one of the first changesets.

        It reads from the end if possible, because usually little was added.

        :param changesets: number of changesets.
        """
        if not self.is_known:
            return 0
        if self.is_inline:
            keep = 0
            for revision in self.revisions():
                if revision.link < changesets:
                    keep = revision.number + 1
            return keep
        count = self.count
        while count:
            first = max(0, count - BLOCK // RECORD_SIZE)
            keep = first
            for revision in self.revisions(first):
                if revision.number >= count:
                    break
                if revision.node == NULL_NODE:  # damage, not a later changeset
                    return count
                if revision.link < changesets:
                    keep = revision.number + 1
            if keep > first:
                return keep
            count = first
        return 0

    def sizes_for(self, count: int) -> tuple[int, int]:
        """Return the sizes of index and data file for a number of revisions, in bytes."""
        last = self.revision(count - 1) if count else None
        if last is None:
            return 0, 0
        if self.is_inline:
            return last.start + RECORD_SIZE + last.size, 0
        return last.start + RECORD_SIZE, last.offset + last.size

    def find_malformed(self, first: int = 0) -> tuple[int, int, str] | None:
        """Return the first malformed entry: number, changeset and description; None if all are well-formed.

        :param first: number of the first revision to check.
        """
        if self.is_too_long:
            return 0, -1, f"it has {self.size} bytes, and cannot have more than {MAX_INLINE_BYTES} with its data inside"
        if not self.is_known:
            return 0, -1, "it is not a revision log"
        end = -1
        number, link = first - 1, -1
        for revision in self.revisions(first):
            number, link = revision.number, revision.link
            if end >= 0 and revision.offset != end:
                return number, link, f"the data of revision {number} does not follow that of the one before it"
            end = revision.offset + revision.size
            if (
                revision.size < 0
                or revision.link < -1
                or not -1 <= revision.base <= number
                or any(each != NULL and each >= number for each in revision.parents)
                or revision.node == NULL_NODE
            ):
                return number, link, f"the entry of revision {number} is damaged"
        if self.size and (not self.sizes_for(self.count)[0] or self.sizes_for(self.count)[0] != self.size):
            return self.count, -1, f"it ends in the middle of revision {self.count}"
        return None

    def common_revisions(self, other: RevlogIndex, data: bytes, other_data: bytes) -> int:
        """Return the number of leading revisions that are identical, byte for byte, in another revlog.

        :param data: path of this revlog's data file.
        :param other_data: path of the other revlog's data file.
        """
        if not self.is_known or not other.is_known or self.is_inline != other.is_inline:
            return 0
        common = common_length(self.path, other.path)
        if self.is_inline:
            return sum(1 for revision in self.revisions() if revision.start + RECORD_SIZE + revision.size <= common)
        count = min(common // RECORD_SIZE, self.count)
        if not count or not any(map(os.path.lexists, (data, other_data))):
            return count
        common = common_length(data, other_data)
        if common >= self.sizes_for(count)[1]:
            return count
        for revision in self.revisions():
            if revision.number >= count or revision.offset + revision.size > common:
                return revision.number
        return count


class _File:
    """An open file; opening it neither follows a link nor blocks on a FIFO."""

    def __init__(self, path: bytes) -> None:
        self._descriptor = os.open(path, _READ)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *error: object) -> None:
        os.close(self._descriptor)

    def fileno(self) -> int:
        return self._descriptor

    def read(self, size: int) -> bytes:
        return os.read(self._descriptor, size)

    def read_at(self, at: int, size: int) -> bytes:
        return os.pread(self._descriptor, size, at)


def _revision(number: int, start: int, record: tuple[int, int, int, int, int, int, int, bytes]) -> Revision:
    offset, size, _full, base, link, first, second, node = record
    return Revision(number, start, offset >> 16 if number else 0, size, base, link, (first, second), node)


def common_length(one: bytes, other: bytes) -> int:
    """Return the number of leading bytes that two files have in common; 0 if one is missing or not a file."""
    try:
        with _File(one) as first, _File(other) as second:
            return common_prefix.common_length(first.fileno(), second.fileno())
    except OSError as error:
        if error.errno not in _NOT_A_FILE:
            raise
        return 0


def has_holes(path: bytes) -> bool:
    """Return whether a file has holes. hg never creates any: the file was extended, but its data was never written."""
    with _File(path) as file:
        size = os.fstat(file.fileno()).st_size
        return bool(size) and os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size


def starts_with(directory: bytes, path: bytes, prefix: bytes) -> bool:
    """Return whether a file begins with the contents of another file; also if both are missing.

    :param directory: open directory of the source; no link in ``path`` is followed.
    :param prefix: path of the other file.
    """
    parent, _slash, name = path.rpartition(b"/")
    try:
        parent_fd = os.open(os.path.join(directory, parent), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return not os.path.lexists(prefix)
    try:
        full_path = b"/proc/self/fd/%d/%s" % (parent_fd, name)
        if not os.path.lexists(full_path) or not os.path.lexists(prefix):
            return not os.path.lexists(full_path) and not os.path.lexists(prefix)
        return common_length(full_path, prefix) == os.lstat(prefix).st_size
    finally:
        os.close(parent_fd)
