# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup run, in the child process that may touch the target. Check mode is the same run without its changes.

1. Take the local locks, which are in the state directory and not on the target: everything that is read afterwards stays valid.
2. Read source and target once, and plan (see ``plan.py``). A request that cannot be fulfilled fails here.
3. Plan the units in waves (see ``waves.py``): all of them at once, unless that takes so long that finished ones would wait.
   A first copy is fast because the first units are copied while others are still compared, so a wave is applied before the next one is
   planned. The first wave is planned before anything is written, which costs no time: it must be complete anyway.
4. Compare the host's settings (see ``host_settings.py``); they are backed up before the first unit, or alone if only they are named.
5. With the first unit that is not refused, change the target for the first time (see ``target_preparation.py``). If there is no such
   unit, the target is not changed: no version expires because of a run that backs up nothing.
6. Apply each wave (see ``apply.py``).
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action, SyncReport
from ansible_collections.homelab.repoman.plugins.module_utils.backup.run_log import RunLog
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.apply import Applier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.early_scan import EarlyScans
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.host_settings import SettingsSync
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.plan import has_work, make_plan
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.planner import UnitPlanner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.records import usable_state
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.target_preparation import TargetPreparation
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RunLocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import marker_path
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import decode_path, escape_path_uniquely
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report

DIFF_SIGNS = {"created": "+", "changed": "~", "removed": "-"}


class SyncJob:
    """A backup run, or in check mode its prediction, which writes nothing but local temporary files."""

    def __init__(self, run: SyncContext) -> None:
        self.run = run
        self.host_settings = SettingsSync(run)
        self.diff: list[dict[str, str]] = []

    def sync(self, report: Report) -> SyncReport:
        """Plan the run, and apply the plan unless in check mode."""
        run = self.run
        with ExitStack() as stack:
            scratch = self._open_for_check(stack) if run.check else self._lock(stack)
            plan = make_plan(run)
            if not run.check:
                plan.source.apply()
            early = EarlyScans.stopped()
            # With a temporary state nothing tells whether another run was quicker; after a killed restore was finished, the scans are outdated.
            if run.state == run.backup.state(run.target) and not plan.source.descriptions:
                run.early = early
            settings = run.mirror_settings(scratch)
            planner = UnitPlanner(run, settings)
            waves = planner.plan(plan.selected)
            self.host_settings.plan(full=planner.compares_mirrors)
            if run.check:
                for wave in waves:
                    self._add_diff(wave)
                changes_target = self._has_work(waves.tasks, waves.tasks)
                steps, expired = plan.predicted_steps(changes_target), plan.expiry.names if changes_target else []
                if not changes_target:
                    self.host_settings.skip()
            else:
                changes_target = self._apply(planner, waves, waves.tasks, TargetPreparation(run, plan, settings, stack), report)
                steps, expired = plan.applied_steps(changes_target), plan.expiry.removed
            take_over = plan.take_over if changes_target else None
            return SyncReport(
                target=run.target.root,
                units=[task.result for task in (*waves.tasks, *plan.busy)],
                settings=self.host_settings.result,
                steps=[*steps, *self.host_settings.steps()],
                expired=expired,
                warnings=[
                    *run.backup.warnings,
                    *run.warnings,
                    *plan.warnings,
                    *self.host_settings.warnings,
                    *(warning for task in waves.tasks for warning in task.warnings),
                ],
                diff=[
                    *(take_over.diff if take_over and run.options.diff else []),
                    *self.diff,
                    *(self.host_settings.diff() if run.options.diff else []),
                ],
                unverified=sum(run.left_out.unverified(task.name) for task in waves.tasks),
                previous_owner=take_over.result() if take_over else None,
            )

    def _open_for_check(self, stack: ExitStack) -> str:
        """Return a directory for temporary files."""
        return stack.enter_context(tempfile.TemporaryDirectory(prefix="repoman-"))

    def _lock(self, stack: ExitStack) -> str:
        """Open this run's locks, in a state directory that can be written; return a directory for temporary files."""
        run = self.run
        missing = [directory for directory in (run.state, *run.state.parents) if not directory.exists()]
        run.state, warning = stack.enter_context(usable_state(run.state, run.backup.account))
        run.warnings += [warning] if warning else []
        if run.target_state.is_new and run.state in missing:
            stack.callback(self._forget_state, missing)
        run.locks = locks = stack.enter_context(RunLocks(run.target, run.state, run.backup.account))
        locks.check_other_hosts()
        return stack.enter_context(locks.private_directory(run.state / "scratch"))

    def _forget_state(self, missing: Iterable[Path]) -> None:
        """Remove the state of a target that was not initialized.

        :param missing: the directories that did not exist before, the innermost first.
        """
        if os.path.lexists(marker_path(self.run.target.root)):
            return
        shutil.rmtree(self.run.state, ignore_errors=True)
        for directory in missing:
            with suppress(OSError):
                directory.rmdir()

    def _apply(
        self, planner: UnitPlanner, waves: Iterable[list[UnitTask]], tasks: list[UnitTask], preparation: TargetPreparation, report: Report
    ) -> bool:
        """Apply each wave when it is planned; return whether the target was changed."""
        run, plan = self.run, preparation.plan
        settings: MirrorOptions | None = None
        try:
            with RunLog(run.backup.logdir, run.backup.account, run.now) as log:
                for task in plan.busy:
                    log.write(task.result.as_dict())
                report(Progress(total=sum(not task.is_absent for task in tasks)))
                applier = Applier(run, log, report)
                for wave in waves:
                    if settings is None and not self._has_work(wave, tasks):
                        applier.refuse(wave)
                        continue
                    if settings is None:
                        settings = preparation.apply()
                        self.host_settings.apply(applier.version)
                        log.write(self.host_settings.result.as_dict())
                    planner.replan_outdated(wave)
                    self._add_diff(wave)
                    applier.apply(wave, settings)
            run.warnings += log.problems
        except RunInterruptedError:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a second signal must not stop what this run still has to close
            raise
        if settings is None:
            self.host_settings.skip()
        else:
            plan.expiry.finish()
        return settings is not None

    def _has_work(self, planned: Iterable[UnitTask], everything: list[UnitTask]) -> bool:
        """Return whether planned units, or the settings if the run is only about them, are a reason to change the target."""
        is_refused = self.run.options.only_settings and self.host_settings.result.action == Action.FAILED
        return not is_refused and has_work(planned, everything)

    def _add_diff(self, tasks: Iterable[UnitTask]) -> None:
        """Add the changes of each unit, as a list of paths."""
        if not self.run.options.diff:
            return
        for task in tasks:
            if task.changes is not None:
                name = decode_path(os.fsencode(task.name))
                items = sorted((path, DIFF_SIGNS[change_type]) for change_type, path in task.changes.items())
                self.diff.append({"prepared": "".join(f"{sign} {name}/{escape_path_uniquely(path)}\n" for path, sign in items)})
