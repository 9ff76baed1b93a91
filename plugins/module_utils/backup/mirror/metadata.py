# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Owners, modes, times and extended attributes of a mirror's entries."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import TIME_RANGE, Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.attributes import read_attributes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import (
    OpenTrees,
    split_path,
)

NO_OWNERS = "the target cannot store owners"
NO_XATTRS = "the target cannot store extended attributes or access control lists"
_CANNOT_KEEP = (errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Errors of a target that does not support an owner, a mode or a type of file."""


class MetadataCopier(OpenTrees):
    """Gives entries of a mirror the attributes that the source has, as far as the target can store them."""

    def apply_attributes(self, entry: Entry) -> None:
        """Set owner, mode and time of the mirror's file or directory to those of an entry."""
        with self.mirror_directory(entry.parent if entry.path else b"") as parent_fd:
            try:
                self._apply_metadata(entry.name or b".", parent_fd, entry)
            except FileNotFoundError:
                return

    def _apply_metadata(self, name: bytes, parent_fd: int, entry: Entry) -> None:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if (status.st_uid, status.st_gid, status.st_mode) != (entry.uid, entry.gid, entry.mode):
            self._apply_owner_and_mode_at(name, parent_fd, entry, status)
        if self.xattrs or self.acls:
            self._copy_xattrs_of(entry, b"/proc/self/fd/%d/" % parent_fd + name)
        mtime = entry.mtime_ns if entry.mtime_ns not in TIME_RANGE else self._true_mtime(entry)
        if status.st_mtime_ns != mtime:
            os.utime(name, ns=(mtime, mtime), dir_fd=parent_fd, follow_symlinks=False)

    def _apply_owner_and_mode_at(self, name: bytes, parent_fd: int, entry: Entry, status: os.stat_result) -> None:
        uid, gid = self._owner(status, entry.uid, entry.gid, is_noted=entry.path not in self.unowned)
        changed = (uid, gid) != (-1, -1)
        owner_is_set = not changed or self._try_chown(lambda: os.chown(name, uid, gid, dir_fd=parent_fd, follow_symlinks=False))
        mode = self._safe_mode(status, entry.uid, entry.gid, entry.mode, uid if owner_is_set else -1, gid if owner_is_set else -1)
        if entry.type != "l" and (stat.S_IMODE(status.st_mode) != mode or (owner_is_set and changed)):
            self._chmod(lambda: os.chmod(name, mode, dir_fd=parent_fd))

    def _copy_xattrs_of(self, entry: Entry, out: int | bytes) -> None:
        """Copy extended attributes and access control lists to an entry of the mirror, unless the type of its source has changed."""
        parent, name = split_path(entry.path) if entry.path else (b"", b".")
        with suppress(FileNotFoundError, NotADirectoryError), self.source_directory(parent) as parent_fd:
            if stat.S_IFMT(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode) == stat.S_IFMT(entry.mode):
                self._copy_xattrs(b"/proc/self/fd/%d/" % parent_fd + name, out)

    def _true_mtime(self, entry: Entry) -> int:
        """Return the time of a source file whose time does not fit into an entry."""
        with suppress(OSError), self.source_directory(entry.parent) as parent_fd:
            return os.stat(entry.name or b".", dir_fd=parent_fd, follow_symlinks=False).st_mtime_ns
        return entry.mtime_ns

    def _apply_metadata_fd(self, out: int, status: os.stat_result, source: int) -> None:
        self._apply_owner_and_mode(out, status.st_uid, status.st_gid, status.st_mode)
        if self.xattrs or self.acls:
            self._copy_xattrs(source, out)

    def _apply_owner_and_mode(self, out: int, source_uid: int, source_gid: int, mode: int) -> None:
        """Give an open file its owner and then its mode."""
        status = os.fstat(out)
        if (status.st_uid, status.st_gid, status.st_mode) == (source_uid, source_gid, mode):
            return
        uid, gid = self._owner(status, source_uid, source_gid)
        owner_is_set = (uid == -1 and gid == -1) or self._try_chown(lambda: os.fchown(out, uid, gid))
        mode = self._safe_mode(status, source_uid, source_gid, mode, uid if owner_is_set else -1, gid if owner_is_set else -1)
        if stat.S_IMODE(status.st_mode) != mode or (owner_is_set and (uid != -1 or gid != -1)):
            self._chmod(lambda: os.fchmod(out, mode))

    def _safe_mode(self, status: os.stat_result, source_uid: int, source_gid: int, mode: int, uid: int, gid: int) -> int:
        """Return the mode to set after the owner; without set-user-ID and set-group-ID bits if the owner or group could not be set.

        :param uid: the owner that was set; -1 if it was not changed.
        :param gid: the group that was set; -1 if it was not changed.
        """
        mode = stat.S_IMODE(mode)
        if stat.S_ISDIR(status.st_mode):
            return mode
        owner = (status.st_uid if uid == -1 else uid, status.st_gid if gid == -1 else gid)
        safe = safe_mode(mode, (source_uid, source_gid), owner)
        if safe != mode:
            self.add_note("set-user-ID and set-group-ID bits were removed from files whose owner the target cannot store")
        return safe

    def _chmod(self, chmod: Callable[[], None]) -> None:
        """Change a mode, if the target stores modes."""
        self._try(chmod, "the target cannot store file modes")

    def _owner(self, status: os.stat_result, uid: int, gid: int, *, is_noted: bool = True) -> tuple[int, int]:
        """Return the uid and gid to set; -1 for one that is already right, or that this process may not change."""
        new_uid = uid if status.st_uid != uid else -1
        new_gid = gid if status.st_gid != gid else -1
        if self._uid:
            if is_noted and (new_uid != -1 or (new_gid != -1 and gid not in self._groups)):
                self.add_note("owners that are not yours cannot be kept")
            new_uid = -1
            if gid not in self._groups or status.st_uid != self._uid:
                new_gid = -1
        return new_uid, new_gid

    def _try_chown(self, chown: Callable[[], None]) -> bool:
        """Try to change an owner and return whether it worked: an NFS server may squash root."""
        return self._try(chown, NO_OWNERS)

    def _try(self, change: Callable[[], None], note: str) -> bool:
        """Make a change, or add a note if the target does not support it; return whether it was made."""
        try:
            change()
        except OSError as error:
            if error.errno not in _CANNOT_KEEP:
                raise
            self.add_note(note)
            return False
        return True

    def _copy_xattrs(self, source: int | bytes, out: int | bytes) -> None:
        """Copy extended attributes and access lists, if the options ask for them and the target supports them."""
        try:
            desired = read_attributes(source, xattrs=self.xattrs, acls=self.acls)
            current = read_attributes(out, xattrs=self.xattrs, acls=self.acls)
            follow = isinstance(out, int)
            for name in current.keys() - desired.keys():
                os.removexattr(out, name, follow_symlinks=follow)
            for name, value in desired.items():
                if current.get(name) != value:
                    os.setxattr(out, name, value, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.E2BIG, errno.ERANGE, errno.ENOSPC}:
                raise
            self.add_note(NO_XATTRS)


def safe_mode(mode: int, source_owner: tuple[int, int], owner: tuple[int, int]) -> int:
    """Return a file's mode; without the set-user-ID or set-group-ID bit if it has another owner or group than its source."""
    if source_owner[0] != owner[0]:
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    if source_owner[1] != owner[1]:
        mode &= ~stat.S_ISGID
    return mode
