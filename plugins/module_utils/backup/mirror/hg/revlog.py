# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Indexes of Mercurial's revision logs (format 1), read block by block: a log's size never decides how much memory is needed.

Only the structure is checked here. hg itself checks revisions against their nodes, see ``hg_prover``.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Iterator
from typing import NamedTuple

RECORD = struct.Struct(">QiiiiII20s12x")
"""Offset and flags, compressed and full size, delta base, linked changeset, both parents, node."""
RECORD_SIZE = RECORD.size
INLINE = 1 << 16
INLINE_SIZE = 256 << 20
"""Bytes that a log with its data inside can have: Mercurial moves data to a file of its own long before, with the commit that exceeds 128 KiB."""
FORMAT = 0xFFFF
BLOCK = 1 << 20
NULL = 0xFFFFFFFF
NULL_NODE = bytes(20)
_NO_FILE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO, errno.EISDIR, errno.ESPIPE)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Revision(NamedTuple):
    """One entry of an index.

    :param start: position of the entry in the index file.
    :param offset: offset of its data, counting data only.
    :param size: of its data.
    :param base: revision that its delta chain begins with, or that its delta is against.
    :param link: number of the changeset that it belongs to.
    """

    number: int
    start: int
    offset: int
    size: int
    base: int
    link: int
    parents: tuple[int, int]
    node: bytes


