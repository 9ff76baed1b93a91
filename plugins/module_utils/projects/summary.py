# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A project in a few words, for ``list`` and the inventory."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import seconds_since, sync_state
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount, hung_mount_error, read_behind_mounts
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    REPO_DEVICE,
    REPO_KEY,
    environment_names,
    is_unfinished,
    made_from,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import Ownership, Relation, mounted_repositories
from ansible_collections.homelab.repoman.plugins.module_utils.projects.stale_mount import stale_mounts
from ansible_collections.homelab.repoman.plugins.module_utils.registry import model
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override

MISSING = "missing"
"""State of a project without an instance."""


def common_result(context: RunContext) -> dict[str, Any]:
    """Return what every result of ``repoman_project_info`` has."""
    return {"changed": False, "account": vars(context.account), "stale_after": context.registry.defaults.stale_seconds}


def list_result(context: RunContext, summaries: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the result of ``repoman_project_info`` without ``status``."""
    return common_result(context) | {"projects": summaries, "socket": context.client.path}


def project_summaries(
    context: RunContext, names: Iterable[str], instances: Mapping[str, dict[str, Any]], owned: Mapping[str, Ownership]
) -> list[dict[str, Any]]:
    """Return the summaries of projects, each with whether its container shows another directory than the repository.

    :param instances: the user's instances with these names, as Incus describes them.
    :param owned: how each instance with these names belongs to the user; also instances of other users.
    """
    names = list(names)
    own = [instances[name] for name in names if name in instances and owned[name].relation == Relation.OWN]
    stale = stale_mounts(context.client.path, context.incus_project, own)
    summaries = read_behind_mounts(lambda name: project_summary(context, name, instances.get(name), owned.get(name)), names)
    return [summary | {"stale_mount": summary["name"] in stale} for summary in summaries]


def project_summary(context: RunContext, name: str, instance: dict[str, Any] | None, owned: Ownership | None = None) -> dict[str, Any]:
    """Return the summary of a project, as ``list`` shows it. If its override cannot be read, ``problem`` has the reason.

    :param instance: of that name, as Incus describes it; ``None`` if the user has none.
    :param owned: how the instance of that name belongs to the user, even if it is another user's.

    A repository whose file system does not answer counts as existing, and ``problem`` says so.
    """
    entry = context.registry.projects.get(name)
    settings, problem = configured_settings(context, name)
    path = context.repository_path(settings.repo)
    if instance:
        path = _mounted_path(context, instance, path)
    error: RepomanError | None = owned.error if owned else None
    last_sync, now = entry.last_sync if entry else "", datetime.now(timezone.utc)
    hung = hung_mount(path)
    if hung and error is None:
        error = hung_mount_error(path, hung)
    return {
        "name": name,
        "state": instance["status"] if instance else MISSING,
        "unfinished": instance is not None and is_unfinished(instance),
        "registered": entry is not None,
        "relation": owned.relation.value if owned else "",
        "owner": owned.owner if owned else "",
        "origin": owned.origin if owned else "",
        "repo": path,
        "container_path": str(((instance or {}).get("devices") or {}).get(REPO_DEVICE, {}).get("path", "")),
        "repo_real_path": "" if hung else os.path.realpath(path),
        "repo_exists": bool(hung) or os.path.isdir(path),
        "image": made_from(instance, entry.image if entry else "") if instance else settings.image,
        "profiles": list(instance["profiles"] if instance else settings.profiles),
        "created": entry.created if entry else "",
        "last_sync": last_sync,
        "sync_age": seconds_since(last_sync, now),
        "sync_state": sync_state(last_sync, now, context.registry.defaults.stale_seconds).value if settings.backup else "",
        "backup": settings.backup,
        "incus_project": context.incus_project,
        "environment": environment_names((instance or {}).get("expanded_config") or {}),
        "problem": error.message if error else problem,
        "hints": error.hints if error else [],
    }


def readable_paths(summaries: Iterable[dict[str, Any]]) -> dict[str, str]:
    """Return the paths of the repositories that exist and whose file system answers, by project.

    :param summaries: see :func:`project_summary`.
    """
    return {summary["name"]: summary["repo"] for summary in summaries if summary["repo_exists"] and not hung_mount(summary["repo"])}


def configured_settings(context: RunContext, name: str) -> tuple[model.EffectiveSettings, str]:
    """Return a project's configuration, and why its override is not part of it, or an empty string."""
    try:
        return effective_settings(context, name), ""
    except RepomanError as error:
        entry = context.registry.projects.get(name)
        return model.effective_settings(name, context.registry.defaults, *([model.settings_of(entry)] if entry else [])), error.message


def _mounted_path(context: RunContext, instance: dict[str, Any], configured: str) -> str:
    """Return the path of the repository that an instance mounts; ``configured`` if it does not mount one."""
    device = instance["devices"].get(REPO_DEVICE) or {}
    source, path = str(device.get("source", "")), str(device.get("path", ""))
    if source:
        return path if not hung_mount(path) and os.path.realpath(path) == source else source
    return str(instance["config"].get(REPO_KEY) or next(iter(mounted_repositories(context, instance)), configured))


def effective_settings(context: RunContext, name: str, *requested: model.ProjectSettings) -> model.EffectiveSettings:
    """Return a project's configuration; one that is not in the registry has the defaults.

    :param requested: the settings that a task requested.
    :raises NotFoundError: its override cannot be read.
    """
    entry = context.registry.projects.get(name)
    override = load_override(context.registry_path, name)
    return model.effective_settings(name, context.registry.defaults, *([model.settings_of(entry)] if entry else []), override, *requested)
