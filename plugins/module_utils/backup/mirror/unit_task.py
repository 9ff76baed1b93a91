# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""State that all parts of the work on one unit share."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import GitMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.hg_mirror import HgMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import nearest_ancestor, owns
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import MirrorResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import remove_directory
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError

PROOF_MARKERS = {"git": b"HEAD", "hg": b"requires"}
"""The file of a repository whose entry in the manifest has no ``ctime_ns`` while the repository is damaged: the next run proves it again."""


class UnitTask:
    """The state of the work on one unit: results so far, and the function that reports progress."""

    def __init__(self, changes: UnitDiff, settings: MirrorOptions, send: Callable[[Any], None], pool: ThreadPoolExecutor | None) -> None:
        self.changes, self.settings, self.unit = changes, settings, changes.unit
        self.send, self.pool = send, pool
        self.started_copier: Copier | None = None
        self.activity = ""
        self.last_report = time.monotonic()
        self.unreported = [0, 0]
        self.actual_entries: dict[bytes, Entry | None] = {}
        self.errors: list[RepomanError] = [*changes.read_errors]
        self.damaged: list[GitMirror | HgMirror] = []
        self.verdicts: dict[str, str] = {}
        self.dirty_directories: set[bytes] = set()
        self.stores: dict[bytes, str] = {}
        self.name = os.fsencode(self.unit.name)

    @property
    def copier(self) -> Copier:
        """The copier of this unit's mirror."""
        if self.started_copier is None:
            raise RuntimeError("the work on this unit has not begun")
        return self.started_copier

    def outcome(self, state: str, error: RepomanError | None = None) -> MirrorResult:
        """Return the result so far."""
        self.send((self.unit.name, "", *self.unreported))
        result = MirrorResult(self.unit, state, error)
        if self.started_copier is not None:
            result.files, result.bytes, result.kept_bytes = (
                self.started_copier.files,
                self.started_copier.bytes,
                self.started_copier.kept_bytes,
            )
            result.notes = sorted({*self.started_copier.notes, *self.changes.notes})
        return result

    def clear(self, full: bool) -> None:
        """Remove unfinished files; on a full target also an unfinished first copy, to leave its space to other units."""
        with suppress(OSError):
            if self.started_copier is not None:
                self.started_copier.clear()
            if full and self.changes.is_first_copy:
                remove_directory(Path(self.settings.new(self.unit)))

    def close(self) -> None:
        """Close the copier."""
        if self.started_copier is not None:
            self.started_copier.close()

    def set_activity(self, activity: str) -> None:
        """Report the current activity on the unit."""
        self.activity = activity
        self.report(0, 0, is_forced=True)

    def report(self, files: int, size: int, *, is_forced: bool = False) -> None:
        """Report progress, five times a second at most.

        :param files: entries written or removed since the last call.
        :param size: bytes copied since then.
        """
        self.unreported[0] += files
        self.unreported[1] += size
        if is_forced or time.monotonic() - self.last_report > 0.2:  # noqa: PLR2004 - seconds; a terminal needs no more
            files, size = self.unreported
            self.unreported = [0, 0]
            self.last_report = time.monotonic()
            self.send((self.unit.name, self.activity, files, size))

    def _store(self, directory: bytes) -> bytes | None:
        """Return the innermost repository that a directory belongs to."""
        return nearest_ancestor(self.stores, directory) if self.stores else None

    def _is_repository_data(self, store: bytes, entry: Entry) -> bool:
        return owns(self.stores, store, entry)
