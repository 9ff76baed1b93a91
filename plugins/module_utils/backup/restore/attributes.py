# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Owners, modes, times and extended attributes of restored files, as far as this user may set them."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable

from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

REFUSED = (errno.EPERM, errno.EACCES, errno.ENOTSUP, errno.EINVAL)
"""Errors of an operation that this user or file system does not support."""
_ACCESS_LISTS = ("system.posix_acl_access", "system.posix_acl_default")
_HOST_LABELS = ("security.selinux", "security.ima", "security.evm", "security.apparmor", "security.SMACK64")
"""The host assigns these itself; the target's values are irrelevant for the destination."""


class AttributeWriter:
    """Applies attributes of the backup to restored files.

    :param directory: path of the destination, for messages.
    :param notes: takes warnings about what could not be set.
    """

    def __init__(self, directory: bytes, notes: set[str]) -> None:
        self.directory, self.notes = directory, notes

    def apply(self, out: int, source: int, status: os.stat_result) -> None:
        """Apply everything to an open file or directory.

        :param source: the file in the backup, open; -1 if it cannot be opened, so that its extended attributes are unknown.
        """
        attributes = read_attributes(source) if source >= 0 else {}
        access_lists = {name: value for name, value in attributes.items() if name in _ACCESS_LISTS}
        capabilities = {name: value for name, value in attributes.items() if name == "security.capability"}
        # A change of owner clears capabilities and set-ID bits, a change of mode alters access lists: so in this order.
        self.apply_owner(status, lambda uid, gid: os.fchown(out, uid, gid))
        self._set_xattrs(out, {name: each for name, each in attributes.items() if name not in access_lists and name not in capabilities})
        mode = safe_mode(os.fstat(out), status)
        if stat.S_IMODE(os.fstat(out).st_mode) != mode:
            os.fchmod(out, mode)
        self._set_xattrs(out, access_lists)
        self._set_xattrs(out, capabilities)
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _set_xattrs(self, out: int, attributes: dict[str, bytes]) -> None:
        for name, value in attributes.items():
            try:
                os.setxattr(out, name, value)
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                label = "access lists" if name in _ACCESS_LISTS else f"{name.partition('.')[0]} attributes"
                self.notes.add(f"{label} of the backup cannot be set in {escape_path(self.directory)}: {error.strerror}.")

    def apply_owner(self, status: os.stat_result, chown: Callable[[int, int], None]) -> None:
        """Change an owner and group, as far as this user may.

        :param chown: changes them; -1 leaves one unchanged.
        """
        uid, groups = os.geteuid(), {os.getegid(), *os.getgroups()}
        try:
            if uid == 0:
                chown(status.st_uid, status.st_gid)
            elif status.st_gid in groups:
                chown(-1, status.st_gid)
        except OSError as error:
            if error.errno not in REFUSED:
                raise
            self.notes.add(f"owners cannot be set in {escape_path(self.directory)}: {error.strerror}.")
        if uid and status.st_uid != uid:
            self.notes.add(f"files of other users in the backup belong to you in {escape_path(self.directory)}.")


def read_attributes(fd: int) -> dict[str, bytes]:
    """Return the extended attributes and access lists of an open file, without those that the host assigns itself."""
    try:
        return {name: os.getxattr(fd, name) for name in os.listxattr(fd) if name not in _HOST_LABELS}
    except OSError as error:
        if error.errno in (errno.ENOTSUP, errno.ENODATA, errno.EPERM, errno.EACCES):
            return {}
        raise


def safe_mode(current: os.stat_result, desired: os.stat_result) -> int:
    """Return the desired mode; without the set-user-ID or set-group-ID bit if the file has another owner or group than in the backup."""
    mode = stat.S_IMODE(desired.st_mode)
    if not stat.S_ISDIR(desired.st_mode):
        if current.st_uid != desired.st_uid:
            mode &= ~stat.S_ISUID
        if current.st_gid != desired.st_gid:
            mode &= ~stat.S_ISGID
    return mode
