# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a ``.hg`` directory: their roles, and the order in which they must be read."""

from __future__ import annotations

import re

CHANGELOG = b"store/00changelog.i"

_TRANSIENT = re.compile(rb"^(store/)?w?lock$|^store/(journal|00changelog\.i\.a)$|(^|/)\.[^/]+-\w{6,8}~$")
_JOURNAL = re.compile(rb"^(store/)?journal\.")


def is_transient(path: bytes) -> bool:
    """Return whether a path in ``.hg`` is a lock, a journal or an incomplete file: never mirrored."""
    return _TRANSIENT.search(path) is not None


def is_transaction_backup(path: bytes) -> bool:
    """Return whether a path in ``.hg`` belongs to a transaction: not mirrored while one is running."""
    return _JOURNAL.search(path) is not None


def read_order(path: bytes) -> int:
    """Return the position of a file in the reading order: bookmarks and the like, the changelog, other revlogs, the list of files.

    hg writes in the opposite order. A file read later may contain more than earlier ones refer to, but never less.
    """
    if not path.startswith(b"store/") or path in {b"store/phaseroots", b"store/obsstore"}:
        return 0
    if path.startswith(b"store/00changelog"):
        return 1
    if path == b"store/fncache":
        return 9
    return 3 if path.endswith(b".d") else 2


AFTER_CHANGELOG = 2
"""The lowest position of the files that are read after the changelog."""


def data_file(index: bytes) -> bytes:
    """Return the path of the data file for an index."""
    return index[:-1] + b"d"


def index_file(path: bytes) -> bytes:
    """Return the path of the index for a data file; an index's own path."""
    return path if path.endswith(b".i") else path[:-1] + b"i"


def is_revlog_index(path: bytes) -> bool:
    """Return whether a path in ``.hg`` is the index of a revlog."""
    return path.startswith(b"store/") and path.endswith(b".i")


def is_revlog_file(path: bytes) -> bool:
    """Return whether a path in ``.hg`` is the index or the data file of a revlog."""
    return path.startswith(b"store/") and path.endswith((b".i", b".d"))
