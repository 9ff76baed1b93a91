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
_HEADER = re.compile(
    rb"commit [0-9]+\0tree [0-9a-f]{40}\n(?:parent [0-9a-f]{40}\n)*"
    rb"author [^\n<>\0]*<[^\n<>\0]*> [0-9]{1,10} [+-][0-9]{4}\ncommitter [^\n<>\0]*<[^\n<>\0]*> ([0-9]{1,10}) [+-][0-9]{4}\n"
)


def read_commit_time(objects: HeldDirectory, commit: str) -> int | None:
    """Return the time of a commit in seconds, as git reads it; ``None`` if only git can tell.

    The commit must be a loose object with the right hash, and have the headers that git itself writes.

    :param commit: its ID, of 40 hexadecimal digits.
    """
    name = os.fsencode(commit)
    directory_fd = objects.parts.get(name[:2])
    if directory_fd is None:
        return None
    try:
        packed = source_files.read_regular(directory_fd, name[2:], COMMIT_BYTES)
        content = zlib.decompressobj().decompress(packed or b"", COMMIT_BYTES)
    except (OSError, zlib.error):
        return None
    match = _HEADER.match(content)
    if match is None or hashlib.sha1(content, usedforsecurity=False).hexdigest() != commit:
        return None
    return int(match[1])
