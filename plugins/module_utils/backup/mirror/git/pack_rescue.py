# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Extract the sound objects from a damaged pack that the mirror does not get, so that the mirror has the complete history that needs them.

git reads a private copy of the pack, one object after the other. Only an object whose contents hash to its name is taken; it becomes a loose
object of the mirror. The size of packs and the number and size of objects are bounded: a source can hold anything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zlib
from contextlib import closing, suppress
from typing import Any, Protocol

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import DIGESTS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import ABSENT, Damage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_reader import ObjectReader
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.packs import PackIndex
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import BorrowedError

MAX_PACK_BYTES = 2 << 30
MAX_OBJECTS = 200_000
MAX_OBJECT_BYTES = 64 << 20
MAX_BYTES = 2 << 30
MAX_RESTARTS = 100
"""Number of unreadable objects after which a pack is given up."""


class Store(Protocol):
    """The mirror of one git directory, as the rescue uses it."""

    prefix: bytes
    copier: Copier
    objects: dict[bytes, Entry]
    directories: dict[bytes, Entry]
    damage: dict[bytes, Damage]
    dirty_directories: set[bytes]

    @property
    def algorithm(self) -> str:
        """The hash that names objects."""

    def over_objects(self) -> Any:
        """Make a git directory that sees all objects of the mirror."""

    def over_copy(self, objects: str) -> Any:
        """Make a git directory that sees only the objects in one directory of repoman."""


def rescue(store: Store, scratch: str) -> int:
    """Write the sound objects of damaged packs to the mirror, if it lacks them and has no copy of the pack; return their number.

    :param scratch: a local directory, made and removed.
    """
    count = 0
    for path, damage in list(store.damage.items()):
        if damage.mirror == ABSENT and path.endswith(b".pack") and path[:-5] + b".idx" not in store.damage:
            shutil.rmtree(scratch, ignore_errors=True)
            try:
                with suppress(OSError, BorrowedError):
                    count += _rescue_from(store, path, damage, scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    return count


def _rescue_from(store: Store, path: bytes, damage: Damage, scratch: str) -> int:
    if damage.entry is None or damage.entry.type != "f" or damage.entry.size > MAX_PACK_BYTES:
        return 0
    packs = os.path.join(os.fsencode(scratch), b"pack")
    os.makedirs(packs)
    name = os.path.basename(path)[:-5]
    for suffix in (b".pack", b".idx"):
        source = path[:-5] + suffix
        if not source_files.copy_regular(store.copier.source_fd, source, os.path.join(packs, name + suffix), MAX_PACK_BYTES):
            return 0
    index_path = os.path.join(packs, name + b".idx")
    with open(index_path, "rb") as file:
        index = PackIndex(file.fileno(), DIGESTS[store.algorithm])
        if index.count > MAX_OBJECTS:
            return 0
        names = [each.hex() for each in index]
    with store.over_objects() as access, closing(ObjectReader(access[0], access[1], MAX_RESTARTS)) as mirror:
        missing_names = [each for each in names if mirror.head(each.encode()) is None]
    with store.over_copy(scratch) as access, closing(ObjectReader(access[0], access[1], MAX_RESTARTS)) as copy:
        return _write_sound(store, missing_names, copy, damage.entry)


def _write_sound(store: Store, names: list[str], copy: ObjectReader, pack: Entry) -> int:
    """Write the named objects that are still sound in the copy of the pack; return their number."""
    count, remaining = 0, MAX_BYTES
    for name in names:
        data = _read(copy, name)
        if data is None or hashlib.new(store.algorithm, data, usedforsecurity=False).hexdigest() != name:
            continue
        remaining -= len(data)
        if remaining < 0:
            break
        _write(store, name, zlib.compress(data, 1), pack)
        count += 1
    return count


def _read(reader: ObjectReader, name: str) -> bytes | None:
    """Return the bytes of an object that its name is the hash of; None if git cannot read it, or it is too large."""
    head = reader.head(name.encode())
    if head is None or head[1] > MAX_OBJECT_BYTES:
        return None
    data = reader.contents(name.encode())
    return None if data is None else head[0] + b" %d\0" % head[1] + data


def _write(store: Store, name: str, data: bytes, pack: Entry) -> None:
    """Make a loose object of the mirror."""
    parent = store.prefix + b"objects/" + name[:2].encode()
    path = parent + b"/" + name[2:].encode()
    if parent not in store.directories:
        above = store.directories[store.prefix + b"objects"]
        entry = above._replace(path=parent, ctime_ns=0, inode=0)
        store.copier.mkdir(entry)
        store.directories[parent] = entry
        store.dirty_directories.add(above.path)
    entry = pack._replace(path=path, size=len(data), ctime_ns=0, inode=0, nlink=1)
    store.copier.write(entry, data, None)
    store.objects[path] = entry
    store.dirty_directories.add(parent)
