# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts of one container that lie inside what another container can write.

Incus opens the source of a mount by its name, as root, at each start: also at one from ``incus start``, at a reboot from inside, and when
the host boots. A container that can write to a directory above the source can put a link in its place, to any directory of the host. No
check of repoman runs at those starts, so such mounts must not exist.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE, TRUE
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import is_own
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask

Devices = Mapping[str, Mapping[str, str]]
"""Device names to their settings."""
Instances = Mapping[str, Mapping[str, Any]]
"""Names of instances to what Incus tells of them."""


@dataclass(frozen=True)
class Overlap:
    """A mount whose source another mount leads to.

    :param container: the container with the mount that can be replaced.
    :param device: its device.
    :param source: the path of the host that the device mounts.
    :param writer: the container that can replace it.
    :param directory: the directory of the host that the writer can write to.
    :param about_repository: whether one of both is the repository of a project, not only a device that was added to it.
    """

    container: str
    device: str
    source: str
    writer: str
    directory: str
    about_repository: bool

    @property
    def error(self) -> ConflictError:
        """The danger as an error, without hints."""
        return ConflictError(
            f"{self.source}, which the container {self.container!r} mounts, is inside {self.directory}, which the container"
            f" {self.writer!r} can write: it could replace it by a link to any directory of this host."
        )


def find_overlaps(devices_of: Mapping[str, Devices]) -> list[Overlap]:
    """Return the overlaps between containers, and inside each of them.

    :param devices_of: the devices of each container, with those of its profiles.
    """
    writable: dict[str, list[tuple[str, str]]] = {}
    for name, devices in devices_of.items():
        for device, settings in _host_mounts(devices):
            if settings.get("readonly", "").lower() not in TRUE:
                for path in _paths(settings["source"]):
                    writable.setdefault(path, []).append((name, device))
    overlaps: dict[tuple[str, str, str, str], Overlap] = {}
    for name, devices in devices_of.items():
        for device, settings in _host_mounts(devices):
            for directory, source in _ancestors(settings["source"]):
                for writer, writer_device in writable.get(directory, ()):
                    if writer == name and _is_in_place(settings, source, devices[writer_device], directory):
                        continue
                    overlap = Overlap(name, device, source, writer, directory, REPO_DEVICE in (device, writer_device))
                    overlaps.setdefault((name, device, writer, writer_device), overlap)
    return list(overlaps.values())


def overlaps_of(name: str, devices: Devices, devices_of: Mapping[str, Devices]) -> list[Overlap]:
    """Return the overlaps of one container.

    :param devices: its devices.
    :param devices_of: the devices of each container; those of this one do not count.
    """
    return [overlap for overlap in find_overlaps({**devices_of, name: devices}) if name in (overlap.container, overlap.writer)]


def expanded_devices(instance: Mapping[str, Any]) -> Devices:
    """Return the devices of an instance, with those of its profiles."""
    return instance.get("expanded_devices") or instance.get("devices") or {}


def overlap_error(overlap: Overlap, name: str, context: RunContext, instances: Instances) -> ConflictError:
    """Return the error for an overlap.

    :param name: of the project that is refused.
    :param instances: of the Incus project.
    """
    error = overlap.error
    error.hints = overlap_hints(overlap, name, context, instances)
    return error


def overlap_hints(overlap: Overlap, name: str, context: RunContext, instances: Instances) -> list[str]:
    """Return what to do about an overlap, for the project ``name``: each command is enough.

    :param instances: of the Incus project.
    """
    other = overlap.writer if overlap.container == name else overlap.container
    if other == name:
        return [f"give the device {overlap.device!r} a source outside {overlap.directory}, in repos.d/{name}.toml"]
    if other in instances and not is_own(context, instances[other]):
        return [context.instance_command("config show", other, "--expanded") + "   # a container that repoman did not create for you"]
    hints = []
    if overlap.container == name and overlap.device == REPO_DEVICE:
        hints.append(f"repoman shell {other}   # if it is enough to work on it there")
    if overlap.device == REPO_DEVICE:
        target = os.path.join(context.repos_root, overlap.container)
        if not os.path.lexists(target):
            words = shlex.join(["mv", "-T", overlap.source, target])
            hints.append(f"{words} && repoman new {overlap.container} --repo {overlap.container}   # or move it out of there")
    hints.append(f"repoman remove {other}   # or do without that container; its repository stays")
    return hints


def check_new_overlaps(task: ProjectTask, devices: Devices, starts: bool) -> None:
    """Check that a container would not overlap others, and note its devices for the other projects of the run.

    Containers of earlier versions may overlap already. They are not changed, and a warning names the danger; but the one whose mount can
    be replaced is not started.

    :param devices: that it should have, with those of its profiles.
    :param starts: whether the run starts it.
    :raises ConflictError: it would overlap another container.
    """
    snapshot, name = task.snapshot, task.name
    devices_of = {other: expanded_devices(instance) for other, instance in snapshot.instances.items()} | snapshot.planned_devices
    existing = task.instance is not None and overlaps_of(name, devices_of[name], devices_of)
    for overlap in overlaps_of(name, devices, devices_of):
        if not existing or overlap not in existing or (starts and overlap.container == name):
            raise overlap_error(overlap, name, task.context, snapshot.instances)
        task.warnings.append(overlap.error.message)
    snapshot.planned_devices[name] = devices


def status_overlaps(context: RunContext, instances: Instances) -> dict[str, list[dict[str, Any]]]:
    """Return the overlaps of existing containers, by each of the containers that they are about.

    :param instances: all of the Incus project.
    """
    overlaps: dict[str, list[dict[str, Any]]] = {}
    for overlap in find_overlaps({name: expanded_devices(instance) for name, instance in instances.items()}):
        for name in dict.fromkeys((overlap.container, overlap.writer)):
            hints = overlap_hints(overlap, name, context, instances)
            if name == overlap.container != overlap.writer:
                command = context.instance_command("config set", name, "boot.autostart=false")
                hints.append(f"{command}   # until then, so that Incus does not start it when the host boots")
            fields = {"container": overlap.container, "device": overlap.device, "source": overlap.source}
            fields |= {"writer": overlap.writer, "directory": overlap.directory, "msg": overlap.error.message}
            overlaps.setdefault(name, []).append({**fields, "hints": hints})
    return overlaps


def _host_mounts(devices: Devices) -> Iterator[tuple[str, Mapping[str, str]]]:
    """Yield the devices that mount a path of the host."""
    for device, settings in devices.items():
        if settings.get("type") == "disk" and os.path.isabs(settings.get("source", "")) and not settings.get("pool"):
            yield device, settings


def _paths(source: str) -> set[str]:
    """Return a path as it is written, and with its links resolved: either can be replaced."""
    return {os.path.normpath(source), os.path.realpath(source)}


def _ancestors(source: str) -> Iterator[tuple[str, str]]:
    """Yield the directories above a path, each with the spelling of the path that leads through it, innermost first."""
    for path in sorted(_paths(source)):
        directory = path
        while directory != "/":
            directory = os.path.dirname(directory)
            yield directory, path


def _is_in_place(settings: Mapping[str, str], source: str, writer: Mapping[str, str], directory: str) -> bool:
    """Return whether a mount is at the same place in a container as its source is in another mount of that container.

    Then a link in its place is a link at the mount's target, too, and nothing is mounted over links.

    :param directory: the source of the other mount.
    """
    path = os.path.normpath(writer.get("path", "/")).rstrip("/") + source.removeprefix(directory.rstrip("/"))
    return os.path.normpath(settings.get("path", "")) == path
