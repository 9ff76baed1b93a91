# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scan several units at once, each into its own manifest."""

from __future__ import annotations

import os
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest, ManifestWriter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import imap_forked, map_forked

_logger = get_logger("scan")

T = TypeVar("T")
Job = tuple[Unit, tuple[str, ...], str]


def scan_in_memory(unit: Unit) -> Manifest:
    """Return the manifest of a unit, in memory.

    :raises UnreadableError: one of its directories cannot be read.
    :raises FileNotFoundError: it is not there.
    """
    return Manifest(b"".join(walk_blocks(os.fsencode(unit.source), files_only=unit.is_top_level, tree=TreeFilter(unit.rules))))


@dataclass
class ScanResult:
    """The result of scanning a unit.

    :param digest: digest of the manifest; empty if the scan failed.
    :param path: file with the manifest; empty if it has the trusted digest, or if the scan failed.
    :param error: why it failed.
    :param unreadable: directories that cannot be read.
    :param skipped: directories at which another file system is mounted, which was not scanned.
    :param followed: directories at which another file system is mounted, which was scanned.
    :param excluded: number of excluded entries.
    """

    unit: Unit
    digest: str = ""
    path: str = ""
    error: RepomanError | None = None
    unreadable: dict[bytes, UnreadableError] = field(default_factory=dict)
    skipped: list[bytes] = field(default_factory=list)
    followed: list[bytes] = field(default_factory=list)
    excluded: int = 0

    def manifest(self) -> Manifest:
        """Return the manifest."""
        return Manifest(path=self.path, digest=self.digest)


def scan_unit(unit: Unit, known_digests: Container[str], path: str) -> ScanResult:
    """Scan a unit, and write its manifest to a file unless it has one of the known digests."""
    tree = TreeFilter(unit.rules)
    result = ScanResult(unit, skipped=tree.skipped, followed=tree.followed)
    try:
        with ManifestWriter(path) as writer:
            for block in walk_blocks(os.fsencode(unit.source), files_only=unit.is_top_level, unreadable=result.unreadable, tree=tree):
                writer.add(block)
            result.excluded, result.digest = tree.excluded, writer.digest
            if writer.digest not in known_digests:
                writer.finish()
                result.path = path
            return result
    except RepomanError as error:
        return ScanResult(unit, error=error)
    except OSError as error:
        return ScanResult(unit, error=RepomanError(f"{unit.source} cannot be read: {error.strerror}."))
    except Exception as error:  # whatever it is, it is this unit's alone
        return ScanResult(unit, error=RepomanError(f"{unit.source} cannot be read: {format_exception(error)}."))


def format_exception(error: Exception) -> str:
    """Return an unexpected error as text: its type and message."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()


def _jobs(units: Iterable[Unit], trusted_digests: Mapping[str, str], scratch: str) -> list[Job]:
    """Return the arguments of :func:`scan_unit` for each unit."""
    return [(unit, (trusted_digests.get(unit.name, ""),), os.path.join(scratch, f"{number}.manifest")) for number, unit in enumerate(units)]


def iter_scans(
    units: Iterable[Unit],
    trusted_digests: Mapping[str, str],
    scratch: str,
    then: Callable[[ScanResult], T] | None,
    early: Callable[[Unit], ScanResult | None] = lambda _unit: None,
) -> Iterator[tuple[ScanResult, T | None]]:
    """Scan units in parallel, and yield each result when it is ready.

    :param trusted_digests: digest of each unit's last manifest, by the unit's name.
    :param scratch: local directory for the manifests of units that differ.
    :param early: returns the result of an earlier scan of a unit, if any; called in the process that would scan it.
    :param then: called with each result in the process that scanned the unit; what it returns is yielded too, otherwise None.
    """
    jobs = _jobs(units, trusted_digests, scratch)

    def work(job: Job, _send: object) -> tuple[ScanResult, T | None]:
        result = early(job[0]) or scan_unit(*job)
        return result, then(result) if then else None

    def lost(job: Job) -> tuple[ScanResult, T | None]:
        error = RepomanError(
            f"{job[0].source} cannot be read: the process that scanned it was killed.",
            "was there enough memory? journalctl -k -g 'Out of memory'",
        )
        return ScanResult(job[0], error=error), None

    for _number, (result, more) in imap_forked(work, jobs, os.cpu_count() or 1, lost=lost):
        outcome = "cannot be read" if result.error else "differs from its manifest" if result.path else "is as in its manifest"
        _logger.debug("%s: scanned: it %s", result.unit.name, outcome)
        yield result, more


def scan_units(units: Iterable[Unit], trusted_digests: Mapping[str, str], scratch: str, *, processes: int = 0) -> list[ScanResult]:
    """Scan several units at once.

    :param trusted_digests: digest of each unit's last manifest, by the unit's name.
    :param scratch: local directory for the manifests of units that differ.
    :param processes: number of processes; by default one for each processor.
    :return: a result for each unit, in the given order.
    """
    return map_forked(lambda job: scan_unit(*job), _jobs(units, trusted_digests, scratch), processes or os.cpu_count() or 1)
