# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of Incus: the server, the user's access to it, the project, storage, and the profile that containers start from."""

from __future__ import annotations

import grp
import os
import re
from collections.abc import Sequence

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_bytes
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import Check, Outcome, fail, failure, ok, warn
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext, MissingRequirementError, Requirement
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import DEFAULT_PROJECT, api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import client_command, instance_command
from ansible_collections.homelab.repoman.plugins.module_utils.incus.root_disk import PROFILE, missing_root_disk_error, root_disk
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Defaults
from ansible_collections.homelab.repoman.plugins.module_utils.registry.setup import incus_project_steps

FIRST_VERSION = (6, 0)
"""The first supported version of Incus."""
NEW_NETWORK = "incusbr0"
"""The network that the hint makes, named as by ``incus admin init``."""
USABLE = ("created", "")
"""States of a usable storage pool, in lower case."""
LOW_BYTES = 512 << 20
"""A storage pool with less free space is reported."""


def check_server(context: DoctorContext) -> Outcome:
    """Check that Incus answers, and its version; whether this session may ask it, :func:`check_access` reports."""
    if os.path.exists(context.socket) and not _may_use(context.socket):
        raise MissingRequirementError(Requirement.INCUS)
    version = context.connect()["server_version"]
    numbers = tuple(int(number) for number in re.findall(r"\d+", version)[:2])
    if numbers < FIRST_VERSION:
        return fail(
            f"Incus {version} is too old: repoman needs {'.'.join(map(str, FIRST_VERSION))} or later",
            "sudo apt update && sudo apt install incus   # from a source that has a later one",
        )
    return ok(f"Incus {version} at {context.socket}")


def check_access(context: DoctorContext) -> Outcome:
    """Check that this session may use the socket: a group counts only after the next login."""
    user = context.account.name if os.geteuid() else "root"
    if not os.path.exists(context.socket):
        raise MissingRequirementError(Requirement.INCUS)
    group = _group_of(context.socket)
    if _may_use(context.socket):
        through = f" (group {group.gr_name})" if group and group.gr_gid in os.getgroups() and os.geteuid() else ""
        return ok(f"{user} may use Incus{through}")
    if group is None:
        return fail(f"{user} may not use {context.socket}", f"ls -l {shell_word(context.socket)}")
    if user in group.gr_mem or context.account.gid == group.gr_gid:
        return fail(
            f"{user} is in the group {group.gr_name}, but this session is older than that",
            f"newgrp {group.gr_name}   # for this shell; for all others, log out and in again",
        )
    return fail(f"{user} is not in the group {group.gr_name}", f"sudo usermod -aG {group.gr_name} {user}   # then log out and in again")


def check_incus_project(context: DoctorContext) -> Outcome:
    """Check that Incus has the project for the containers, as setup makes it."""
    name = context.registry.defaults.incus_project
    steps = incus_project_steps(name, context.client)
    return fail(f"setup is not complete: it would {steps[0].description}", "repoman setup") if steps else ok(f"Incus project {name}")


def check_storage(context: DoctorContext) -> Outcome:
    """Check that there is a storage pool, in use by the default profiles if they have a root disk, and that it has free space."""
    pools = context.storage_pools
    if not pools:
        return fail("Incus has no storage pool", client_command(context.socket, "storage create local:default dir"))
    disk = root_disk(_default_devices(context)) or {}
    name = disk["pool"] if disk.get("pool") in pools else next(iter(pools))
    info = client_command(context.socket, f"storage info local:{shell_word(name)}")
    if (pools[name].get("status") or "").lower() not in USABLE:
        return fail(f"storage pool {name} is {pools[name]['status'].lower()}", info)
    label, free = f"storage pool {name} ({pools[name]['driver']})", _free_bytes(context, name)
    if free is not None and free < LOW_BYTES:
        return warn(f"{label} has only {format_bytes(free)} free", f"{info}   # shows its use")
    return ok(label if free is None else f"{label}, {format_bytes(free)} free")


def check_root_disk(context: DoctorContext) -> Outcome:
    """Check that containers get a root disk from the default profiles."""
    disk = root_disk(_default_devices(context))
    if disk is not None:
        return ok(f"{_profiles_label(context)}: root disk in pool {disk.get('pool', '')}")
    return failure(missing_root_disk_error(context.socket, _first_profile(context), next(iter(context.storage_pools), "POOL")))


def check_network(context: DoctorContext) -> Outcome:
    """Check that containers get a network from the default profiles."""
    for name, device in _default_devices(context).items():
        if device.get("type") == "nic":
            return ok(f"{_profiles_label(context)}: network {device.get('network') or device.get('parent') or name}")
    networks = context.client.read(api_path("/1.0/networks", recursion=1, project=DEFAULT_PROJECT), [shapes.NETWORK]).data
    network = next((each["name"] for each in networks if each["managed"] and each["type"] == "bridge"), "")
    profile = _first_profile(context)
    nic = f"eth0 nic network={shell_word(network or NEW_NETWORK)}"
    add = instance_command(context.socket, DEFAULT_PROJECT, "profile device add", profile, nic)
    create = "" if network else instance_command(context.socket, DEFAULT_PROJECT, "network create", NEW_NETWORK) + " && "
    return warn(f"Incus's profile {profile!r} has no network, so containers have none", create + add)


def _default_profiles(context: DoctorContext) -> Sequence[str]:
    registry = context.registry_or_none
    return (registry and registry.defaults.profiles) or Defaults().profiles


def _first_profile(context: DoctorContext) -> str:
    """Return the profile that hints change: Incus's own if containers get it."""
    profiles = _default_profiles(context)
    return PROFILE if PROFILE in profiles or not profiles else profiles[0]


def _profiles_label(context: DoctorContext) -> str:
    names = _default_profiles(context)
    return f"profile{'s' * (len(names) > 1)} {', '.join(names)}"


def _default_devices(context: DoctorContext) -> dict[str, dict[str, str]]:
    """Return the devices that a container gets from the default profiles."""
    devices: dict[str, dict[str, str]] = {}
    for name in _default_profiles(context):
        devices |= context.installed[name].body["devices"] if name in context.installed else {}
    return devices


def _free_bytes(context: DoctorContext, pool: str) -> int | None:
    """Return the free space of a storage pool; ``None`` if its driver does not tell."""
    space = context.client.read(api_path("/1.0/storage-pools/{}/resources", pool), shapes.STORAGE_SPACE).data.get("space") or {}
    return space["total"] - (space.get("used") or 0) if space.get("total") else None


def _may_use(socket: str) -> bool:
    return os.access(socket, os.R_OK | os.W_OK)


def _group_of(path: str) -> grp.struct_group | None:
    """Return the group of a file, if it has a name and the group may write."""
    status = os.stat(path)
    try:
        return grp.getgrgid(status.st_gid) if status.st_gid and status.st_mode & 0o020 else None
    except KeyError:
        return None


CHECKS = (
    Check("access", "access to Incus", check_access),
    Check("incus", "the version of Incus", check_server),
    Check("incus_project", "the Incus project", check_incus_project),
    Check("storage", "storage", check_storage),
    Check("root_disk", "the root disk", check_root_disk),
    Check("network", "the network", check_network),
)
