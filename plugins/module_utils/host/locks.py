# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks that processes of this host hold (flock), from the kernel's list: to try a lock would take it from a run that starts now."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import MOUNTINFO, parse_mountinfo

LOCKS = Path("/proc/locks")
_FLOCK = re.compile(r"\d+: FLOCK +\S+ +\S+ +-?\d+ ([0-9a-f]+):([0-9a-f]+):(\d+) ")
"""A lock that is held: device in hexadecimal, and inode. A process that waits has an arrow behind the number; see proc(5)."""

LockedFile = tuple[int, int, int]
"""Major and minor number of a device, and an inode."""


def held_locks() -> frozenset[LockedFile]:
    """Return the files on which a process holds a lock.

    :raises OSError: the kernel does not list them.
    """
    matches = (_FLOCK.match(line) for line in LOCKS.read_text(encoding="ascii").splitlines())
    return frozenset((int(match[1], 16), int(match[2], 16), int(match[3])) for match in matches if match)


def is_locked(path: str, held: frozenset[LockedFile]) -> bool:
    """Return whether a process holds the lock on a file; false if it does not exist or cannot be read.

    :param held: see :func:`held_locks`.
    """
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(fd)
            devices = {(os.major(status.st_dev), os.minor(status.st_dev)), *_mounted_device(fd)}
        finally:
            os.close(fd)
        return any((*device, status.st_ino) in held for device in devices)
    return False


def _mounted_device(fd: int) -> list[tuple[int, int]]:
    """Return the device of the mount that an open file is on: the one in the list of locks, other than ``stat``'s on btrfs."""
    match = re.search(r"^mnt_id:\s*(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(encoding="ascii"), re.MULTILINE)
    mounts = parse_mountinfo(MOUNTINFO.read_bytes()) if match else ()
    devices = [mount.device.split(b":") for mount in mounts if match and mount.mount_id == match[1].encode()]
    return [(int(major), int(minor)) for major, minor in devices]
