# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a repository as text, for status and list."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters, format_age
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import SyncState
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import sentence

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import ProjectSummary, RepositoryStatus

FILE_COUNTS = {
    "git": (("conflicts", "in conflict"), ("staged", "staged"), ("unstaged", "changed"), ("untracked", "untracked")),
    "hg": (("conflicts", "in conflict"), ("unstaged", "changed"), ("untracked", "untracked")),
}
"""Counts in the state of a repository, and their labels."""
COMMIT_LENGTH = 12


def file_counts(state: RepositoryStatus) -> str:
    """Return the numbers of files that are not committed; empty if there are none."""
    labels = FILE_COUNTS.get(state["kind"], ())
    return ", ".join(f"{state[key]} {phrase}" for key, phrase in labels if state[key])  # type: ignore[literal-required]


def branch_text(state: RepositoryStatus | None) -> str:
    """Return what is checked out: a bookmark, a branch or a commit; empty without a repository."""
    if state is None:
        return ""
    if state["detached"]:
        return f"detached at {state['commit'][:COMMIT_LENGTH]}"
    return state["bookmark"] or state["branch"]


def changes_text(state: RepositoryStatus | None) -> str:
    """Return the state of the working copy in a few words, such as ``2 changed, 1 ahead``; empty without a repository."""
    if state is None:
        return ""
    if not state["kind"]:
        return "no repository"
    if state["problem"]:
        return "unknown"
    if state["bare"]:
        return "bare"
    changed = state["conflicts"] + state["staged"] + state["unstaged"]
    counts = [f"{changed} changed"] if changed else []
    counts += [f"{state['untracked']} untracked"] if state["untracked"] else []
    return ", ".join([*(counts or ["clean"]), *([unpushed_text(state)] if state["ahead"] else [])])


def unpushed_text(state: RepositoryStatus) -> str:
    """Return the number of commits that are not pushed."""
    return f"{state['ahead']} not public" if state["kind"] == "hg" else f"{state['ahead']} ahead"


def work_text(state: RepositoryStatus) -> str:
    """Return what is not committed or pushed, or why that is unknown; empty if there is nothing of it."""
    if state["problem"]:
        return f"{state['kind'] or 'repository'}: {sentence(state['problem'])}"
    work = ", ".join(filter(None, (file_counts(state), unpushed_text(state) if state["ahead"] else "")))
    return f"{escape_control_characters(branch_text(state))}: {work}" if work else ""


def synced_text(project: ProjectSummary) -> str:
    """Return the age of the last backup as text."""
    if not project["backup"]:
        return "no backup"
    if project.get("sync_state") == SyncState.FUTURE:
        return "in the future"
    if project["sync_age"] is None:
        return project["last_sync"] or "never"
    return format_age(project["sync_age"])
