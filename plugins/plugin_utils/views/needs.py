# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What needs attention, in the output of status: who, what, and the command that fixes it, most urgent first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum, auto
from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import (
    display_width,
    escape_control_characters,
    format_age,
    format_duration,
    pad,
    plural,
    shorten,
    shorten_home,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import SyncState
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import GAP, STANDARD_WIDTH, Line, sentence
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.projects import FOREIGN, NOTES, RENAMED
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.repository import work_text

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import (
        BackupStatus,
        DirectoryStatus,
        HostStatus,
        LeftOut,
        ProjectStatus,
        StatusResult,
    )

MAX_BACKUP_LINES = 3
"""Projects and directories without a recent backup that have a line each; more share one."""
MAX_WHO, MIN_WHAT, MAX_COMMAND = 20, 24, 40
"""Columns of a table of needs."""


class Urgency(IntEnum):
    """Kinds of needs, most urgent first. The table in the guide ``every_day`` has the same order."""

    REPOSITORY_MISSING = auto()
    DANGER = auto()
    UNUSABLE = auto()
    CONTAINER_MISSING = auto()
    STALE_MOUNT = auto()
    PROFILE_MISSING = auto()
    BACKUP_TARGET = auto()
    BACKUP_OLD = auto()
    PROFILE_DRIFT = auto()
    DIFFERENT = auto()
    ADDRESS = auto()
    BACKUP_PARTIAL = auto()
    """Mounts that the backup leaves out, and repositories that cannot be verified. This may be meant, so it is not counted."""
    WORK = auto()
    """Changes that are not committed or pushed: shown last, without a command, and not counted."""


BACKUP = "backup"
"""``who`` of needs about the whole backup."""
NOT_COUNTED = (Urgency.BACKUP_PARTIAL, Urgency.WORK)


@dataclass(frozen=True)
class Need:
    """A line of the output.

    :param who: a project, or a part of the host.
    :param what: what is wrong.
    :param command: fixes it, or shows more; empty if there is nothing to fix.
    :param names: the projects, if ``who`` is their number.
    :param is_host: ``who`` is a part of the host, or a directory, not a project.
    """

    urgency: Urgency
    who: str
    what: str
    command: str = ""
    names: tuple[str, ...] = ()
    is_host: bool = False


def all_needs(result: StatusResult, home: str) -> list[Need]:
    """Return what needs attention, most urgent first, otherwise in the order of the result.

    :param home: directory to show as ``~``.
    """
    renamed = {project["origin"]: project["name"] for project in result["projects"] if project["relation"] == RENAMED}
    needs = [*_host_needs(result["host"], home), *_backup_needs(result), *_partial_needs(result)]
    for project in result["projects"]:
        needs += _project_needs(project, renamed.get(project["name"], ""), home)
    return sorted(needs, key=lambda need: need.urgency)


def is_attention_needed(result: StatusResult, home: str, only_projects: bool) -> bool:
    """Return whether a need is counted.

    :param only_projects: of the host, only the backup counts, and directories without a project do not.
    """
    if only_projects:
        result = {**result, "host": {**result["host"], "directories": []}}
    return any(
        need.urgency not in NOT_COUNTED and not (only_projects and need.is_host and need.who != BACKUP) for need in all_needs(result, home)
    )


def fitting(command: str, shorter: str) -> str:
    """Return a command, or a shorter one if it is longer than a line."""
    return command if len(command) <= STANDARD_WIDTH else shorter


def is_renamed_without_container(project: ProjectStatus, renamed_to: str) -> bool:
    """Return whether the container of a project has another name now."""
    return project["state"] == "missing" and bool(renamed_to)


def _project_needs(project: ProjectStatus, renamed_to: str, home: str) -> Iterator[Need]:
    name = project["name"]
    details, create = f"repoman status {shell_word(name)}", f"repoman new {shell_word(name)}"
    if not project["repo_exists"]:
        yield Need(
            Urgency.REPOSITORY_MISSING,
            name,
            "repository is missing",
            f"repoman restore {shell_word(name)}" if project["last_sync"] else details,
        )
    for overlap in project.get("overlaps") or []:
        other = overlap["writer"] if overlap["container"] == name else overlap["container"]
        yield Need(Urgency.DANGER, name, f"mounts overlap with {'each other' if other == name else other}", details)
    for note in project.get("security_notes") or []:
        yield Need(Urgency.DANGER, name, shorten_home(sentence(note), home), details)
    yield from _container_needs(project, renamed_to, home)
    if project["profiles_missing"]:
        missing = project["profiles_missing"]
        command = fitting(f"repoman profile install {' '.join(shell_word(profile) for profile in missing)}", details)
        label = "profile" if len(missing) == 1 else "profiles"
        yield Need(Urgency.PROFILE_MISSING, name, f"{label} not installed: {', '.join(missing)}", command)
    if project["differences"]:
        differences = project["differences"]
        text = differences[0] if len(differences) == 1 else f"{len(differences)} differences from its configuration"
        yield Need(Urgency.DIFFERENT, name, shorten_home(text, home), create)
    if (state := project.get("vcs")) and (text := work_text(state)):
        yield Need(Urgency.WORK, name, shorten_home(text, home))


def _container_needs(project: ProjectStatus, renamed_to: str, home: str) -> Iterator[Need]:
    """Yield what is wrong with the container of a project."""
    name, relation = project["name"], project["relation"]
    details, create = f"repoman status {shell_word(name)}", f"repoman new {shell_word(name)}"
    if project["unfinished"]:
        yield Need(Urgency.UNUSABLE, name, "container is unfinished", create)
    elif relation in NOTES or relation == "unmanaged":
        what = NOTES[relation].format(project["origin"]) if relation in NOTES else "not made by repoman"
        adoption = next((hint.split("   #")[0] for hint in project["hints"] if relation == "adoptable"), details)
        yield Need(Urgency.UNUSABLE, name, f"container is {what}", fitting(adoption, details))
    elif project["problem"]:
        yield Need(Urgency.UNUSABLE, name, shorten_home(sentence(project["problem"]), home), details)
    elif project["state"] != "missing" and not project["registered"]:
        yield Need(Urgency.UNUSABLE, name, "project is not in the registry", create)
    elif is_renamed_without_container(project, renamed_to):
        yield Need(Urgency.CONTAINER_MISSING, name, f"container is called {renamed_to} now", f"repoman status {shell_word(renamed_to)}")
    elif project["state"] == "missing" and project["repo_exists"]:
        yield Need(Urgency.CONTAINER_MISSING, name, "container is missing", create)
    if project.get("stale_mount") and project["repo_exists"]:
        yield Need(Urgency.STALE_MOUNT, name, "container shows a deleted directory", create)


def _host_needs(host: HostStatus, home: str) -> Iterator[Need]:
    library, address = host["library"], host["lan_ip"]
    for error in library["errors"]:
        command = fitting(f"repoman profile show {shell_word(error['name'])}", "repoman profile list")
        yield Need(
            Urgency.PROFILE_MISSING, "library", f"{error['name']}: {shorten_home(sentence(error['msg']), home)}", command, is_host=True
        )
    for name in library["drift"]:
        command = fitting(f"repoman profile diff {shell_word(name)}", "repoman profile list")
        yield Need(Urgency.PROFILE_DRIFT, "library", f"{name} differs", command, is_host=True)
    if address["matches"] is False:
        yield Need(Urgency.ADDRESS, "host", f"LAN address is {address['detected']} now", "repoman setup", is_host=True)


def _backup_needs(result: StatusResult) -> Iterator[Need]:
    """Yield what is wrong with the backup target; only if nothing is, the backups that are old or missing: no command helps them before."""
    target, directories = result["host"]["backup"], result["host"]["directories"]
    projects = [
        project for project in result["projects"] if project["backup"] and project["repo_exists"] and project["relation"] != FOREIGN
    ]
    if target["state"] == "ready":
        yield from _age_needs(target, projects, directories)
    elif projects or directories or target["last_sync"]:
        mounted = fitting(f"findmnt --target {shell_word(target['path'])}", "repoman doctor")
        what, command = {
            "missing": ("target does not exist", mounted),
            "unmarked": ("target has no marker of repoman", "repoman sync --init"),
            "foreign": (f"target is the backup {target['detail']}", "repoman doctor"),
            "unreadable": ("target cannot be read", "repoman doctor"),
            "unreachable": ("target does not answer", mounted),
        }[target["state"]]
        yield Need(Urgency.BACKUP_TARGET, BACKUP, what, command, is_host=True)


def _age_needs(target: BackupStatus, projects: Iterable[ProjectStatus], directories: Iterable[DirectoryStatus]) -> Iterator[Need]:
    """Yield which backups are missing, old or dated in the future. If the newest one is old, one line says it for all."""
    whole = target["sync_state"]
    if whole == SyncState.OLD:
        yield Need(Urgency.BACKUP_OLD, BACKUP, f"last one was {format_age(target['sync_age'] or 0)}", "repoman sync", is_host=True)
    elif whole == SyncState.FUTURE:
        yield Need(Urgency.BACKUP_OLD, BACKUP, "last one is in the future", "repoman doctor", is_host=True)
    names = {project["name"] for project in projects}
    states: list[tuple[str, bool, str, float | None]] = [
        *((project["name"], False, project["sync_state"], project["sync_age"]) for project in projects),
        *((directory["name"], True, directory["sync_state"], directory["sync_age"]) for directory in directories),
    ]
    for state in (SyncState.NEVER, SyncState.OLD, SyncState.FUTURE):
        found = [(name, is_directory, age or 0) for name, is_directory, found_state, age in states if found_state == state]
        if state == whole and state != SyncState.NEVER:
            continue
        if len(found) > MAX_BACKUP_LINES:
            noun = "repository" if any(is_directory for _name, is_directory, _age in found) else "project"
            what = _age_text(state, min(age for _name, _is_directory, age in found), " or more")
            command = "repoman doctor" if state == SyncState.FUTURE else "repoman sync"
            yield Need(Urgency.BACKUP_OLD, plural(len(found), noun), what, command, tuple(name for name, _is_directory, _age in found))
            continue
        for name, is_directory, age in found:
            command = "repoman sync" if is_directory and name in names else f"repoman sync {shell_word(name)}"  # sync takes the project
            command = "repoman doctor" if state == SyncState.FUTURE else fitting(command, "repoman sync")
            yield Need(Urgency.BACKUP_OLD, name, _age_text(state, age), command, is_host=is_directory)


def _age_text(state: str, age: float, more: str = "") -> str:
    if state == SyncState.NEVER:
        return "never backed up"
    return "last backup is in the future" if state == SyncState.FUTURE else f"not backed up for {format_duration(age)}{more}"


def _partial_needs(result: StatusResult) -> Iterator[Need]:
    """Yield what the backup leaves out or cannot verify: of each project, and of the host what is in no project."""
    in_projects: list[str] = []
    for project in result["projects"]:
        mounts, repositories = _partial_paths(project.get("left_out") or {})
        in_projects += [*mounts, *repositories]
        if text := _partial_text(mounts, repositories):
            yield Need(Urgency.BACKUP_PARTIAL, project["name"], text, f"repoman status {shell_word(project['name'])}")
    mounts, repositories = ([path for path in paths if path not in in_projects] for paths in _partial_paths(result["host"]))
    if text := _partial_text(mounts, repositories):
        yield Need(Urgency.BACKUP_PARTIAL, "host", text, "repoman status --all", is_host=True)


def _partial_paths(place: LeftOut | HostStatus) -> tuple[list[str], list[str]]:
    """Return the mounts that are not backed up, and the repositories that cannot be verified."""
    return list(place.get("skipped_mounts", [])), [repository["path"] for repository in place.get("unverified", [])]


def _partial_text(mounts: list[str], repositories: list[str]) -> str:
    texts = [f"{plural(len(mounts), 'mount')} not backed up"] if mounts else []
    texts += [f"{len(repositories)} not verified"] if repositories else []
    return f"backup: {', '.join(texts)}" if texts else ""


def need_lines(needs: list[Need], width: int) -> list[Line]:
    """Return the lines of needs, in columns. Texts are shortened, but no command: one that has no room stands on the next line.

    :param width: columns that a line may take.
    """
    texts = [(escape_control_characters(need.who), escape_control_characters(need.what), need.command) for need in needs]
    who_width = min(max((display_width(who) for who, _what, _command in texts), default=0), MAX_WHO + max(0, width - STANDARD_WIDTH))
    commands = [display_width(command) for _who, _what, command in texts if display_width(command) <= MAX_COMMAND]
    room = width - who_width - 2 * len(GAP) - max(commands, default=0)
    what_width = min(max((display_width(what) for _who, what, command in texts if command), default=0), max(MIN_WHAT, room))
    lines = []
    for need, (who, what, command) in zip(needs, texts, strict=True):
        style = "out" if need.urgency == Urgency.WORK else "note"
        start = pad(shorten(who, who_width), who_width) + GAP
        cell = pad(shorten(what, what_width), what_width) + GAP
        if not command:
            lines.append(Line(style, start + shorten(what, width - display_width(start))))
        elif display_width(start + cell + command) <= width:
            lines.append(Line(style, start + cell + command))
        else:
            lines.append(Line(style, start + shorten(what, width - display_width(start))))
            lines.append(Line(style, command if display_width(GAP + command) > width else GAP + command))
    return lines
