# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Create and start several containers at the same time: most of that is waiting for Incus, and for the containers."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import OnStep, Plan, Step, apply_all
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import WorkerDiedError, imap_forked
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import OPERATION_TIMEOUT
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask

MAX_PROCESSES = 4
"""Projects at once, however many processors there are; more than processors make a run slower, because Incus has work to do for each."""


@dataclass
class _Outcome:
    """The state of a task after its plan was applied in another process."""

    result: dict[str, Any]
    warnings: list[str]
    steps: list[Step]
    error: RepomanError | None
    interrupted: bool


def apply_in_parallel(tasks: Sequence[ProjectTask], on_step: OnStep) -> None:
    """Apply the plans of all projects that have something to do, several at the same time; an error becomes the project's own.

    :raises RunInterruptedError: the run was interrupted; finished projects stay, the others are rolled back.
    """
    pending = [task for task in tasks if task.error is None and task.plan.changed]
    processes = min(len(pending), MAX_PROCESSES, len(os.sched_getaffinity(0)))
    if processes <= 1:
        apply_all(tasks, on_step)
        return

    def work(task: ProjectTask, _send: Callable[[Any], None]) -> _Outcome | None:
        task.context.client.close()  # the connection is the parent's
        apply_all([task], on_step)
        steps = [
            Step(step.description, applied_elsewhere, target=step.target, before=step.before, after=step.after) for step in task.plan.steps
        ]
        return _Outcome(task.result, task.warnings, steps, task.error, task.plan.interrupted)

    for number, outcome in imap_forked(work, pending, processes, lost=lambda _task: None, grace=OPERATION_TIMEOUT):
        _take(pending[number], outcome)


def applied_elsewhere() -> None:
    """Stand for the change of a step that another process has made."""


def _take(task: ProjectTask, outcome: _Outcome | None) -> None:
    """Put the outcome of another process into the task of this one.

    :param outcome: None if the process was killed.
    """
    if outcome is None:
        task.on_failure(WorkerDiedError("A process of this run was killed in the middle of its work.", "run the command again"))
        return
    task.result, task.warnings, task.error = outcome.result, outcome.warnings, outcome.error
    task.plan = Plan(outcome.steps, outcome.interrupted)
