# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Output of status."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_age, format_bytes, plural, shorten_home
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import SyncState
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import NO_LAN_ADDRESS
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, hint_texts, sentence, wrap
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import (
    STRICT_PROJECTS,
    Mode,
    Rendered,
    Views,
    home_of,
)
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.needs import is_attention_needed
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.overview import last_backup_text, overview_lines
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.projects import NO_PROJECTS, NOTES, RENAMED, project_state, stale_mount
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.repository import (
    COMMIT_LENGTH,
    file_counts,
    synced_text,
)

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.plugin_utils.views.types import (
        BackupStatus,
        HostStatus,
        LeftOut,
        ProjectStatus,
        RepositoryStatus,
        StatusResult,
        UnverifiedRepository,
    )

LABEL_WIDTH = 16


def render_status(result: StatusResult, mode: Mode) -> Rendered:
    """Show an overview, or with details the host and each project in a block."""
    home = home_of(result)
    exit_code = int(bool(mode.strict) and is_attention_needed(result, home, mode.strict == STRICT_PROJECTS))
    if result["projects"] and not mode.details:
        return Rendered(overview_lines(result, home, mode.width), exit_code)
    page = StatusPage(home, mode.width)
    lines = [Line("head", "host"), *page.host_lines(result["host"])]
    project_mounts = {path for project in result["projects"] for path in (project.get("left_out") or {}).get("skipped_mounts", [])}
    for path in result["host"].get("skipped_mounts", []):
        lines += page.skipped_mount(path) if path not in project_mounts else []
    project_repositories = [
        repository for project in result["projects"] for repository in (project.get("left_out") or {}).get("unverified", [])
    ]
    for repository in result["host"].get("unverified", []):
        lines += page.unverified(repository) if repository not in project_repositories else []
    renamed = {project["origin"]: project["name"] for project in result["projects"] if project["relation"] == RENAMED}
    for project in result["projects"]:
        lines += [Line("out", ""), *page.project_lines(project, result["time"], renamed.get(project["name"], ""))]
    if not result["projects"]:
        lines += [Line("out", ""), Line("out", NO_PROJECTS)]
    return Rendered(lines, exit_code)


TAKE_OVER = "repoman sync --take-over"


def backup_text(backup: BackupStatus) -> tuple[str, str]:
    """Return the state of the backup target as text, and the command in it, or an empty text."""
    path, detail = backup["path"], f" ({backup['detail']})" if backup["detail"] else ""
    if backup["state"] == "ready":
        return f"{path}, {format_bytes(backup['free'])} free", ""
    command = {"unmarked": "repoman sync --init", "foreign": TAKE_OVER}.get(backup["state"], "")
    return {
        "missing": f"{path} does not exist; is it mounted?",
        "unmarked": f"{path} has no marker of repoman; is it mounted? for the first backup: {command}",
        "foreign": f"{path} is the backup {backup['detail']}; to go on with it here: {TAKE_OVER}",
        "unreadable": f"{path} cannot be read{detail}",
        "unreachable": f"{path} {backup['detail']}",
    }[backup["state"]], command


