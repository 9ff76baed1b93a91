# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plans the states ``present``, ``started``, ``stopped`` and ``restarted`` of a project."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.incus.images import image_source
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account import validate_account
from ansible_collections.homelab.repoman.plugins.module_utils.projects.create import InstanceCreation, removal_of_unfinished
from ansible_collections.homelab.repoman.plugins.module_utils.projects.desired import DesiredInstance
from ansible_collections.homelab.repoman.plugins.module_utils.projects.entry import plan_entry
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    APPLIED_KEY,
    IMAGE_KEY,
    READY,
    REPO_KEY,
    STATE_KEY,
    environment_names,
    is_unfinished,
    made_from,
    previously_requested,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance_setup import verify_mount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.missing_profiles import missing_profiles_error
from ansible_collections.homelab.repoman.plugins.module_utils.projects.notes import repository_notes, set_user_id_note
from ansible_collections.homelab.repoman.plugins.module_utils.projects.overlap import check_new_overlaps
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import new_command, other_containers_of
from ansible_collections.homelab.repoman.plugins.module_utils.projects.power import plan_power
from ansible_collections.homelab.repoman.plugins.module_utils.projects.probes import PROBE_LIFETIME, leftover_probes
from ansible_collections.homelab.repoman.plugins.module_utils.projects.remount import plan_remount
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import (
    Repository,
    existing_repository,
    resolve_repository,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.required_sources import check_required_sources
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import effective_settings
from ansible_collections.homelab.repoman.plugins.module_utils.projects.task import ProjectTask
from ansible_collections.homelab.repoman.plugins.module_utils.projects.update import plan_update, planned_devices
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import ProjectSettings
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override, override_path
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.detect import detect_vcs


def plan_present(task: ProjectTask) -> None:
    """Plan the states ``present``, ``started``, ``stopped`` and ``restarted``.

    :raises RepomanError: the desired state cannot be reached.
    """
    if not task.request.create:
        task.existing_instance()
    desired = _desired_instance(task)
    repository = desired.repository
    desired.check_reserved_names()
    desired.check_sources()
    task.result["differences"] = []
    _check_devices(task, desired)
    instance = _plan_unfinished(task, repository)
    action = Action.UNCHANGED
    if instance is None:
        task.warnings.extend(other_containers_of(task.context, task.name, task.snapshot.instances))
        validate_account(task.context.account)
        InstanceCreation(task, desired).add_steps()
        action = Action.CREATED
    else:
        _check_image(task, desired, instance)
        restarts = task.state == "restarted"  # it remounts the repository
        if any([plan_update(task, desired, instance), not restarts and plan_remount(task, desired, instance)]):
            action = Action.UPDATED
    plan_entry(task, desired)
    if instance is not None and instance["status"] == "Running":
        _plan_reverify(task, repository)
    if task.plan.changed and action == Action.UNCHANGED:
        action = Action.UPDATED
    if instance is None:
        control = task.control
        task.plan.add(Step(f"mark {task.name} as ready", lambda: control.set_config({STATE_KEY: READY})))
    status = "Running" if instance is None else instance["status"]
    final_status = plan_power(task, desired, status)
    if action == Action.UNCHANGED and final_status != status:
        action = Action.STARTED if final_status == "Running" else Action.STOPPED
    elif instance is not None and task.state == "restarted" and status != "Stopped":
        action = Action.RESTARTED
    _report(task, desired, instance, action, final_status)


def _desired_instance(task: ProjectTask) -> DesiredInstance:
    """Return the desired instance: from the registry's defaults and entry, the override, and the request."""
    requested = _requested_settings(task)
    settings = effective_settings(task.context, task.name, requested)
    repository = _find_repository(task, settings.repo)
    return DesiredInstance(settings, requested, repository, _find_profiles(task, settings.profiles), task.context.account)


def _check_devices(task: ProjectTask, desired: DesiredInstance) -> None:
    """Check that the container overlaps no other one, and that what it mounts exists; see :func:`check_new_overlaps`."""
    instance = task.instance
    if instance is None or is_unfinished(instance):
        devices = desired.with_profile_devices(desired.config_and_devices()[1])
    else:
        devices = planned_devices(task, desired, instance)
    starts = instance is None or task.state == "restarted" or (task.state != "stopped" and instance["status"] != "Running")
    check_new_overlaps(task, devices, starts)
    if starts and not task.request.target:  # another member of a cluster has other files
        check_required_sources(task, desired, devices)


def _requested_settings(task: ProjectTask) -> ProjectSettings:
    """Return the requested settings. Without ``config`` or ``devices``, those of an earlier task stay."""
    request, unset = task.request, task.context.instance_command("config unset", task.name, APPLIED_KEY)
    previous = previously_requested(task.instance, unset) if task.instance is not None else ProjectSettings()
    return ProjectSettings(
        repo=request.repo,
        image=request.image,
        profiles=_requested_profiles(task),
        backup=request.backup,
        config=previous.config if request.config is None else request.config,
        devices=previous.devices if request.devices is None else request.devices,
        unset=previous.unset if request.config is None else request.unset,
    )


def _requested_profiles(task: ProjectTask) -> tuple[str, ...] | None:
    """Return the requested profiles: with ``add_profiles``, those that the project has otherwise, and these after them."""
    request, context = task.request, task.context
    others = request.profiles or ()
    if request.add_profiles and request.profiles is None:
        others = effective_settings(context, task.name).profiles
    added = request.added_profiles(others)
    if not added:
        return request.profiles
    if request.profiles is None and load_override(context.registry_path, task.name).profiles is not None:
        task.warnings.append(
            f"{override_path(context.registry_path, task.name)} lists the profiles of {task.name}: the next 'repoman new {task.name}' removes"
            f" {', '.join(added)} again, unless that file has {'it' if len(added) == 1 else 'them'}, too"
        )
    return (*others, *added)


def _find_repository(task: ProjectTask, repo: str) -> Repository:
    """Return the repository; with ``predict``, an earlier task may have yet to create it.

    :raises RepomanError: it does not exist, or is outside ``repos_root``.
    """
    try:
        return existing_repository(repo, task.context, task.name)
    except NotFoundError as error:
        repository = resolve_repository(repo, task.context)
        if not task.context.predict or os.path.lexists(repository.container_path):
            raise
        task.predict(error)
        return repository


def _find_profiles(task: ProjectTask, names: tuple[str, ...]) -> dict[str, Installed]:
    """Return the installed profiles; with ``predict``, an earlier task may have yet to install those that are missing.

    :param names: of the profiles that the instance needs.
    :raises ConflictError: some are not installed.
    """
    profiles = task.snapshot.profiles
    missing = [name for name in names if name not in profiles]
    if not missing:
        return profiles
    error = missing_profiles_error(missing)
    if not task.context.predict:
        raise error
    task.predict(error)
    empty = Installed({"description": "", "config": {}, "devices": {}}, [], "")
    return dict.fromkeys(names, empty) | profiles


def _plan_unfinished(task: ProjectTask, repository: Repository) -> dict[str, Any] | None:
    """Return the finished instance, if it exists. If it is unfinished, add the step that removes it.

    :raises ConflictError: the instance was made for another repository.
    """
    instance = task.instance
    if instance is None:
        return None
    previous_path = _previous_repository(task, instance, repository)
    if not is_unfinished(instance):
        return instance
    task.plan.add(removal_of_unfinished(task, {repository.host_path, previous_path}))
    return None


def _previous_repository(task: ProjectTask, instance: dict[str, Any], repository: Repository) -> str:
    """Return the path of the repository that an instance was made for.

    It may differ if the repository has moved, so that its old path is gone or leads to it; if the instance is unfinished, it may have
    been for another one of this user.

    :raises ConflictError: it was made for another one.
    """
    path = str(instance["config"].get(REPO_KEY, repository.host_path))
    root = os.path.realpath(task.context.repos_root)
    if path == repository.host_path or (is_unfinished(instance) and path.startswith(f"{root}/")) or _has_moved(path, repository):
        return path
    raise ConflictError(
        f"project {task.name!r} already exists, with the repository {path}.",
        f"repoman remove {task.name}   # repository and backup stay",
        "choose another name",
    )


def _has_moved(previous: str, repository: Repository) -> bool:
    """Return whether nothing is left at the previous path of a repository, or a link that leads to it."""
    return not os.path.lexists(previous) or os.path.realpath(previous) == repository.host_path


def _recorded_image(task: ProjectTask) -> str:
    """Return the image of the project in the registry; empty if it is not there."""
    entry = task.context.registry.projects.get(task.name)
    return entry.image if entry else ""


def _check_image(task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any]) -> None:
    """Check that the requested image, if any, is the one that an instance was made from, because it cannot change.

    :raises ConflictError: it is another one.
    """
    requested, context = task.request.image, task.context
    recorded = str(instance["config"].get(IMAGE_KEY) or _recorded_image(task))
    if requested is None or requested == recorded:
        return
    with suppress(RepomanError):  # there is no such image on this host
        source = image_source(requested, context.account, task.snapshot.read_images)
        if source.get("fingerprint") == instance["config"].get("volatile.base_image"):
            return
    raise ConflictError(
        f"the container {task.name!r} was made from {made_from(instance, recorded)!r}, and its image cannot change; it was not changed.",
        f"repoman remove {task.name}   # deletes the container; the repository stays",
        new_command(context, task.name, desired.repository.container_path, ("--image", requested)),
    )


