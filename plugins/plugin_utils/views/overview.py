# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The overview of status: a summary, what needs attention, and a line for each project."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import (
    display_width,
    format_age,
    format_bytes,
    plural,
    shorten,
    shorten_home,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import SyncState
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import GAP, STANDARD_WIDTH, Column, Line, fitted_table, wrap
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.needs import NOT_COUNTED, Need, Urgency, all_needs, need_lines
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.repository import branch_text, changes_text, synced_text

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import (
        BackupStatus,
        ProjectStatus,
        RepositoryStatus,
        StatusResult,
    )

COLUMNS = (
    Column("", min_width=10, is_last=True),
    Column("", min_width=7, is_last=True),
    Column("", min_width=8),
    Column("", min_width=9),
    Column(""),
)
"""Name, container, branch, working copy and last backup."""
PREVIEW_COLUMNS = (Column("", min_width=10, is_last=True), Column("", min_width=8), Column("", min_width=9))
"""Name, branch and working copy."""
STATE_LABELS = {"missing": "without a container"}


def overview_lines(result: StatusResult, home: str, width: int) -> list[Line]:
    """Return the lines of the overview.

    :param home: directory to show as ``~``.
    :param width: columns that a line may take.
    """
    needs = all_needs(result, home)
    lines = [Line("head", text) for text in wrap(summary_text(result["projects"], needs), width)]
    lines.append(Line("out", backup_line(result, home, width)))
    if needs:
        lines += [Line("out", ""), *need_lines(needs, width)]
    cells = [project_cells(project) for project in result["projects"]]
    return [*lines, Line("out", ""), *(Line("out", GAP.join(row).rstrip()) for row in fitted_table(COLUMNS, cells, width)[1:])]


def summary_text(projects: list[ProjectStatus], needs: list[Need]) -> str:
    """Return the numbers of projects: all, by state of the container, with changes, and with needs."""
    states = Counter("unfinished" if project["unfinished"] else project["state"].lower() for project in projects)
    order = sorted(states, key=lambda state: (state != "running", state != "stopped", state))
    counts = [f"{states[state]} {STATE_LABELS.get(state, state)}" for state in order]
    work = {need.who for need in needs if need.urgency == Urgency.WORK}
    counts += [f"{len(work)} with changes"] if work else []
    whose = len({(need.is_host, name) for need in needs if need.urgency not in NOT_COUNTED for name in need.names or (need.who,)})
    you = f"; {whose} need{'s' if whose == 1 else ''} you" if whose else ""
    return f"{plural(len(projects), 'project')}: {', '.join(counts)}{you}"


def backup_line(result: StatusResult, home: str, width: int) -> str:
    """Return the age of the newest backup, its place and the free space there."""
    target = result["host"]["backup"]
    start = f"backup: {last_backup_text(target)} to "
    end = f", {format_bytes(target['free'])} free" if target["state"] == "ready" else ""
    return start + shorten(shorten_home(target["path"], home), width - display_width(start + end), keep_end=True) + end


def last_backup_text(backup: BackupStatus) -> str:
    """Return when anything was last backed up."""
    if backup["sync_state"] == SyncState.FUTURE:
        return f"{backup['last_sync']} (in the future)"
    return "none yet" if backup["sync_age"] is None else format_age(backup["sync_age"])


def preview_rows(states: Mapping[str, RepositoryStatus]) -> list[str]:
    """Return a row for each project whose repository was read, to show while others are read.

    :param states: by name of the project.
    """
    cells = [[name, branch_text(state), changes_text(state)] for name, state in states.items()]
    return [GAP.join(row).rstrip() for row in fitted_table(PREVIEW_COLUMNS, cells, STANDARD_WIDTH - 1)[1:]]


def project_cells(project: ProjectStatus) -> list[str]:
    """Return the cells of a project."""
    state = "unfinished" if project["unfinished"] else "no container" if project["state"] == "missing" else project["state"].lower()
    synced = synced_text(project)
    return [
        project["name"],
        state,
        branch_text(project.get("vcs")),
        changes_text(project.get("vcs")) if project["repo_exists"] else "missing",
        synced if not project["backup"] else "never synced" if synced == "never" else f"synced {synced}",
    ]
