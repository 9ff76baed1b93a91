# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the time of a loose commit without git, because starting git takes longer than this."""

from __future__ import annotations

import hashlib
import os
import re
import zlib

from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import HeldDirectory

COMMIT_BYTES = 64 << 10
"""Maximum size of a commit that is read here, also compressed."""
_COMMIT = re.compile(
    rb"commit ([0-9]{1,5})\0(tree [0-9a-f]{40}\n((?:parent [0-9a-f]{40}\n)*)"
    rb"author [^\n<>\0]*<[^\n<>\0]*> [0-9]{1,10} [+-][0-9]{4}\ncommitter [^\n<>\0]*<[^\n<>\0]*> ([0-9]{1,10}) [+-][0-9]{4}\n[^\0].*)",
    re.DOTALL,
)
"""An object: its size, its contents, its parents, its time. git finds no time in a commit that ends after it."""


def read_commit_time(objects: HeldDirectory, commit: str) -> int | None:
    """Return the time of a commit in seconds, as ``git rev-list`` reads it; ``None`` if only git can tell.

    The commit must be a loose object with the right hash, and have the headers that git itself writes. So must its parents, which git reads
    too: it reports one that is damaged.

    :param commit: its ID, of 40 hexadecimal digits.
    """
    found = _read(objects, commit)
    if found is None:
        return None
    parents = found[3].decode().split()[1::2]
    return int(found[4]) if all(_read(objects, parent) for parent in parents) else None


def _read(objects: HeldDirectory, commit: str) -> re.Match[bytes] | None:
    """Return the parts of a commit; ``None`` if it is not a loose object, not sound, or not as git writes it."""
    name = os.fsencode(commit)
    directory_fd = objects.parts.get(name[:2])
    if directory_fd is None:
        return None
    inflate = zlib.decompressobj()
    try:
        content = inflate.decompress(source_files.read_regular(directory_fd, name[2:], COMMIT_BYTES) or b"", COMMIT_BYTES)
    except (OSError, zlib.error):
        return None
    if not inflate.eof or inflate.unused_data or hashlib.sha1(content, usedforsecurity=False).hexdigest() != commit:
        return None
    match = _COMMIT.fullmatch(content)
    return match if match and int(match[1]) == len(match[2]) else None
