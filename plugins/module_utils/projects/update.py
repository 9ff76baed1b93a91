# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings an existing instance to its desired configuration."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.projects import protect
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account import InstanceAccount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance, Devices
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    APPLIED_KEY,
    REPO_DEVICE,
    applied_settings,
    mount_targets,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.probes import verify_mount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.reconcile import Differences, diff_text, reconcile
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask

KEYS = ("profiles", "config", "devices")
"""Parts of an instance that repoman corrects."""
METADATA_KEYS = ("architecture", "description", "ephemeral", "stateful")
"""Parts that repoman does not change; Incus would reset them if the request left them out."""


def plan_update(task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any]) -> bool:
    """Add the step that brings an instance to its desired configuration, and report how it differs.

    :returns: whether anything differs.
    :raises ConflictError: the repository would be mounted again in a running instance, hiding mounts inside it.
    """
    name = task.name
    config, devices = desired.config_and_devices()
    if instance["status"] != "Stopped":
        path = desired.repository.container_path
        devices, waiting = protect.devices_for_running_instance(devices, instance["devices"], applied_settings(instance)["devices"], path)
        config |= {APPLIED_KEY: desired.applied_record(devices)}
        if waiting:
            task.warnings.append(
                f"{', '.join(waiting)}: mounts inside the repository only change while {name} is stopped; to apply the change:"
                f" incus stop --project {task.context.incus_project} {name}, then run the same command again"
            )
        _check_remount(task, instance, devices, path)
    differences = reconcile(instance, config, devices, desired.settings.profiles)
    task.result["differences"] = differences.describe()
    if not differences:
        return False
    existing = mount_targets(instance.get("expanded_devices") or {})
    targets = [path for path in mount_targets(desired.with_profile_devices(differences.desired["devices"])) if path not in existing]
    update = InstanceUpdate(task, desired, instance, differences, targets)
    task.plan.add(
        Step(
            f"update the configuration of {name}",
            update.apply,
            undo=update.undo,
            target=f"container {name}",
            before=diff_text(differences.current, KEYS),
            after=diff_text(differences.desired, KEYS, differences.current),
            progress=f"updating the configuration of {name}…",
        )
    )
    return True


class InstanceUpdate:
    """The change of an existing instance, and its rollback.

    If a remount in a running container cannot be verified, the repository's device stays removed until the next run.

    :param task: its project.
    :param desired: what it should be.
    :param instance: as Incus described it when the run started.
    :param differences: between the two.
    :param targets: paths in the instance that must exist because something will be mounted there.
    """

    def __init__(
        self, task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any], differences: Differences, targets: list[str]
    ) -> None:
        self.task, self.instance, self.targets = task, instance, targets
        self.repository = desired.repository
        self.current, self.desired = differences.current, differences.desired
        self.control = task.control
        self.inside = InstanceAccount(self.control)
        self.directory = task.pin(self.repository)
        self.body = {key: instance[key] for key in METADATA_KEYS if key in instance} | self.desired
        self.remounts = self.current["devices"].get(REPO_DEVICE) != self.desired["devices"][REPO_DEVICE]
        self.is_sent = False
        """True if Incus may have made the change."""
        self.is_verified = False
        """True if the directory that was mounted again is the repository."""

    def apply(self) -> None:
        """Make the change.

        :raises ConcurrentChangeError: the instance has changed since it was read.
        :raises ConflictError: something else was mounted instead of the repository.
        """
        fresh = self.control.read()
        if any(fresh.data[key] != self.instance[key] for key in self.current):
            raise ConcurrentChangeError(
                f"the container {self.task.name!r} was changed by another program at the same time.", "run the command again"
            )
        if self.targets:
            self.inside.create_home(self.targets)
        try:
            if self.remounts:
                self.directory.open()
            self.is_sent = True
            self.control.replace(self.body, fresh.etag)
            if self.remounts:
                self._verify(is_running=fresh.data["status"] == "Running")
        except ConcurrentChangeError:
            self.is_sent = False
            raise
        finally:
            self.directory.close()

    def _verify(self, is_running: bool) -> None:
        if is_running:
            self.task.warnings.extend(self.inside.ensure())
            verify_mount(self.control, self.repository, self.directory)
            self.is_verified = True
        elif not self.directory.is_unchanged():
            raise self.directory.replaced_error()

    def undo(self) -> None:
        """Revert the change; what someone else has changed since then stays."""
        self.control.wait_for_operations()
        answer = self.control.read()
        fresh = answer.data
        if not self.is_sent or fresh["config"].get(APPLIED_KEY) != self.desired["config"][APPLIED_KEY]:
            return
        reverted: dict[str, Any] = {key: _revert(fresh[key], self.current[key], self.desired[key]) for key in ("config", "devices")}
        reverted["profiles"] = self.current["profiles"] if fresh["profiles"] == self.desired["profiles"] else fresh["profiles"]
        if fresh["status"] != "Stopped":
            reverted["devices"] = self._revert_running(reverted["devices"], fresh["devices"])
        self.control.replace(self.body | reverted, answer.etag)

    def _revert_running(self, reverted: Devices, fresh: Devices) -> Devices:
        """Return the devices to give a running instance, from those that it should have again."""
        devices, _waiting = protect.devices_for_running_instance(reverted, fresh, fresh, self.repository.container_path)
        if self.remounts:
            present = fresh.get(REPO_DEVICE)
            devices.pop(REPO_DEVICE, None)  # the previous directory would be mounted at once, and cannot be verified
            if present is not None and (self.is_verified or present == self.current["devices"].get(REPO_DEVICE)):
                devices[REPO_DEVICE] = present
        return devices


def _revert(fresh: dict[str, Any], current: dict[str, Any], desired: dict[str, Any]) -> dict[str, Any]:
    """Return ``fresh`` without the changes of this run, from ``current`` to ``desired``; those of others stay."""
    ours = {key for key in {*current, *desired} if current.get(key) != desired.get(key) and fresh.get(key) == desired.get(key)}
    return {key: value for key, value in fresh.items() if key not in ours} | {key: current[key] for key in ours if key in current}


def _check_remount(task: ProjectTask, instance: dict[str, Any], devices: Devices, path: str) -> None:
    """Check that mounting the repository again in a running instance would not hide other mounts inside it.

    :param path: of the repository in the instance.
    :raises ConflictError: it would.
    """
    present = instance.get("expanded_devices") or instance["devices"]
    within = sorted(each for each, device in present.items() if os.path.normpath(device.get("path", "")).startswith(f"{path}/"))
    if within and instance["devices"].get(REPO_DEVICE) != devices[REPO_DEVICE]:
        raise ConflictError(
            f"the repository of {task.name!r} would be mounted again, which would hide the mounts inside it: {', '.join(within)}.",
            f"incus stop --project {task.context.incus_project} {task.name} && repoman new {task.name}",
        )
