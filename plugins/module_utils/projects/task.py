# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One project of a run: its request, its plan and its result."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, PlannedItem, signals_as_exceptions
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import read_installed
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext, Snapshot
from ansible_collections.homelab.repoman.plugins.module_utils.projects.control import InstanceControl
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import is_unfinished
from ansible_collections.homelab.repoman.plugins.module_utils.projects.lock import project_lock
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import Relation, is_own, ownership
from ansible_collections.homelab.repoman.plugins.module_utils.projects.pinned_directory import PinnedDirectory
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository
from ansible_collections.homelab.repoman.plugins.module_utils.projects.request import ProjectRequest
from ansible_collections.homelab.repoman.plugins.module_utils.projects.unknown import no_such_project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import load

LOCK_TIMEOUT = 120.0
"""Seconds to wait for another run that works on the same, finished project."""


class ProjectTask(PlannedItem):
    """One project of a run.

    :param context: of the run.
    :param snapshot: the state that the run has read, shared by all its projects.
    :param request: of the project.
    :param state: the requested state: ``present``, ``started``, ``stopped``, ``restarted`` or ``absent``.
    :param planner: adds the steps to ``task.plan`` and the report to ``task.result``.
    :ivar instance: as Incus describes it; ``None`` if it does not exist.
    :ivar adopts: whether the plan takes over an instance without marks.
    :ivar stop_requested: whether Incus was requested to stop the instance before its plan was applied, and had the time to do it.
    :ivar stopped_early: whether that was tried, so that the instance must be started again if its plan is not applied.
    """

    def __init__(
        self, context: RunContext, snapshot: Snapshot, request: ProjectRequest, state: str, planner: Callable[[ProjectTask], None]
    ) -> None:
        super().__init__()
        self.context, self.snapshot, self.request, self.state, self.planner = context, snapshot, request, state, planner
        self.name = request.name
        self.result: dict[str, Any] = {}
        self.warnings: list[str] = []
        self.instance: dict[str, Any] | None = None
        self.stop_requested = self.stopped_early = self.adopts = False

    def existing_instance(self) -> dict[str, Any]:
        """Return the finished instance.

        :raises NotFoundError: the project does not exist.
        :raises ConflictError: the project has no container, or an unfinished one.
        """
        if self.instance is not None and not is_unfinished(self.instance):
            return self.instance
        if self.instance is None and self.name not in self.context.registry.projects:
            own = (name for name, instance in self.snapshot.instances.items() if is_own(self.context, instance))
            raise no_such_project(self.name, self.context, {*self.context.registry.projects, *own})
        raise ConflictError(f"the project {self.name!r} has no container.", f"repoman new {self.name}")

    @property
    def control(self) -> InstanceControl:
        """Requests to Incus about the instance."""
        return InstanceControl(self.context, self.name)

    def pin(self, repository: Repository) -> PinnedDirectory:
        """Return the directory of ``repository``, not yet open."""
        return PinnedDirectory(os.path.realpath(self.context.repos_root), repository.host_path)

    def make_plan(self) -> Plan:
        """Plan from the snapshot.

        A removal of another user's instance only concerns the user's own entry.

        :raises ConflictError: the instance of that name is not the user's own, and is not to be adopted.
        :raises UsageError: its ``config`` or ``devices`` are malformed and needed.
        """
        self.plan, self.warnings, self.result, self.adopts = Plan(), [], {}, False
        self.instance = self.snapshot.instances.get(self.name)
        self._check_request()
        if self.instance is not None:
            owned = ownership(self.context, self.instance, self.snapshot.instances)
            self.adopts = self.request.adopt and owned.relation == Relation.ADOPTABLE
            if self.state == "absent" and owned.is_of_other_uid and self.name in self.context.registry.projects:
                self.instance = None
                self.warnings.append(owned.error.message if owned.error else "")
            elif not self.adopts:
                owned.check_own()
        self.planner(self)
        self.result = {"name": self.name, "incus_project": self.context.incus_project} | self.result
        self.result |= {"changed": self.plan.changed, "steps": self.plan.descriptions}
        return self.plan

    def _check_request(self) -> None:
        """Check ``config`` and ``devices``. A removal does not need them, and to stop a container is possible without them.

        :raises UsageError: they are malformed.
        """
        error = self.request.error
        if error is None or self.state == "absent":
            return
        if self.state != "stopped" or self.instance is None or is_unfinished(self.instance):
            raise error
        self.warnings.append(f"{error.message} The container keeps the configuration that it has.")

    def remake_plan(self) -> Plan:
        """Read the registry and the state of this project again, and plan from that."""
        self.context = replace(self.context, registry=load(self.context.registry_path))
        response = self.control.read_or_none()
        others = {name: instance for name, instance in self.snapshot.instances.items() if name != self.name}
        index = self.snapshot.mount_index
        self.snapshot = Snapshot(
            others=self.snapshot.others,
            instances=others | ({self.name: response.data} if response else {}),
            profiles={} if self.state == "absent" else read_installed(self.context.client),
            registry_text=self.context.registry.text,
            read_images=self.context.read_images,
        )
        self.snapshot.mount_index = index  # it has what other projects of the run have planned
        return self.make_plan()

    def lock(self) -> AbstractContextManager[bool]:
        """Lock the project. A run that creates it may take long, so only one that changes a finished project is waited for."""
        is_ready = self.instance is not None and not is_unfinished(self.instance)
        return project_lock(self.context.registry_path, self.name, self.context.account, LOCK_TIMEOUT if is_ready else 0)

    def predict(self, error: RepomanError) -> None:
        """Turn ``error`` into a warning of something that check mode cannot know."""
        self.warnings.append(error.as_check_mode_warning())

    def on_success(self) -> None:
        """Note that the plan was applied."""
        self.stopped_early = False

    def on_failure(self, error: RepomanError) -> None:
        """Report ``error`` as the result; if the instance was stopped for its removal, start it again."""
        super().on_failure(error)
        error.hints = error.hints or ["everything was rolled back; fix the cause and run the command again"]
        if restart_all([self], error):
            self.plan.interrupted = True
        self.result = {
            "name": self.name,
            "action": Action.FAILED.value,
            "incus_project": self.context.incus_project,
            "steps": [],
        } | error.as_result()


def restart_all(tasks: list[ProjectTask], error: RepomanError) -> bool:
    """Start the instances again that were stopped for a removal that did not happen; a failure becomes a hint of ``error``.

    :returns: whether a signal was received in the meantime.
    """
    with signals_as_exceptions() as gate:
        gate.blocked = True
        for task in tasks:
            if not task.stopped_early:
                continue
            task.stopped_early = False
            try:
                task.control.restart()
            except RepomanError as problem:
                error.hints.append(f"could not start {task.name} again: {problem.message}")
    return gate.received
