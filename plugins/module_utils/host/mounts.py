# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""File systems mounted inside a directory, and entries that belong to a file system rather than to its users."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
LOST_AND_FOUND = b"lost+found"
PSEUDO = frozenset(
    {
        *("autofs", "binderfs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts", "devtmpfs", "efivarfs"),
        *("fusectl", "mqueue", "nsfs", "proc", "pstore", "securityfs", "selinuxfs", "sysfs", "tracefs"),
    }
)
"""Types of file systems without users' files: they are never followed."""

_OCTAL = re.compile(rb"\\([0-7]{3})")


def mounts_below(root: bytes) -> dict[bytes, str]:
    """Return the mount points below a directory, relative to it, and the types of their file systems.

    Unlike a comparison of device numbers, this also finds bind mounts of the same file system; it does not find btrfs subvolumes, which
    are not mounted.
    """
    prefix = os.path.join(os.path.realpath(root), b"")
    mounts: dict[bytes, str] = {}
    try:
        lines = MOUNTINFO.read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        mount_fields, _dash, filesystem_fields = line.partition(b" - ")
        mount_point = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), mount_fields.split(b" ")[4])
        if mount_point.startswith(prefix) and mount_point != prefix:
            mounts[mount_point[len(prefix) :]] = filesystem_fields.partition(b" ")[0].decode("ascii", "replace")
    return mounts


def is_lost_and_found(name: bytes, status: os.stat_result) -> bool:
    """Return whether an entry at the root of a file system is the directory that mkfs created."""
    return name == LOST_AND_FOUND and stat.S_ISDIR(status.st_mode) and status.st_uid == 0


def is_lost_and_found_at(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is such a directory, without following links."""
    try:
        return is_lost_and_found(os.path.basename(os.fsencode(path)), os.lstat(path))
    except OSError:
        return False
