# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirror units, several at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import format_exception
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import BusyError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import MirrorResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_mirror import UnitMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.write_errors import NO_SPACE, unit_error
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import imap_forked

_logger = get_logger("mirror")

REMOTE_THREADS = 16
REMOTE_UNITS = 16
"""Units mirrored at once on a remote target: each one mostly waits for it."""


def mirror_units(changes: Sequence[UnitDiff], settings: MirrorOptions, progress: Progress) -> Iterator[MirrorResult]:
    """Update several mirrors at once, and yield each result when it is ready.

    :param changes: the units to mirror; it is fastest to start with large ones.
    """
    umask = os.umask(0)
    try:
        processors = os.cpu_count() or 1
        concurrency = settings.jobs or processors + 1  # each waits for git now and then
        if settings.is_remote:
            concurrency = settings.jobs or REMOTE_UNITS
        processes = min(concurrency, processors) if settings.is_remote else concurrency
        for _number, outcome in imap_forked(
            _Worker(settings), changes, processes, concurrency=concurrency, on_message=progress.apply, lost=_killed
        ):
            progress.running.pop(outcome.unit.name, None)
            why = f": {outcome.error.message}" if outcome.error else ""
            _logger.debug("%s: %s, %d files, %d bytes%s", outcome.unit.name, outcome.state, outcome.files, outcome.bytes, why)
            yield outcome
    finally:
        os.umask(umask)


def _killed(changes: UnitDiff) -> MirrorResult:
    """Return the outcome of a unit whose process was killed."""
    error = MirrorError(
        f"{escape_path(os.fsencode(changes.unit.name))}: the process that mirrored it was killed; its mirror was not finished.",
        "was there enough memory? journalctl -k -g 'Out of memory'",
    )
    return MirrorResult(changes.unit, "failed", error)


class _Worker:
    """Mirrors one unit after the other in its process."""

    def __init__(self, settings: MirrorOptions) -> None:
        self.settings = settings
        self.pool: ThreadPoolExecutor | None = None

    def __call__(self, changes: UnitDiff, send: Callable[[Any], None]) -> MirrorResult:
        if self.settings.is_remote and self.pool is None:
            self.pool = ThreadPoolExecutor(REMOTE_THREADS)
        task = UnitMirror(changes, self.settings, send, self.pool)
        state = "failed"
        error: RepomanError
        full = False
        try:
            try:
                return task.run()
            except RunInterruptedError:
                raise
            except BusyError as busy:
                state, error = "too busy", busy
            except RepomanError as failure:
                error = failure
            except OSError as failure:
                unit, settings = changes.unit, self.settings
                error = unit_error(unit.name, unit.source, settings.mirror(unit), settings.scratch, failure)
                full = failure.errno in NO_SPACE
            except Exception as failure:  # whatever it is, it is this unit's alone
                error = MirrorError(f"{changes.unit.name}: its mirror could not be written: {format_exception(failure)}.")
            task.clear(full)
        finally:
            task.close()
        return task.outcome(state, error)
