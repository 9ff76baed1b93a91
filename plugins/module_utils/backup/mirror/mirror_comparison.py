# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare the mirror itself with its source, if the last manifest is missing or cannot be trusted."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import merge_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, pack_block, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest, ManifestWriter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import REACH, walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter, TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import target_traits
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.attributes import same_attributes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import same_contents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.file_copier import TIMESTAMP_GRANULARITY_NS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hard_links import hardlink_groups
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.metadata import safe_mode
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_task import PROOF_MARKERS

CLOCK_SKEW_NS = 60 * 10**9
"""A source file that changed after its copy was made, or so shortly before it that clocks may differ, is compared."""


def compare_with_mirror(mirror: str, source_manifest: Manifest, settings: MirrorOptions, unit: Unit, last: Manifest | None) -> Manifest:
    """Return the contents of a mirror as a manifest: the source's entries if they are equal, otherwise the mirror's.

    Of top-level files, only those in the last manifest belong to the mirror: others may be older than the backup.

    :param last: an earlier manifest of the mirror. Files that have changed in the source since then are compared even if size and time
        are equal.
    """
    with ExitStack() as stack:
        tops = []
        for path in (unit.source, mirror):
            tops.append(os.open(path, REACH))
            stack.callback(os.close, tops[-1])
        return _compared(tops[0], tops[1], source_manifest, settings, unit, last)


def _compared(
    source: int, target: int, source_manifest: Manifest, settings: MirrorOptions, unit: Unit, last_manifest: Manifest | None
) -> Manifest:
    path = os.path.join(settings.scratch, f"{os.getpid()}.{abs(hash(unit.name))}.mirror")
    with ManifestWriter(path) as writer:
        for block in walk_blocks(
            target, files_only=unit.is_top_level, display_path=os.fsencode(settings.mirror(unit)), tree=TreeFilter(TreeRules())
        ):
            writer.add(block)
        mirror_manifest = writer.finish()
    comparison = _Comparison(source, target, source_manifest, mirror_manifest, settings, unit)
    with ManifestWriter(path) as writer:
        for directory, (old, new, previous) in merge_blocks(mirror_manifest, source_manifest, last_manifest or Manifest()):
            if old is not None:
                writer.add(pack_block(directory, comparison.records(directory, old, new or b"", previous or b"")))
        return writer.finish()


class _Comparison:
    """Compares the mirror's manifest with the source's.

    :param source: open directory of the unit.
    :param target: open directory of its mirror.
    """

    def __init__(
        self, source: int, target: int, source_manifest: Manifest, mirror_manifest: Manifest, settings: MirrorOptions, unit: Unit
    ) -> None:
        self.source, self.target, self.unit = source, target, unit
        self.root = os.geteuid() == 0
        self.traits = target_traits.assume(settings.work)
        self.tick = target_traits.tick(self.traits, (entry.mtime_ns for entry in mirror_manifest.entries() if entry.type != "l"))
        self.xattrs, self.acls = settings.xattrs, settings.acls
        mounts = bool(unit.rules.mounts)
        self.source_links, self.mirror_links = (
            (hardlink_groups(source_manifest, mounts), hardlink_groups(mirror_manifest, mounts)) if self.traits.links else ({}, {})
        )

    def records(self, directory: bytes, old: bytes, new: bytes, previous: bytes) -> list[bytes]:
        """Return the records of a directory of the mirror: the source's for entries that are equal or that the target cannot store."""
        entries = {entry.path: entry for entry in unpack_block(directory, new)}
        previous_entries = {entry.path: entry for entry in unpack_block(directory, previous)}
        records: dict[bytes, bytes] = {}
        for mirrored in unpack_block(directory, old):
            entry, previous_entry = entries.pop(mirrored.path, None), previous_entries.get(mirrored.path)
            if entry is not None and self.is_equal(mirrored, entry, previous_entry):
                records[mirrored.path] = entry.record()
            elif entry is not None or previous_entry is not None or not self.unit.is_top_level:
                records[mirrored.path] = mirrored._replace(ctime_ns=0).record()
        records |= {path: entry.record() for path, entry in entries.items() if not self.traits.can_have(entry)}
        return [records[path] for path in sorted(records)]

    def is_equal(self, mirrored: Entry, entry: Entry, previous: Entry | None) -> bool:
        """Return whether an entry of the mirror equals the source's.

        :param previous: the mirror's entry when it was last written.
        """
        if not self._alike(mirrored, entry) or (previous is not None and not previous.ctime_ns and previous.name in PROOF_MARKERS.values()):
            return False
        if (self.xattrs or self.acls) and not same_attributes(self.source, self.target, entry.path, xattrs=self.xattrs, acls=self.acls):
            return False
        if entry.type != "f" or (previous in (None, entry) and entry.ctime_ns + CLOCK_SKEW_NS < mirrored.ctime_ns):
            return True
        return time.time_ns() - entry.ctime_ns > TIMESTAMP_GRANULARITY_NS and same_contents(self.source, self.target, entry.path)

    def _alike(self, mirrored: Entry, entry: Entry) -> bool:
        mode = safe_mode(entry.mode, entry[2:4], mirrored[2:4]) if entry.type == "f" else entry.mode
        if mirrored.mode != mode and (mirrored.type != entry.type or self.traits.modes):
            return False
        if mirrored.link != entry.link or not target_traits.same_time(mirrored.mtime_ns, entry.mtime_ns, self.tick):
            return False
        if self.root and self.traits.owners and (mirrored.uid, mirrored.gid) != (entry.uid, entry.gid):
            return False
        if entry.type == "d":
            return True
        return (entry.type == "l" or mirrored.size == entry.size) and self.mirror_links.get(mirrored.path) == self.source_links.get(
            mirrored.path
        )
