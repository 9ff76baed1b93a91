# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a ``.hg`` without a store, as ``hg share`` makes it, and checks whether one was emptied or overwritten."""

from __future__ import annotations

import os

from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files

NAMES = (b"requires", b"sharedpath", b"dirstate")
READ_BYTES = 1 << 20
PARENTS_BYTES = 40
"""Length of the beginning of a dirstate: the two parents, which are zeros if nothing is checked out."""


def problem(top: bytes, path: bytes) -> str:
    """Return the problem of one of the files; empty if it has none, or if it cannot be read.

    :param top: the unit's directory.
    :param path: of the file below it.
    """
    top_fd = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fd = source_files.open_regular(top_fd, path)
    except OSError:  # the copy reports it
        return ""
    finally:
        os.close(top_fd)
    if fd is None:
        return "is not a file"
    try:
        size = os.fstat(fd).st_size
        if not size:
            return "is empty"
        data = source_files.read_at_most(fd, READ_BYTES)
        if os.lseek(fd, 0, os.SEEK_HOLE) < size:  # hg never makes any
            return f"was never written completely ({size} bytes)"
    finally:
        os.close(fd)
    if path.endswith(b"/dirstate") or path == b"dirstate":
        return f"has nothing but zeros ({size} bytes)" if size > PARENTS_BYTES and not data.strip(b"\0") else ""
    return "contains zeros" if b"\0" in data else ""
