# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hard-linked files of one tree."""

from __future__ import annotations

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest


def identity(entry: Entry, mounts: bool) -> tuple[int, ...]:
    """Return a key that all names of one file share; with several file systems, the inode number alone is ambiguous."""
    return (entry.inode, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns, entry.nlink) if mounts else (entry.inode,)


def hardlink_groups(manifest: Manifest, mounts: bool) -> dict[bytes, bytes]:
    """Return the first name of each hard-linked file of the tree, for each of its names."""
    first: dict[tuple[int, ...], bytes] = {}
    leaders: dict[bytes, bytes] = {}
    for entry in manifest.entries():
        if entry.nlink > 1 and entry.type != "d":
            leader = first.setdefault(identity(entry, mounts), entry.path)
            if leader != entry.path:
                leaders[leader] = leaders[entry.path] = leader
    return leaders
