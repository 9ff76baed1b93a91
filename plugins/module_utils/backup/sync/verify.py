# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare the contents of sources and mirrors."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.verify import verify
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action, SyncReport, UnitResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.host_settings import SettingsSync
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.notes import ReportedNotes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.planner import COMPARE_WORKERS, plan_missing_source
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.selection import Selected, UnitSelection
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask, isolate_any_failure
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.unit_locks import lock_units
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RunLocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import mount_warnings
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import SAVED_SUFFIX, top_level_names
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report


class VerifyJob:
    """A run that compares and changes nothing."""

    def __init__(self, run: SyncContext) -> None:
        self.run = run
        self.notes = ReportedNotes(run.state, run.backup.account)

    def verify(self, report: Report) -> SyncReport:
        """Compare the selected units with their mirrors."""
        run = self.run
        with ExitStack() as stack:
            run.records.read()
            selected = self._select()
            busy: list[UnitTask] = []
            if run.state.is_dir():  # this host has backed up there; otherwise it has no locks, and verifying creates none
                run.locks = stack.enter_context(RunLocks(run.target, run.state, run.backup.account))
                selected, busy = lock_units(run, selected)
            settings = run.mirror_settings(stack.enter_context(tempfile.TemporaryDirectory(prefix="repoman-")))

            def compare(selection: Selected) -> UnitResult:
                return self._compare(selection, settings, report)

            report(Progress(total=sum(selection.has_source for selection in selected)))
            with ThreadPoolExecutor(run.options.jobs or COMPARE_WORKERS) as pool:
                results = [*pool.map(compare, selected), *(task.result for task in busy)]
            host_settings = SettingsSync(run)
            host_settings.verify()
            warnings = [*run.backup.warnings, *run.warnings, *host_settings.warnings]
            return SyncReport(run.target.root, results, warnings=warnings, settings=host_settings.result)

    def _select(self) -> list[Selected]:
        """Return the units to compare, without the directories that a restore had saved: the next run retires their mirrors."""
        selected = UnitSelection(self.run).select()
        return [
            selection for selection in selected if selection.has_source or self.run.options.names or not SAVED_SUFFIX.search(selection.name)
        ]

    def _compare(self, selected: Selected, settings: MirrorOptions, report: Report) -> UnitResult:
        task = UnitTask.of(selected.unit)
        if not selected.has_source:
            plan_missing_source(self.run, task)
            return task.result
        with isolate_any_failure(task):
            comparison = verify(
                task.unit,
                settings,
                self._top_level_names(task.unit),
                notes=self.notes.of(task.name),
                idle=self.run.options.idle_timeout,
            )
            task.result.differences, task.result.notes = comparison.differences, comparison.notes
            task.result.action = Action.DIFFERS if comparison.differences else Action.SAME
            self.run.warnings += mount_warnings(task.unit, comparison.skipped)
        report((task.name, task.result))
        return task.result

    def _top_level_names(self, unit: Unit) -> Iterable[bytes]:
        """Return the names of the top-level files on the target that belong to the backup."""
        return top_level_names(self.run.state, self.run.target)[0] if unit.is_top_level else ()