class StatusPage:
    """Blocks of lines with labels.

    :param home: directory to show as ``~``.
    :param width: columns that a line may take. Only commands that are longer take more.
    """

    def __init__(self, home: str, width: int) -> None:
        self.home = home
        self.width = width

    def entry(self, label: str, text: str, is_ok: bool = True, command: str = "") -> list[Line]:
        """Return a text with a label, wrapped; in another color if it needs attention.

        :param command: the part of the text that is not wrapped.
        """
        shown = shorten_home(sentence(text), self.home)
        first, *rest = wrap(shown, self.width - LABEL_WIDTH, command)
        style = "out" if is_ok else "note"
        start = f"  {label:{LABEL_WIDTH - 2}}"
        return [Line(style, start + first), *(Line(style, " " * LABEL_WIDTH + line) for line in rest)]

    def hints(self, hints: list[str]) -> list[Line]:
        """Return the lines of hints. Commands are not wrapped, so that they can be pasted."""
        return [Line("note", " " * LABEL_WIDTH + text) for hint in hints for text in hint_texts(hint, self.width - LABEL_WIDTH)]

    def host_lines(self, host: HostStatus) -> list[Line]:
        """Return the lines about the host."""
        address, library, backup = host["lan_ip"], host["library"], host["backup"]
        setup = "repoman setup"
        if address["matches"] is False:
            lan_text = f"{address['registry']} in the registry, but {address['detected']} on {address['interface']}: {setup}"
        elif address["registry"]:
            lan_text = address["registry"] + ("" if address["detected"] else f" ({NO_LAN_ADDRESS} to compare with)")
        elif address["detected"]:
            lan_text = f"not in the registry, but {address['detected']} on {address['interface']}: {setup}"
        else:
            lan_text = f"none ({NO_LAN_ADDRESS})"
        lines = [
            *self.entry("Incus", f"{host['incus_version']}, project {host['incus_project']}"),
            *self.entry("LAN address", lan_text, address["detected"] in ("", address["registry"]), setup),
            *self.entry("library", f"{plural(library['profiles'], 'profile')}, {library['installed']} installed"),
        ]
        for name in library["drift"]:
            command = f"repoman profile diff {name}"
            lines += self.entry("", f"{name} differs from its template: {command}", False, command)
        for error in library["errors"]:
            lines += self.entry("", f"{error['name']}: {error['msg']}", False)
        text, command = backup_text(backup)
        lines += self.entry("backup", text, backup["state"] == "ready", command)
        return [*lines, *self.last_backup_lines(host)]

    def last_backup_lines(self, host: HostStatus) -> list[Line]:
        """Return the lines about the newest backup of anything, and about directories without a project whose backup is old or missing."""
        sync, state = "repoman sync", host["backup"]["sync_state"]
        remedy = {SyncState.OLD.value: f": {sync}", SyncState.FUTURE.value: "; is the clock right?"}.get(state, "")
        lines = self.entry("last backup", last_backup_text(host["backup"]) + remedy, state == SyncState.OK, sync if sync in remedy else "")
        for label, wanted in (("never synced", SyncState.NEVER), ("old backup", SyncState.OLD), ("future backup", SyncState.FUTURE)):
            names = [directory["name"] for directory in host["directories"] if directory["sync_state"] == wanted]
            command = "repoman doctor" if wanted == SyncState.FUTURE else sync
            lines += self.entry(label, f"{', '.join(names)}: {command}", False, command) if names else []
        return lines

    def project_lines(self, project: ProjectStatus, now: str, renamed_to: str = "") -> list[Line]:
        """Return the lines about a project.

        :param renamed_to: the name that its container has now; a new one would take the old name.
        """
        lines = [Line("head", project["name"]), *self.container_line(project, renamed_to)]
        if project["addresses"]:
            lines += self.entry("address", ", ".join(project["addresses"]))
        lines += self.entry("repository", project["repo"] + ("" if project["repo_exists"] else " (missing)"), project["repo_exists"])
        if project.get("stale_mount"):
            text = stale_mount(project)
            lines += self.entry("", text, False, text.rpartition(": ")[2])
        if state := project.get("vcs"):
            lines += self.repository_lines(state, now)
        if project["problem"]:
            lines += [*self.entry("problem", project["problem"], False), *self.hints(project["hints"])]
        for overlap in project.get("overlaps") or []:
            lines += [*self.entry("danger", overlap["msg"], False), *self.hints(overlap["hints"])]
        for note in project.get("notes") or []:
            lines += self.entry("note", note, False)
        lines += self.profile_lines(project)
        for device in project["missing_sources"]:
            lines += self.entry("skipped", f"{device['source']} does not exist (device {device['device']})")
        for index, difference in enumerate(project["differences"]):
            lines += self.entry("differs" if not index else "", difference, False)
        if project["differences"]:
            command = f"repoman new {project['name']}"
            lines += self.entry("", f"to correct it: {command}", False, command)
        if not project["backup"]:
            return [*lines, *self.entry("last sync", "no backup")]
        lines += self.left_out_lines(project.get("left_out") or {})
        return [*lines, *self.entry("last sync", synced_text(project), project["sync_state"] == SyncState.OK)]

    def container_line(self, project: ProjectStatus, renamed_to: str) -> list[Line]:
        """Return the line about the container of a project."""
        is_own = project["relation"] not in NOTES
        is_ok = project["state"] != "missing" and project["registered"] and not project["unfinished"] and is_own
        verb = "complete" if project["unfinished"] else "create" if project["state"] == "missing" else "register"
        command = "" if is_ok or not is_own else f"repoman new {project['name']}"
        remedy = f"; to {verb} it: {command}" if command else ""
        if project["state"] == "missing" and renamed_to:
            remedy = f"; its container is called {renamed_to} now"
        return self.entry("container", project_state(project) + remedy, is_ok, command)

    def profile_lines(self, project: ProjectStatus) -> list[Line]:
        """Return the lines about the profiles of a project."""
        drift = project["profile_drift"]
        names = [*project["profiles"], *(profile for profile in drift if profile not in project["profiles"])]
        labels = [f"{profile} (differs from its template)" if profile in drift else profile for profile in names]
        lines = self.entry("profiles", ", ".join(labels) or "none", not drift)
        if project["profiles_missing"]:
            missing = project["profiles_missing"]
            command = f"repoman profile install {' '.join(missing)}"
            lines += self.entry("", f"not installed: {', '.join(missing)}: {command}", False, command)
        return lines

    def left_out_lines(self, left_out: LeftOut) -> list[Line]:
        """Return the lines about files that backups leave out."""
        lines = [line for path in left_out.get("skipped_mounts", []) for line in self.skipped_mount(path)]
        patterns = [*left_out.get("exclude", []), *(["caches"] if left_out.get("exclude_caches") else [])]
        if patterns:
            lines += self.entry("excluded", f"{', '.join(patterns)} ({left_out['excluded']} by the last backup)")
        return lines + [line for repository in left_out.get("unverified", []) for line in self.unverified(repository)]

    def skipped_mount(self, path: str) -> list[Line]:
        """Return the lines about a mount that is not backed up."""
        setting = "follow_mounts = true"
        return self.entry("not backed up", f"{path} is a separate file system; to back it up: {setting}", False, setting)

    def unverified(self, repository: UnverifiedRepository) -> list[Line]:
        """Return the lines about a repository that this host's git or Mercurial cannot verify."""
        text = f"{repository['path']} is backed up but cannot be verified: {repository['reason']}"
        return self.entry("not verified", text, False)

    def repository_lines(self, state: RepositoryStatus, now: str) -> list[Line]:
        """Return the lines about a repository."""
        if not state["kind"]:
            return self.entry("", state["problem"] or "neither a git nor a Mercurial repository", False)
        label = {"git": "git", "hg": "Mercurial"}[state["kind"]]
        revision = state["branch"] or (f"detached at {state['commit'][:COMMIT_LENGTH]}" if state["detached"] else "")
        parts = [f"{revision}{' (bookmark ' + state['bookmark'] + ')' if state['bookmark'] else ''}{' (bare)' if state['bare'] else ''}"]
        if state["problem"]:
            return self.entry(label, "; ".join([*filter(None, parts), f"incomplete: {state['problem']}"]), False)
        counts = file_counts(state)
        if not state["bare"]:
            parts.append(counts or "clean")
        if state["ahead"] or state["behind"]:
            parts.append(ahead_behind(state))
        elif state["upstream"] and state["ahead"] is None and not state["bare"]:
            parts.append(f"upstream {state['upstream']} does not exist")
        elif not state["upstream"] and state["branch"] and state["kind"] == "git" and not state["bare"]:
            parts.append("no upstream")
        lines = self.entry(label, "; ".join(parts), not counts and not state["ahead"] and not state["behind"])
        return [*lines, *self.entry("last commit", commit_age(state["last_commit"], now))]


def commit_age(time: str, now: str) -> str:
    """Return the age of a commit as text; its time if that is in the future.

    :param time: ISO 8601, or empty.
    :param now: ISO 8601.
    """
    if not time:
        return "none"
    seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(time)).total_seconds()
    return format_age(seconds) if seconds >= 0 else time


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
