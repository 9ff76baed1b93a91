# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts of one container that lie inside what another container can write.

Incus opens the source of a mount by its name, as root, at each start: also at one from ``incus start``, at a reboot from inside, and when
the host boots. A container that can write to a directory above the source can put a link in its place, to any directory of the host. No
check of repoman runs at those starts, so such mounts must not exist. Containers of other Incus projects count: their names here have those in
front, such as ``default/web``.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import instance_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE, expanded_devices
from ansible_collections.homelab.repoman.plugins.module_utils.projects.mount_index import (
    Devices,
    Overlap,
    find_overlaps,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import is_own
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask

Instances = Mapping[str, Mapping[str, Any]]
"""Names of instances to what Incus tells of them."""


def overlap_error(overlap: Overlap, name: str, context: RunContext, instances: Instances) -> ConflictError:
    """Return the error for an overlap.

    :param name: of the project that is refused.
    :param instances: of all Incus projects, as in :func:`overlap_hints`.
    """
    error = overlap.error
    error.hints = overlap_hints(overlap, name, context, instances)
    return error


def overlap_hints(overlap: Overlap, name: str, context: RunContext, instances: Instances) -> list[str]:
    """Return what to do about an overlap, for the project ``name``: each command is enough.

    :param instances: of the Incus project by name, and of others by Incus project and name.
    """
    other = overlap.writer if overlap.container == name else overlap.container
    incus_project, slash, instance = other.rpartition("/")
    if slash:
        show = instance_command(context.client.path, incus_project, "config show", instance, "--expanded")
        return [f"{show}   # a container of the Incus project {incus_project!r}", *_device_hints(overlap, other, context, instances)]
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


def _device_hints(overlap: Overlap, other: str, context: RunContext, instances: Instances) -> list[str]:
    """Return the commands that end an overlap with a container of another Incus project: each changes one device of it.

    :param other: that container, by Incus project and name.
    """
    incus_project, _slash, instance = other.rpartition("/")
    device = overlap.writer_device if overlap.writer == other else overlap.device
    is_from_profile = device not in (instances.get(other, {}).get("devices") or {})

    def command(verb: str, arguments: str, remark: str) -> str:
        words = f"{shell_word(device)} {arguments}".rstrip()
        return f"{instance_command(context.client.path, incus_project, f'config device {verb}', instance, words)}   # {remark}"

    hints = []
    if overlap.writer == other:
        hints.append(command("override" if is_from_profile else "set", "readonly=true", "if it needs only to read there"))
    removal = ("add", "none") if is_from_profile else ("remove", "")
    return [*hints, command(*removal, "or if it can do without that directory" if hints else "if it can do without it")]


def check_new_overlaps(task: ProjectTask, devices: Devices, starts: bool) -> None:
    """Check that a container would not overlap others, and note its devices for the other projects of the run.

    Containers of earlier versions may overlap already. They are not changed, and a warning names the danger; but the one whose mount can
    be replaced is not started.

    :param devices: that it should have, with those of its profiles.
    :param starts: whether the run starts it.
    :raises ConflictError: it would overlap another container.
    """
    snapshot, name = task.snapshot, task.name
    index = snapshot.mount_index
    previous = {} if task.instance is None else expanded_devices(task.instance)
    index.add(name, previous)
    existing = index.overlaps(name)
    index.add(name, devices)
    for overlap in index.overlaps(name):
        if overlap not in existing or (starts and overlap.container == name):
            index.add(name, previous)
            raise overlap_error(overlap, name, task.context, {**snapshot.others, **snapshot.instances})
        task.warnings.append(overlap.error.message)


def status_overlaps(context: RunContext, instances: Instances, others: Instances) -> dict[str, list[dict[str, Any]]]:
    """Return the overlaps of existing containers, by each of the containers of the Incus project that they are about.

    :param instances: all of the Incus project.
    :param others: of other Incus projects, by Incus project and name.
    """
    overlaps: dict[str, list[dict[str, Any]]] = {}
    all_instances = {**others, **instances}
    for overlap in find_overlaps({name: expanded_devices(instance) for name, instance in all_instances.items()}):
        for name in {overlap.container, overlap.writer} & instances.keys():
            hints = overlap_hints(overlap, name, context, all_instances)
            if name == overlap.container != overlap.writer:
                command = context.instance_command("config set", name, "boot.autostart=false")
                hints.append(f"{command}   # until then, so that Incus does not start it when the host boots")
            fields = {"container": overlap.container, "device": overlap.device, "source": overlap.source}
            fields |= {"writer": overlap.writer, "directory": overlap.directory, "msg": overlap.error.message}
            overlaps.setdefault(name, []).append({**fields, "hints": hints})
    return overlaps
