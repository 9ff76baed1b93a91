# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Append a part of an open file to another one."""

from __future__ import annotations

import os

COPY_CHUNK = 1 << 20


def append(out: int, source: int, start: int, size: int) -> int:
    """Append a part of an open file to another, with its holes; return the number of bytes appended."""
    base = os.lseek(out, 0, os.SEEK_CUR)
    end = max(start, min(start + size, os.fstat(source).st_size))
    position = start
    while position < end:
        try:
            position = os.lseek(source, position, os.SEEK_DATA)
            data_end = min(os.lseek(source, position, os.SEEK_HOLE), end)
        except OSError:  # only a hole follows
            break
        while position < data_end:
            chunk = os.pread(source, min(COPY_CHUNK, data_end - position), position)
            view = memoryview(chunk)
            while view:
                written = os.pwrite(out, view, base + position - start)
                view, position = view[written:], position + written
            if not chunk:
                end = position
                break
    os.ftruncate(out, base + end - start)
    os.lseek(out, 0, os.SEEK_END)
    return end - start
