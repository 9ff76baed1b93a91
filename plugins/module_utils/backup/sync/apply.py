# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Apply the plans of units: mirror them, retire mirrors, and record the results."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import partial

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import MirrorResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.backup.run_log import RunLog
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.notes import ReportedNotes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.records import EMPTY_RECORD
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask, isolate_failure
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.version import RunVersion
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report

RECORD_SECONDS = 2.0
"""Interval at which the records of finished units are written."""
TALLY_SECONDS = 0.2
"""Interval at which progress is reported."""
ACTION_OF_STATE = {"synced": Action.SYNCED, "up to date": Action.UNCHANGED, "too busy": Action.BUSY, "failed": Action.FAILED}
"""Actions for the states that the mirror engine returns."""


class Applier:
    """Applies the tasks of one run, wave by wave.

    :param report: takes :class:`Progress`, and pairs of a unit's name and its result.
    """

    def __init__(self, run: SyncContext, log: RunLog, report: Report) -> None:
        self.run, self.log, self.report = run, log, report
        self.records, self.locks = run.records, run.held_locks
        self.version = RunVersion(run)
        self.notes = ReportedNotes(run.state, run.backup.account)

    def refuse(self, tasks: Sequence[UnitTask]) -> None:
        """Log and report tasks that need no work, and do not change the target."""
        self._save_left_out(tasks)
        for task in tasks:
            self.report_result(task)
            self.locks.unlock(task.name)

    def apply(self, tasks: Sequence[UnitTask], settings: MirrorOptions) -> None:
        """Apply the tasks of one wave. Each result goes into its task, the log and a report."""
        copying = [task for task in tasks if task.changes is not None]
        ensure_private_directory(str(self.run.state / "manifests"), self.run.backup.account)
        self._save_left_out(tasks)
        if copying or any(task.result.action == Action.RETIRED for task in tasks):
            settings = self.version.begin(settings, copying)
        wave = _Wave(self, copying, settings)
        if copying:
            self.records.write(self.locks, wave.unfinished)
        try:
            wave.note_unchanged([task for task in tasks if task.changes is None and task.result.action != Action.RETIRED])
            wave.plan([task for task in tasks if task.result.action == Action.RETIRED]).apply()
        finally:
            self._finish(wave)
            self._save_left_out(copying)  # the engine has added which repositories it could not verify
        for task in tasks:
            self.locks.unlock(task.name)

    def _save_left_out(self, tasks: Iterable[UnitTask]) -> None:
        with suppress(RepomanError), self.locks.metadata_lock():  # a full state directory is reported when manifests are saved
            self.run.left_out.save([task.name for task in tasks], self.run.backup.account)

    def report_result(self, task: UnitTask) -> None:
        """Log and report the result of a unit."""
        self.log.write(task.result.as_dict())
        if not task.is_absent:
            self.report((task.name, task.result))

    def save_manifest(self, task: UnitTask, manifest: str, digest: str) -> None:
        """Save the manifest of a mirror's current contents. If that fails, the mirror is valid, but the next run has more work."""
        try:
            self.records.save_manifest(task.name, manifest, digest, compared_mirror=task.compared_mirror)
        except OSError as error:
            self.run.warnings.append(
                f"the record of the mirror of {task.result.name} cannot be saved, so the next run compares everything again. "
                f"{self.records.manifest(task.name)}: {error.strerror or error}."
            )

    def retire(self, task: UnitTask) -> None:
        """Move the mirror of a unit to the history."""
        self.version.retire(task.name)
        self.records.set(task.name, None)
        self.records.forget_manifest(task.name)
        self.notes.forget(task.name)

    def record(self, task: UnitTask, outcome: MirrorResult) -> None:
        """Set the result of a unit, and its record."""
        result = task.result
        result.action = ACTION_OF_STATE[outcome.state]
        result.bytes, result.kept_bytes = outcome.bytes, outcome.kept_bytes
        result.notes = self.notes.add(task.name, outcome.notes)
        result.damaged = outcome.damaged or None
        self.run.left_out.record_unverified(task.name, outcome.verdicts)
        if outcome.error is not None:
            result.fail(outcome.error, result.action)
        if outcome.manifest:
            self.save_manifest(task, outcome.manifest, outcome.digest)
        else:
            self.records.set(task.name, EMPTY_RECORD)
        if outcome.created:
            self.version.add_created(task.name, outcome.created)

    def _finish(self, wave: _Wave) -> None:
        """Write notes and records, also after an interruption."""
        try:
            self.notes.save(self.locks)
        except RepomanError as error:
            self.run.warnings.append(f"{error.message} Notes may be repeated.")
        for name in wave.unfinished:
            is_first = not self.records.manifest(name).exists()
            self.records.set(name, EMPTY_RECORD if is_first else self.records.current.units.get(name, EMPTY_RECORD))
        try:
            self.records.write(self.locks)
        except RepomanError as error:  # such as a full target
            self.run.warnings.append(f"{error.message} The next run compares everything again.")


