# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""File systems that are mounted inside a directory, and what belongs to a file system rather than to anyone who uses it."""

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
"""Types of file systems that hold no files of anybody: they are never followed."""

_OCTAL = re.compile(rb"\\([0-7]{3})")


def mounts_below(root: bytes) -> dict[bytes, str]:
    """Return what is mounted below a directory (not on it): paths relative to it, and the file systems' types.

    Unlike a look at device numbers this also finds bind mounts of the same file system; it does not find btrfs subvolumes, which are
    not mounted.
    """
    prefix = os.path.join(os.path.realpath(root), b"")
    found: dict[bytes, str] = {}
    try:
        lines = MOUNTINFO.read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        left, _dash, right = line.partition(b" - ")
        point = _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), left.split(b" ")[4])
        if point.startswith(prefix) and point != prefix:
            found[point[len(prefix) :]] = right.partition(b" ")[0].decode("ascii", "replace")
    return found


def is_lost_and_found(name: bytes, status: os.stat_result) -> bool:
    """Tell whether something at the root of a file system is the directory that mkfs made there."""
    return name == LOST_AND_FOUND and stat.S_ISDIR(status.st_mode) and status.st_uid == 0


def is_lost_and_found_at(path: str | os.PathLike[str]) -> bool:
    """The same of a path; no link is followed."""
    try:
        return is_lost_and_found(os.path.basename(os.fsencode(path)), os.lstat(path))
    except OSError:
        return False
