# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the contents of open files."""

from __future__ import annotations

import errno
import os

CHUNK = 1 << 20


def common_length(one: int, other: int) -> int:
    """Return the number of leading bytes that two open files have in common.

    Holes that both have are skipped, so that a sparse file of terabytes takes no longer than its data. The position of both changes.
    """
    size = min(os.fstat(one).st_size, os.fstat(other).st_size)
    position = 0
    while position < size:
        position = min(_next_data(fd, position, size) for fd in (one, other))
        if position >= size:
            break
        chunk, other_chunk = (os.pread(fd, min(CHUNK, size - position), position) for fd in (one, other))
        if chunk != other_chunk:
            return position + _common_bytes(chunk, other_chunk)
        if not chunk:  # both were truncated during the comparison
            return position
        position += len(chunk)
    return size


def _next_data(fd: int, position: int, size: int) -> int:
    """Return the position of the next data, at most ``size``."""
    try:
        return min(os.lseek(fd, position, os.SEEK_DATA), size)
    except OSError as error:
        return size if error.errno == errno.ENXIO else position  # other errors: the file system cannot tell


def _common_bytes(one: bytes, other: bytes) -> int:
    """Return the number of leading bytes in common, by halving."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[:middle] == other[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
