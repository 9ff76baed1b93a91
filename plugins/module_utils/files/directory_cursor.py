# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Directories below an open one: opened part by part, without following links, however long the path is.

A walk of thousands of nested directories must not open each path from the top again, and cannot hold all of them open. The
cursor holds the nearest levels and every 64th above them, so that going down, up and sideways costs a few system calls.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

REACH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
HELD_LEVELS = 64


class DirectoryCursor:
    """Opens directories below an open one.

    :param top_fd: of the directory on top, which the caller closes.
    """

    def __init__(self, top_fd: int) -> None:
        self.top_fd = top_fd
        self._parts: list[bytes] = []
        self._fds: list[int] = []
        """One for each part; -1 for a level that is not held."""

    def __enter__(self) -> DirectoryCursor:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all levels."""
        self._cut(0)

    def _cut(self, depth: int) -> None:
        for fd in self._fds[depth:]:
            if fd >= 0:
                os.close(fd)
        del self._fds[depth:], self._parts[depth:]

    def open(self, path: bytes, make: int | None = None) -> int:
        """Return a descriptor of a directory, to access its entries; the cursor owns it, and it is valid until the next call.

        :param make: create missing directories with this mode.
        :raises FileNotFoundError: it does not exist.
        :raises NotADirectoryError: a part of the path is a link, or not a directory.
        """
        parts = path.split(b"/") if path else []
        depth = 0
        for one, other in zip(self._parts, parts, strict=False):
            if one != other:
                break
            depth += 1
        while depth and self._fds[depth - 1] < 0:
            depth -= 1
        self._cut(depth)
        fd = self._fds[-1] if self._fds else self.top_fd
        for part in parts[depth:]:
            fd = self._enter(part, fd, make)
            self._parts.append(part)
            self._fds.append(fd)
            above = len(self._fds) - HELD_LEVELS
            if above > 0 and above % HELD_LEVELS and self._fds[above] >= 0:
                os.close(self._fds[above])
                self._fds[above] = -1
        return fd

    @staticmethod
    def _enter(part: bytes, above_fd: int, make: int | None) -> int:
        if make is not None:
            with suppress(FileExistsError):
                os.mkdir(part, make, dir_fd=above_fd)
        try:
            return os.open(part, REACH, dir_fd=above_fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotADirectoryError(errno.ENOTDIR, "a link is in the way", part) from error
            raise

    def reach(self, path: bytes) -> tuple[int, bytes]:
        """Return the descriptor of the directory that contains an entry, and the entry's name; see :meth:`open`."""
        parent, _slash, name = path.rpartition(b"/")
        return self.open(parent), name or b"."

    def lstat(self, path: bytes) -> os.stat_result | None:
        """Return the status of a path, following no link; None if it, or a directory above it, does not exist."""
        try:
            parent_fd, name = self.reach(path)
            return os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None


def is_mount_point(above_fd: int, directory_fd: int) -> bool:
    """Whether a directory is a mount point, or a subvolume, in the one above it."""
    return os.fstat(above_fd).st_dev != os.fstat(directory_fd).st_dev or mount_id(above_fd) != mount_id(directory_fd)


def mount_id(fd: int) -> bytes:
    """Return the number of the mount that an open file is on, as ``/proc/self/mountinfo`` has it; empty if it is unknown."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        return next((line.split()[1] for line in file if line.startswith(b"mnt_id:")), b"")
