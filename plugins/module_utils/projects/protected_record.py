# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A record of the hooks and settings under an override's ``protect``, to notice a change behind the protection.

Root in a container can unmount what protects a file, and then write to it. The host cannot prevent that, but it can compare.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Container, Mapping
from itertools import islice
from typing import Any

MAX_FILE_BYTES = 1 << 20
"""Bytes of a file that count."""
MAX_ENTRIES = 1000
"""Entries of a directory that count."""
DIGEST_LENGTH = 16


def protected_record(devices: Mapping[str, Mapping[str, str]]) -> str:
    """Return the record of what devices protect, as text.

    :param devices: of ``protect``, by name.
    """
    return json.dumps(
        {name: _digest(device["source"]) for name, device in devices.items() if device.get("readonly") == "true"}, sort_keys=True
    )


def changed_behind(previous: str, current: str) -> list[str]:
    """Return the names of the devices behind which something has changed since the earlier record.

    :param previous: the earlier record; one that cannot be read counts as empty.
    :param current: the current record; empty if nothing is protected.
    """
    record = _read(previous) or {}
    return [name for name, digest in (_read(current) or {}).items() if name in record and record[name] != digest]


def kept_record(previous: str, current: str, mounted: Container[str]) -> str:
    """Return the current record with the earlier state of everything that was protected all the time.

    :param previous: the earlier record; empty if there is none.
    :param current: the current record.
    :param mounted: names of the devices that the instance has.
    """
    record = _read(previous)
    if record is None:
        return previous
    kept = {name: record[name] if name in record and name in mounted else digest for name, digest in json.loads(current).items()}
    return json.dumps(kept, sort_keys=True)


def _read(text: str) -> dict[str, Any] | None:
    """Return a record; ``None`` if it cannot be read, because it was edited by hand."""
    try:
        record = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _digest(path: str) -> str:
    """Return a digest of a file, or of the names, modes and contents in a directory; links are not followed."""
    digest = hashlib.sha256()
    _add(digest, path, b"")
    if os.path.isdir(path):
        with os.scandir(path) as entries:
            for entry in sorted(islice(entries, MAX_ENTRIES), key=lambda entry: entry.name):
                _add(digest, entry.path, os.fsencode(entry.name))
    return digest.hexdigest()[:DIGEST_LENGTH]


def _add(digest: hashlib._Hash, path: str, name: bytes) -> None:
    """Add a file to a digest; of one that cannot be read, only that."""
    content = b""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        kind = f"unreadable {error.errno}"
    else:
        try:
            mode = os.fstat(fd).st_mode
            kind = f"{stat.S_IFMT(mode):o} {mode & stat.S_IXUSR:o}"
            while stat.S_ISREG(mode) and len(content) < MAX_FILE_BYTES and (piece := os.read(fd, MAX_FILE_BYTES)):
                content += piece
        finally:
            os.close(fd)
    for part in (name, kind.encode(), content[:MAX_FILE_BYTES]):
        digest.update(len(part).to_bytes(8, "big") + part)
