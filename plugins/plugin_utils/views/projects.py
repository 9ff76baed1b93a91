# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of setup, new, start, stop, restart, remove, shell and list."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import NO_LAN_ADDRESS
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import SYSTEM_SOCKETS
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import instance_command
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, sentence, table
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import (
    NOT_FOUND,
    Mode,
    Rendered,
    Views,
    error_lines,
    step_lines,
    worst_exit_code,
)
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import (
    ChangedProject,
    ListResult,
    ProjectResult,
    ProjectSummary,
    SetupResult,
)

STALE_MOUNT = "the container shows a directory that was deleted or replaced on the host"
NO_PROJECTS = "no projects yet; create one: repoman new NAME"
NO_CONTAINERS = "no containers yet; create one: repoman new NAME"


def render_setup(result: SetupResult, mode: Mode) -> Rendered:
    """Show detected properties, steps, and the next command."""
    lines = [] if mode.brief else detected_lines(result)
    lines += step_lines(result, mode)
    if not result["steps"]:
        lines.append(
            Line("out", f"nothing to do: the Incus project {result['incus_project']} and the registry {result['path']} are up to date")
        )
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
    """Show differences and steps of each container, and the command to enter it."""
    lines: list[Line] = []
    for project in result["projects"]:
        up_to_date = f"{project['name']} is up to date"
        lines += _project_lines(project, mode, Line("out", f"nothing to do: {up_to_date}") if mode.check else Line("done", up_to_date))
    existing = [project["name"] for project in result["projects"] if project["action"] != "failed"]
    if existing and not mode.check:
        lines.append(Line("out", _next_command(result, existing[0] if len(existing) == 1 else "NAME", mode.host)))
    return Rendered(lines, worst_exit_code(result["projects"]))


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
        lines += _project_lines(project, mode, Line("done", f"{project['name']} is {project.get('state', '').lower()} already"))
    return Rendered(lines or [Line("out", NO_CONTAINERS)], worst_exit_code(result["projects"]))


def _project_lines(project: ChangedProject, mode: Mode, unchanged: Line) -> list[Line]:
    """Return the error of a project, or its differences and steps.

    :param unchanged: the line for a project without steps.
    """
    if project["action"] == "failed":
        return error_lines(project["msg"], project["hints"])
    if not project["steps"]:
        return [unchanged]
    return [*(Line("out", f"{project['name']} differs: {difference}") for difference in project["differences"]), *step_lines(project, mode)]


def render_remove(result: ProjectResult, mode: Mode) -> Rendered:
    """Show removed projects and what stays; an unknown project is an error."""
    lines: list[Line] = []
    code = worst_exit_code(result["projects"])
    for project in result["projects"]:
        name = project["name"]
        if project["action"] == "failed":
            lines += error_lines(project["msg"], project["hints"])
            continue
        if project["action"] == "absent":
            hints = [f"did you mean {suggestion!r}?" for suggestion in project["suggestions"]]
            lines += error_lines(f"there is no project called {name!r}.", (*hints, "repoman list"))
            code = max(code, NOT_FOUND)
            continue
        paths = project["kept"]
        stays = f"repository {paths['repo']} and mirror {paths['mirror']}"
        if mode.check:
            lines += [*step_lines(project, mode), Line("out", f"would leave untouched: {stays}, with its history")]
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
        if project["action"] == "failed":
            lines += error_lines(project["msg"], project["hints"])
        elif mode.check:
            lines += step_lines(project, mode)
    return Rendered(lines, worst_exit_code(projects))


def render_list(result: ListResult, mode: Mode) -> Rendered:
    """List the projects."""
    if not result["projects"]:
        return Rendered([Line("out", NO_PROJECTS)])
    columns = COLUMNS | (OWNER_COLUMN if any(project["relation"] == FOREIGN for project in result["projects"]) else {})
    lines = table(list(columns), [[cell(project) for cell in columns.values()] for project in result["projects"]])
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
    """Return the time of the last backup as text; nothing is known about that of another user."""
    if project["relation"] == FOREIGN:
        return ""
    return (project["last_sync"] or "never") if project["backup"] else "no backup"


FOREIGN = "foreign"
RENAMED = "renamed"
NOTES = {RENAMED: "renamed from {}", "copy": "copy of {}", "adoptable": "not adopted", FOREIGN: "another user's"}
"""Notes about containers that are not the user's own, with their origin, by relation."""
COLUMNS: dict[str, Callable[[ProjectSummary], str]] = {
    "NAME": lambda project: str(project["name"]),
    "STATE": project_state,
    "REPO": lambda project: (
        str(project["repo"]) if project["repo_exists"] or project["relation"] == FOREIGN else f"{project['repo']} (missing)"
    ),
    "IMAGE": lambda project: str(project["image"]),
    "PROFILES": lambda project: ",".join(project["profiles"]),
    "LAST SYNC": last_sync_text,
}
"""Columns of ``list``: title, and the cell for a project of the result of ``repoman_project_info``."""
OWNER_COLUMN: dict[str, Callable[[ProjectSummary], str]] = {"OWNER": lambda project: project["owner"] or "unknown"}
"""A column of ``list --all-users``."""
VIEWS: Views = {
    "setup": render_setup,
    "new": render_new,
    **dict.fromkeys(("start", "stop", "restart"), render_power),
    "remove": render_remove,
    "shell": render_shell,
    "list": render_list,
}
