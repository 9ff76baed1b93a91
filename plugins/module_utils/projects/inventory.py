# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The projects as hosts of an inventory."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.projects import project, status

UNKNOWN = "unknown"
RUNNING = "Running"
CONNECTION = "community.general.incus"
TOLD = ("incus_project", "repo", "repo_exists", "vcs", "image", "profiles", "state", "backup", "created", "last_sync")
"""What ``list`` tells of a project that becomes a variable."""


def read(params: dict[str, Any]) -> tuple[list[dict[str, Any]], RepomanError | None]:
    """Read the projects: the registry's, and the containers repoman made that it does not name.

    :param params: ``user``, ``socket``, ``registry_path`` and ``timeout``, as modules have them.
    :returns: what is told of each, by name; and why Incus could not be asked, in which case every state is ``unknown``.
    :raises RepomanError: the registry, or an override, cannot be read.
    """
    host = project.host_of(params)
    problem, instances = None, {}
    try:
        instances = {name: instance for name, instance in project.read_instances(host).items() if status.is_ours(instance)}
    except RepomanError as error:
        problem = error
    told = [status.line(host, name, instances.get(name)) for name in sorted({*host.known.projects, *instances})]
    state = {"state": UNKNOWN} if problem else {}
    return [each | {"user": host.me.name, "vcs": project.vcs_kind(each["repo"])} | state for each in told], problem


def variables(guest: dict[str, Any], remote: str, as_user: bool) -> dict[str, Any]:
    """Return the variables of a project's host.

    :param guest: one of :func:`read`'s.
    :param remote: of the ``incus`` client, by which its Incus is reached.
    :param as_user: tasks run as the user's account; otherwise as root.
    """
    return {
        "ansible_connection": CONNECTION,
        "ansible_incus_host": guest["name"],
        "ansible_incus_project": guest["incus_project"],
        "ansible_incus_remote": remote,
        "ansible_user": guest["user"] if as_user else "root",
        "repoman_project": guest["name"],
        "repoman_user": guest["user"],
    } | {f"repoman_{key}": guest[key] for key in TOLD}
