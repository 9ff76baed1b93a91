# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirrors of units: what would change, making it so, and looking whether it is so."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.scan import Manifest, Unit


@dataclass(frozen=True)
class Settings:
    """How a run mirrors.

    :param target: ``backup_root``.
    :param kept: directory of this run under ``.repoman/kept``, on the target; unit ``u``'s things go to ``kept/u``.
    :param work: directory on the target for what is not in place yet (``.repoman/work``).
    :param scratch: local directory, ours alone, that is gone after the run.
    :param full: compare everything with the mirror, whatever the last manifest says.
    :param xattrs: keep extended attributes.
    :param acls: keep access lists.
    :param account: uid and gid that git and hg run as, where the run is root's.
    :param tries: how often a repository that is being written is tried.
    :param far: each operation on the target costs a round trip.
    :param jobs: units at once; 0 chooses.
    """

    target: str
    kept: str
    work: str
    scratch: str
    full: bool = False
    xattrs: bool = False
    acls: bool = False
    account: tuple[int, int] | None = None
    tries: int = 8
    far: bool = False
    jobs: int = 0


@dataclass
class Changes:
    """What mirroring a unit would change.

    :param mirrored: entries that the mirror has now (the shrink guard compares ``removed`` with it).
    :param first: there is no mirror yet.
    """

    unit: Unit
    now: Manifest
    before: Manifest
    created: int = 0
    changed: int = 0
    removed: int = 0
    mirrored: int = 0
    first: bool = False

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield ``created``, ``changed`` or ``removed``, and the path."""
        raise NotImplementedError


@dataclass
class Outcome:
    """What mirroring one unit came to.

    :param state: ``synced``, ``up to date``, ``too busy`` or ``failed``.
    :param manifest: file (in scratch) with the manifest to save: what the mirror holds now; empty unless synced.
    :param digest: of that manifest: what to save and to stamp.
    :param settled: the mirror is all that the scan saw; otherwise some things are left for the next run.
    :param files: entries written or removed.
    :param bytes: contents copied.
    :param kept_bytes: contents moved to kept.
    """

    unit: Unit
    state: str
    error: RepomanError | None = None
    manifest: str = ""
    digest: str = ""
    settled: bool = True
    files: int = 0
    bytes: int = 0
    kept_bytes: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Tally:
    """Live counters of a run.

    :param files: entries written or removed.
    :param bytes: contents copied.
    :param running: units under way, with what is being done to them.
    """

    files: int = 0
    bytes: int = 0
    running: dict[str, str] = field(default_factory=dict)


def plan(unit: Unit, before: Manifest | None, now: Manifest, settings: Settings) -> Changes:
    """Compare a unit with its mirror: by the last manifest, or without one (or ``full``) by looking at the mirror."""
    raise NotImplementedError


def mirror(wanted: Sequence[Changes], settings: Settings, tally: Tally) -> Iterator[Outcome]:
    """Bring mirrors up to date, several at once, and yield each outcome as it is known."""
    raise NotImplementedError


def verify(unit: Unit, settings: Settings) -> list[str]:
    """Compare contents of source and mirror, and let git and hg check the mirror's repositories; changes nothing."""
    raise NotImplementedError
