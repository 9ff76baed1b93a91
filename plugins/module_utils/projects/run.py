# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module ``repoman_project``: plans and applies the requested states of projects."""

from __future__ import annotations

from contextlib import nullcontext
from functools import cache
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step, apply_all, plan_all, signals_as_exceptions
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import merge_failures
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import read_installed
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext, Snapshot, load_context
from ansible_collections.homelab.repoman.plugins.module_utils.projects.early_stop import EarlyStop
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import is_unfinished
from ansible_collections.homelab.repoman.plugins.module_utils.projects.lock import remove_abandoned_locks
from ansible_collections.homelab.repoman.plugins.module_utils.projects.missing_profiles import name_all_missing_profiles
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import is_own
from ansible_collections.homelab.repoman.plugins.module_utils.projects.parallel import apply_in_parallel
from ansible_collections.homelab.repoman.plugins.module_utils.projects.power import plan_stop
from ansible_collections.homelab.repoman.plugins.module_utils.projects.present import plan_present
from ansible_collections.homelab.repoman.plugins.module_utils.projects.remove import plan_removal
from ansible_collections.homelab.repoman.plugins.module_utils.projects.request import ProjectRequest, named_projects, requests_for
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import remove_unfinished


def _predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result on a host that has not been set up; only then the code for it is imported."""
    from ansible_collections.homelab.repoman.plugins.module_utils.projects.prediction import predict

    return predict(params)


@predicting(_predict)
def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Plan and apply the requested states of projects; see the documentation of the module ``repoman_project``.

    :raises RepomanError: no project could be processed, or the run was interrupted: the current project is rolled back, finished ones stay.
        Failures of single projects are in the result.
    """
    requests = named_projects(params)
    if params.get("all") and params["state"] == "absent":
        raise UsageError("all cannot be combined with state=absent.", "name the projects to remove")
    context = load_context(params, check and params["predict"])
    stops = params["state"] == "absent" or _only_stops(params)
    try:
        with signals_as_exceptions():
            tasks = _make_tasks(context, requests, params)
            plan_all(tasks)
            name_all_missing_profiles(tasks)
            if not check:
                with EarlyStop(tasks) if stops else nullcontext():
                    (apply_all if stops else apply_in_parallel)(tasks, _show_progress)
                _clean_up(context)
    finally:
        progress.clear()
    return _build_result(context, tasks)


def _clean_up(context: RunContext) -> None:
    """Remove what killed runs left next to the registry, also if this run has nothing to write there."""
    remove_abandoned_locks(context.registry_path, context.account)
    remove_unfinished(context.registry_path, context.account)


def _only_stops(params: dict[str, Any]) -> bool:
    return params["state"] == "stopped" and not params.get("create", True)


def _make_tasks(context: RunContext, requests: list[ProjectRequest], params: dict[str, Any]) -> list[ProjectTask]:
    """Read the current state once, and return a task for each project."""
    state = params["state"]
    if not requests and not params.get("all"):
        return []
    instances, others = (context.read_instances(), {}) if state == "absent" else context.read_all_instances()
    snapshot = Snapshot(
        instances=instances,
        others=others,
        profiles={} if state == "absent" else read_installed(context.client),
        registry_text=context.registry.text,
        read_images=cache(context.read_images),
    )
    if params.get("all"):
        names = {request.name for request in requests}
        everything = _all_names(context, instances, params.get("create", True))
        requests = requests_for((name for name in everything if name not in names), params) + requests
    planner = plan_removal if state == "absent" else plan_stop if _only_stops(params) else plan_present
    return [ProjectTask(context, snapshot, request, state, planner) for request in requests]


def _all_names(context: RunContext, instances: dict[str, dict[str, Any]], create: bool) -> list[str]:
    """Return the names of all projects; without ``create``, only those whose container is finished and belongs to the user."""
    own = {name for name, instance in instances.items() if is_own(context, instance)}
    finished = {name for name in own if not is_unfinished(instances[name])}
    return sorted({*context.registry.projects, *own} if create else finished)


def _show_progress(step: Step) -> None:
    if step.progress:
        progress.start_phase(step.progress)


def _build_result(context: RunContext, tasks: list[ProjectTask]) -> dict[str, Any]:
    """Return the module's result."""
    results = [task.result for task in tasks]
    result: dict[str, Any] = {
        "changed": any(project["changed"] for project in results),
        "projects": results,
        "diff": [entry for task in tasks if task.error is None for entry in task.plan.diff],
        "account": vars(context.account),
        "socket": context.client.path,
    }
    warnings = [warning for task in tasks for warning in task.warnings]
    if warnings:
        result["warnings"] = warnings
    return result | merge_failures(results)
