# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of ``repoman_project`` and ``repoman_project_info`` on a host that has no account, library, registry or Incus yet."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action, merge_failures
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.host_probes import probe_address
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import environment_names
from ansible_collections.homelab.repoman.plugins.module_utils.projects.mirrors import find_mirror
from ansible_collections.homelab.repoman.plugins.module_utils.projects.request import ProjectRequest, named_projects, requests_for
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import (
    configured_settings,
    effective_settings,
    project_summary,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import ProjectSettings
from ansible_collections.homelab.repoman.plugins.module_utils.registry.predicted import predicted_account_and_registry


def predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result of ``repoman_project``: no container exists yet. A wrong request fails as it would for real.

    :raises RepomanError: a name is invalid, or the registry cannot be read.
    """
    requests = named_projects(params)
    context = predicted_context(params)
    if params.get("all") and params.get("create", True):
        names = {request.name for request in requests}
        requests = requests_for((name for name in sorted(context.registry.projects) if name not in names), params) + requests
    results = [_project(context, request, params["state"]) for request in requests]
    return {
        "changed": any(project["changed"] for project in results),
        "projects": results,
        "diff": [],
        "account": vars(context.account),
        "socket": context.client.path,
    } | merge_failures(results)


def predict_info(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result of ``repoman_project_info``, without the parts about backups: the named projects, or those of the registry.

    :raises RepomanError: the registry cannot be read.
    """
    context = predicted_context(params)
    names = params["names"] or sorted(context.registry.projects)
    summaries = [project_summary(context, name, None) | {"stale_mount": False} for name in names]
    common = {"changed": False, "account": vars(context.account), "stale_after": context.registry.defaults.stale_seconds}
    if not params["status"]:
        summaries = [summary | {"vcs": None} for summary in summaries] if params["vcs"] else summaries
        return common | {"projects": summaries, "socket": context.client.path}
    host = {
        "incus_version": "",
        "incus_project": context.incus_project,
        "registry": context.registry_path,
        "lan_ip": probe_address(context.registry.lan_ip),
        "library": {"profiles": 0, "installed": 0, "drift": [], "errors": []},
    }
    projects = [summary | _details(context, summary["name"]) for summary in summaries]
    return common | {"host": host, "projects": projects, "time": iso_time(datetime.now(timezone.utc))}


def predicted_context(params: dict[str, Any]) -> RunContext:
    """Return the context of a run, with default values for everything that does not exist yet.

    :raises RepomanError: the registry cannot be read.
    """
    account, registry = predicted_account_and_registry(params)
    return RunContext(account, registry.path, registry, incus.Client(incus.find_socket(params["socket"]), params["timeout"]), predict=True)


def _project(context: RunContext, request: ProjectRequest, state: str) -> dict[str, Any]:
    """Return the result of one project."""
    common = {"name": request.name, "incus_project": context.incus_project, "changed": False, "steps": []}
    if state == "absent":
        return common | _removal(context, request.name)
    try:
        if request.error is not None:
            raise request.error
        return common | _creation(context, request, state)
    except RepomanError as error:
        return common | {"action": Action.FAILED.value} | error.as_result()


def _creation(context: RunContext, request: ProjectRequest, state: str) -> dict[str, Any]:
    """Return the keys of a project whose container would be created.

    :raises RepomanError: its override cannot be read.
    """
    others = request.profiles if request.profiles is not None else effective_settings(context, request.name).profiles
    requested = ProjectSettings(
        repo=request.repo,
        image=request.image,
        profiles=(*others, *request.added_profiles(others)),
        backup=request.backup,
        config=request.config or {},
        devices=request.devices or {},
        unset=request.unset,
    )
    settings = effective_settings(context, request.name, requested)
    steps = [f"create container {request.name} from {settings.image}", *([f"stop {request.name}"] if state == "stopped" else [])]
    return {
        "action": Action.CREATED.value,
        "changed": True,
        "steps": steps,
        "differences": [],
        "state": "Stopped" if state == "stopped" else "Running",
        "repo": context.repository_path(settings.repo),
        "image": settings.image,
        "profiles": list(settings.profiles),
        "backup": settings.backup,
        "environment": environment_names(settings.config),
    }


def _removal(context: RunContext, name: str) -> dict[str, Any]:
    """Return the keys of a project that is removed. There is nothing to remove if the registry does not have it either."""
    entry = context.registry.projects.get(name)
    repo = entry.repo if entry else name
    kept = {"repo": os.path.join(context.repos_root, repo), "mirror": find_mirror(context, repo)}
    if entry is None:
        return {"action": Action.ABSENT.value, "state": "absent", "kept": kept, "suggestions": [], "near": []}
    return {
        "action": Action.REMOVED.value,
        "changed": True,
        "steps": [f"remove {name} from the registry"],
        "state": "absent",
        "kept": kept,
    }


def _details(context: RunContext, name: str) -> dict[str, Any]:
    """Return the keys that ``status`` adds to the summary of a project without a container, and without profiles in Incus."""
    return {
        "addresses": [],
        "profile_drift": [],
        "profiles_missing": list(configured_settings(context, name)[0].profiles),
        "differences": [],
        "notes": [],
        "missing_sources": [],
        "overlaps": [],
        "security_notes": [],
        "vcs": None,
    }
