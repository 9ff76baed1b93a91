# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Count the files and references that a user would miss: files of work trees and names of references, not the files in which git and hg store them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_repositories, kind_in, nearest_ancestor
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff

PACKED_REFS = b"packed-refs"
REFS = b"refs/"
SAVED = re.compile(rb"\.repoman\.before-\d{8}T\d{6}Z(-\d+)?(/|\Z)")
"""Directories in which a restore of a mount point saves replaced files."""
REF_BYTES = 48
"""Minimum length of a line in ``packed-refs``."""


def may_exceed(changes: UnitDiff, limit: int) -> bool:
    """Return whether the number of lost files can exceed a limit; if not, counting is skipped."""
    if changes.removed > limit:
        return True
    if not changes.changed + changes.removed:
        return False
    for _directory, pairs in changes.differences():
        for old, new in pairs:
            if old is not None and old.name == PACKED_REFS and old.size - (new.size if new is not None else 0) > limit * REF_BYTES:
                return True
    return False


def count_missed(changes: UnitDiff, mirror: str) -> tuple[int, int]:
    """Return the number of files and references that would be removed, and the number that the mirror has.

    :param mirror: directory of the unit's mirror.
    """
    stores = {**find_repositories(changes.source_manifest), **find_repositories(changes.mirror_manifest)}
    mirrored_names = _names(changes.mirror_manifest, stores, mirror)
    return len(mirrored_names - _names(changes.source_manifest, stores, changes.unit.source)), len(mirrored_names)


def _names(manifest: Manifest, stores: Mapping[bytes, str], directory: str) -> set[int]:
    """Return hashes of the paths of work tree files and of the full names of references, each with its repository.

    Hashes keep a repository with millions of references from needing its names in memory twice.
    """
    hashes: set[int] = set()
    packed = []
    for parent, block in manifest.blocks():
        store = nearest_ancestor(stores, parent)
        prefix = store + b"/" if store else b""
        if SAVED.match(parent):
            continue  # files that a restore of a mount point saved may be removed without an error
        for entry in unpack_block(parent, block):
            if entry.type == "d":
                continue
            if store is None:
                hashes.add(hash(entry.path))
            elif stores[store] == "git":
                inner = entry.path[len(prefix) :]
                if inner == PACKED_REFS:
                    packed.append(entry.path)
                elif inner.startswith(REFS) and not inner.endswith(b".lock"):
                    hashes.add(hash((store, inner)))
                elif kind_in(stores, store, entry.path) == "plain":
                    hashes.add(hash(entry.path))
    if packed:
        top_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for path in packed:
                hashes |= _packed_names(top_fd, path)
        finally:
            os.close(top_fd)
    return hashes


def _packed_names(top_fd: int, path: bytes) -> set[int]:
    """Return hashes of the names in a list of packed references; none if it cannot be read."""
    store = path[: -len(PACKED_REFS)].rstrip(b"/")
    with source_files.opened_regular(top_fd, path) as fd:
        lines = iter(()) if fd is None else source_files.lines(fd)
        names = (line.partition(b" ")[2] for line in lines if line[:1] not in (b"#", b"^"))
        return {hash((store, name)) for name in names if name.startswith(REFS)}
