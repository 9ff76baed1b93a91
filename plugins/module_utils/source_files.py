# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read files that somebody else may be writing: bounded while reading, not by a look at the size before.

A source belongs to a container that can truncate a file up to terabytes, append to it, or exchange it for a pipe or a link at any
moment. Every read here ends at the size the file had when it was opened and at a limit, follows no link and waits for no pipe.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator

from ansible_collections.homelab.repoman.plugins.module_utils.scan import open_below

MIB = 1 << 20

MEMORY_BYTES = 1 * MIB
"""A file up to this size is read into memory; a larger one goes through a scratch file."""
STAGED_MEMORY_BYTES = 32 * MIB
"""All files of one repository that are in memory at the same time."""
METADATA_BYTES = 1024 * MIB
"""The largest index, list of packed references, reflog or other file that git reads to find objects: the largest known ones have 0.5 GB."""
CONFIG_BYTES = 16 * MIB
"""The largest configuration of a repository."""
LINE_BYTES = 64 << 10
"""The longest line of a list of references; git itself allows names of 4 KiB."""

_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


def open_regular(top_fd: int, path: bytes) -> int | None:
    """Open a regular file below an open directory, following no link on the way.

    :return: a descriptor; None if there is no such file, or it is not a regular file.
    :raises OSError: it cannot be opened.
    """
    parent, _slash, name = path.rpartition(b"/")
    try:
        parent_fd = open_below(top_fd, parent, _DIRECTORY)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    try:
        fd = os.open(name, _OPEN, dir_fd=parent_fd)
    except OSError as error:
        if error.errno in GONE:
            return None
        raise
    finally:
        os.close(parent_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        return None
    return fd


def read_at_most(fd: int, limit: int) -> bytes:
    """Return what an open file holds, up to a limit and to the size it has now."""
    remaining = min(limit, os.fstat(fd).st_size)
    parts = []
    while remaining > 0 and (part := os.read(fd, min(remaining, MIB))):
        parts.append(part)
        remaining -= len(part)
    return b"".join(parts)


def read_regular(top_fd: int, path: bytes, limit: int) -> bytes | None:
    """Return what a regular file below an open directory holds; None if there is none, it is larger than ``limit``, or unreadable."""
    try:
        fd = open_regular(top_fd, path)
    except OSError:
        return None
    if fd is None:
        return None
    try:
        return None if os.fstat(fd).st_size > limit else read_at_most(fd, limit)
    except OSError:
        return None
    finally:
        os.close(fd)


def lines(fd: int, limit: int = METADATA_BYTES) -> Iterator[bytes]:
    """Yield the lines of an open file, without their ends; lines longer than ``LINE_BYTES`` are left out.

    :param limit: bytes of the file's data that are read at most. Holes are not read and count as the end of a line.
    """
    end = os.fstat(fd).st_size
    position = read = 0
    rest, too_long = b"", False
    while position < end and read < limit:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
        except OSError:  # only a hole follows, or the file is shorter now
            break
        if start > position:
            if rest and not too_long:
                yield rest
            rest, too_long = b"", False
        position = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        os.lseek(fd, start, os.SEEK_SET)
        while start < position and read < limit and (part := os.read(fd, min(MIB, position - start))):
            start += len(part)
            read += len(part)
            first, *others = part.split(b"\n")
            rest = rest + first if not too_long and len(rest) + len(first) <= LINE_BYTES else b""
            too_long = too_long or not (rest or not first)
            if others:
                if not too_long:
                    yield rest
                yield from (each for each in others[:-1] if len(each) <= LINE_BYTES)
                rest, too_long = (others[-1], False) if len(others[-1]) <= LINE_BYTES else (b"", True)
        if start < position:
            break
    if rest and not too_long:
        yield rest
