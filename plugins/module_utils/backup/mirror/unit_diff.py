# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Changes that mirroring a unit would make."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import diff_manifests
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.fixtures import FixtureLookup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.transient import TransientFilter
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError


@dataclass
class UnitDiff:
    """Changes that mirroring a unit would make.

    :param now: what the source has.
    :param before: what the mirror has.
    :param saved: file with the last manifest, which goes before the mirror is touched: an interrupted run is followed by a full comparison.
    :param mirrored: entries that the mirror has (the shrink guard compares ``removed`` with it).
    :param first: the unit has no mirror yet.
    :param looked: ``before`` is what the mirror was seen to have, not the last manifest: its repositories are proven again.
    :param closed: directories that cannot be read, as the mirror has them: what is in them stays as ``before``, and ``now``, have it.
    :param unread: why they cannot, and which repositories were lost.
    :param frozen: repositories that have such a directory or were lost, and stay as the mirror has them: it is whole, and what is not seen
        may be needed.
    :param notes: notes on the unit.
    :param fixtures: tells which repositories are data of another.
    :param attributes: extended attributes or access lists are kept: a directory whose ``ctime_ns`` alone differs may have others.
    """

    unit: Unit
    now: Manifest
    before: Manifest
    saved: str = ""
    created: int = 0
    changed: int = 0
    removed: int = 0
    mirrored: int = 0
    first: bool = False
    looked: bool = False
    closed: dict[bytes, Entry] = field(default_factory=dict)
    unread: list[RepomanError] = field(default_factory=list)
    frozen: frozenset[bytes] = frozenset()
    notes: list[str] = field(default_factory=list)
    fixtures: FixtureLookup | None = None
    attributes: bool = False

    def __post_init__(self) -> None:
        self._passing = TransientFilter(self.now, self.fixtures)

    @property
    def total(self) -> int:
        """Return how many entries differ."""
        return self.created + self.changed + self.removed

    def count(self) -> None:
        """Count what differs, by kind."""
        for what, _path in self.items():
            if what == "created":
                self.created += 1
            elif what == "changed":
                self.changed += 1
            else:
                self.removed += 1

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield ``created``, ``changed`` or ``removed``, and the path; empty for the unit's own directory. Paths that are never mirrored are left out."""
        for _directory, pairs in diff_manifests(self.before, self.now):
            for old, new in pairs:
                if (what := change_type(old, new, attributes=self.attributes)) and not self._passing(path := (new or old).path):  # type: ignore[union-attr]
                    yield what, path


def change_type(old: Entry | None, new: Entry | None, *, attributes: bool = False) -> str:
    """Return ``created``, ``changed`` or ``removed``; empty if the two entries are the same to a mirror."""
    if old is None:
        return "created"
    if new is None:
        return "removed"
    if new.type == "d" == old.type and (old[1:4], old.mtime_ns) == (new[1:4], new.mtime_ns):
        return "changed" if attributes and old.ctime_ns != new.ctime_ns else ""
    return "changed"
