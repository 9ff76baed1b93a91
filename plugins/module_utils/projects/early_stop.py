# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stops all containers that are removed or stopped at the same time, so that a run on many does not wait for each in turn."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import is_unfinished
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask, restart_all


class EarlyStop:
    """Inside the block, the instances of several projects are stopping; those whose task does not succeed are started again.

    :param tasks: tasks that remove or stop their projects. A single task stops its instance itself, as a step of its plan.
    """

    def __init__(self, tasks: list[ProjectTask]) -> None:
        pending = [task for task in tasks if task.error is None and task.plan.changed]
        self.tasks = pending if len(pending) > 1 else []

    def __enter__(self) -> None:
        try:
            self._stop()
        except RepomanError as error:
            restart_all(self.tasks, error)
            raise

    def __exit__(self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, RepomanError):
            restart_all(self.tasks, error)

    def _stop(self) -> None:
        for task in self.tasks:
            instance = task.instance
            if instance is not None and instance["status"] == "Running" and not is_unfinished(instance):
                task.stopped_early = True  # before the request: an interrupt may come while it is sent
                with suppress(incus.IncusError):  # the task tries again, and reports the error
                    task.control.request_stop()
                    task.stop_requested = True
