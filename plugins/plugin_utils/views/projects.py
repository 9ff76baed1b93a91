# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of setup, new, start, stop, restart, remove, shell and list."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import shorten_home
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import NO_LAN_ADDRESS
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import SYSTEM_SOCKETS
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import instance_command
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import GAP, Column, Line, fitted_table, sentence
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import (
    FAILED,
    NOT_FOUND,
    Mode,
    Rendered,
    Views,
    error_lines,
    home_of,
    step_lines,
    summary_lines,
    worst_exit_code,
)
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.repository import branch_text, changes_text, synced_text

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import (
        ChangedProject,
        ListResult,
        ProjectResult,
        ProjectSummary,
        SetupResult,
    )

STALE_MOUNT = "the container shows a directory that was deleted or replaced on the host"
NO_PROJECTS = "no projects yet; create one: repoman new NAME"
PARTIAL_STEPS = ("prepare the home ", "create the account ", "verify ", "mark ")
"""Beginnings of steps that are a part of another one, such as of the creation of a container."""
NO_CONTAINERS = "no containers yet; create one: repoman new NAME"


def render_setup(result: SetupResult, mode: Mode) -> Rendered:
    """Show detected properties, steps, and the next command."""
    home = result["detected"]["home"]
    lines = [] if mode.brief else detected_lines(result)
    lines += step_lines(result, mode, home)
    if not result["steps"]:
        path = shorten_home(result["path"], home)
        lines.append(Line("out", f"nothing to do: the Incus project {result['incus_project']} and the registry {path} are up to date"))
    elif not mode.check:
        where = f" -i INVENTORY -l {shell_word(mode.host)}" if mode.host else ""
        lines.append(Line("out", f"next: repoman profile install --all{where}"))
    return Rendered(lines)


def detected_lines(result: SetupResult) -> list[Line]:
    """Return the detected properties of the host."""
    detected = result["detected"]
    address = detected["lan_ip"] or f"none ({NO_LAN_ADDRESS})"
    if detected["interface"]:
        address += f" ({detected['interface']})"
    if not detected["lan_ip"] and result["lan_ip"]:
        address += f"; the registry has {result['lan_ip']}"
    return [
        Line("head", "detected:"),
        Line("out", f"  user         {detected['user']}"),
        Line("out", f"  home         {detected['home']}"),
        Line("out", f"  LAN address  {address}"),
    ]


def render_new(result: ProjectResult, mode: Mode) -> Rendered:
    """Show differences and steps of each container, what failed, a summary of several, and the command to enter a container."""
    projects = result["projects"]
    lines: list[Line] = []
    for project in projects:
        if project["action"] != FAILED:
            up_to_date = f"{project['name']} is up to date"
            unchanged = Line("out", f"nothing to do: {up_to_date}") if mode.check else Line("done", up_to_date)
            lines += _project_lines(project, mode, home_of(result), _unchanged_lines(result, mode, unchanged))
    lines += _failure_lines([project for project in projects if project["action"] == FAILED], is_one=len(projects) == 1)
    lines += _summary_lines(result, mode, lambda _project: "up to date")
    existing = [project["name"] for project in projects if project["action"] != FAILED]
    if existing and not mode.check:
        lines.append(Line("out", _next_command(result, existing[0] if len(existing) == 1 else "NAME", mode.host)))
    return Rendered(lines or [Line("out", NO_PROJECTS)], worst_exit_code(projects))


def _failure_lines(projects: Sequence[ChangedProject], is_one: bool) -> list[Line]:
    """Return the errors of projects; hints that several share stand after the last of them.

    :param is_one: the run is about one project, so its error need not name it.
    """
    lines: list[Line] = []
    for hints, group in groupby(sorted(projects, key=lambda project: project["hints"]), key=lambda project: project["hints"]):
        for project in group:
            is_named = is_one or re.search(rf"(?<![\w-]){re.escape(project['name'])}(?![\w-])", project["msg"])
            lines += error_lines(project["msg"] if is_named else f"{project['name']}: {project['msg']}", ())
        lines += [Line("hint", sentence(hint)) for hint in hints]
    return lines