def _plan_reverify(task: ProjectTask, repository: Repository) -> None:
    """If a killed run left its probe in the repository, add a step that repeats its check."""
    account = task.context.account
    try:
        probes = leftover_probes(repository.host_path, account, PROBE_LIFETIME)
    except OSError:  # an unreadable repository is reported elsewhere
        return
    if not probes:
        return

    def verify() -> None:
        directory = task.pin(repository)
        directory.open()
        try:
            verify_mount(task.control, repository, directory)
        finally:
            directory.close()

    task.plan.add(Step(f"verify again that {account.name} can write to {repository.container_path}", verify))


def _report(task: ProjectTask, desired: DesiredInstance, instance: dict[str, Any] | None, action: Action, status: str) -> None:
    """Add the report to the task's result."""
    repository, settings = desired.repository, desired.settings
    task.result |= {
        "action": action.value,
        "repo": repository.container_path,
        "image": made_from(instance, _recorded_image(task)) if instance else settings.image,
        "profiles": list(settings.profiles),
        "backup": settings.backup,
        "state": status,
        "environment": environment_names(set((instance or {}).get("expanded_config") or {}) | desired.config_keys()),
    }
    task.warnings += repository_notes(desired)
    if settings.protect and os.path.isdir(repository.host_path) and (note := set_user_id_note(repository.host_path)):
        task.warnings.append(f"{task.name}: {note}")
    if os.path.isdir(repository.host_path) and not detect_vcs(repository.host_path):
        task.warnings.append(f"{repository.container_path} is neither a git nor a Mercurial repository")
