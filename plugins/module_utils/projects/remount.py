# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts the repository anew in a running container that shows a directory which is no longer there."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance_setup import verify_mount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.stale_mount import stale_mounts
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask
from ansible_collections.homelab.repoman.plugins.module_utils.projects.update import check_inner_mounts, not_mounted_error

BODY_KEYS = ("architecture", "config", "description", "devices", "ephemeral", "profiles", "stateful")
"""Parts of an instance that a request must have; Incus would reset them if it left them out."""


def plan_remount(task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any]) -> bool:
    """Add the step that mounts the repository anew, if the container shows another directory.

    :param instance: that exists, and whose repository is not mounted anew for another reason.
    :returns: whether it does.
    :raises ConflictError: it would hide other mounts inside the repository.
    """
    context, name = task.context, task.name
    if instance["devices"].get(REPO_DEVICE) != desired.repository_device():
        return False
    if name not in stale_mounts(context.client.path, context.incus_project, [instance]):
        return False
    path = desired.repository.container_path
    check_inner_mounts(task, instance, path)
    remount = Remount(task, desired)
    task.result["differences"].append(f"the directory mounted at {path} was deleted or replaced on the host")
    task.plan.add(Step(f"remount {path} in {name}", remount.apply, undo=remount.undo, progress=f"mounting the repository in {name} again…"))
    return True


class Remount:
    """The repository's device is removed and added again. If the new mount cannot be verified, it stays removed until the next run.

    :param task: the project.
    :param desired: its desired state.
    """

    def __init__(self, task: ProjectTask, desired: DesiredInstance) -> None:
        self.control, self.repository = task.control, desired.repository
        self.device = desired.repository_device()
        self.directory = task.pin(desired.repository)
        self.is_sent = False
        """True if Incus may have mounted the directory."""
        self.is_verified = False

    def apply(self) -> None:
        """Mount it.

        :raises ConflictError: something else was mounted instead of the repository.
        """
        self.directory.open()
        try:
            self._set_device(None)
            self.is_sent = True
            self._set_device(self.device)
            verify_mount(self.control, self.repository, self.directory)
            self.is_verified = True
        finally:
            self.directory.close()

    def undo(self) -> None:
        """Remove a mount that could not be verified.

        :raises RepomanError: the repository is not mounted now.
        """
        self.control.wait_for_operations()
        if self.is_verified:
            return
        is_mounted = REPO_DEVICE in self.control.read().data["devices"]
        if is_mounted and not self.is_sent:
            return  # as it was
        if is_mounted:
            self._set_device(None)
        raise not_mounted_error(self.control.name)

    def _set_device(self, device: dict[str, str] | None) -> None:
        response = self.control.read()
        body = {key: response.data[key] for key in BODY_KEYS if key in response.data}
        devices = {name: settings for name, settings in body["devices"].items() if name != REPO_DEVICE}
        self.control.replace(body | {"devices": devices | ({REPO_DEVICE: device} if device else {})}, response.etag)
