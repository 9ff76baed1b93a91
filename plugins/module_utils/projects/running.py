# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A container that is ready for a shell: the part of ``repoman_project_info`` that a shell needs, from one request."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger, tracing
from ansible_collections.homelab.repoman.plugins.module_utils.core.warnings import collecting
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext, load_context
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import is_unfinished
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import Relation, ownership
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import list_result, project_summaries

RUNNING = "Running"
SECONDS = 5.0
"""Time for Incus to answer. The playbook, which then reads it again, waits longer."""

_logger = get_logger("running")


def read_running(name: str) -> dict[str, Any] | None:
    """Return the result of ``repoman_project_info`` for a project of the current user whose container is ready.

    A ready container is running, finished and the user's own, and its mount shows the current directory of the repository.

    :returns: ``None`` if it is not ready, if something cannot be read, or if there is a warning: the playbook then reports it.
    """
    params = {"user": None, "registry_path": None, "socket": None, "timeout": SECONDS}
    with tracing(), collecting() as collected:
        _logger.debug("reading %s without a playbook", name)
        try:
            context = load_context(params)
            result = _result(context, name)
            context.client.close()
        except Exception as error:
            _logger.debug("left to a playbook: %s", error)
            return None
        if collected.warnings:
            _logger.debug("left to a playbook: %s", collected.warnings[0])
            return None
        _logger.debug("%s", "ready" if result else "left to a playbook: not ready")
        return result


def _result(context: RunContext, name: str) -> dict[str, Any] | None:
    """Return the result; ``None`` if the container is not ready.

    :raises RepomanError: it cannot be read.
    """
    instance = context.read_instance(name)
    owned = ownership(context, instance)
    if owned.relation != Relation.OWN or instance["name"] != name or instance["status"] != RUNNING or is_unfinished(instance):
        return None
    summaries = project_summaries(context, [name], {name: instance}, {name: owned})
    return None if summaries[0]["stale_mount"] else list_result(context, summaries)
