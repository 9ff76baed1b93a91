# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which file systems can map ids for a container (idmapped mounts), from the documentation of Linux."""

from __future__ import annotations

import os
import re

from ansible_collections.homelab.repoman.plugins.module_utils.host.account import filesystem_of

FIRST_KERNELS = {
    "ext4": (5, 12),
    "vfat": (5, 12),
    "xfs": (5, 12),
    "btrfs": (5, 15),
    "ntfs3": (5, 15),
    "f2fs": (5, 18),
    "erofs": (5, 19),
    "overlay": (5, 19),
    "squashfs": (6, 2),
    "tmpfs": (6, 3),
    "ceph": (6, 7),
}
"""Types of file systems, and the first version of Linux that maps their ids."""
OUTSIDE_LINUX = ("zfs", "bcachefs", "fuse", "fuseblk", "virtiofs")
"""Types whose support depends on more than the version of Linux, such as their own version, or the program that serves them."""

FAULTY_INCUS = ((6, 0, 0), (6, 1, 0))
"""Versions of Incus that find out whether ids can be mapped with a namespace that maps none, which Linux refuses."""
FIRST_REFUSING_KERNEL = (6, 9)
"""The first version of Linux that refuses it."""


def incus_hints(version: str, kernel: str = "") -> list[str]:
    """Return what follows if this version of Incus cannot map ids on this kernel, else nothing.

    A distribution may have corrected its package, so the version alone proves nothing.

    :param kernel: release of the kernel; that of this host if not given.
    """
    kernel = kernel or os.uname().release
    numbers = [int(number) for number in re.findall(r"\d+", version)[:3]]
    if (*numbers, 0, 0, 0)[:3] not in FAULTY_INCUS or _linux_version(kernel) < FIRST_REFUSING_KERNEL:
        return []
    return [
        f"Incus {version} cannot map ids on Linux 6.9 or later, unless its packagers corrected it; this host runs {kernel}",
        "sudo apt update && sudo apt install incus   # from a source that has 6.0.1 or later, but not 6.1",
    ]


def maps_ids(path: str, kernel: str = "", fstype: str = "") -> bool | None:
    """Return whether the file system of a directory can map ids; ``None`` if that depends on more than the version of Linux.

    :param kernel: release of the kernel; that of this host if not given.
    :param fstype: type of the file system; that of ``path`` if not given.
    """
    fstype = fstype or filesystem_of(path)
    if fstype.partition(".")[0] in OUTSIDE_LINUX:
        return None
    first = FIRST_KERNELS.get(fstype)
    return first is not None and _linux_version(kernel or os.uname().release) >= first


def id_mapping_hints(path: str, look: str, kernel: str = "", fstype: str = "") -> list[str]:
    """Return what follows for a directory that Incus cannot map ids for: from its file system and the kernel, nothing guessed.

    :param look: the command that shows the features of this Incus.
    :param kernel: release of the kernel; that of this host if not given.
    :param fstype: type of the file system; that of ``path`` if not given.
    """
    kernel, fstype = kernel or os.uname().release, fstype or filesystem_of(path)
    look += "   # idmapped_mounts must be true under kernel_features"
    if fstype.partition(".")[0] in OUTSIDE_LINUX:
        return [f"{path} is on {fstype}, which maps ids in some versions only", look]
    first = FIRST_KERNELS.get(fstype)
    if first is None:
        return [f"{path} is on {fstype or 'an unknown file system'}, which is not known to map ids; ext4, xfs and btrfs do", look]
    if _linux_version(kernel) < first:
        return [f"{path} is on {fstype}, which maps ids from Linux {first[0]}.{first[1]} on; this host runs {kernel}", look]
    return [f"{path} is on {fstype}, which this host's Linux {kernel} can map ids on: the cause is elsewhere", look]


def _linux_version(release: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)
