# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Brings an existing instance to its desired configuration."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import mounts_host_path
from ansible_collections.homelab.repoman.plugins.module_utils.projects import protect
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account import create_home
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance, Devices
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    APPLIED_KEY,
    PROTECTED_KEY,
    READY,
    REPO_DEVICE,
    STATE_KEY,
    applied_settings,
    expanded_devices,
    mount_targets,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance_setup import InstanceSetup
from ansible_collections.homelab.repoman.plugins.module_utils.projects.notes import protection_note
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import mounted_repositories, new_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.protected_record import kept_record
from ansible_collections.homelab.repoman.plugins.module_utils.projects.reconcile import Differences, diff_text, reconcile
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask

KEYS = ("profiles", "config", "devices")
"""Parts of an instance that repoman corrects."""
METADATA_KEYS = ("architecture", "description", "ephemeral", "stateful")
"""Parts that repoman does not change; Incus would reset them if the request left them out."""


def plan_update(task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any]) -> bool:
    """Add the step that brings an instance to its desired configuration, and report how it differs.

    :returns: whether anything differs.
    :raises ConflictError: the repository would be mounted again in a running instance, hiding mounts inside it; or an instance to adopt
        does not mount the repository.
    """
    name = task.name
    config, _devices = desired.config_and_devices()
    if note := protection_note(desired, instance, task.request.accept_protected):
        task.warnings.append(f"{name}: {note}")
    if PROTECTED_KEY in config and not task.request.accept_protected:
        config[PROTECTED_KEY] = kept_record(instance["config"].get(PROTECTED_KEY, ""), config[PROTECTED_KEY], instance["devices"])
    devices, waiting, replaced = _changeable_devices(task, desired, instance)
    config |= {APPLIED_KEY: desired.applied_record(devices)} | ({STATE_KEY: READY} if task.adopts else {})
    if waiting:
        task.warnings.append(
            f"{', '.join(waiting)}: mounts inside the repository only change while {name} is stopped; to apply the change:"
            f" {task.context.instance_command('stop', name)}, then run the same command again"
        )
    if instance["status"] != "Stopped" and instance["devices"].get(REPO_DEVICE) != devices[REPO_DEVICE]:
        check_inner_mounts(task, instance, desired.repository.container_path)
    differences = reconcile(instance, config, devices, desired.settings.profiles, replaced, desired.settings.unset)
    task.result["differences"] = differences.describe()
    if not differences:
        return False
    existing = mount_targets(expanded_devices(instance).values())
    targets = [
        path for path in mount_targets(desired.with_profile_devices(differences.desired["devices"]).values()) if path not in existing
    ]
    update = InstanceUpdate(task, desired, instance, differences, targets)
    task.plan.add(
        Step(
            f"adopt the container {name}" if task.adopts else f"update the configuration of {name}",
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
    :param desired: its desired state.
    :param instance: as Incus described it when the run started.
    :param differences: between the two.
    :param targets: paths in the instance that must exist because something will be mounted there.
    """

    def __init__(
        self, task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any], differences: Differences, targets: list[str]
    ) -> None:
        self.task, self.instance, self.targets = task, instance, targets
        self.repository, self.sudo = desired.repository, desired.settings.sudo
        self.current, self.desired = differences.current, differences.desired
        self.control = task.control
        self.directory = task.pin(self.repository)
        self.body = {key: instance[key] for key in METADATA_KEYS if key in instance} | self.desired
        self.remounts = task.adopts or self.current["devices"].get(REPO_DEVICE) != self.desired["devices"][REPO_DEVICE]
        self.is_sent = False
        """True if Incus may have made the change."""
        self.is_verified = False
        """True if the directory that was mounted again is the repository."""

    def apply(self) -> None:
        """Make the change.

        :raises ConcurrentChangeError: the instance has changed since it was read.
        :raises ConflictError: something else was mounted instead of the repository.
        """
        response = self.control.read()
        if any(response.data[key] != self.instance[key] for key in self.current):
            raise ConcurrentChangeError(
                f"the container {self.task.name!r} was changed by another program at the same time.", "run the command again"
            )
        if self.targets:
            create_home(self.control, self.targets)
        try:
            if self.remounts:
                self.directory.open()
            self.is_sent = True
            self.control.replace(self.body, response.etag)
            if self.remounts:
                self._verify(is_running=response.data["status"] == "Running")
        except ConcurrentChangeError:
            self.is_sent = False
            raise
        finally:
            self.directory.close()

    def _verify(self, is_running: bool) -> None:
        if is_running:
            with InstanceSetup(self.control, self.repository, self.directory) as setup:
                self.task.warnings.extend(setup.ensure_account(self.sudo))
                setup.verify()
            self.is_verified = True
        elif not self.directory.is_unchanged():
            raise self.directory.replaced_error()

    def undo(self) -> None:
        """Revert the change; later changes by other programs stay.

        :raises RepomanError: the repository is not mounted now.
        """
        self.control.wait_for_operations()
        response = self.control.read()
        latest = response.data
        if not self.is_sent or latest["config"].get(APPLIED_KEY) != self.desired["config"][APPLIED_KEY]:
            return
        reverted: dict[str, Any] = {key: _revert(latest[key], self.current[key], self.desired[key]) for key in ("config", "devices")}
        reverted["profiles"] = self.current["profiles"] if latest["profiles"] == self.desired["profiles"] else latest["profiles"]
        if latest["status"] != "Stopped":
            reverted["devices"] = self._revert_running(reverted["devices"], latest["devices"])
        self.control.replace(self.body | reverted, response.etag)
        if REPO_DEVICE in self.current["devices"] and REPO_DEVICE not in reverted["devices"]:
            raise not_mounted_error(self.task.name)

    def _revert_running(self, reverted: Devices, latest: Devices) -> Devices:
        """Return the devices to give a running instance, from those that it had before."""
        devices, _waiting = protect.devices_for_running_instance(reverted, latest, latest, self.repository.container_path)
        if self.remounts:
            repository_device = latest.get(REPO_DEVICE)
            devices.pop(REPO_DEVICE, None)  # the previous directory would be mounted at once, and cannot be verified
            if repository_device is not None and (self.is_verified or repository_device == self.current["devices"].get(REPO_DEVICE)):
                devices[REPO_DEVICE] = repository_device
        return devices


def _revert(latest: dict[str, Any], current: dict[str, Any], desired: dict[str, Any]) -> dict[str, Any]:
    """Return ``latest`` without the changes of this run, from ``current`` to ``desired``; other changes stay."""
    own_changes = {key for key in {*current, *desired} if current.get(key) != desired.get(key) and latest.get(key) == desired.get(key)}
    return {key: value for key, value in latest.items() if key not in own_changes} | {
        key: current[key] for key in own_changes if key in current
    }


def planned_devices(task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any]) -> Devices:
    """Return the devices that an instance has after its update, with those of its profiles.

    :raises ConflictError: an instance to adopt does not mount the repository.
    """
    devices, _waiting, replaced = _changeable_devices(task, desired, instance)
    after = reconcile(instance, {}, devices, desired.settings.profiles, replaced).desired
    return desired.with_profile_devices(after["devices"], after["profiles"])


def _changeable_devices(task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any]) -> tuple[Devices, list[str], list[str]]:
    """Return the devices to set now, the names of those that can only change while it is stopped, and the names of those that are replaced.

    :raises ConflictError: an instance to adopt does not mount the repository.
    """
    _config, devices = desired.config_and_devices()
    replaced = _adopted_mounts(task, desired, instance) if task.adopts else []
    if instance["status"] == "Stopped":
        return devices, [], replaced
    applied, path = applied_settings(instance)["devices"], desired.repository.container_path
    return *protect.devices_for_running_instance(devices, instance["devices"], applied, path), replaced


def _adopted_mounts(task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any]) -> list[str]:
    """Return the names of the devices with which an instance without marks mounts the repository at its path: ours replaces them.

    :raises ConflictError: it does not mount the repository at all.
    """
    repository, context = desired.repository, task.context
    mounts = {name: device for name, device in instance["devices"].items() if mounts_host_path(device)}
    if not any(os.path.realpath(device["source"]) == repository.host_path for device in mounts.values()):
        mounted = mounted_repositories(context, instance)[0]
        raise ConflictError(
            f"the container {task.name!r} mounts {mounted}, not {repository.container_path}; it was not changed.",
            new_command(context, task.name, mounted, "--adopt"),
        )
    return [name for name, device in mounts.items() if os.path.normpath(device.get("path", "")) == repository.container_path]


def not_mounted_error(name: str) -> RepomanError:
    """Return the error for a running instance whose repository was unmounted, because the mount could not be verified."""
    return RepomanError(f"the repository is not mounted in {name!r} now.", f"repoman new {shell_word(name)}   # mounts it again")


def check_inner_mounts(task: ProjectTask, instance: dict[str, Any], path: str) -> None:
    """Check that mounting the repository again in a running instance would not hide other mounts inside it.

    :param path: of the repository in the instance.
    :raises ConflictError: it would.
    """
    existing = expanded_devices(instance)
    previous_path = os.path.normpath((existing.get(REPO_DEVICE) or {}).get("path", path))  # another one if the repository has moved
    inner_mounts = sorted(
        name for name, device in existing.items() if os.path.normpath(device.get("path", "")).startswith((f"{path}/", f"{previous_path}/"))
    )
    if inner_mounts:
        again = new_command(task.context, task.name, path, *(["--adopt"] if task.adopts else []))
        raise ConflictError(
            f"the repository of {task.name!r} would be mounted again, which would hide the mounts inside it: {', '.join(inner_mounts)}.",
            f"{task.context.instance_command('stop', task.name)} && {again}",
        )
