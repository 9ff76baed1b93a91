# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module ``repoman_project_info``: summaries of projects from one read of Incus."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.warnings import warn
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import SHOWN, Relation, ownership
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import (
    common_result,
    list_result,
    project_summaries,
    readable_paths,
)


def run(context: RunContext, params: dict[str, Any]) -> dict[str, Any]:
    """Return the module's result, without the parts about backups.

    :raises RepomanError: Incus cannot be reached, or a project does not exist.
    """
    all_instances = context.read_instances(recursion=2 if params["status"] else 1)
    owned = {name: ownership(context, instance, all_instances) for name, instance in all_instances.items()}
    relations = SHOWN | ({Relation.FOREIGN} if params["all_users"] and not params["status"] else frozenset())
    instances = {name: instance for name, instance in all_instances.items() if owned[name].relation in relations}
    existing = {*context.registry.projects, *instances}
    names = list(params["names"] or sorted(existing))
    for name in names:
        if name not in existing:
            if name in owned:
                owned[name].check_own()
            from ansible_collections.homelab.repoman.plugins.module_utils.projects.unknown import no_such_project

            error = no_such_project(name, context, existing)
            if not context.predict:
                raise error
            warn(error.as_check_mode_warning())
    summaries = project_summaries(context, names, instances, owned)
    if params["status"]:
        from ansible_collections.homelab.repoman.plugins.module_utils.projects.status import read_status  # "list" starts faster without it

        return common_result(context) | read_status(context, summaries, all_instances, params)
    if params["vcs"]:
        from ansible_collections.homelab.repoman.plugins.module_utils.vcs.state import read_states

        states = read_states(readable_paths(summaries), context.repos_root, context.account, params["vcs_timeout"])
        summaries = [summary | {"vcs": states.get(summary["name"])} for summary in summaries]
    return list_result(context, summaries)