class _Wave:
    """The tasks of one wave while they are applied.

    :param copying: the tasks that copy or remove something.
    """

    def __init__(self, applier: Applier, copying: Sequence[UnitTask], settings: MirrorOptions) -> None:
        self.applier, self.copying, self.settings = applier, copying, settings
        self.unfinished = {task.name for task in copying}
        self._finished: list[str] = []
        """Finished units that are still locked: a unit is unlocked when its record is written."""
        self._written = time.monotonic()

    def plan(self, retired: Sequence[UnitTask]) -> Plan:
        """Return the steps that change mirrors. One step mirrors all units, because the engine works on several at once.

        :param retired: tasks of mirrors whose source is gone.
        """
        steps = [Step(f"move the mirror of {task.result.name} to the history", partial(self._retire, task)) for task in retired]
        if self.copying:
            steps.append(Step(f"mirror {', '.join(task.result.name for task in self.copying)}", self.mirror))
        return Plan(steps)

    def note_unchanged(self, tasks: Sequence[UnitTask]) -> None:
        """Take in tasks that change no mirror."""
        for task in tasks:
            with isolate_failure(task):
                if task.scanned is not None:
                    self.applier.save_manifest(task, task.scanned.path, task.scanned.digest)
            self._finish(task)

    def _retire(self, task: UnitTask) -> None:
        with isolate_failure(task):
            self.applier.retire(task)
        self._finish(task)

    def _finish(self, task: UnitTask) -> None:
        self.applier.report_result(task)
        self._finished.append(task.name)

    def mirror(self) -> None:
        """Run the mirror engine, and record each outcome. A failure only affects its unit, so the step itself does not fail."""
        tasks = {task.name: task for task in self.copying}
        for outcome in self._outcomes():
            task = tasks[outcome.unit.name]
            with isolate_failure(task):
                self.applier.record(task, outcome)
            self.unfinished.discard(task.name)
            self._finish(task)

    def _outcomes(self) -> Iterator[MirrorResult]:
        """Run the engine while a thread reports progress and unlocks finished units."""
        # Imported only if a unit is mirrored: an unchanged tree needs no engine, and Ansible compiles what is imported in each run.
        from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.mirror_units import mirror_units

        tally = Progress()
        ended = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(tally, ended), daemon=True)
        ticker.start()
        try:
            yield from mirror_units([task.changes for task in self.copying if task.changes is not None], self.settings, tally)
        finally:
            ended.set()
            ticker.join()

    def _tick(self, tally: Progress, ended: threading.Event) -> None:
        last = ""
        while not ended.wait(TALLY_SECONDS):
            self._unlock_finished()
            if repr(tally) != last:
                last = repr(tally)
                self.applier.report(Progress(tally.files, tally.bytes, dict(tally.running)))

    def _unlock_finished(self) -> None:
        """From time to time, write the records of finished units and unlock them for other runs."""
        if not self._finished or time.monotonic() - self._written < RECORD_SECONDS:
            return
        finished = list(self._finished)
        with suppress(RepomanError):
            self.applier.records.write(self.applier.locks)
            for name in finished:
                self.applier.locks.unlock(name)
            del self._finished[: len(finished)]
        self._written = time.monotonic()
