# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of status."""

from __future__ import annotations

from datetime import datetime

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_bytes, format_duration, plural
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import NO_LAN_ADDRESS
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, sentence
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import (
    Mode,
    Rendered,
    Views,
)
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.projects import NO_PROJECTS, NOTES, RENAMED, project_state, stale_mount
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import (
    BackupStatus,
    HostStatus,
    LeftOut,
    MountOverlap,
    ProjectStatus,
    RepositoryStatus,
    StatusResult,
    UnverifiedRepository,
)

FILE_COUNTS = {
    "git": (("conflicts", "in conflict"), ("staged", "staged"), ("unstaged", "changed"), ("untracked", "untracked")),
    "hg": (("conflicts", "in conflict"), ("unstaged", "changed"), ("untracked", "untracked")),
}
"""Counts in the state of a repository, and their labels."""


def render_status(result: StatusResult, mode: Mode) -> Rendered:
    """Show the host and the projects."""
    lines = [Line("head", "host"), *host_lines(result["host"])]
    project_mounts = {path for project in result["projects"] for path in (project.get("left_out") or {}).get("skipped_mounts", [])}
    lines += [skipped_mount_line(path) for path in result["host"].get("skipped_mounts", []) if path not in project_mounts]
    project_repositories = [
        repository for project in result["projects"] for repository in (project.get("left_out") or {}).get("unverified", [])
    ]
    lines += [unverified_line(repository) for repository in result["host"].get("unverified", []) if repository not in project_repositories]
    renamed = {project["origin"]: project["name"] for project in result["projects"] if project["relation"] == RENAMED}
    for project in result["projects"]:
        lines += [Line("out", ""), *project_lines(project, result["time"], renamed.get(project["name"], ""))]
    if not result["projects"]:
        lines += [Line("out", ""), Line("out", NO_PROJECTS)]
    return Rendered(lines)


def status_line(label: str, text: str, is_ok: bool = True) -> Line:
    """Return a line with a label; in another color if it needs attention."""
    return Line("out" if is_ok else "note", f"  {label:14}{text}")


def host_lines(host: HostStatus) -> list[Line]:
    """Return the lines about the host."""
    address, library, backup = host["lan_ip"], host["library"], host["backup"]
    if address["matches"] is False:
        lan_text = f"{address['registry']} in the registry, but {address['detected']} on {address['interface']}: repoman setup"
    elif address["registry"]:
        lan_text = address["registry"] + ("" if address["detected"] else f" ({NO_LAN_ADDRESS} to compare with)")
    elif address["detected"]:
        lan_text = f"not in the registry, but {address['detected']} on {address['interface']}: repoman setup"
    else:
        lan_text = f"none ({NO_LAN_ADDRESS})"
    lines = [
        status_line("Incus", f"{host['incus_version']}, project {host['incus_project']}"),
        status_line("LAN address", lan_text, address["detected"] in ("", address["registry"])),
        status_line("library", f"{plural(library['profiles'], 'profile')}, {library['installed']} installed"),
    ]
    lines += [status_line("", f"{name} differs from its template: repoman profile diff {name}", False) for name in library["drift"]]
    lines += [status_line("", f"{error['name']}: {sentence(error['msg'])}", False) for error in library["errors"]]
    return [*lines, status_line("backup", backup_text(backup), backup["state"] == "ready")]


def backup_text(backup: BackupStatus) -> str:
    """Return the state of the backup target as text."""
    path, detail = backup["path"], f" ({backup['detail']})" if backup["detail"] else ""
    if backup["state"] == "ready":
        return f"{path}, {format_bytes(backup['free'])} free"
    return {
        "missing": f"{path} does not exist; is it mounted?",
        "unmarked": f"{path} has no marker of repoman; is it mounted? for the first backup: repoman sync --init",
        "foreign": f"{path} belongs to another backup{detail}",
        "unreadable": f"{path} cannot be read{detail}",
        "unreachable": f"{path} {backup['detail']}",
    }[backup["state"]]


