# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moves of single paths between destination, staging directory and saved directory."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Staging
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import exchange_names


@dataclass
class Holder:
    """A directory that holds new and saved things of one file system.

    :param fd: of the directory.
    :param path: absolute, for messages.
    :param prefix: what moves are relative to, relative to the destination.
    :param base: how the name begins under which is saved.
    """

    fd: int
    path: bytes
    prefix: bytes
    base: bytes
    saved_name: bytes = b""
    staging: Staging | None = None
    saved_fd: int = -1
    exchanges: bool = True

    def relative(self, path: bytes) -> bytes:
        """Return where in the saved directory a path is saved."""
        return path[len(self.prefix) + 1 :] if self.prefix else path

    @property
    def saved(self) -> bytes:
        """Absolute path of the saved directory."""
        return os.path.join(self.path, self.saved_name)

    def open_saved(self) -> int:
        """Return the directory that saved things go to, made if need be."""
        if self.saved_fd < 0:
            os.mkdir(self.saved_name, 0o700, dir_fd=self.fd)
            self.saved_fd = os.open(self.saved_name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        return self.saved_fd


@dataclass
class Move:
    """A path that is replaced, made or removed.

    :param old: what is there now.
    :param new: what takes its place, once it is copied.
    """

    path: bytes
    holder: Holder
    wanted: bool
    old: os.stat_result | None = None
    new: os.stat_result | None = None
    number: bytes = b""


def exchange(one_fd: int, one: bytes, other_fd: int, other: bytes) -> None:
    """Exchange two names, on a file system that can."""
    if not exchange_names(one_fd, one, other_fd, other):
        raise OSError(errno.ENOTSUP, "names cannot be exchanged", os.fsdecode(other))


def can_exchange(directory_fd: int) -> bool:
    """Try whether a file system can exchange names."""
    names = (b".one", b".other")
    for name in names:
        os.mkdir(name, 0o700, dir_fd=directory_fd)
    try:
        return exchange_names(directory_fd, names[0], directory_fd, names[1])
    finally:
        for name in names:
            os.rmdir(name, dir_fd=directory_fd)


def lstat_at(name: bytes, directory_fd: int) -> os.stat_result | None:
    """Return what has a name in an open directory; None for nothing."""
    try:
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
