# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Removes a project: its container and its registry entry. The repository and its backup stay."""

from __future__ import annotations

import difflib
import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.entry import plan_entry_removal
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    PROTECTION_KEY,
    is_protected,
    is_unfinished,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.mirrors import find_mirror
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import is_own, other_containers_of
from ansible_collections.homelab.repoman.plugins.module_utils.projects.reconcile import diff_text
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask


def plan_removal(task: ProjectTask) -> None:
    """Plan the state ``absent``.

    :raises ConflictError: Incus would refuse to delete the container.
    """
    context, instance, name = task.context, task.instance, task.name
    entry = context.registry.projects.get(name)
    if instance is not None:
        _check_deletable(context, name, instance)
        _plan_deletion(task, instance)
    if entry is not None:
        plan_entry_removal(task)
    if instance is None:
        task.warnings.extend(other_containers_of(context, name, task.snapshot.instances))
    repo = entry.repo if entry else name
    task.result |= {
        "action": (Action.REMOVED if task.plan.changed else Action.ABSENT).value,
        "state": "absent",
        "kept": {"repo": os.path.join(context.repos_root, repo), "mirror": find_mirror(context, repo)},
    }
    if not task.plan.changed:
        instances = task.snapshot.instances
        own = (instance_name for instance_name, instance in instances.items() if is_own(context, instance))
        suggestions = difflib.get_close_matches(name, sorted({*context.registry.projects, *own}), n=3)
        task.result |= {"suggestions": suggestions, "near": suggestions}  # "near" is the name that earlier versions used


def _plan_deletion(task: ProjectTask, instance: dict[str, Any]) -> None:
    control = task.control
    was_up = instance["status"] != "Stopped" and not is_unfinished(instance)
    task.plan.add(
        Step(
            f"delete container {task.name}",
            lambda: control.delete(task.stop_requested),
            undo=control.restart if was_up else None,
            target=f"container {task.name}",
            before=diff_text(instance, ("profiles", "config", "devices")),
            progress=f"removing {task.name}…",
        )
    )


def _check_deletable(context: RunContext, name: str, instance: dict[str, Any]) -> None:
    """Check that Incus will delete an instance, before it is stopped for that.

    :raises ConflictError: it is protected, and is not an unfinished one.
    """
    if is_protected(instance) and not is_unfinished(instance):
        is_own = PROTECTION_KEY in instance["config"]
        raise ConflictError(
            f"the container {name!r} is protected from deletion: {PROTECTION_KEY} is true; it was not changed.",
            context.instance_command(
                f"config {'unset' if is_own else 'set'}", name, PROTECTION_KEY if is_own else f"{PROTECTION_KEY}=false"
            ),
        )
