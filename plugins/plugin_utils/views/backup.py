# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of sync and restore."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import ACTION_LABELS, differences_hints
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_bytes, format_duration, plural
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, table
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import (
    VERBOSE,
    Mode,
    Rendered,
    Views,
    error_lines,
    step_lines,
    worst_exit_code,
)

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import (
        RemountResult,
        RestoredUnitsResult,
        RestoreResult,
        SyncedUnit,
        SyncResult,
        VersionsResult,
    )

MAX_DIFFERENCES = 50
"""Maximum number of differences shown for each unit."""


UNKNOWN_MOUNT = "a running container may still see the previous contents; restart it"
REMOUNT = "remount "
"""Beginning of the step that mounts a directory again."""
UNCHANGED = ("unchanged", "same")
"""Actions of units that need no line."""
CHECK_LABELS = {"synced": "to sync", "retired": "to retire", "restored": "to restore"}
"""Labels of actions in check mode, if they differ."""


def render_sync(result: SyncResult, mode: Mode) -> Rendered:
    """Show changed units and a summary, then warnings, and errors last, because the end of the output is seen first."""
    if "kept" in result:
        return render_versions(cast("VersionsResult", result))  # with the option list_versions
    lines = step_lines(result, mode)
    settings = [result["settings"]] if "settings" in result else []
    units = result["units"] or settings  # of a run that is only about the settings, they are the one line
    lines += _unit_table(units, mode, {"BYTES": "bytes", "HISTORY": "kept_bytes"})
    if not units:
        lines.append(Line("out", "there is nothing to back up"))
    code = 0
    problems: list[Line] = []
    for unit in [*result["units"], *settings]:
        differences = unit.get("differences") or []
        lines += [Line("out", f"{unit['name']}: {difference}") for difference in differences[:MAX_DIFFERENCES]]
        if len(differences) > MAX_DIFFERENCES:
            lines.append(Line("out", f"{unit['name']}: and {len(differences) - MAX_DIFFERENCES} more; --json has all"))
        problems += [Line("warning", f"{unit['name']}: {note}") for note in unit.get("notes") or ()]
        if "msg" in unit:
            problems += error_lines(unit["msg"] + last_backup(unit), unit.get("hints") or ())
            code = max(code, int(unit["exit_code"]))
        elif unit["action"] == "differs":
            code = max(code, 1)
    replaced = sum((unit.get("changed") or 0) + (unit.get("removed") or 0) for unit in result["units"])
    if result["units"] or not settings:
        lines.append(Line("out" if mode.check else "done", summary_line(result["summary"], mode, replaced)))
    if unverified := result["summary"].get("unverified"):
        subject = "1 repository is" if unverified == 1 else f"{unverified} repositories are"
        lines.append(Line("note", f"{subject} backed up but cannot be verified: repoman status --all"))
    problems += [Line("hint", hint) for hint in differences_hints(unit["name"] for unit in result["units"] if unit["action"] == "differs")]
    problems.sort(key=lambda line: line.style != "warning")
    return Rendered([*lines, *problems], code)


def last_backup(unit: SyncedUnit) -> str:
    """Return how old the last backup of a unit that failed is, as a sentence; empty if that is not known."""
    age = unit.get("sync_age")
    return "" if age is None else f" Last backup: {format_duration(age)} ago."


def summary_line(summary: Mapping[str, Any], mode: Mode, replaced: int = 0) -> str:
    """Return the summary of a run.

    :param replaced: number of files that are changed or removed, and so move to the history.
    """
    totals = [plural(summary["files"])]
    if mode.check:
        totals += [f"{replaced} to the history"] if replaced else []
    else:
        totals += [f"{format_bytes(summary['bytes'])} copied", f"{format_bytes(summary['kept_bytes'])} to the history"]
    if "same" in summary or "differs" in summary:
        totals = []
    totals.append(f"{summary['seconds']:.1f} s")
    return f"{_counts(summary, mode) or 'nothing'}; {', '.join(totals)}"


def render_versions(result: VersionsResult) -> Rendered:
    """List the versions of a unit in the history."""
    if not result["kept"]:
        return Rendered([Line("out", f"the history has no versions of {result['name']}")])
    rows = [(version["time"], str(version["files"]), format_bytes(version["bytes"]), version["path"]) for version in result["kept"]]
    hint = f"next: repoman restore {shlex.quote(result['name'])} --from {rows[-1][0]} --to DIR"
    if result["name"] == SETTINGS:
        hint = f"next: repoman restore --settings --from {rows[-1][0]}"
    return Rendered([*table(("TIME", "FILES", "BYTES", "DIRECTORY"), rows), Line("out", hint)])