def _next_command(result: ProjectResult, name: str, host: str) -> str:
    """Return the command that enters a container. Another host may lack the command ``repoman``, but it has the ``incus`` client."""
    if not host:
        return f"next: repoman shell {name}"
    project, socket = result["projects"][0]["incus_project"], result["socket"]
    login = f"-- su -l {shell_word(result['account']['name'])}"
    return f"next, on {host}: {instance_command(socket, project, 'exec', name, login, SYSTEM_SOCKETS)}"


def render_power(result: ProjectResult, mode: Mode) -> Rendered:
    """Show differences and steps of each container that is started or stopped."""
    lines: list[Line] = []
    for project in result["projects"]:
        unchanged = Line("done", f"{project['name']} is {_unchanged_state(project)}")
        lines += _project_lines(project, mode, home_of(result), _unchanged_lines(result, mode, unchanged))
    lines += _summary_lines(result, mode, _unchanged_state)
    return Rendered(lines or [Line("out", NO_CONTAINERS)], worst_exit_code(result["projects"]))


def _unchanged_state(project: ChangedProject) -> str:
    return f"{project.get('state', '').lower()} already"


def _unchanged_lines(result: ProjectResult, mode: Mode, line: Line) -> list[Line]:
    """Return the line for an unchanged project, unless the summary counts it."""
    return [line] if mode.shows_unchanged or len(result["projects"]) == 1 else []


def _summary_lines(result: ProjectResult, mode: Mode, unchanged: Callable[[ChangedProject], str]) -> list[Line]:
    """Return the summary of a run on several projects.

    :param unchanged: returns the label of a project without steps.
    """

    def label(project: ChangedProject) -> str:
        if project["action"] == FAILED:
            return FAILED
        if not project["steps"]:
            return unchanged(project)
        done = project["action"] if project["action"] != "unchanged" else "updated"
        return f"to be {done}" if mode.check else done

    return summary_lines("project", [label(project) for project in result["projects"]])


def _project_lines(project: ChangedProject, mode: Mode, home: str, unchanged: list[Line]) -> list[Line]:
    """Return the error of a project, or its differences and steps.

    :param home: directory to show as ``~``.
    :param unchanged: the lines for a project without steps.
    """
    if project["action"] == FAILED:
        return error_lines(project["msg"], project["hints"])
    if not project["steps"]:
        return unchanged
    differences = [Line("out", f"{project['name']} differs: {shorten_home(text, home)}") for text in project["differences"]]
    return [*differences, *step_lines({"steps": _shown_steps(project["steps"], mode)}, mode, home)]


def _shown_steps(steps: list[str], mode: Mode) -> list[str]:
    """Return the steps to print: without those that only belong to another one, unless all are wanted."""
    main = [step for step in steps if not step.startswith(PARTIAL_STEPS) and not step.endswith(" to the registry")]
    return steps if mode.shows_steps else main or steps


def render_remove(result: ProjectResult, mode: Mode) -> Rendered:
    """Show removed projects and what stays; an unknown project is an error."""
    lines: list[Line] = []
    code = worst_exit_code(result["projects"])
    for project in result["projects"]:
        name = project["name"]
        if project["action"] == FAILED:
            lines += error_lines(project["msg"], project["hints"])
            continue
        if project["action"] == "absent":
            hints = [f"did you mean {suggestion!r}?" for suggestion in project["suggestions"]]
            lines += error_lines(f"there is no project called {name!r}.", (*hints, "repoman list"))
            code = max(code, NOT_FOUND)
            continue
        paths = project["kept"]
        stays = f"repository {paths['repo']}" + (f" and mirror {paths['mirror']}" if paths["mirror"] else "")
        stays = shorten_home(stays, home_of(result))
        if mode.check:
            history = ", with its history" if paths["mirror"] else ""
            lines += [*step_lines(project, mode, home_of(result)), Line("out", f"would leave untouched: {stays}{history}")]
        else:
            lines.append(Line("done", f"removed {name} ({stays} untouched)"))
    return Rendered(lines, code)


def render_shell(result: ProjectResult, mode: Mode) -> Rendered:
    """Show only failures, because the output is that of the shell."""
    lines: list[Line] = []
    projects = [
        project for project in result["projects"] if "action" in project
    ]  # the result of the first task, repoman_project_info, has none
    for project in projects:
        if project["action"] == FAILED:
            lines += error_lines(project["msg"], project["hints"])
        elif mode.check:
            lines += step_lines(project, mode, home_of(result))
    return Rendered(lines, worst_exit_code(projects))


