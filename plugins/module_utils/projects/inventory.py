# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The projects as hosts of an inventory."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import load_context
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import is_own
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import project_summary
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.detect import detect_vcs

UNKNOWN = "unknown"
RUNNING = "Running"
CONNECTION = "community.general.incus"
EXPORTED_KEYS = ("incus_project", "repo", "repo_exists", "vcs", "image", "profiles", "state", "backup", "created", "last_sync")
"""Keys of a project that become variables of its host."""


def load_projects(params: dict[str, Any]) -> tuple[list[dict[str, Any]], RepomanError | None]:
    """Read the projects of the registry, and the containers of repoman that are not in it.

    :param params: ``user``, ``socket``, ``registry_path`` and ``timeout``, as modules have them.
    :returns: their summaries, sorted by name; and the error if Incus cannot be reached, in which case every state is ``unknown``.
    :raises RepomanError: the registry, or an override, cannot be read.
    """
    context = load_context(params)
    problem, instances = None, {}
    try:
        instances = {name: instance for name, instance in context.read_instances().items() if is_own(context, instance)}
    except RepomanError as error:
        problem = error
    summaries = [project_summary(context, name, instances.get(name)) for name in sorted({*context.registry.projects, *instances})]
    state = {"state": UNKNOWN} if problem else {}
    return [summary | {"user": context.account.name, "vcs": detect_vcs(summary["repo"])} | state for summary in summaries], problem


def host_variables(project: dict[str, Any], remote: str, as_user: bool) -> dict[str, Any]:
    """Return the variables of a project's host.

    :param project: summary from :func:`load_projects`.
    :param remote: name of its Incus in the configuration of the ``incus`` client.
    :param as_user: if true, tasks run as the user's account; otherwise as root.
    """
    return {
        "ansible_connection": CONNECTION,
        "ansible_incus_host": project["name"],
        "ansible_incus_project": project["incus_project"],
        "ansible_incus_remote": remote,
        "ansible_user": project["user"] if as_user else "root",
        "repoman_project": project["name"],
        "repoman_user": project["user"],
    } | {f"repoman_{key}": project[key] for key in EXPORTED_KEYS}
