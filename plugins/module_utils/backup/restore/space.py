# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The free space that a restore needs, checked before anything is written.

What is replaced is saved on the same file system, so it frees nothing. Each file counts in whole blocks; a file system may need more, or less
if it compresses. A disk that gets full nevertheless ends the restore of a unit, which leaves nothing behind.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass, replace

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import data_size
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Item
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_bytes
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

Copy = tuple[int, Iterable[Item]]
"""An open directory, and what is copied to its file system."""


@dataclass(frozen=True)
class SpaceNeed:
    """What a restore copies to one file system, and what is free there.

    :param path: a directory of the file system, for messages.
    :param size: bytes to copy.
    :param inodes: files and directories to create.
    :param free_size: free bytes, for this user.
    :param free_inodes: files and directories that can still be created; None if the file system has no limit.
    """

    path: bytes
    size: int
    inodes: int
    free_size: int
    free_inodes: int | None


SpaceNeeds = dict[int, SpaceNeed]
"""By the number of the file system's device."""


def measure(copies: Iterable[Copy]) -> SpaceNeeds:
    """Return what copies need, and what is free now."""
    needs: SpaceNeeds = {}
    for directory_fd, items in copies:
        size, inodes = _total(items, os.fstatvfs(directory_fd).f_frsize)
        add(needs, {os.fstat(directory_fd).st_dev: _need(directory_fd, size, inodes)})
    return needs


def add(needs: SpaceNeeds, more: SpaceNeeds) -> None:
    """Add needs to others."""
    for device, need in more.items():
        previous = needs.get(device)
        needs[device] = replace(need, size=need.size + previous.size, inodes=need.inodes + previous.inodes) if previous else need


def _total(items: Iterable[Item], block: int) -> tuple[int, int]:
    """Return bytes and number of files; a file with several names counts once.

    :param block: size of the file system's blocks.
    """
    size = inodes = 0
    linked: set[tuple[bytes, int, int]] = set()
    for item in items:
        status = item.status
        if status.st_nlink > 1 and not item.is_directory:
            key = item.layer.root, status.st_dev, status.st_ino
            if key in linked:
                continue
            linked.add(key)
        inodes += 1
        if stat.S_ISREG(status.st_mode):
            size += -(-data_size(status) // block) * block
    return size, inodes


def _need(directory_fd: int, size: int, inodes: int) -> SpaceNeed:
    space = os.fstatvfs(directory_fd)
    blocks = space.f_bavail if os.geteuid() else space.f_bfree  # root may also use what is reserved
    return SpaceNeed(
        os.readlink(b"/proc/self/fd/%d" % directory_fd),
        size,
        inodes,
        blocks * space.f_frsize,
        (space.f_favail if os.geteuid() else space.f_ffree) if space.f_files else None,
    )


def check(needs: SpaceNeeds, *hints: str) -> None:
    """Check that everything fits.

    :param hints: other remedies than to free space.
    :raises RepomanError: it does not; the message has what is needed and what is free.
    """
    for need in needs.values():
        where, word = escape_path(need.path), shell_word(need.path)
        if need.size > need.free_size:
            raise RepomanError(
                f"the file system of {where} has {format_bytes(need.free_size)} free, but the restore needs {format_bytes(need.size)};"
                " nothing was restored.",
                f"df -h {word}   # free some space, then run the command again",
                *hints,
            )
        if need.free_inodes is not None and need.inodes > need.free_inodes:
            raise RepomanError(
                f"the file system of {where} has room for {need.free_inodes} more files, but the restore needs {need.inodes};"
                " nothing was restored.",
                f"df -i {word}   # remove some files, then run the command again",
                *hints,
            )