def render_restore(result: RestoreResult, mode: Mode) -> Rendered:
    """Show where existing files were saved, and what was restored."""
    if "units" in result:
        return render_restored_units(cast("RestoredUnitsResult", result), mode)
    restored = result["restored"]
    lines = step_lines(result, mode)
    if "objects" in restored:
        return Rendered(lines or [Line("done", f"no object of {restored['to']} is missing or damaged")])
    if not lines and restored["name"] == SETTINGS:
        return Rendered([Line("done", f"the settings in {restored['to']} already match the backup")])
    if not lines:
        return Rendered([Line("done", f"{restored['to']} already matches the backup")])
    return Rendered(lines)


def render_restored_units(result: RestoredUnitsResult, mode: Mode) -> Rendered:
    """Show what was restored and where existing files were saved, then a summary, and errors last."""
    units = result["units"]
    if not units:
        return Rendered([Line("out", "there is nothing to restore")])
    lines = step_lines(result, mode) if mode.output == VERBOSE else []
    lines += _unit_table(units, mode, {"BYTES": "bytes"})
    verb = "would be" if mode.check else "were"
    lines += [Line("out", f"{unit['name']}: the existing files {verb} saved in {unit['saved']}") for unit in units if unit["saved"]]
    summary = result["summary"]
    totals = f"{plural(summary['files'])}, {format_bytes(summary['bytes'])}, {summary['seconds']:.1f} s"
    lines.append(Line("out" if mode.check else "done", f"{_counts(summary, mode)}; {totals}"))
    for unit in units:
        if "msg" in unit:
            lines += error_lines(unit["msg"], unit.get("hints") or ())
    return Rendered(lines, worst_exit_code(units))


def _unit_table(units: Sequence[Mapping[str, Any]], mode: Mode, sizes: Mapping[str, str]) -> list[Line]:
    """Return the table of the units that need a line; none if no unit does.

    :param sizes: headings of further columns, each with the key of a number of bytes.
    """
    rows = [
        (
            unit["name"],
            _label(unit["action"], mode),
            str(unit["files"]) if unit["files"] else "-",
            *(format_bytes(unit[key]) if unit[key] else "-" for key in sizes.values()),
        )
        for unit in units
        if mode.shows_unchanged or len(units) == 1 or unit["action"] not in UNCHANGED
    ]
    return table(("NAME", "STATE", "FILES", *sizes), rows, width=mode.width) if rows else []


def _counts(summary: Mapping[str, Any], mode: Mode) -> str:
    """Return how many units there are for each action."""
    return ", ".join(f"{summary[action]} {_label(action, mode)}" for action in ACTION_LABELS if summary.get(action))


def _label(action: str, mode: Mode) -> str:
    """Return what a table shows for an action."""
    return CHECK_LABELS[action] if mode.check and action in CHECK_LABELS else ACTION_LABELS[action]


def render_remount(result: RemountResult, mode: Mode) -> Rendered:
    """Show the containers in which the restored directory is mounted again.

    The result is that of ``repoman_project``, or the message of ``debug``: in check mode the summaries of the projects in which it would
    be, otherwise none; without a list if Incus cannot be read.
    """
    shown = result["msg"] if isinstance(result.get("msg"), dict) else result
    if "projects" not in shown:
        return Rendered([] if mode.check else [Line("out", UNKNOWN_MOUNT)], added={"remounted": []})
    lines: list[Line] = []
    steps: list[str] = []
    remounted: list[str] = []
    for project in shown["projects"]:
        if project.get("action") == "failed":
            lines += error_lines(project["msg"], project["hints"])
            continue
        project_steps = project["steps"] if "action" in project else [f"{REMOUNT}{project['container_path']} in {project['name']}"]
        lines += step_lines({"steps": project_steps}, mode)
        steps += project_steps
        if any(step.startswith(REMOUNT) for step in project_steps):
            remounted.append(project["name"])
    code = worst_exit_code(project for project in shown["projects"] if "action" in project)
    failure = {key: result[key] for key in ("failed", "msg", "hints")} if code else {}
    return Rendered(lines, code, failure | {"remounted": remounted, "steps": steps})


VIEWS: Views = {
    "sync": render_sync,
    "restore": render_restore,
    "remount": render_remount,
}
