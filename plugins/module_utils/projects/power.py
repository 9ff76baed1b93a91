# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts and stops an instance, as requested."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.failures import UNDONE_HINT, start_error
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import is_unfinished
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance_setup import InstanceSetup
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import project_summary
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask


def plan_power(task: ProjectTask, desired: DesiredInstance, status: str) -> str:
    """Add the step that starts or stops an instance, if the requested state needs it.

    :param desired: its desired state.
    :param status: of the instance before that.
    :returns: its status after that.
    """
    name = task.name
    if task.state == "stopped" and status != "Stopped":
        _plan_power_off(task, status)
        return "Stopped"
    if task.state == "restarted" and status != "Stopped" and task.instance is not None and not is_unfinished(task.instance):
        restart = InstanceRestart(task, desired, "Stopped")
        task.plan.add(_power_step(name, ("restart", "restarting"), (status, "Running"), apply=restart.apply, undo=restart.undo))
        return "Running"
    if task.state == "stopped" or status == "Running" or (task.state == "present" and status != "Stopped"):
        return status
    start = InstanceStart(task, desired, status)
    task.plan.add(_power_step(name, ("start", "starting"), (status, "Running"), apply=start.apply, undo=start.undo))
    return "Running"


def plan_stop(task: ProjectTask) -> None:
    """Plan to stop a container, and nothing else.

    :raises RepomanError: the container does not exist.
    """
    instance = task.existing_instance()
    status = instance["status"]
    if status != "Stopped":
        _plan_power_off(task, status)
    summary = project_summary(task.context, task.name, instance)
    task.result |= {key: summary[key] for key in ("repo", "image", "profiles", "backup", "environment")}
    action = Action.STOPPED if task.plan.changed else Action.UNCHANGED
    task.result |= {"action": action.value, "state": "Stopped", "differences": []}


def _plan_power_off(task: ProjectTask, status: str) -> None:
    control = task.control
    task.plan.add(
        _power_step(
            task.name,
            ("stop", "stopping"),
            (status, "Stopped"),
            apply=lambda: control.stop(task.stop_requested),
            undo=control.restart,
        )
    )


def _power_step(name: str, verb: tuple[str, str], status: tuple[str, str], *, apply: Callable[[], None], undo: Callable[[], None]) -> Step:
    """Return the step that changes the status of an instance.

    :param verb: its two forms, such as ``stop`` and ``stopping``.
    :param status: before and after.
    """
    return Step(
        f"{verb[0]} {name}",
        apply,
        undo=undo,
        target=f"state of {name}",
        before=f"{status[0]}\n",
        after=f"{status[1]}\n",
        progress=f"{verb[1]} {name}…",
    )


class InstanceStart:
    """The start of an instance, with the check that the user can work in it, and its rollback.

    :param task: its project.
    :param desired: its desired state.
    :param status: of the instance before that: ``Stopped`` or ``Frozen``.
    """

    def __init__(self, task: ProjectTask, desired: DesiredInstance, status: str) -> None:
        self.task, self.repository, self.status = task, desired.repository, status
        self.sudo = desired.settings.sudo
        self.control = task.control
        self.started_elsewhere = False
        """True if another run has started it, so that a rollback must not stop it."""

    def apply(self) -> None:
        """Start the instance.

        :raises ConcurrentChangeError: another run has started it.
        """
        directory = self.task.pin(self.repository)
        directory.open()
        try:
            if self.status == "Frozen":
                self.control.set_power("unfreeze")
            else:
                self.control.start()
            with InstanceSetup(self.control, self.repository, directory) as setup:
                self.task.warnings.extend(setup.ensure_account(self.sudo))
                setup.verify()
        except incus.IncusError as error:
            problem = start_error(self.task.context, error, self.task.name, self.repository)
            self.started_elsewhere = isinstance(problem, ConcurrentChangeError)
            raise problem from error
        finally:
            directory.close()

    def undo(self) -> None:
        """Bring the instance back to its previous status, unless another run has started it."""
        self.control.wait_for_operations()
        if self.started_elsewhere or self.control.read().data["status"] == self.status:
            return
        if self.status == "Frozen":
            self.control.set_power("freeze")
        else:
            self.control.set_power("stop", force=True)


class InstanceRestart(InstanceStart):
    """The stop and the start of an instance, with the same check."""

    is_broken = False
    """True if it could not be started, or the user cannot work in it, so that a rollback must not start it again."""

    def apply(self) -> None:
        """Restart the instance.

        :raises RepomanError: it could not be started.
        """
        self.control.stop()
        try:
            super().apply()
        except RunInterruptedError:
            raise
        except RepomanError as error:
            self.is_broken = True
            if not self.started_elsewhere:
                hints = [hint for hint in error.hints if hint != UNDONE_HINT]
                error.hints = [*hints, f"repoman start {self.task.name}   # it is stopped; fix the cause first"]
            raise

    def undo(self) -> None:
        """Start it if it was stopped; one that does not work is stopped."""
        if self.is_broken:
            super().undo()
        else:
            self.control.restart()