class Log:
    """The index of a revision log.

    :param path: of the ``.i`` file, a regular file.
    :param known: its format is the one that is understood here.
    :param inline: the data follows each entry; otherwise it is in the ``.d`` file.
    :param size: of the file.
    """

    def __init__(self, path: bytes) -> None:
        self.path = path
        with self._open() as file:
            found = os.fstat(file.fileno())
            self.size = found.st_size if stat.S_ISREG(found.st_mode) else 0
            head = file.read(4).ljust(4, b"\0") if self.size else b"\0\0\0\1"
        (header,) = struct.unpack(">I", head)
        self.is_too_long = header & FORMAT == 1 and bool(header & INLINE) and self.size > INLINE_SIZE
        self.known = header & FORMAT == 1 and not self.is_too_long
        self.inline = self.known and bool(header & INLINE)
        self._count = -1 if self.inline else self.size // RECORD_SIZE

    def _open(self) -> _File:
        return _File(self.path)

    @property
    def count(self) -> int:
        """Number of whole revisions."""
        if not self.known:
            return 0
        if self._count < 0:
            self._count = sum(1 for _each in self.revisions())
        return self._count

    def revisions(self, first: int = 0) -> Iterator[Revision]:
        """Yield revisions in order, beginning with one; the last is one that no Mercurial writes, if there is such a one.

        An entry without a node is damage. Nothing after it is looked at: a hole of terabytes reads as billions of them.
        """
        with self._open() as file:
            yield from self._inline(file, first) if self.inline else self._split(file, first)

    def _split(self, file: _File, first: int) -> Iterator[Revision]:
        number = first
        at = first * RECORD_SIZE
        end = self.size - self.size % RECORD_SIZE
        per_block = BLOCK - BLOCK % RECORD_SIZE
        while at < end:
            block = file.read_at(at, min(per_block, end - at))
            whole = len(block) - len(block) % RECORD_SIZE
            if not whole:
                return
            for found in RECORD.iter_unpack(block[:whole]):
                yield _revision(number, at, found)
                if found[-1] == NULL_NODE:
                    return
                number += 1
                at += RECORD_SIZE

    def _inline(self, file: _File, first: int) -> Iterator[Revision]:
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

    def before(self, changesets: int) -> int:
        """Return how many revisions there are before the first that belongs to a later changeset, reading from the end where possible."""
        if not self.known:
            return 0
        if self.inline:
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
                if revision.node == NULL_NODE:  # damaged, not of a later changeset
                    return count
                if revision.link < changesets:
                    keep = revision.number + 1
            if keep > first:
                return keep
            count = first
        return 0

    def sizes(self, count: int) -> tuple[int, int]:
        """Return the sizes of index and data for this number of revisions."""
        last = self.revision(count - 1) if count else None
        if last is None:
            return 0, 0
        if self.inline:
            return last.start + RECORD_SIZE + last.size, 0
        return last.start + RECORD_SIZE, last.offset + last.size

    def fault(self, first: int = 0) -> tuple[int, int, str] | None:
        """Look for an entry that no Mercurial writes.

        :return: number, linked changeset, and what is wrong; None if all from ``first`` on are well-formed.
        """
        if self.is_too_long:
            return 0, -1, f"it has {self.size} bytes, and cannot have more than {INLINE_SIZE} with its data inside"
        if not self.known:
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
        if self.size and (not self.sizes(self.count)[0] or self.sizes(self.count)[0] != self.size):
            return self.count, -1, f"it ends in the middle of revision {self.count}"
        return None

    def common(self, other: Log, data: bytes, other_data: bytes) -> int:
        """Return how many revisions at the beginning are, byte for byte, the same in another log.

        :param data: path of this log's data file.
        :param other_data: path of the other's.
        """
        if not self.known or not other.known or self.inline != other.inline:
            return 0
        same = common_length(self.path, other.path)
        if self.inline:
            return sum(1 for each in self.revisions() if each.start + RECORD_SIZE + each.size <= same)
        count = min(same // RECORD_SIZE, self.count)
        if not count or not any(map(os.path.lexists, (data, other_data))):
            return count
        same = common_length(data, other_data)
        if same >= self.sizes(count)[1]:
            return count
        for each in self.revisions():
            if each.number >= count or each.offset + each.size > same:
                return each.number
        return count


class _File:
    """A file that is only opened if it is neither a link nor something that would be waited for."""

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

    def data_from(self, at: int) -> int:
        """Return where the next data begins; the size of the file if there is only a hole."""
        try:
            return os.lseek(self._descriptor, at, os.SEEK_DATA)
        except OSError as error:
            return os.fstat(self._descriptor).st_size if error.errno == errno.ENXIO else at


def _revision(number: int, start: int, found: tuple[int, int, int, int, int, int, int, bytes]) -> Revision:
    offset, size, _full, base, link, first, second, node = found
    return Revision(number, start, offset >> 16 if number else 0, size, base, link, (first, second), node)


def common_length(one: bytes, other: bytes) -> int:
    """Return how many bytes at the beginning two files have in common; none where one is not there, or is not a file."""
    done = 0
    try:
        with _File(one) as first, _File(other) as second:
            while True:
                part, same = first.read_at(done, BLOCK), second.read_at(done, BLOCK)
                if part != same:
                    length = min(len(part), len(same))
                    low = 0
                    while low < length:  # halve until the first byte that differs is found
                        middle = (low + length + 1) // 2
                        if part[:middle] == same[:middle]:
                            low = middle
                        else:
                            length = middle - 1
                    return done + low
                if not part:
                    return done
                done = max(done + len(part), min(first.data_from(done), second.data_from(done)))
    except OSError as error:
        if error.errno not in _NO_FILE:
            raise
        return 0


def holes(path: bytes) -> bool:
    """Return whether a file has holes. Mercurial never creates holes: the file was extended without being written."""
    with _File(path) as file:
        size = os.fstat(file.fileno()).st_size
        return bool(size) and os.lseek(file.fileno(), 0, os.SEEK_HOLE) < size


def starts_with(top: bytes, path: bytes, prefix: bytes) -> bool:
    """Tell whether a file of a source begins with the contents of another; both may be missing.

    :param top: directory of the source; no link below it is followed.
    """
    parent, _slash, name = path.rpartition(b"/")
    try:
        held = os.open(os.path.join(top, parent), os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return not os.path.lexists(prefix)
    try:
        whole = b"/proc/self/fd/%d/%s" % (held, name)
        if not os.path.lexists(whole) or not os.path.lexists(prefix):
            return not os.path.lexists(whole) and not os.path.lexists(prefix)
        return common_length(whole, prefix) == os.lstat(prefix).st_size
    finally:
        os.close(held)
