# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Plan one unit: compare the source with what its mirror has."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
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
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_stores, innermost, kind_in, owns
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import is_directory

_logger = get_logger("mirror")


def diff_unit(
    unit: Unit,
    before: Manifest | None,
    now: Manifest,
    settings: MirrorOptions,
    *,
    saved: str = "",
    closed: Mapping[bytes, UnreadableError] = MappingProxyType({}),
    stays: Iterable[bytes] = (),
) -> UnitDiff:
    """Compare a unit with its mirror: by the last manifest, or without one (or ``full``) by looking at the mirror.

    :param saved: file that ``before`` was loaded from.
    :param closed: directories that could not be read: what the mirror has in them stays, and is taken for what they hold.
    :param stays: directories of which the same is true although nothing is wrong: something is, or was, mounted on them.
    """
    return _UnitPlanner(unit, settings, saved).plan(before, now, closed, stays)


class _UnitPlanner:
    """Plans one unit; ``now`` is the part of the source that belongs in the mirror."""

    def __init__(self, unit: Unit, settings: MirrorOptions, saved: str) -> None:
        self.unit, self.settings, self.saved = unit, settings, saved
        self.mirror = settings.mirror(unit)
        self.is_first = not unit.is_top_level and not is_directory(self.mirror)
        self.frozen: frozenset[bytes] = frozenset()
        self.notes: list[str] = []
        self.lookup = FixtureLookup(os.fsencode(unit.source), settings.scratch, settings.account, os.fsencode(self.mirror))

    def plan(self, before: Manifest | None, now: Manifest, closed: Mapping[bytes, UnreadableError], stays: Iterable[bytes]) -> UnitDiff:
        """Return what would change."""
        unit, settings = self.unit, self.settings
        shut: dict[bytes, Entry] = {}
        now, clashes = without_clashes(unit, now, target_traits.assume(settings.work), self._path(now, "without-clashes"))
        if closed:
            shut = _unreadable_entries(now, closed)
            now = patch_manifest(now, shut, self._path(now, "shut"))
        shut |= _entries_at(now, frozenset(stays))
        held = self._mirrored(before, now)
        if shut:
            now = self._keep_unreadable(now, held, shut)
        problems: list[RepomanError] = [*closed.values(), *clashes]
        if not self.is_first and not unit.is_top_level:
            now, lost = self._keep_vanished(now, held)
            problems += lost
        changes = UnitDiff(
            unit,
            now,
            held,
            self.saved,
            mirrored=0 if self.is_first else held.count(),
            first=self.is_first,
            looked=self.is_first or before is None or settings.full,
            closed=shut,
            unread=problems,
            frozen=self.frozen,
            notes=self.notes,
            fixtures=self.lookup,
            attributes=settings.xattrs or settings.acls,
        )
        changes.count()
        _logger.debug(
            "%s: compared with %s: %d to create, %d to change, %d to remove",
            unit.name,
            "no mirror" if self.is_first else "its mirror" if changes.looked else "the manifest of its mirror",
            changes.created,
            changes.changed,
            changes.removed,
        )
        return changes

    def _path(self, manifest: Manifest, what: str) -> str:
        return _sibling_path(manifest, self.settings, self.unit, what)

    def _mirrored(self, before: Manifest | None, now: Manifest) -> Manifest:
        """Return what the mirror has, or the part of a first copy that an interrupted run made."""
        unit, settings = self.unit, self.settings
        if self.is_first:
            begun = settings.new(unit)
            return compare_with_mirror(begun, now, settings, unit, None) if is_directory(begun) else Manifest()
        if before is not None and not settings.full:
            return before
        last = before or (self.saved and (Manifest.load(self.saved) or Manifest.load(self.saved + STALE_SUFFIX))) or None
        return compare_with_mirror(self.mirror, now, settings, unit, last) if is_directory(self.mirror) else Manifest()

    def _keep_unreadable(self, now: Manifest, held: Manifest, shut: Mapping[bytes, Entry]) -> Manifest:
        """Return ``now`` with what the mirror holds in directories that cannot be read; repositories that have such stay as a whole."""
        stores = find_stores(now)
        inner = {path: store for path in shut if (store := innermost(stores, path)) is not None}
        if not self.is_first:
            mirrored = find_stores(held)
            self.frozen = frozenset(
                store for path, store in inner.items() if store in mirrored and kind_in(stores, store, path) not in {"plain", "passing"}
            )
        return _carry_over_unreadable(now, held, shut, stores, self.frozen, self._path(now, "filled"))

    def _keep_vanished(self, now: Manifest, held: Manifest) -> tuple[Manifest, list[RepomanError]]:
        """Return ``now`` with repositories that only the mirror has, and an error for each."""
        lost, removed = vanished_stores.find_vanished(held, now, self.lookup, self.unit.rules)
        if self.settings.lose_repositories:
            return now, []
        self.notes = [
            f"the repository {escape_path(each)} is gone from the source; its mirror was moved to the history" for each in removed
        ]
        if lost:
            self.frozen |= vanished_stores.kept_stores(held, lost)
            now = vanished_stores.keep(now, held, lost, self._path(now, "with-vanished"))
        return now, [vanished_stores.describe(self.unit, each) for each in lost]


def _sibling_path(manifest: Manifest, settings: MirrorOptions, unit: Unit, what: str) -> str:
    """Return a path for another form of a manifest."""
    return f"{manifest.path or os.path.join(settings.scratch, f'{os.getpid()}.{abs(hash(unit.name))}')}.{what}"


def _unreadable_entries(now: Manifest, closed: Mapping[bytes, UnreadableError]) -> dict[bytes, Entry]:
    """Return the entries of unreadable directories with the mode that the mirror gives them: their owner may read them there."""
    parents = {path.rpartition(b"/")[0] for path in closed}
    return {
        entry.path: entry._replace(mode=entry.mode | stat.S_IRWXU)
        for directory, block in now.blocks()
        if directory in parents
        for entry in unpack_block(directory, block)
        if entry.path in closed
    }


def _entries_at(now: Manifest, paths: frozenset[bytes]) -> dict[bytes, Entry]:
    """Return the entries of some paths."""
    parents = {path.rpartition(b"/")[0] for path in paths}
    blocks = ((directory, block) for directory, block in now.blocks() if directory in parents) if paths else ()
    return {entry.path: entry for directory, block in blocks for entry in unpack_block(directory, block) if entry.path in paths}


def _carry_over_unreadable(
    now: Manifest, held: Manifest, shut: Mapping[bytes, Entry], stores: Mapping[bytes, str], frozen: frozenset[bytes], path: str
) -> Manifest:
    """Return the source's entries, and the mirror's for directories that cannot be read and repositories that are kept as they are."""
    with ManifestWriter(path) as writer:
        for directory, (new, old) in merge_blocks(now, held):
            block = new
            if innermost(shut, directory) is not None:
                block = old
            elif (store := innermost(stores, directory)) is not None and store in frozen:
                entries = {entry.path: entry for entry in unpack_block(directory, new or b"") if not owns(stores, store, entry)}
                entries |= {entry.path: entry for entry in unpack_block(directory, old or b"") if owns(stores, store, entry)}
                block = b"".join(entries[each].record() for each in sorted(entries)) if entries else None
            if block is not None:
                writer.add(pack_block(directory, [block]))
        return writer.finish()
