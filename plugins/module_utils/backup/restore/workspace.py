# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The staging and saved directories of a restore, one pair for each file system of the destination."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Staging, free_name
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, DirectoryCursor, is_mount_point
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import exchange_names, temporarily_writable

SAVED_INSIDE = b".repoman"
"""Prefix of the saved directory inside a separate file system."""


@dataclass
class Workspace:
    """A directory that holds the staging directory and the saved directory of one file system.

    :param fd: the directory, open.
    :param path: absolute, for messages.
    :param prefix: path of the file system in the destination; empty for the destination's own.
    :param saved_base: how the saved directory's name begins.
    :param saved_name: unused name for the saved directory.
    :param staging: where new files are copied to; None before and after that.
    :param saved_fd: the saved directory, open; -1 until the first file is saved.
    :param can_exchange: the file system can exchange two names in one step.
    """

    fd: int
    path: bytes
    prefix: bytes
    saved_base: bytes
    saved_name: bytes
    staging: Staging | None = None
    saved_fd: int = -1
    can_exchange: bool = True

    def relative(self, path: bytes) -> bytes:
        """Return the path in the saved directory for a path of the destination."""
        return path[len(self.prefix) + 1 :] if self.prefix else path

    @property
    def saved_path(self) -> bytes:
        """Absolute path of the saved directory."""
        return os.path.join(self.path, self.saved_name)

    def stage(self, name: bytes) -> Staging:
        """Create the staging directory.

        :param name: of the restored directory.
        :raises OSError: the directory cannot be written.
        """
        with temporarily_writable((self.fd, b".")):
            self.staging = Staging(self.fd, name)
        self.can_exchange = _can_exchange(self.staging.fd)
        return self.staging

    def open_saved(self) -> int:
        """Return the open saved directory, creating it first if necessary."""
        if self.saved_fd < 0:
            with temporarily_writable((self.fd, b".")):
                os.mkdir(self.saved_name, 0o700, dir_fd=self.fd)
                self.saved_fd = os.open(self.saved_name, LIST, dir_fd=self.fd)
        return self.saved_fd

    def close_saved(self) -> bool:
        """Close the saved directory; return whether it was created."""
        if self.saved_fd < 0:
            return False
        os.close(self.saved_fd)
        self.saved_fd = -1
        return True


class Workspaces:
    """The workspaces of a destination, created as needed.

    :param in_place: the parent directory must not be used, so the destination holds its own workspace.
    :param saved_base: how the saved directory's name begins if it lies in the destination.
    """

    def __init__(self, destination: Destination, *, in_place: bool, saved_base: bytes) -> None:
        self.destination, self.in_place, self.saved_base = destination, in_place, saved_base
        self._by_prefix: dict[bytes, Workspace] = {}
        self._stack = ExitStack()

    def __iter__(self) -> Iterator[Workspace]:
        return iter(self._by_prefix.values())

    def close(self) -> None:
        """Close the directories."""
        self._stack.close()

    def get(self, directory: bytes) -> Workspace:
        """Return the workspace for what lies directly in a directory of the destination."""
        prefix = self._file_system_of(directory)
        if prefix not in self._by_prefix:
            self._by_prefix[prefix] = self._create(prefix)
        return self._by_prefix[prefix]

    def _file_system_of(self, directory: bytes) -> bytes:
        """Return the nearest mount point or subvolume at or above a directory; empty for the destination itself."""
        prefix = b""
        root_fd = self.destination.fd
        with DirectoryCursor(root_fd) as cursor, suppress(FileNotFoundError, NotADirectoryError):
            parts = directory.split(b"/") if directory else []
            with DirectoryCursor(root_fd) as parent:
                for depth in range(1, len(parts) + 1):
                    path = b"/".join(parts[:depth])
                    if is_mount_point(parent.open(path.rpartition(b"/")[0]), cursor.open(path)):
                        prefix = path
        return prefix

    def _create(self, prefix: bytes) -> Workspace:
        destination = self.destination
        if not prefix and not self.in_place:
            name = destination.name
            return Workspace(destination.parent_fd, os.path.dirname(destination.path), prefix, name, free_name(destination.parent_fd, name))
        with DirectoryCursor(destination.fd) as cursor:
            fd = os.dup(cursor.open(prefix))
        self._stack.callback(os.close, fd)
        path = os.path.join(destination.path, prefix) if prefix else destination.path
        base = SAVED_INSIDE if prefix else self.saved_base
        return Workspace(fd, path, prefix, base, free_name(fd, base))

    def end_staging(self) -> None:
        """Remove all staging directories, even if a signal interrupts that.

        :raises RunInterruptedError: a signal arrived.
        """
        interrupted: RunInterruptedError | None = None
        for workspace in self._by_prefix.values():
            staging, workspace.staging = workspace.staging, None
            if staging is None:
                continue
            try:
                with suppress(OSError), temporarily_writable((workspace.fd, b".")):
                    staging.end(workspace.saved_name)
            except RunInterruptedError as error:
                interrupted = error
        if interrupted is not None:
            raise interrupted


def _can_exchange(directory_fd: int) -> bool:
    """Return whether a file system can exchange names, by trying it."""
    names = (b".one", b".other")
    for name in names:
        os.mkdir(name, 0o700, dir_fd=directory_fd)
    try:
        return exchange_names(directory_fd, names[0], directory_fd, names[1])
    finally:
        for name in names:
            os.rmdir(name, dir_fd=directory_fd)
