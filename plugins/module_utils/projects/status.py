# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the module ``repoman_project_info`` adds for ``status`` to the summaries of projects: the host, and the state of each project."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import HostFacts
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.root_disk import PROFILE, root_disk_warnings
from ansible_collections.homelab.repoman.plugins.module_utils.process.termination import commands_end_too
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed, read_installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import ProfileEntry, library_of, list_all
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import is_required, mounts_host_path
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.host_probes import missing_paths, probe_address
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import APPLIED_KEY, expanded_devices, previously_requested
from ansible_collections.homelab.repoman.plugins.module_utils.projects.notes import (
    SCAN_SECONDS,
    protection_note,
    repository_notes,
    set_user_id_note,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.overlap import status_overlaps
from ansible_collections.homelab.repoman.plugins.module_utils.projects.reconcile import reconcile
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import existing_repository
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import (
    MISSING,
    configured_settings,
    effective_settings,
    readable_paths,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import ProjectSettings
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.state import read_states


@dataclass(frozen=True)
class StatusSnapshot:
    """The state that ``status`` reads in addition to the instances.

    :param profiles: the installed profiles, by name.
    :param library: the profile templates.
    :param now: the time at which it was read.
    :param scan_seconds: time to search one repository for set-user-ID files.
    """

    profiles: dict[str, Installed]
    library: list[ProfileEntry]
    now: datetime
    scan_seconds: float = SCAN_SECONDS

    @property
    def drifting(self) -> list[str]:
        """Names of the installed profiles that differ from their templates."""
        return sorted(entry.name for entry in self.library if entry.drift)


def read_status(
    context: RunContext, summaries: list[dict[str, Any]], all_instances: dict[str, dict[str, Any]], params: dict[str, Any]
) -> dict[str, Any]:
    """Return the state of the host, and the details of each project."""
    instances = {summary["name"]: all_instances[summary["name"]] for summary in summaries if summary["state"] != MISSING}
    account, registry = context.account, context.registry
    incus_version = context.client.read("/1.0", shapes.SERVER).data["environment"]["server_version"]
    installed = read_installed(context.client)
    library = list_all(library_of(params, account), installed, HostFacts(registry.lan_ip, account.name, account.home))
    snapshot = StatusSnapshot(installed, library, datetime.now(timezone.utc), SCAN_SECONDS / max(1, len(summaries)))
    optional = {summary["name"]: optional_sources(summary, instances.get(summary["name"]), installed) for summary in summaries}
    overlaps = status_overlaps(context, all_instances, context.read_other_instances())
    with ThreadPoolExecutor() as pool:  # each may take a few seconds
        states = pool.submit(read_states, readable_paths(summaries), context.repos_root, account, params["vcs_timeout"])
        missing = pool.submit(missing_paths, {source for sources in optional.values() for source in sources.values()}, account)
        address = pool.submit(probe_address, registry.lan_ip)
        details = [project_details(context, summary, instances.get(summary["name"]), snapshot) for summary in summaries]
        running: list[Future[Any]] = [states, missing, address]
        with commands_end_too():
            wait(running)
    projects = [
        summary
        | detail
        | {
            "missing_sources": [
                {"device": device, "source": source} for device, source in optional[summary["name"]].items() if source in missing.result()
            ],
            "overlaps": overlaps.get(summary["name"], []),
            "vcs": states.result().get(summary["name"]),
        }
        for summary, detail in zip(summaries, details, strict=True)
    ]
    host = {
        "incus_version": incus_version,
        "incus_project": context.incus_project,
        "registry": context.registry_path,
        "lan_ip": address.result(),
        "library": _library_status(snapshot),
    }
    warnings = root_disk_warnings(installed[PROFILE].body["devices"] if PROFILE in installed else None, context.client.path)
    return {"host": host, "projects": projects, "time": iso_time(snapshot.now)} | ({"warnings": warnings} if warnings else {})


def _library_status(snapshot: StatusSnapshot) -> dict[str, Any]:
    return {
        "profiles": len(snapshot.library),
        "installed": sum(entry.installed for entry in snapshot.library),
        "drift": snapshot.drifting,
        "errors": [{"name": entry.name, "msg": entry.error} for entry in snapshot.library if entry.error],
    }


def project_details(
    context: RunContext, summary: Mapping[str, Any], instance: dict[str, Any] | None, snapshot: StatusSnapshot
) -> dict[str, Any]:
    """Return the addresses of a project, the state of its profiles, and its differences from the desired configuration.

    :param summary: see :func:`project_summary`.
    """
    profiles: list[str] = instance["profiles"] if instance else summary["profiles"]
    details: dict[str, Any] = {
        "addresses": addresses(instance),
        "profile_drift": [name for name in profiles if name in snapshot.drifting],
        "profiles_missing": [name for name in configured_settings(context, summary["name"])[0].profiles if name not in snapshot.profiles],
        "differences": [],
        "notes": [],
        "security_notes": [],
        "problem": summary["problem"],
    }
    if summary["unfinished"] or summary["problem"] or not summary["repo_exists"]:
        return details
    try:
        return details | _compare(context, summary["name"], instance, snapshot)
    except RepomanError as error:
        return details | {"problem": error.message}
    except OSError as error:
        return details | {"problem": RepomanError.from_os_error(error).message}


def _compare(context: RunContext, name: str, instance: dict[str, Any] | None, snapshot: StatusSnapshot) -> dict[str, list[str]]:
    """Return the differences of an instance from its desired configuration, one phrase each, and notes about its repository.

    :raises RepomanError: the configuration is wrong, so that the instance cannot be compared or created.
    """
    unset = context.instance_command("config unset", name, APPLIED_KEY)
    requested = previously_requested(instance, unset) if instance else ProjectSettings()
    settings = effective_settings(context, name, requested)
    desired = DesiredInstance(settings, requested, existing_repository(settings.repo, context, name), snapshot.profiles, context.account)
    desired.check_reserved_names()
    desired.check_sources()
    if instance is None:
        return {"notes": repository_notes(desired)}
    config, devices = desired.config_and_devices()
    security_notes = [protection_note(desired, instance), set_user_id_note(desired.repository.host_path, snapshot.scan_seconds)]
    security_notes = [note for note in security_notes if note]
    differences = reconcile(instance, config, devices, settings.profiles, unset=settings.unset)
    return {
        "differences": differences.describe(),
        "notes": [*repository_notes(desired), *security_notes],
        "security_notes": security_notes,
    }


def addresses(instance: Mapping[str, Any] | None) -> list[str]:
    """Return the addresses at which an instance can be reached, IPv4 first."""
    networks = ((instance or {}).get("state") or {}).get("network") or {}
    global_addresses = [
        address
        for name, network in networks.items()
        if name != "lo"
        for address in network.get("addresses") or ()
        if address["scope"] == "global"
    ]
    return [address["address"] for address in sorted(global_addresses, key=lambda address: str(address["family"]))]


def optional_sources(summary: Mapping[str, Any], instance: Mapping[str, Any] | None, profiles: Mapping[str, Installed]) -> dict[str, str]:
    """Return the host paths of the optional disk devices of a project, by device: it runs without those that do not exist."""
    return {
        name: device["source"]
        for name, device in project_devices(summary, instance, profiles).items()
        if mounts_host_path(device) and not is_required(device)
    }


def project_devices(
    summary: Mapping[str, Any], instance: Mapping[str, Any] | None, profiles: Mapping[str, Installed]
) -> dict[str, dict[str, str]]:
    """Return the devices of the container of a project; without one, those that its profiles would give it."""
    if instance:
        return expanded_devices(instance)
    devices: dict[str, dict[str, str]] = {}
    for name in summary["profiles"]:
        devices |= profiles[name].body["devices"] if name in profiles else {}
    return devices
