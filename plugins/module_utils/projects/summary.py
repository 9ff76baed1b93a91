# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A project in a few words, for ``list`` and the inventory."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import environment_names, is_unfinished
from ansible_collections.homelab.repoman.plugins.module_utils.registry import model
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override

MISSING = "missing"
"""State of a project without an instance."""


def project_summary(context: RunContext, name: str, instance: dict[str, Any] | None) -> dict[str, Any]:
    """Return the summary of a project, as ``list`` shows it. If its override cannot be read, ``problem`` has the reason.

    :param instance: of the project, as Incus describes it.
    """
    entry = context.registry.projects.get(name)
    problem = ""
    try:
        settings = effective_settings(context, name)
    except RepomanError as error:
        problem = error.message
        settings = model.effective_settings(name, context.registry.defaults, *([model.settings_of(entry)] if entry else []))
    path = context.repository_path(settings.repo)
    return {
        "name": name,
        "state": instance["status"] if instance else MISSING,
        "unfinished": instance is not None and is_unfinished(instance),
        "registered": entry is not None,
        "repo": path,
        "repo_exists": os.path.isdir(path),
        "image": settings.image,
        "profiles": list(settings.profiles),
        "created": entry.created if entry else "",
        "last_sync": entry.last_sync if entry else "",
        "backup": settings.backup,
        "incus_project": context.incus_project,
        "environment": environment_names((instance or {}).get("expanded_config") or {}),
        "problem": problem,
    }


def effective_settings(context: RunContext, name: str, *requested: model.ProjectSettings) -> model.EffectiveSettings:
    """Return a project's configuration; one that is not in the registry has the defaults.

    :param requested: the settings that a task requested.
    :raises NotFoundError: its override cannot be read.
    """
    entry = context.registry.projects.get(name)
    override = load_override(context.registry_path, name)
    return model.effective_settings(name, context.registry.defaults, *([model.settings_of(entry)] if entry else []), override, *requested)
