# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A backup run, in the child process that may touch the target."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.work_directories import prepare_directories
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action, SyncReport
from ansible_collections.homelab.repoman.plugins.module_utils.backup.run_log import RunLog
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import sweep_repositories
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.apply import Applier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.planner import UnitPlanner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.records import usable_state
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.selection import Selected, UnitSelection
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import HISTORY, RESTORES, RunLocks, another_run, busy_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import adopt
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import remove_directory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.probe import check_writable
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import decode_path, escape_path_uniquely
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report

DIFF_SIGNS = {"created": "+", "changed": "~", "removed": "-"}


class SyncJob:
    """A backup run."""

    def __init__(self, run: SyncContext) -> None:
        self.run = run
        self.target = run.target
        self.selection = UnitSelection(run)

    def sync(self, report: Report) -> SyncReport:
        """Back up."""
        run = self.run
        with ExitStack() as stack:
            if run.target_state.is_new:
                adopt(run.backup.roots, self.target)
            locks = self._lock_target(stack)
            self._finish_restores(locks)
            selected, busy = lock_units(run, self.selection.select())
            settings = run.mirror_settings(stack.enter_context(locks.private_directory(run.state / "scratch")))
            past = history.load(self.target, run.now.timestamp())
            clock = run.records.current.clock
            expiring = past.expired(clock, run.options.keep_days)
            with suppress(OSError):  # old versions may be what fills the target; if they cannot be removed, the second try below says so
                self._expire(expiring, locks)
            settings = self._prepare(stack, settings, locks)
            check_writable(run.backup.roots, self.target)
            locks.acquire_host_lock()
            waves = UnitPlanner(run, settings).plan(selected)
            diff: list[dict[str, str]] = []
            with RunLog(run.backup.logdir, run.backup.account, run.now) as log:
                for task in busy:
                    log.write(task.result.as_dict())
                applier = Applier(run, settings, log, report)
                for wave in waves:
                    diff += self._diff(wave)
                    applier.apply(wave)
            expired = self._expire(expiring, locks)
            run.warnings += past.warnings(clock, run.options.keep_days) + log.problems
            return self._report([*waves.tasks, *busy], expired, diff)

    def predict(self, _report: Report) -> SyncReport:
        """Plan the run, and write nothing but local temporary files."""
        run = self.run
        with tempfile.TemporaryDirectory(prefix="repoman-") as scratch:
            run.records.read()
            past = history.load(self.target, run.now.timestamp())
            waves = UnitPlanner(run, run.mirror_settings(scratch)).plan(self.selection.select())
            diff = [each for wave in waves for each in self._diff(wave)]
            clock, keep_days = run.records.current.clock, run.options.keep_days
            run.warnings += past.warnings(clock, keep_days)
            return self._report(waves.tasks, past.expired(clock, keep_days), diff)

    def _lock_target(self, stack: ExitStack) -> RunLocks:
        """Open this run's locks, in a state directory that can be written."""
        run = self.run
        run.state, warning = stack.enter_context(usable_state(run.state, run.backup.account))
        run.warnings += [warning] if warning else []
        run.locks = locks = stack.enter_context(RunLocks(self.target, run.state, run.backup.account))
        locks.check_other_hosts()
        run.records.read()
        return locks

    def _finish_restores(self, locks: RunLocks) -> None:
        """Finish what killed restores left in the repositories, so that their directories are not backed up."""
        root = self.run.repos_root
        with locks.exclusive(RESTORES) as alone:
            saved = sweep_repositories(root, [unit.name for unit in list_units(root) if not unit.loose], alone)
        self.run.warnings += [f"A restore that was killed had replaced a directory; its previous contents are in {path}." for path in saved]

    def _prepare(self, stack: ExitStack, settings: MirrorOptions, locks: RunLocks) -> MirrorOptions:
        """Make this run's directory on the target, and remove those of failed runs: they may be what fills the target.

        :raises RepomanError: the target cannot be written.
        """
        try:
            temporaries = locks.private_directory(self.target.internal_path("work"), stays=("new",))
            settings = replace(settings, temporaries=stack.enter_context(temporaries))
            with suppress(OSError):
                names = {unit.name for unit in list_units(self.run.repos_root)} - self.selection.excluded.keys()
                prepare_directories(settings, names)
        except OSError:
            check_writable(self.run.backup.roots, self.target)
            raise
        return settings

    def _expire(self, names: list[str], locks: RunLocks) -> list[str]:
        """Remove expired versions and return them; if another run reads the history, leave them to the next run."""
        with locks.exclusive(HISTORY) as alone:
            if not alone:
                return []
            for name in names:
                if self.target.internal_path("kept", name).is_dir():
                    remove_directory(self.target.internal_path("kept", name))
                history.remove_created(self.target, name)
        return names

    def _report(self, tasks: list[UnitTask], expired: list[str], diff: list[dict[str, str]]) -> SyncReport:
        run = self.run
        steps = [f"make {self.target.root} the backup of {run.repos_root}"] if run.target_state.is_new else []
        steps += [f"remove the versions saved at {name}, older than {run.options.keep_days} days" for name in expired]
        return SyncReport(
            target=self.target.root,
            units=[task.result for task in tasks],
            steps=steps,
            expired=expired,
            warnings=[*run.backup.warnings, *run.warnings, *(warning for task in tasks for warning in task.warnings)],
            diff=diff,
        )

    def _diff(self, tasks: Iterable[UnitTask]) -> list[dict[str, str]]:
        """Return what changes, as a list of paths for each unit."""
        if not self.run.options.diff:
            return []
        diffs = []
        for task in tasks:
            if task.changes is not None:
                name = decode_path(os.fsencode(task.name))
                items = sorted((path, DIFF_SIGNS[kind]) for kind, path in task.changes.items())
                diffs.append({"prepared": "".join(f"{sign} {name}/{escape_path_uniquely(path)}\n" for path, sign in items)})
        return diffs


def lock_units(run: SyncContext, selected: list[Selected]) -> tuple[list[Selected], list[UnitTask]]:
    """Lock units; return the locked ones, and failed tasks for those that other runs work on.

    :raises ConflictError: other runs work on all of them.
    """
    held = run.held_locks.try_lock([each.name for each in selected], noted=not run.options.verify)
    if held and len(held) == len(selected):
        raise busy_error(*next(iter(held.items())), run.state) if len(held) == 1 else another_run(run.target, run.state)
    run.records.read()
    busy = []
    for each in selected:
        if each.name in held:
            task = UnitTask.of(each.unit)
            task.is_absent = True
            task.result.fail(busy_error(each.name, held[each.name], run.state), Action.BUSY)
            busy.append(task)
    return [each for each in selected if each.name not in held], busy
