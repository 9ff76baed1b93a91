# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy single entries from a source tree into a mirror: each appears there complete, and the entry it replaces moves to the history.

Nothing here follows a symbolic link of either tree: directories are opened part by part. A copy returns the entry that was
really copied, as seen on the open file before and after; a mirror's manifest is made of these entries.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import TIME_RANGE, Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import Contents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.file_copier import FileCopier, write_all
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.history_store import _NO_LINKS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.metadata import _CANNOT_KEEP
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import (
    _ENTRY_ALONE,
    DirectoryFd,
    split_path,
)


class Copier(FileCopier):
    """Writes one unit's mirror."""

    def write(self, entry: Entry, data: Contents, old: Entry | None) -> None:
        """Write a file whose contents were read earlier."""
        try:
            self._write_file(entry, data, old)
        except OSError as error:
            raise self._located(error, entry.path) from error

    def _write_file(self, entry: Entry, data: Contents, old: Entry | None) -> None:
        parent, name = split_path(entry.path)
        direct = self.is_first_copy and old is None
        temporary = name if direct else self.temporary_name()
        with self.mirror_directory(parent) if direct else DirectoryFd(self.work_fd, closes=False) as directory_fd:
            out = self.with_write_permission(
                parent if direct else None, lambda: self._create(temporary, entry.uid, entry.mode, directory_fd)
            )
            try:
                if isinstance(data, bytes):
                    write_all(out, data)
                else:
                    data.write_to(out)
                self._apply_owner_and_mode(out, entry.uid, entry.gid, entry.mode)
                if self.xattrs or self.acls:
                    self._copy_xattrs_of(entry, out)
                mtime = entry.mtime_ns if entry.mtime_ns not in TIME_RANGE else self._true_mtime(entry)
                os.utime(out, ns=(mtime, mtime))
            finally:
                os.close(out)
        if not direct:
            self.install(temporary, entry.path, old)
        self.add_counts(1, len(data))

    def copy_symlink(self, entry: Entry, old: Entry | None) -> None:
        """Make a symbolic link."""
        if old is not None and old.type == "l" and old.link == entry.link:
            self.apply_attributes(entry)
            return
        temporary = self.temporary_name()
        try:
            os.symlink(entry.link, temporary, dir_fd=self.work_fd)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
                raise self._located(error, entry.path) from error
            self.add_note("the target cannot store symbolic links")
            return
        self._finish(temporary, entry, old)

    def copy_special(self, entry: Entry, old: Entry | None) -> None:
        """Make a pipe, a socket or a device."""
        if old is not None and old.type == entry.type and old.size == entry.size:
            self.apply_attributes(entry)
            return
        temporary = self.temporary_name()
        device = entry.size if entry.type in "bc" else 0
        try:
            os.mknod(temporary, entry.mode, device, dir_fd=self.work_fd)
        except OSError as error:
            if error.errno not in {*_CANNOT_KEEP, errno.EIO}:  # exfat-fuse says EIO
                raise
            self.add_note("devices, pipes or sockets cannot be made on the target")
            return
        self._finish(temporary, entry, old)

    def _finish(self, temporary: bytes, entry: Entry, old: Entry | None) -> None:
        try:
            self._apply_metadata(temporary, self.work_fd, entry)
            self.install(temporary, entry.path, old)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self.work_fd)
            raise self._located(error, entry.path) from error
        self.add_counts(1)

    def link_to(self, leader: bytes, entry: Entry, old: Entry | None) -> bool:
        """Make ``entry`` a hard link to ``leader``; return False if the target does not support this."""
        with self.mirror_directory(split_path(leader)[0]) as leader_parent_fd:
            try:
                leader_status = os.stat(split_path(leader)[1], dir_fd=leader_parent_fd, follow_symlinks=False)
            except FileNotFoundError:  # such as a link or a pipe that the target cannot have
                return False
            with suppress(FileNotFoundError, NotADirectoryError), self.mirror_directory(entry.parent) as parent_fd:
                status = os.stat(entry.name, dir_fd=parent_fd, follow_symlinks=False)
                if status.st_ino == leader_status.st_ino:
                    return True
                old = old or entry_from_stat(entry.path, status)
            temporary = self.temporary_name()
            try:
                os.link(split_path(leader)[1], temporary, src_dir_fd=leader_parent_fd, dst_dir_fd=self.work_fd, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self.add_note("hard links cannot be made on the target")
                return False
        self.install(temporary, entry.path, old)
        self.add_counts(1)
        return True

    def mkdir(self, entry: Entry) -> None:
        """Create a directory, writable for now, unless it exists; :meth:`apply_attributes` sets its mode later."""
        try:
            self._make_directory(entry)
        except OSError as error:
            if error.errno not in _ENTRY_ALONE:  # its contents cannot be written either
                raise self._located(error, entry.path) from error
            raise

    def _make_directory(self, entry: Entry) -> None:
        parent, name = split_path(entry.path)
        mode = entry.mode & 0o777 | 0o700
        with self.mirror_directory(parent) as parent_fd:
            try:
                try:
                    os.mkdir(name, mode, dir_fd=parent_fd)
                except PermissionError:
                    self.with_write_permission(parent, lambda: os.mkdir(name, mode, dir_fd=parent_fd))
            except FileExistsError:
                status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    return
                self.move_to_history(entry.path)
                os.mkdir(name, mode, dir_fd=parent_fd)
        self.add_counts(1)
