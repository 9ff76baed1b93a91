# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Extended attributes and access lists: which ones are backed up, how to read and to compare them."""

from __future__ import annotations

import errno
import os

from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath

ACLS = ("system.posix_acl_access", "system.posix_acl_default")
_REACH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def is_kept(name: str, *, xattrs: bool, acls: bool) -> bool:
    """Return whether an attribute is backed up; only root can set those of the system."""
    if name in ACLS:
        return acls
    return xattrs and (name.startswith("user.") or (os.geteuid() == 0 and not name.startswith("system.")))


def read_attributes(file: int | bytes, *, xattrs: bool, acls: bool) -> dict[str, bytes]:
    """Return the attributes that are backed up.

    :param file: an open file, or a path whose last part is not followed if it is a link.
    """
    follow = isinstance(file, int)
    attributes: dict[str, bytes] = {}
    for name in os.listxattr(file, follow_symlinks=follow):
        if is_kept(name, xattrs=xattrs, acls=acls):
            try:
                attributes[name] = os.getxattr(file, name, follow_symlinks=follow)
            except OSError as error:
                if error.errno != errno.ENODATA:  # removed since it was listed
                    raise
    return attributes


def same_attributes(source: int, target: int, path: bytes, *, xattrs: bool, acls: bool) -> bool:
    """Return whether two trees have the same attributes at a path. If they cannot be read, they count as equal.

    :param source: open directory at the top of one tree.
    :param target: open directory at the top of the other tree.
    """
    parent, _slash, name = path.rpartition(b"/")
    attributes = []
    for top in (source, target):
        try:
            parent_fd = open_beneath(top, parent, _REACH)
            try:
                attributes.append(read_attributes(b"/proc/self/fd/%d/" % parent_fd + (name or b"."), xattrs=xattrs, acls=acls))
            finally:
                os.close(parent_fd)
        except OSError:
            return True
    return attributes[0] == attributes[1]
