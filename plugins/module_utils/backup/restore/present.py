# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the contents of a destination before a restore."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination, in_the_way, is_lost_found
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Items
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import DirectoryCursor, is_mount_point
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path_uniquely
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import walk_beneath

_OCTAL = re.compile(rb"\\([0-7]{3})")

Statuses = dict[bytes, os.stat_result]
"""By path relative to the destination."""


@dataclass
class Present:
    """The entries at and below some paths of a destination.

    :param unreadable: directories that this user cannot read.
    :param file_systems: directories that are mount points or subvolumes.
    """

    statuses: Statuses = field(default_factory=dict)
    unreadable: dict[bytes, OSError] = field(default_factory=dict)
    file_systems: set[bytes] = field(default_factory=set)


def read_present(destination: Destination, paths: list[bytes], items: Items) -> Present:
    """Return what a destination holds at and below some paths; empty if the destination does not exist.

    :param paths: relative to the destination; an empty list selects everything.
    :param items: what the backup holds; separate file systems of which it holds nothing are not read.
    """
    if destination.status is None:
        return Present()
    filled = {path.rpartition(b"/")[0] for path in items}
    return _Reader(destination.fd, filled).read(paths or [b""])


class _Reader:
    """Reads entries of an open directory.

    :param filled: directories that have contents in the backup.
    """

    def __init__(self, root_fd: int, filled: Container[bytes]) -> None:
        self.root_fd, self.filled = root_fd, filled
        self.present = Present()

    def read(self, paths: Iterable[bytes]) -> Present:
        """Return the entries at and below some paths; the empty path selects everything."""
        present = self.present
        with DirectoryCursor(self.root_fd) as cursor:
            for path in paths:
                try:
                    parent_fd, name = cursor.reach(path) if path else (self.root_fd, b".")
                    status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                except NotADirectoryError as error:
                    raise in_the_way(path.rpartition(b"/")[0], path) from error
                if path:
                    present.statuses[path] = status
                if stat.S_ISDIR(status.st_mode):
                    fd = cursor.open(path)
                    if path and is_mount_point(parent_fd, fd):
                        present.file_systems.add(path)
                    self._read_below(path, fd, status)
        present.file_systems |= {path for path in _mounts_below(self.root_fd) if path in present.statuses}
        present.file_systems = {path for path in present.file_systems if not self._is_lost_found(path)}
        return present

    def _read_below(self, path: bytes, fd: int, status: os.stat_result) -> None:
        present = self.present
        prefix = path + b"/" if path else b""
        unreadable: dict[bytes, OSError] = {}
        devices = {b"": status.st_dev}

        def enters(relative_path: bytes, entry_status: os.stat_result) -> bool:
            devices[relative_path] = entry_status.st_dev
            if entry_status.st_dev == devices.get(relative_path.rpartition(b"/")[0]):
                return True
            present.file_systems.add(prefix + relative_path)
            return prefix + relative_path in self.filled

        for relative_path, entry_status in walk_beneath(fd, unreadable, enters):
            present.statuses[prefix + relative_path] = entry_status
        for relative_path, error in unreadable.items():
            present.unreadable[prefix + relative_path if relative_path else path] = error

    def _is_lost_found(self, path: bytes) -> bool:
        parent, _slash, name = path.rpartition(b"/")
        if name != b"lost+found":
            return False
        with DirectoryCursor(self.root_fd) as cursor, suppress(OSError):
            return is_lost_found(name, cursor.open(parent))
        return False


def _mounts_below(root_fd: int) -> set[bytes]:
    """Return the mount points below an open directory, relative to it."""
    root = os.readlink(b"/proc/self/fd/%d" % root_fd)
    with open("/proc/self/mountinfo", "rb") as file:
        points = [_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), line.split(b" ")[4]) for line in file]
    return {point[len(root) + 1 :] for point in points if point.startswith(root + b"/")}


def format_listing(statuses: Statuses) -> str:
    """Return a sorted listing, one line an entry."""
    return "".join(f"{_describe_file(path, status)}\n" for path, status in sorted(statuses.items()))


def _describe_file(path: bytes, status: os.stat_result) -> str:
    """Return one line that describes a file, for a diff; without size and time if it is a directory."""
    mode = stat.filemode(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return f"{mode} {'':>12} {'':>20} {escape_path_uniquely(path)}/"
    size = status.st_size if stat.S_ISREG(status.st_mode) else 0
    seconds, rest = divmod(status.st_mtime_ns, 10**9)
    return f"{mode} {size:>12} {seconds:>10}.{rest:09} {escape_path_uniquely(path)}"
