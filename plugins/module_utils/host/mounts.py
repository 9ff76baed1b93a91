# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""File systems mounted inside a directory, and entries that belong to a file system rather than to its users."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

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


class MountLine(NamedTuple):
    """A line of a ``mountinfo`` file; see proc(5).

    :param device: of the file system, as ``MAJOR:MINOR``.
    :param root: the directory that is mounted, from the root of the file system.
    """

    mount_id: bytes
    device: bytes
    root: bytes
    mount_point: bytes
    fstype: bytes
    source: bytes


def parse_mountinfo(text: bytes) -> Iterator[MountLine]:
    """Yield the lines of a ``mountinfo`` file, in its order."""
    for line in text.split(b"\n"):  # splitlines() would end a line at other characters, which a name can have
        mount_fields, dash, filesystem_fields = line.partition(b" - ")
        if dash:
            mount_id, _parent, device, root, mount_point = mount_fields.split(b" ")[:5]
            yield MountLine(mount_id, device, _unescape(root), _unescape(mount_point), *filesystem_fields.split(b" ")[:2])


def mounts_below(root: bytes) -> dict[bytes, str]:
    """Return the mount points below a directory, relative to it, and the types of their file systems.

    Unlike a comparison of device numbers, this also finds bind mounts of the same file system; it does not find btrfs subvolumes, which
    are not mounted.
    """
    prefix = os.path.join(os.path.realpath(root), b"")
    mounts: dict[bytes, str] = {}
    try:
        text = MOUNTINFO.read_bytes()
    except OSError:
        return {}
    for mount in parse_mountinfo(text):
        if mount.mount_point.startswith(prefix) and mount.mount_point != prefix:
            mounts[mount.mount_point[len(prefix) :]] = mount.fstype.decode("ascii", "replace")
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


def _unescape(name: bytes) -> bytes:
    return _OCTAL.sub(lambda octal: bytes([int(octal[1], 8)]), name)