def project_lines(project: ProjectStatus, now: str, renamed_to: str = "") -> list[Line]:
    """Return the lines about a project.

    :param renamed_to: the name that its container has now; a new one would take the old name.
    """
    name, state = project["name"], project_state(project)
    is_ok = project["state"] != "missing" and project["registered"] and not project["unfinished"] and project["relation"] not in NOTES
    verb = "complete" if project["unfinished"] else "create" if project["state"] == "missing" else "register"
    remedy = "" if is_ok or project["relation"] in NOTES else f"; to {verb} it: repoman new {name}"
    if project["state"] == "missing" and renamed_to:
        remedy = f"; its container is called {renamed_to} now"
    lines = [Line("head", name), status_line("container", state + remedy, is_ok)]
    if project["addresses"]:
        lines.append(status_line("address", ", ".join(project["addresses"])))
    lines.append(status_line("repository", project["repo"] + ("" if project["repo_exists"] else " (missing)"), project["repo_exists"]))
    if project.get("stale_mount"):
        lines.append(status_line("", stale_mount(project), False))
    if project["vcs"]:
        lines += repository_lines(project["vcs"], now)
    if project["problem"]:
        lines.append(status_line("problem", sentence(project["problem"]), False))
        lines += [status_line("", sentence(hint), False) for hint in project["hints"]]
    lines += overlap_lines(project.get("overlaps") or [])
    lines += [status_line("note", sentence(note), False) for note in project.get("notes") or []]
    labels = [
        f"{profile} (differs from its template)" if profile in project["profile_drift"] else profile for profile in project["profiles"]
    ]
    labels += [f"{profile} (differs from its template)" for profile in project["profile_drift"] if profile not in project["profiles"]]
    lines.append(status_line("profiles", ", ".join(labels) or "none", not project["profile_drift"]))
    if project["profiles_missing"]:
        missing = project["profiles_missing"]
        lines.append(status_line("", f"not installed: {', '.join(missing)}: repoman profile install {' '.join(missing)}", False))
    lines += [
        status_line("skipped", f"{device['source']} does not exist (device {device['device']})", False)
        for device in project["missing_sources"]
    ]
    lines += [status_line("differs" if not index else "", difference, False) for index, difference in enumerate(project["differences"])]
    if project["differences"]:
        lines.append(status_line("", f"to correct it: repoman new {name}", False))
    if not project["backup"]:
        return [*lines, status_line("last sync", "no backup")]
    lines += left_out_lines(project.get("left_out") or {})
    ago = "" if project["sync_age"] is None else f" ({format_duration(project['sync_age'])} ago)"
    return [*lines, status_line("last sync", f"{project['last_sync'] or 'never'}{ago}", bool(project["last_sync"]))]


def overlap_lines(overlaps: list[MountOverlap]) -> list[Line]:
    """Return the lines about mounts that another container can replace by a link, with the commands that end it."""
    lines = []
    for overlap in overlaps:
        lines.append(status_line("danger", sentence(overlap["msg"]), False))
        lines += [status_line("", sentence(hint), False) for hint in overlap["hints"]]
    return lines


def left_out_lines(left_out: LeftOut) -> list[Line]:
    """Return the lines about files that backups leave out."""
    lines = [skipped_mount_line(path) for path in left_out.get("skipped_mounts", [])]
    patterns = [*left_out.get("exclude", []), *(["caches"] if left_out.get("exclude_caches") else [])]
    if patterns:
        lines.append(status_line("excluded", f"{sentence(', '.join(patterns))} ({left_out['excluded']} by the last backup)"))
    return lines + [unverified_line(repository) for repository in left_out.get("unverified", [])]


def skipped_mount_line(path: str) -> Line:
    """Return the line about a mount that is not backed up."""
    return status_line("not backed up", f"{path} is a separate file system; to back it up: follow_mounts = true", False)


def unverified_line(repository: UnverifiedRepository) -> Line:
    """Return the line about a repository that this host's git or Mercurial cannot verify."""
    return status_line("not verified", f"{repository['path']} is backed up but cannot be verified: {sentence(repository['reason'])}", False)


def repository_lines(state: RepositoryStatus, now: str) -> list[Line]:
    """Return the lines about a repository."""
    if not state["kind"]:
        return [status_line("", state["problem"] or "neither a git nor a Mercurial repository", False)]
    label = {"git": "git", "hg": "Mercurial"}[state["kind"]]
    revision = state["branch"] or (f"detached at {state['commit'][:12]}" if state["detached"] else "")
    parts = [f"{revision}{' (bookmark ' + state['bookmark'] + ')' if state['bookmark'] else ''}{' (bare)' if state['bare'] else ''}"]
    if state["problem"]:
        return [status_line(label, "; ".join([*filter(None, parts), f"incomplete: {sentence(state['problem'])}"]), False)]
    counts = [f"{state[key]} {phrase}" for key, phrase in FILE_COUNTS[state["kind"]] if state[key]]  # type: ignore[literal-required]
    if not state["bare"]:
        parts.append(", ".join(counts) or "clean")
    if state["ahead"] or state["behind"]:
        parts.append(ahead_behind(state))
    elif state["upstream"] and state["ahead"] is None and not state["bare"]:
        parts.append(f"upstream {state['upstream']} does not exist")
    elif not state["upstream"] and state["branch"] and state["kind"] == "git" and not state["bare"]:
        parts.append("no upstream")
    lines = [status_line(label, "; ".join(parts), not counts and not state["ahead"] and not state["behind"])]
    seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(state["last_commit"])).total_seconds() if state["last_commit"] else None
    last_commit = (
        "none" if seconds is None else f"{state['last_commit']} ({format_duration(seconds)} ago)" if seconds >= 0 else state["last_commit"]
    )
    return [*lines, status_line("last commit", last_commit)]


def ahead_behind(state: RepositoryStatus) -> str:
    """Return the numbers of commits that are not pushed and not pulled as text."""
    ahead, behind = state["ahead"], state["behind"]
    if state["kind"] == "hg":
        return ", ".join(text for count, text in ((ahead, f"{ahead} not public"), (behind, f"{behind} newer on the branch")) if count)
    phrases = [f"{count} {label}" for count, label in ((ahead, "ahead of"), (behind, "behind")) if count]
    return f"{' and '.join(phrases)} {state['upstream']}"


VIEWS: Views = {
    "status": render_status,
}
