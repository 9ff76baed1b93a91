# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks and unfinished files of repositories, which are never mirrored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cached_property

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.fixtures import FixtureLookup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import is_transaction_backup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_repositories, kind_in, nearest_ancestor

_TRANSIENT_PARTS = rb"lock$|gc\.pid$|packed-refs\.new$|journal|00changelog\.i\.a$|~$"
_UNFINISHED = rb"tmp_|\.tmp-|incoming-"
TRANSIENT_HINT = re.compile(_TRANSIENT_PARTS + rb"|objects/(.*/)?(" + _UNFINISHED + rb")")
"""Quick test: only paths that match this can be locks or unfinished files."""
_TRANSIENT_NAME_HINT = re.compile(_TRANSIENT_PARTS + rb"|" + _UNFINISHED, re.MULTILINE)
"""Quick test of a directory's path and of the names in it, one per line; it matches everything that the test of each path matches, and more."""


class TransientFilter:
    """Returns whether a path is a lock or an unfinished file of a repository, which is never mirrored.

    :param source_manifest: entries of the source; only read for paths that may be transient.
    """

    def __init__(self, source_manifest: Manifest, lookup: FixtureLookup | None = None) -> None:
        self.source_manifest, self.lookup = source_manifest, lookup

    @cached_property
    def stores(self) -> dict[bytes, str]:
        """The unit's repositories."""
        return find_repositories(self.source_manifest)

    @cached_property
    def under_way(self) -> set[bytes]:
        """The ``.hg`` directories with a transaction's journal."""
        stores = set()
        for directory, block in self.source_manifest.blocks():
            store = directory.removesuffix(b"/store")
            if store in self.stores and store != directory and b"journal" in block:
                stores |= {store for entry in unpack_block(directory, block) if entry.name == b"journal"}
        return stores

    @staticmethod
    def may_apply(directory: bytes, names: Iterable[bytes]) -> bool:
        """Return whether anything in a directory may be transient; if false, nothing is."""
        return _TRANSIENT_NAME_HINT.search(b"\n".join((directory, *names))) is not None

    def __call__(self, path: bytes) -> bool:
        """Return whether a path is never mirrored."""
        if not TRANSIENT_HINT.search(path):
            return False
        store = nearest_ancestor(self.stores, path.rpartition(b"/")[0])
        if store is None:
            return False
        if kind_in(self.stores, store, path) == "transient":
            return self.lookup is None or not self.lookup.data_among(self.stores, [store], self.source_manifest)
        return self.stores[store] == "hg" and store in self.under_way and is_transaction_backup(path[len(store) + 1 :] if store else path)
