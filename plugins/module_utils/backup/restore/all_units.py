# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore several units, or all that the backup has.

1. Lock the units, clean up after killed restores, and plan every unit, several at once. Check mode ends here.
2. Check the space that all of them need together; until then nothing is written.
3. Plan each unit again and restore it, several at once. The second plan costs a look at the backup and the destination. In return, the
   plans need not be kept: those of a million files would fill the memory, and their open directories the descriptors.

A unit that fails stops no other. A unit is restored completely or not at all, so after an interruption the same command goes on: what
was restored is the same then, and is not copied again.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import space
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import NotInBackupError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.killed_restores import KilledRestores
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.operation import MAX_NAMED
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import RestoreOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.planner import RestorePlanner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.selection import (
    UnitRequest,
    all_names,
    all_requests,
    named_requests,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.unit_worker import UnitOutcome, UnitWorker
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import HISTORY, RunLocks, busy_error, no_lock_note
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.probe import is_remote
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import first_of, format_bytes, plural
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import imap_forked

REMOTE_UNITS = 16
"""Units at once if the backup is on another machine: each waits for it most of the time."""
GRACE_SECONDS = 8.0
"""Time for the workers to roll back after an interruption; less than what this process itself gets."""


@dataclass(frozen=True)
class RestoreProgress:
    """How far a restore of several units is.

    :param phase: what is done with the units.
    """

    phase: str
    done: int
    total: int
    files: int = 0
    bytes: int = 0

    def line(self) -> str:
        """Return it as one line."""
        amount = f", {plural(self.files)}, {format_bytes(self.bytes)}" if self.files else ""
        return f"restore: {self.done} of {self.total} {self.phase}{amount}"


class SeveralRestore:
    """One restore of several units, in the process that may access the target.

    :param stack: closes what the run opens.
    :param report: gets a text for each phase, and the progress; nothing in check mode.
    """

    def __init__(
        self, context: BackupContext, target: Target, options: RestoreOptions, stack: ExitStack, report: Report, check: bool
    ) -> None:
        self.context, self.target, self.options, self.stack = context, target, options, stack
        self.report: Report = (lambda _message: None) if check else report
        self.check = check
        self.notes: list[str] = []
        self.locks: RunLocks | None = None
        self.outcomes: dict[UnitRequest, UnitOutcome] = {}

    def run(self) -> dict[str, Any]:
        """Plan the restore, and apply it unless in check mode; return the module's result.

        :raises RepomanError: nothing can be restored. Failures of single units are in the result.
        """
        started = time.monotonic()
        requests = self._requests()
        waiting = self._set_aside(requests)
        if self.options.objects:
            self._work("checked", waiting, self.check)
        else:
            self._restore(waiting)
        if self.options.all:
            requests = [request for request in requests if not self.outcomes[request].is_missing]
            self._check_not_empty(requests)
        return self._result([self.outcomes[request] for request in requests], time.monotonic() - started)

    def _restore(self, waiting: list[UnitRequest]) -> None:
        """Plan units, check the space, and restore those that differ."""
        if not self.check:
            self._clean_up_killed(waiting)
        self.report(f"comparing {plural(len(waiting), 'directory')} with the backup")
        self._work("compared", waiting, True)
        differing = [request for request in waiting if self.outcomes[request].action == Action.RESTORED]
        needs: space.SpaceNeeds = {}
        for request in differing:
            space.add(needs, self.outcomes[request].needs)
        space.check(needs, *(self._space_hints(differing[0]) if differing else ()))
        if self.check or not differing:
            return
        files = sum(self.outcomes[request].facts["files"] for request in differing)
        size = sum(self.outcomes[request].facts["bytes"] for request in differing)
        self.report(f"restoring {plural(len(differing), 'directory')}: {plural(files)}, {format_bytes(size)}")
        self._create_parents(differing)
        differing.sort(
            key=lambda request: -self.outcomes[request].facts["bytes"]
        )  # the largest first, so that none is left over at the end
        self._work("restored", differing, False)

    def _space_hints(self, request: UnitRequest) -> list[str]:
        one = self.options.of_unit(request.name, request.path)
        return [f"one after the other: {one.command()}", f"to another file system: {self.options.command(('--to', 'DIR'))}"]

    # Before

    def _requests(self) -> list[UnitRequest]:
        if self.options.all:
            requests, warnings = all_requests(self.target, self.options.from_version is not None)
            self.notes += warnings
            return requests
        return named_requests(self.context, self.options.names, all_names(self.target))

    def _set_aside(self, requests: list[UnitRequest]) -> list[UnitRequest]:
        """Lock the units; return those that can be worked on. The others have failed."""
        found = [request for request in requests if request.error is None]
        busy = {} if self.check else self._lock([request.unit for request in found])
        for request in requests:
            if request.error is not None:
                self.outcomes[request] = UnitOutcome.of(request).fail(request.error)
            elif request.unit in busy:
                error = busy_error(request.unit, busy[request.unit], self.context.state(self.target))
                self.outcomes[request] = UnitOutcome.of(request).fail(error, Action.BUSY)
        return [request for request in found if request not in self.outcomes]

    def _lock(self, units: list[str]) -> dict[str, str]:
        """Lock units against other runs if this machine has a state directory; return those that other runs have locked, and since when."""
        state = self.context.state(self.target)
        try:
            if not state.is_dir():
                return {}
            self.locks = self.stack.enter_context(RunLocks(self.target, state, self.context.account))
            busy = self.locks.try_lock(dict.fromkeys(units))
        except OSError as error:
            self.notes.append(no_lock_note(state, error))
            return {}
        self.stack.enter_context(self.locks.shared(HISTORY))
        return busy

    def _clean_up_killed(self, requests: list[UnitRequest]) -> None:
        self.notes += KilledRestores(self.locks).clean_up(self._destinations(requests), self.stack)

    def _destinations(self, requests: list[UnitRequest]) -> Iterator[Destination]:
        """Yield the destination of each unit, open until the next one. Skip units without a usable destination."""
        for request in requests:
            options = self.options.of_unit(request.name, request.path)
            unit, _slash, inside = request.path.partition("/")
            with suppress(RepomanError), ExitStack() as stack:
                destination = RestorePlanner(self.context, self.target, options, unit, os.fsencode(inside)).resolve_destination()
                stack.callback(destination.close)
                yield destination

    def _create_parents(self, requests: list[UnitRequest]) -> None:
        """Create the directories above the destinations once, so that no worker removes what another one has created.

        If nothing is restored to them, they are removed at the end.
        """
        for destination in self._destinations(requests):
            if destination.missing:
                created = destination.keep_open(self.stack)
                self.stack.callback(created.remove_parents)
                with suppress(RepomanError):  # each unit below fails with it
                    created.create_parents()

    # The work

    def _work(self, phase: str, requests: Sequence[UnitRequest], check: bool) -> None:
        """Plan units, and restore them unless ``check``, in other processes.

        Requests for the same unit are done one after the other: they change the same directory.
        """
        groups: dict[str, list[UnitRequest]] = {}
        for request in requests:
            groups.setdefault(request.unit, []).append(request)
        jobs = list(groups.values())
        worker = UnitWorker(self.context, self.target, self.options, check)

        def work(job: list[UnitRequest], _send: Callable[[Any], None]) -> list[UnitOutcome]:
            return [worker.restore(request) for request in job]

        files = size = done = 0
        for number, outcomes in imap_forked(work, jobs, self._processes(), lost=_killed, grace=GRACE_SECONDS):
            for request, outcome in zip(jobs[number], outcomes, strict=True):
                self.outcomes[request] = outcome
                done += 1
                if not check:
                    files += outcome.facts.get("files", 0) if outcome.action == Action.RESTORED else 0
                    size += outcome.facts.get("bytes", 0) if outcome.action == Action.RESTORED else 0
            self.report(RestoreProgress(phase, done, len(requests), files, size))

    def _processes(self) -> int:
        return self.options.jobs or (REMOTE_UNITS if is_remote(self.target.root) else (os.cpu_count() or 1) + 1)

    # The result

    def _check_not_empty(self, requests: list[UnitRequest]) -> None:
        """Check that the backup had anything at the requested time.

        :raises NotInBackupError: it had not.
        """
        if not requests and self.options.from_time:
            raise NotInBackupError(
                f"there is no backup as of {self.options.from_time} in {self.target.root}.",
                "repoman sync --list-versions NAME   # which versions there are",
            )

    def _result(self, outcomes: list[UnitOutcome], seconds: float) -> dict[str, Any]:
        units = [outcome.as_dict() for outcome in outcomes]
        restored = [unit for unit in units if unit["action"] == Action.RESTORED]
        actions = [unit["action"] for unit in units]
        return {
            "changed": bool(restored),
            "units": units,
            "steps": [step for outcome in outcomes for step in outcome.steps],
            "notes": list(dict.fromkeys([*self.notes, *(note for outcome in outcomes for note in outcome.notes)])),
            "diff": [entry for outcome in outcomes for entry in outcome.diff],
            "summary": {action: actions.count(action) for action in sorted(set(actions))}
            | {
                "files": sum(unit["files"] for unit in restored),
                "bytes": sum(unit["bytes"] for unit in restored),
                "seconds": round(seconds, 2),
            },
        } | _failure(units)


def _failure(units: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the keys that make the result a failure; empty if no unit failed."""
    bad = [unit for unit in units if "exit_code" in unit]
    if not bad:
        return {}
    names = first_of([unit["name"] for unit in bad], MAX_NAMED)
    return {
        "failed": True,
        "msg": bad[0]["msg"] if len(bad) == 1 else f"{len(bad)} of {len(units)} were not restored: {names}.",
        "hints": [hint for unit in bad for hint in unit["hints"]][:4],
        "exit_code": max(unit["exit_code"] for unit in bad),
    }


def _killed(job: list[UnitRequest]) -> list[UnitOutcome]:
    """Return the outcomes of units whose process was killed."""
    return [
        UnitOutcome.of(request).fail(
            RepomanError(
                f"{escape_path(os.fsencode(request.name))}: the process that restored it was killed; run the command again.",
                "was there enough memory? journalctl -k -g 'Out of memory'",
            )
        )
        for request in job
    ]
