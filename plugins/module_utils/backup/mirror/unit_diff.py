# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that mirroring a unit would make."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import differing_blocks, differing_entries
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, names_in_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.fixtures import FixtureLookup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.transient import TransientFilter
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError

NOTED_BYTES = 32 << 10
"""Total length of the blocks that differ up to which a plan keeps them; a run has the plans of all units in memory."""


@dataclass
class UnitDiff:
    """Changes that mirroring a unit would make.

    :param source_manifest: entries of the source.
    :param mirror_manifest: entries of the mirror.
    :param manifest_path: file with the last manifest; it is renamed before the mirror changes, so that the run after an interruption compares everything.
    :param is_first_copy: the unit has no mirror yet.
    :param fully_compared: ``mirror_manifest`` was made from the mirror itself, not loaded: its repositories are proven again.
    :param unreadable: directories that cannot be read, as the mirror has them. Both manifests have the mirror's entries in them.
    :param read_errors: why they cannot be read, and which repositories were lost.
    :param protected: repositories that contain such a directory or were lost. Their mirrors do not change: unreadable files may be needed.
    :param notes: notes on the unit.
    :param fixtures: finds repositories that are data of another one.
    :param attributes: extended attributes or access lists are backed up, so a directory has changed even if only its ``ctime_ns`` differs.
    """

    unit: Unit
    source_manifest: Manifest
    mirror_manifest: Manifest
    manifest_path: str = ""
    created: int = 0
    changed: int = 0
    removed: int = 0
    is_first_copy: bool = False
    fully_compared: bool = False
    unreadable: dict[bytes, Entry] = field(default_factory=dict)
    read_errors: list[RepomanError] = field(default_factory=list)
    protected: frozenset[bytes] = frozenset()
    notes: list[str] = field(default_factory=list)
    fixtures: FixtureLookup | None = None
    attributes: bool = False

    def __post_init__(self) -> None:
        self._is_transient = TransientFilter(self.source_manifest, self.fixtures)
        self._differing: list[tuple[bytes, bytes | None, bytes | None]] | None = None

    @property
    def total(self) -> int:
        """Return the number of entries that differ."""
        return self.created + self.changed + self.removed

    def differences(self) -> Iterator[tuple[bytes, list[tuple[Entry | None, Entry | None]]]]:
        """Yield each directory in which source and mirror differ, in order, with the pairs of entries that differ: the mirror's, the source's."""
        return (differing_entries(*blocks) for blocks in self.differing())

    def differing(self) -> Iterable[tuple[bytes, bytes | None, bytes | None]]:
        """Return each directory in which source and mirror differ, in order, with its blocks: the mirror's, the source's (None if missing)."""
        return differing_blocks(self.mirror_manifest, self.source_manifest) if self._differing is None else self._differing

    def _note_differing(self) -> None:
        """Keep the blocks that differ, if they are few: the manifests need not be compared again."""
        size = 0
        differing: list[tuple[bytes, bytes | None, bytes | None]] = []
        for blocks in differing_blocks(self.mirror_manifest, self.source_manifest):
            size += sum(len(part) for part in blocks if part)
            if size > NOTED_BYTES:
                return
            differing.append(blocks)
        self._differing = differing

    def count(self) -> None:
        """Count the changes by type."""
        self._note_differing()
        for directory, old, new in self.differing():
            if old is None and new is not None and not self._is_transient.may_apply(directory, names := names_in_block(new)):
                self.created += len(names)
                continue
            for change, _path in self._changes(directory, old, new):
                if change == "created":
                    self.created += 1
                elif change == "changed":
                    self.changed += 1
                else:
                    self.removed += 1

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield ``created``, ``changed`` or ``removed``, and the path, which is empty for the unit's own directory.

        Paths that are never mirrored are left out.
        """
        for blocks in self.differing():
            yield from self._changes(*blocks)

    def _changes(self, directory: bytes, old_block: bytes | None, new_block: bytes | None) -> Iterator[tuple[str, bytes]]:
        """Yield the changes in one directory, see :meth:`items`."""
        for old, new in differing_entries(directory, old_block, new_block)[1]:
            change = change_type(old, new, attributes=self.attributes)
            path = (new or old).path  # type: ignore[union-attr]
            if change and not self._is_transient(path):
                yield change, path


def change_type(old: Entry | None, new: Entry | None, *, attributes: bool = False) -> str:
    """Return ``created``, ``changed`` or ``removed``; empty if the two entries are the same to a mirror."""
    if old is None:
        return "created"
    if new is None:
        return "removed"
    if new.type == "d" == old.type and (old[1:4], old.mtime_ns) == (new[1:4], new.mtime_ns):
        return "changed" if attributes and old.ctime_ns != new.ctime_ns else ""
    return "changed"
