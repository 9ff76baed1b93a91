# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entries of a directory tree, and the blocks of records that a manifest holds them in."""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterable, Iterator
from typing import NamedTuple

RECORD = struct.Struct("<IIIQqqQIHH")
"""Mode with type, uid, gid, size (device number for devices), mtime, ctime, inode, links, length of name and of link target."""

_LENGTHS = struct.Struct("<HH")
"""The last two fields of a record."""
_LENGTHS_AT = RECORD.size - _LENGTHS.size

TIME_RANGE = (-(1 << 63), (1 << 63) - 1)
"""Range of times that a record can hold, the years 1677 to 2262; times outside it are clamped."""

BLOCK_HEADER = struct.Struct("<II")
"""Length of a block's directory path, and of its records."""

_TYPES = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
    stat.S_IFBLK: "b",
    stat.S_IFCHR: "c",
}


class Entry(NamedTuple):
    """One thing in a tree.

    :param path: relative to the unit; empty for the unit's own directory.
    :param mode: as ``lstat`` has it, with the type.
    :param size: bytes; of a device its number.
    :param link: target of a symbolic link.
    """

    path: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    nlink: int
    link: bytes = b""

    @property
    def type(self) -> str:
        """``f`` file, ``d`` directory, ``l`` link, ``p`` pipe, ``s`` socket, ``b`` and ``c`` devices."""
        return _TYPES.get(self.mode & 0o170000, "?")

    @property
    def name(self) -> bytes:
        """Return the last part of the path."""
        return self.path.rpartition(b"/")[2]

    @property
    def parent(self) -> bytes:
        """Return the directory's path."""
        return self.path.rpartition(b"/")[0]

    def record(self) -> bytes:
        """Return the entry as it stands in its directory's block."""
        name = self.name
        return RECORD.pack(*self[1:9], len(name), len(self.link)) + name + self.link


def sort_key(path: bytes) -> bytes:
    """Return the key that sorts paths as a manifest has its directories."""
    return path.replace(b"/", b"\0")


def unpack_block(directory: bytes, block: bytes) -> Iterator[Entry]:
    """Yield the entries of one block."""
    prefix = directory + b"/" if directory else b""
    at, end, size = 0, len(block), RECORD.size
    unpack_from = RECORD.unpack_from
    new = tuple.__new__  # a named tuple's own takes twice as long, for every entry of every manifest
    while at < end:
        mode, uid, gid, length, mtime, ctime, inode, nlink, name_size, link_size = unpack_from(block, at)
        at += size
        name = block[at : at + name_size]
        at += name_size
        link = block[at : at + link_size]
        at += link_size
        yield new(Entry, (prefix + name if name else directory, mode, uid, gid, length, mtime, ctime, inode, nlink, link))


def names_in_block(block: bytes) -> list[bytes]:
    """Return the name of each entry of one block; the name of the unit's own directory is empty."""
    names = []
    at, end, size = 0, len(block), RECORD.size
    lengths = _LENGTHS.unpack_from
    while at < end:
        name_size, link_size = lengths(block, at + _LENGTHS_AT)
        at += size
        names.append(block[at : at + name_size])
        at += name_size + link_size
    return names


def pack_block(directory: bytes, records: Iterable[bytes]) -> bytes:
    """Return a block with its head."""
    block = b"".join(records)
    return BLOCK_HEADER.pack(len(directory), len(block)) + directory + block


def entry_from_stat(path: bytes, status: os.stat_result, link: bytes = b"") -> Entry:
    """Return the entry for a result of ``lstat``."""
    mode = status.st_mode
    size = status.st_rdev if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else status.st_size
    mtime, ctime = status.st_mtime_ns, status.st_ctime_ns
    if not (TIME_RANGE[0] < mtime < TIME_RANGE[1] and TIME_RANGE[0] < ctime < TIME_RANGE[1]):
        mtime, ctime = (max(TIME_RANGE[0], min(time, TIME_RANGE[1])) for time in (mtime, ctime))
    return Entry(path, mode, status.st_uid, status.st_gid, size, mtime, ctime, status.st_ino, status.st_nlink, link)
