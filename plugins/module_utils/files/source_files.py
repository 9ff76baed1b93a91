# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read files that other processes may be writing, with limits that hold during the read.

A source belongs to a container that can truncate a file up to terabytes, append to it, or exchange it for a pipe or a link at any
moment. Every read here ends at the size the file had when it was opened and at a limit, follows no link and waits for no pipe.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath

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

    :return: a descriptor; None if the file does not exist or is not a regular file.
    :raises OSError: it cannot be opened.
    """
    parent, _slash, name = path.rpartition(b"/")
    try:
        parent_fd = open_beneath(top_fd, parent, _DIRECTORY)
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


@contextmanager
def opened_regular(top_fd: int, path: bytes) -> Iterator[int | None]:
    """Do the same inside a ``with``; a file that cannot be opened counts as missing."""
    try:
        fd = open_regular(top_fd, path)
    except OSError:
        fd = None
    try:
        yield fd
    finally:
        if fd is not None:
            os.close(fd)


def read_at_most(fd: int, limit: int) -> bytes:
    """Return the contents of an open file, up to a limit and to its current size."""
    remaining = min(limit, os.fstat(fd).st_size)
    parts = []
    while remaining > 0 and (part := os.read(fd, min(remaining, MIB))):
        parts.append(part)
        remaining -= len(part)
    return b"".join(parts)


def read_regular(top_fd: int, path: bytes, limit: int) -> bytes | None:
    """Return the contents of a regular file below an open directory; None if it is missing, unreadable or larger than ``limit``."""
    with opened_regular(top_fd, path) as fd, suppress(OSError):
        if fd is not None and os.fstat(fd).st_size <= limit:
            return read_at_most(fd, limit)
    return None


def names(top_fd: int, path: bytes) -> list[bytes]:
    """Return the names in a directory below an open one, following no link.

    :param path: empty or with a slash at its end.
    """
    fd = open_beneath(top_fd, path.rstrip(b"/"), _DIRECTORY & ~os.O_PATH)
    try:
        return [os.fsencode(name) for name in os.listdir(fd)]
    finally:
        os.close(fd)


def copy_regular(top_fd: int, path: bytes, target: bytes, limit: int = METADATA_BYTES) -> bool:
    """Copy the data and holes of a regular file, up to its size when it is opened.

    :return: False if the file is missing or larger than ``limit``.
    """
    fd = open_regular(top_fd, path)
    if fd is None:
        return False
    try:
        size = os.fstat(fd).st_size
        if size > limit:
            return False
        with open(target, "wb", buffering=0) as file:
            for start, part in data_parts(fd, limit):
                os.pwrite(file.fileno(), part, start)
            file.truncate(size)
        return True
    finally:
        os.close(fd)


def parts(fd: int, limit: int) -> Iterator[bytes]:
    """Yield the data of an open file, without its holes, in parts of at most 1 MiB."""
    return (part for _start, part in data_parts(fd, limit))


def data_parts(fd: int, limit: int) -> Iterator[tuple[int, bytes]]:
    """Yield offset and data of an open file in parts of at most 1 MiB; holes are skipped.

    It ends at the current size, even if the file grows.

    :param limit: bytes of data.
    """
    end = os.fstat(fd).st_size
    position = done = 0
    while position < end and done < limit:
        try:
            start = os.lseek(fd, position, os.SEEK_DATA)
            position = min(os.lseek(fd, start, os.SEEK_HOLE), end)
        except OSError:  # only a hole follows, or the file is shorter now
            return
        while start < position and done < limit:
            part = os.pread(fd, min(MIB, position - start, limit - done), start)
            if not part:
                return
            yield start, part
            start += len(part)
            done += len(part)


def lines(fd: int, limit: int = METADATA_BYTES) -> Iterator[bytes]:
    """Yield the lines of an open file, without their ends; lines longer than ``LINE_BYTES`` are left out.

    :param limit: bytes of the file's data that are read at most. A hole counts as the end of a line.
    """
    return lines_of(data_parts(fd, limit))


def lines_of(data: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    """Yield the lines of data that comes in parts, each with its offset."""
    rest: bytes | None = b""
    expected = 0
    for start, part in data:
        if start != expected:
            if rest:
                yield rest
            rest = b""
        expected = start + len(part)
        rest_of_line, *lines = part.split(b"\n")
        rest = None if rest is None or len(rest) + len(rest_of_line) > LINE_BYTES else rest + rest_of_line
        if lines:
            if rest is not None:
                yield rest
            yield from (line for line in lines[:-1] if len(line) <= LINE_BYTES)
            rest = lines[-1] if len(lines[-1]) <= LINE_BYTES else None
    if rest:
        yield rest
