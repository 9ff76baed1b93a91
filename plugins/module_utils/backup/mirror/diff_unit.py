# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan one unit: compare the source with its mirror."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Iterable, Mapping
from contextlib import nullcontext
from types import MappingProxyType

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import merge_blocks, patch_manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, pack_block, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import STALE_SUFFIX, Manifest, ManifestWriter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import target_traits, vanished_stores
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.fixtures import FixtureLookup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.mirror_comparison import compare_with_mirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.name_clashes import without_clashes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import (
    find_repositories,
    kind_in,
    nearest_ancestor,
    owns,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import is_directory

_logger = get_logger("mirror")


def diff_unit(
    unit: Unit,
    last_manifest: Manifest | None,
    source_manifest: Manifest,
    settings: MirrorOptions,
    *,
    manifest_path: str = "",
    unreadable: Mapping[bytes, UnreadableError] = MappingProxyType({}),
    mounted: Iterable[bytes] = (),
) -> UnitDiff:
    """Compare a unit with its mirror: with the last manifest or, without one or with ``full``, with the mirror itself.

    :param manifest_path: file that ``last_manifest`` was loaded from.
    :param unreadable: directories that could not be read: the mirror's entries in them stay, and count as the source's.
    :param mounted: directories treated the same because something is, or was, mounted on them.
    """
    with source_manifest.held(), last_manifest.held() if last_manifest is not None else nullcontext():
        return _UnitPlanner(unit, settings, manifest_path).plan(last_manifest, source_manifest, unreadable, mounted)


class _UnitPlanner:
    """Plans one unit; ``source_manifest`` is the part of the source that belongs in the mirror."""

    def __init__(self, unit: Unit, settings: MirrorOptions, manifest_path: str) -> None:
        self.unit, self.settings, self.manifest_path = unit, settings, manifest_path
        self.mirror = settings.mirror(unit)
        self.is_first_copy = not unit.is_top_level and not is_directory(self.mirror)
        self.protected: frozenset[bytes] = frozenset()
        self.notes: list[str] = []
        self.lookup = FixtureLookup(os.fsencode(unit.source), settings.scratch, settings.account, os.fsencode(self.mirror))

    def plan(
        self,
        last_manifest: Manifest | None,
        source_manifest: Manifest,
        unreadable: Mapping[bytes, UnreadableError],
        mounted: Iterable[bytes],
    ) -> UnitDiff:
        """Return the changes that a run would make."""
        unit, settings = self.unit, self.settings
        preserved: dict[bytes, Entry] = {}
        source_manifest, clashes = without_clashes(
            unit, source_manifest, target_traits.assume(settings.work), self._path(source_manifest, "without-clashes")
        )
        if unreadable:
            preserved = _unreadable_entries(source_manifest, unreadable)
            source_manifest = patch_manifest(source_manifest, preserved, self._path(source_manifest, "shut"))
        preserved |= _entries_at(source_manifest, frozenset(mounted))
        mirror_manifest = self._mirrored(last_manifest, source_manifest)
        if preserved:
            source_manifest = self._keep_unreadable(source_manifest, mirror_manifest, preserved)
        problems: list[RepomanError] = [*unreadable.values(), *clashes]
        if not self.is_first_copy and not unit.is_top_level:
            source_manifest, losses = self._keep_vanished(source_manifest, mirror_manifest)
            problems += losses
        changes = UnitDiff(
            unit,
            source_manifest,
            mirror_manifest,
            self.manifest_path,
            is_first_copy=self.is_first_copy,
            fully_compared=self.is_first_copy or last_manifest is None or settings.full,
            unreadable=preserved,
            read_errors=problems,
            protected=self.protected,
            notes=self.notes,
            fixtures=self.lookup,
            attributes=settings.xattrs or settings.acls,
        )
        changes.count()
        _logger.debug(
            "%s: compared with %s: %d to create, %d to change, %d to remove",
            unit.name,
            "no mirror" if self.is_first_copy else "its mirror" if changes.fully_compared else "the manifest of its mirror",
            changes.created,
            changes.changed,
            changes.removed,
        )
        return changes

    def _path(self, manifest: Manifest, suffix: str) -> str:
        return _sibling_path(manifest, self.settings, self.unit, suffix)

    def _mirrored(self, last_manifest: Manifest | None, source_manifest: Manifest) -> Manifest:
        """Return the mirror's entries, or those of a first copy that an interrupted run left."""
        unit, settings = self.unit, self.settings
        if self.is_first_copy:
            first_copy = settings.new(unit)
            return compare_with_mirror(first_copy, source_manifest, settings, unit, None) if is_directory(first_copy) else Manifest()
        if last_manifest is not None and not settings.full:
            return last_manifest
        previous = (
            last_manifest
            or (self.manifest_path and (Manifest.load(self.manifest_path) or Manifest.load(self.manifest_path + STALE_SUFFIX)))
            or None
        )
        return compare_with_mirror(self.mirror, source_manifest, settings, unit, previous) if is_directory(self.mirror) else Manifest()

    def _keep_unreadable(self, source_manifest: Manifest, mirror_manifest: Manifest, preserved: Mapping[bytes, Entry]) -> Manifest:
        """Return ``source_manifest`` with the mirror's entries in directories that cannot be read; repositories that contain one stay as a whole."""
        stores = find_repositories(source_manifest)
        inner = {path: store for path in preserved if (store := nearest_ancestor(stores, path)) is not None}
        if not self.is_first_copy:
            mirrored = find_repositories(mirror_manifest)
            self.protected = frozenset(
                store for path, store in inner.items() if store in mirrored and kind_in(stores, store, path) not in {"plain", "transient"}
            )
        return _with_mirrored(source_manifest, mirror_manifest, preserved, stores, self.protected, self._path(source_manifest, "filled"))

    def _keep_vanished(self, source_manifest: Manifest, mirror_manifest: Manifest) -> tuple[Manifest, list[RepomanError]]:
        """Return ``source_manifest`` with repositories that only the mirror has, and an error for each."""
        lost, removed = vanished_stores.find_vanished(mirror_manifest, source_manifest, self.lookup, self.unit.rules)
        if self.settings.lose_repositories:
            return source_manifest, []
        self.notes = [
            f"the repository {escape_path(store)} is gone from the source; its mirror was moved to the history" for store in removed
        ]
        if lost:
            self.protected |= vanished_stores.protected_stores(mirror_manifest, lost)
            source_manifest = vanished_stores.keep(source_manifest, mirror_manifest, lost, self._path(source_manifest, "with-vanished"))
            if surrounding := _surrounding(mirror_manifest, [item.store for item in lost]):
                self.protected |= surrounding
                stores, path = find_repositories(source_manifest), self._path(source_manifest, "with-surrounding")
                source_manifest = _with_mirrored(source_manifest, mirror_manifest, {}, stores, surrounding, path)
        return source_manifest, [vanished_stores.describe(self.unit, store) for store in lost]


def _surrounding(mirror_manifest: Manifest, inner: Collection[bytes]) -> frozenset[bytes]:
    """Return the ``.hg`` directories that contain some repositories: a ``.hg`` is replaced as a whole, so none of them may change."""
    repositories = find_repositories(mirror_manifest)
    return frozenset(store for store, kind in repositories.items() if kind == "hg" and any(each.startswith(store + b"/") for each in inner))


def _sibling_path(manifest: Manifest, settings: MirrorOptions, unit: Unit, suffix: str) -> str:
    """Return a path for another form of a manifest."""
    return f"{manifest.path or os.path.join(settings.scratch, f'{os.getpid()}.{abs(hash(unit.name))}')}.{suffix}"


def _unreadable_entries(source_manifest: Manifest, unreadable: Mapping[bytes, UnreadableError]) -> dict[bytes, Entry]:
    """Return the entries of unreadable directories with the mode that the mirror gives them: their owner may read them there."""
    parents = {path.rpartition(b"/")[0] for path in unreadable}
    return {
        entry.path: entry._replace(mode=entry.mode | stat.S_IRWXU)
        for directory, block in source_manifest.blocks()
        if directory in parents
        for entry in unpack_block(directory, block)
        if entry.path in unreadable
    }


def _entries_at(source_manifest: Manifest, paths: frozenset[bytes]) -> dict[bytes, Entry]:
    """Return the entries of some paths."""
    parents = {path.rpartition(b"/")[0] for path in paths}
    blocks = ((directory, block) for directory, block in source_manifest.blocks() if directory in parents) if paths else ()
    return {entry.path: entry for directory, block in blocks for entry in unpack_block(directory, block) if entry.path in paths}


def _with_mirrored(
    source_manifest: Manifest,
    mirror_manifest: Manifest,
    preserved: Mapping[bytes, Entry],
    stores: Mapping[bytes, str],
    protected: frozenset[bytes],
    path: str,
) -> Manifest:
    """Return the source's entries, but the mirror's for unreadable directories and protected repositories."""
    with ManifestWriter(path) as writer:
        for directory, (new, old) in merge_blocks(source_manifest, mirror_manifest):
            block = new
            if nearest_ancestor(preserved, directory) is not None:
                block = old
            elif (store := nearest_ancestor(stores, directory)) is not None and store in protected:
                entries = {entry.path: entry for entry in unpack_block(directory, new or b"") if not owns(stores, store, entry)}
                entries |= {entry.path: entry for entry in unpack_block(directory, old or b"") if owns(stores, store, entry)}
                block = b"".join(entries[path].record() for path in sorted(entries)) if entries else None
            if block is not None:
                writer.add(pack_block(directory, [block]))
        return writer.finish()