def render_list(result: ListResult, mode: Mode) -> Rendered:
    """List the projects; warnings stand after the table."""
    if not result["projects"]:
        return Rendered([Line("out", NO_PROJECTS)])
    home = home_of(result)
    columns = FIRST_COLUMNS | (GIT_COLUMNS if any("vcs" in project for project in result["projects"]) else {}) | COLUMNS
    columns |= OWNER_COLUMN if any(project["relation"] == FOREIGN for project in result["projects"]) else {}
    rows = [[shorten_home(cell(project), home) for cell in columns.values()] for project in result["projects"]]
    titles, *cells = (GAP.join(row).rstrip() for row in fitted_table(list(columns), rows, mode.width))
    lines = [Line("head", titles), *(Line("out", text) for text in cells)]
    for project in result["projects"]:
        if project["problem"] and (project["relation"] != FOREIGN or project["registered"]):
            lines.append(Line("warning", f"{project['name']}: {sentence(project['problem'])}"))
            lines += [Line("hint", sentence(hint)) for hint in project["hints"]]
        if project.get("stale_mount"):
            lines.append(Line("warning", f"{project['name']}: {stale_mount(project)}"))
    return Rendered(lines)


def stale_mount(project: ProjectSummary) -> str:
    """Return what a container with a stale mount shows, and the command that ends it; nothing can be mounted if the directory is missing."""
    if project["repo_exists"]:
        return f"{STALE_MOUNT}; to mount it again: repoman new {project['name']}"
    return f"{STALE_MOUNT}; if it was backed up: repoman restore {project['name']}"


def project_state(project: ProjectSummary) -> str:
    """Return the state of a project as text."""
    if project["unfinished"]:
        return "unfinished"
    if project["state"] != "missing" and project["relation"] in NOTES:
        return f"{project['state']} ({NOTES[project['relation']].format(project['origin'])})"
    return str(project["state"]) if project["registered"] else f"{project['state']} (not in the registry)"


def last_sync_text(project: ProjectSummary) -> str:
    """Return the age of the last backup as text; nothing is known about that of another user."""
    return "" if project["relation"] == FOREIGN else synced_text(project)


FOREIGN = "foreign"
RENAMED = "renamed"
NOTES = {RENAMED: "renamed from {}", "copy": "copy of {}", "adoptable": "not adopted", FOREIGN: "another user's"}
"""Notes about containers that are not the user's own, with their origin, by relation."""
FIRST_COLUMNS: dict[Column, Callable[[ProjectSummary], str]] = {
    Column("NAME", min_width=10, is_last=True): lambda project: str(project["name"]),
    Column("STATE", min_width=9, is_last=True): project_state,
}
COLUMNS: dict[Column, Callable[[ProjectSummary], str]] = {
    Column("REPO", min_width=14, keep_end=True): lambda project: (
        str(project["repo"]) if project["repo_exists"] or project["relation"] == FOREIGN else f"{project['repo']} (missing)"
    ),
    Column("IMAGE", min_width=10, is_optional=True): lambda project: str(project["image"]),
    Column("PROFILES", min_width=10, is_optional=True): lambda project: ",".join(project["profiles"]),
    Column("LAST SYNC"): last_sync_text,
}
"""Columns of ``list`` after those, and the cell for a project of the result of ``repoman_project_info``."""
GIT_COLUMNS: dict[Column, Callable[[ProjectSummary], str]] = {
    Column("BRANCH", min_width=8): lambda project: branch_text(project.get("vcs")),
    Column("CHANGES", min_width=9, is_last=True): lambda project: changes_text(project.get("vcs")),
}
"""Columns of ``list --git``, between the others, because columns are shortened from the right."""
OWNER_COLUMN: dict[Column, Callable[[ProjectSummary], str]] = {
    Column("OWNER", min_width=7, is_last=True): lambda project: project["owner"] or "unknown"
}
"""A column of ``list --all-users``."""
VIEWS: Views = {
    "setup": render_setup,
    "new": render_new,
    **dict.fromkeys(("start", "stop", "restart"), render_power),
    "remove": render_remove,
    "shell": render_shell,
    "list": render_list,
}
