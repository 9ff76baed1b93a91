# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of profiles and projects: templates against profiles, the registry against Incus, and the sources of mounts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.check import (
    MAX_HINTS,
    MAX_NAMED,
    Check,
    Outcome,
    Status,
    fail,
    listing,
    ok,
    warn,
)
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import SERVED_MOUNTS, hung_mount, hung_mount_error
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import MISSING as MISSING_CODES
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import is_required, mounts_host_path
from ansible_collections.homelab.repoman.plugins.module_utils.projects.host_probes import path_errors
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import Relation, new_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.status import project_devices
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import MISSING, configured_settings


def check_library(context: DoctorContext) -> Outcome:
    """Check that the installed profiles are as their templates, and that those which projects use are installed."""
    library, registry = context.library, context.registry
    used = [*registry.defaults.profiles]
    for name in registry.projects:
        used += configured_settings(context.run_context, name)[0].profiles
    missing = [name for name in dict.fromkeys(used) if name not in context.installed]
    drifting = [entry.name for entry in library if entry.drift]
    broken = [entry for entry in library if entry.error and (entry.installed or entry.name in used)]
    parts = [f"not installed, but used: {listing(missing)}"] if missing else []
    parts += [f"{listing(drifting)} differ{'s' * (len(drifting) == 1)} from the template"] if drifting else []
    parts += [f"{entry.name}: {entry.error.rstrip('.')}" for entry in broken]
    hints = [repoman_command("profile install", missing)] if missing else []
    hints += [f"{repoman_command('profile diff', [name])}   # then: {repoman_command('profile install', [name])}" for name in drifting]
    if missing:
        return fail("; ".join(parts), *hints[:MAX_HINTS])
    if parts:
        return warn("; ".join(parts), *hints[:MAX_HINTS], *(["repoman profile list"] if broken else []))
    return ok(f"profile library: {plural(len(library), 'template')}, {sum(entry.installed for entry in library)} installed, no drift")


def check_containers(context: DoctorContext) -> Outcome:
    """Check that each project of the registry has its container, and each container of the user is in the registry."""
    parts: list[str] = []
    hints: list[str] = []
    problems: dict[str, None] = {}
    missing, unregistered, unfinished = [], [], []
    renamed = {owned.origin for owned in context.ownerships.values()}
    for name, project in context.summaries.items():
        owned = context.ownerships.get(name)
        if owned is not None and owned.error is not None:
            parts.append(owned.error.message.removesuffix("; it was not changed."))
            hints += owned.error.hints
        elif project["problem"]:
            problems[project["problem"].rstrip(".")] = None
            hints += project["hints"]
        elif project["state"] == MISSING:
            missing.append(name)
            hints += [] if name in renamed else [repoman_command("new", [name])]  # it would take the name from the renamed one
        elif project["unfinished"]:
            unfinished.append(name)
            hints.append(repoman_command("new", [name]))
        elif not project["registered"]:
            unregistered.append(name)
            hints.append(new_command(context.run_context, name, project["repo"]))
    parts += [*problems][:MAX_NAMED] + ([f"{len(problems) - MAX_NAMED} more such problems"] if len(problems) > MAX_NAMED else [])
    parts += [f"without a container: {listing(missing)}"] if missing else []
    parts += [f"not in the registry: {listing(unregistered)}"] if unregistered else []
    parts += [f"unfinished: {listing(unfinished)}"] if unfinished else []
    if parts:
        hints = [*dict.fromkeys(hints)]
        return warn("; ".join(parts), *hints[:MAX_HINTS], *(["repoman list   # shows all"] if len(hints) > MAX_HINTS else []))
    number = sum(owned.relation == Relation.OWN for owned in context.ownerships.values())
    return ok(f"registry and Incus agree: {plural(number, 'container')}")


@dataclass(frozen=True)
class Source:
    """A path of the host that a project mounts.

    :param device: name of the device; empty for the repository.
    :param is_required: whether the container cannot start without it.
    """

    path: str
    project: str
    device: str = ""
    is_required: bool = True


def check_sources(context: DoctorContext) -> Outcome:
    """Check that repositories and the sources of disk devices exist. One that cannot be checked is a failure."""
    sources = list(_sources(context))
    paths = {source.path for source in sources}
    hung = {path: mount for path in sorted(paths) if (mount := hung_mount(path))}
    first = {mount: path for path, mount in reversed(hung.items())}
    errors = [hung_mount_error(context.short(first[mount]), mount) for mount in dict.fromkeys(hung.values())]
    slow: list[str] = []
    try:
        codes = path_errors(paths.difference(hung), context.account)
    except CommandError as error:
        slow = [f"{plural(len(paths) - len(hung), 'mounted path')} cannot be read: it {error.message}"]
        codes = {}
    missing = [source for source in sources if codes.get(source.path) in MISSING_CODES]
    absent = listing(dict.fromkeys(context.short(source.path) for source in missing))
    parts = [error.message.rstrip(".") for error in errors] + slow + ([f"missing on this host: {absent}"] if missing else [])
    remedies = [hint for error in errors for hint in error.hints] + ([SERVED_MOUNTS] if slow else [])
    hints = dict.fromkeys([*remedies, *(_source_hint(source) for source in missing)])
    if not parts:
        return ok(f"{plural(len(paths), 'mounted path')}, none missing" if paths else "no project mounts a path yet")
    status = Status.FAIL if errors or slow or any(source.is_required for source in missing) else Status.WARN
    return Outcome(status, "; ".join(parts), tuple(hints)[:MAX_HINTS])


def _source_hint(source: Source) -> str:
    """Return the remedy for a source that is missing."""
    if not source.device:
        return repoman_command("restore", [source.project])
    if source.is_required:  # it may be a file or a directory, which only the user knows
        return f"create {source.path}, or mount it: device {source.device} of {source.project} needs it, unless it has required: 'false'"
    return f"create {source.path}, or leave it out: device {source.device} of {source.project} is optional"


def _sources(context: DoctorContext) -> Iterator[Source]:
    """Yield what the projects of the user mount on this host, and not on another member of a cluster."""
    for name, project in context.summaries.items():
        owned = context.ownerships.get(name)
        if owned is not None and owned.relation != Relation.OWN:
            continue
        instance = context.instances.get(name)
        if instance and not context.is_here(instance):
            continue
        yield Source(project["repo"], name)
        devices = project_devices(project, instance, context.installed)
        for device, settings in devices.items():
            if mounts_host_path(settings) and settings["source"] != project["repo"]:
                yield Source(settings["source"], name, device, is_required(settings))


CHECKS = (
    Check("library", "the profile library", check_library),
    Check("containers", "the containers", check_containers),
    Check("sources", "mounted paths", check_sources),
)
