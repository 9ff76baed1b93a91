# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Starts and stops an instance, as requested."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account import InstanceAccount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.failures import start_error
from ansible_collections.homelab.repoman.plugins.module_utils.projects.probes import verify_mount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask


def plan_power(task: ProjectTask, desired: DesiredInstance, status: str) -> str:
    """Add the step that starts or stops an instance, if the requested state needs it.

    :param desired: its desired state.
    :param status: of the instance before that.
    :returns: its status after that.
    """
    name = task.name
    if task.state == "stopped" and status != "Stopped":
        control = task.control
        task.plan.add(_power_step(name, ("stop", "stopping"), (status, "Stopped"), apply=control.stop, undo=control.restart))
        return "Stopped"
    if task.state == "stopped" or status == "Running" or (task.state == "present" and status != "Stopped"):
        return status
    start = InstanceStart(task, desired, status)
    task.plan.add(_power_step(name, ("start", "starting"), (status, "Running"), apply=start.apply, undo=start.undo))
    return "Running"


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
            self.control.set_power("unfreeze" if self.status == "Frozen" else "start")
            self.task.warnings.extend(InstanceAccount(self.control).ensure(self.sudo))
            verify_mount(self.control, self.repository, directory)
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
