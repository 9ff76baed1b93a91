# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each verb says: the result of its module as lines and an exit code."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.progress_display import ACTIONS, amount, counted
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, diff_lines, sentence, table

Result = Mapping[str, Any]

PROFILE_WIDTHS = (16, 23, 12)
MORE = "run it again with -v to see more"
NOT_KNOWN = 3
SHOWN = 50
"""So many differences of a unit are shown."""
WOULD = {"synced": "to sync", "gone": "to put away"}
"""The same, where it is only planned."""
NO_PROJECTS = "no projects yet; make one: repoman new NAME"
ANSWERS = {"profiles", "projects", "units", "kept", "steps"}
"""What tells of anything in a result."""
FILES = {
    "git": (("conflicts", "in conflict"), ("staged", "staged"), ("unstaged", "changed"), ("untracked", "untracked")),
    "hg": (("conflicts", "in conflict"), ("unstaged", "changed"), ("untracked", "untracked")),
}
"""What is counted in a repository, and the words for it."""


@dataclass(frozen=True)
class Told:
    """What is to be said of a result.

    :param lines: to print.
    :param exit_code: of the command.
    """

    lines: list[Line] = field(default_factory=list)
    exit_code: int = 0


@dataclass(frozen=True)
class Mode:
    """How the task ran.

    :param check: nothing was done, only planned.
    :param brief: a preview has told what was found out and planned.
    """

    check: bool = False
    brief: bool = False


def tell(view: str, result: Result, failed: bool, mode: Mode) -> Told:
    """Return what is to be said of a result.

    :param view: name of the playbook whose words to use.
    :param failed: whether the task failed.
    """
    if failed and not any(result.get(each) for each in ("profiles", "projects", "units")):
        return failure(result)
    if mode.check and not ANSWERS & result.keys():
        return Told()  # a prediction that could only be a warning
    return VIEWS[view](result, mode)


def failure(result: Result) -> Told:
    """Return the error of a result that has nothing else to tell."""
    code = result.get("exit_code")
    if code is None:
        return Told([Line("error", first_sentence(result)), Line("hint", MORE)], 1)
    return Told(error(str(result.get("msg", "")), result.get("hints") or ()), int(code))


def first_sentence(result: Result) -> str:
    """Return the first line of a failure that is not repoman's own."""
    lines = [line.strip() for line in str(result.get("msg") or result.get("module_stderr") or "").splitlines()]
    return next((line.removeprefix("Task failed: ") for line in lines if line), "the task failed and did not say why.")


def error(message: str, hints: Iterable[str]) -> list[Line]:
    """Return an error and its hints."""
    return [Line("error", sentence(message)), *(Line("hint", sentence(str(hint))) for hint in hints)]


def steps(result: Result, mode: Mode) -> list[Line]:
    """Return the steps that were done, or would be: of a result, or of one project in it."""
    return [Line("out", f"would {step}") if mode.check else Line("done", step) for step in result["steps"]]


def setup(result: Result, mode: Mode) -> Told:
    """Say what was detected, what was done, and what to do next."""
    lines = [] if mode.brief else detected(result)
    lines += steps(result, mode)
    if not result["steps"]:
        lines.append(
            Line(
                "out", f"nothing to do: the incus project {result['incus_project']} and the registry {result['path']} are as they should be"
            )
        )
    elif not mode.check:
        lines.append(Line("out", "next: repoman profile install --all"))
    return Told(lines)


def detected(result: Result) -> list[Line]:
    """Return what was found out about the host."""
    found = result["detected"]
    address = f"{found['lan_ip']} ({found['interface']})" if found["lan_ip"] else f"none on {found['interface']}"
    if not found["lan_ip"] and result["lan_ip"]:
        address += f"; the registry has {result['lan_ip']}"
    return [
        Line("head", "detected:"),
        Line("out", f"  user         {found['user']}"),
        Line("out", f"  home         {found['home']}"),
        Line("out", f"  LAN address  {address}"),
    ]


def new(result: Result, mode: Mode) -> Told:
    """Say how each container differed, each step, and how to get in."""
    lines: list[Line] = []
    for project in result["projects"]:
        name = project["name"]
        if project["action"] == "failed":
            lines += error(project["msg"], project["hints"])
        elif project["steps"]:
            lines += [Line("out", f"{name} differs: {each}") for each in project["differences"]]
            lines += steps(project, mode)
        else:
            lines.append(Line("out", f"nothing to do: {name} is as it should be") if mode.check else Line("done", f"{name} is up to date"))
    there = [project["name"] for project in result["projects"] if project["action"] != "failed"]
    if there and not mode.check:
        lines.append(Line("out", f"next: repoman shell {there[0] if len(there) == 1 else 'NAME'}"))
    return Told(lines, worst(result["projects"]))


def remove(result: Result, mode: Mode) -> Told:
    """Say what went and what stayed; a project that is not known is an error."""
    lines: list[Line] = []
    code = worst(result["projects"])
    for project in result["projects"]:
        name = project["name"]
        if project["action"] == "failed":
            lines += error(project["msg"], project["hints"])
            continue
        if project["action"] == "absent":
            hints = [f"did you mean {near!r}?" for near in project["near"]]
            lines += error(f"there is no project called {name!r}.", (*hints, "repoman list"))
            code = max(code, NOT_KNOWN)
            continue
        kept = project["kept"]
        stays = f"repository {kept['repo']} and mirror {kept['mirror']}"
        if mode.check:
            lines += [*steps(project, mode), Line("out", f"would leave untouched: {stays}, with all it kept")]
        else:
            lines.append(Line("done", f"removed {name} ({stays} untouched)"))
    return Told(lines, code)


def shell(result: Result, mode: Mode) -> Told:
    """Say nothing but what failed: what is printed is the shell's."""
    lines: list[Line] = []
    done = [project for project in result["projects"] if "action" in project]  # the first task only looks
    for project in done:
        if project["action"] == "failed":
            lines += error(project["msg"], project["hints"])
        elif mode.check:
            lines += steps(project, mode)
    return Told(lines, worst(done))


def projects(result: Result, mode: Mode) -> Told:
    """List the projects."""
    if not result["projects"]:
        return Told([Line("out", NO_PROJECTS)])
    rows = [
        (
            project["name"],
            project_state(project),
            project["repo"] if project["repo_exists"] else f"{project['repo']} (missing)",
            project["image"],
            ",".join(project["profiles"]),
            (project["last_sync"] or "never") if project["backup"] else "no backup",
        )
        for project in result["projects"]
    ]
    warnings = [
        Line("warning", f"{project['name']}: {sentence(project['problem'])}") for project in result["projects"] if project["problem"]
    ]
    return Told([*table(("NAME", "STATE", "REPO", "IMAGE", "PROFILES", "LAST SYNC"), rows), *warnings])


def project_state(project: Result) -> str:
    """Return the words for a project's state."""
    if project["unfinished"]:
        return "unfinished"
    return str(project["state"]) if project["registered"] else f"{project['state']} (not in the registry)"


def status(result: Result, mode: Mode) -> Told:
    """Tell all of the host and the projects."""
    lines = [Line("head", "host"), *host_status(result["host"])]
    named = {path for project in result["projects"] for path in (project.get("left_out") or {}).get("skipped_mounts", [])}
    lines += [other_file_system(path) for path in result["host"].get("skipped_mounts", []) if path not in named]
    told = [each for project in result["projects"] for each in (project.get("left_out") or {}).get("unverified", [])]
    lines += [unverified(each) for each in result["host"].get("unverified", []) if each not in told]
    for project in result["projects"]:
        lines += [Line("out", ""), *project_status(project, result["time"])]
    if not result["projects"]:
        lines += [Line("out", ""), Line("out", NO_PROJECTS)]
    return Told(lines)


def row(label: str, text: str, is_well: bool = True) -> Line:
    """Return a line of the status: a label and what is to be said; in another colour if it wants attention."""
    return Line("out" if is_well else "note", f"  {label:14}{text}")


def host_status(host: Result) -> list[Line]:
    """Return what is to be said of the host."""
    address, library, backup = host["lan_ip"], host["library"], host["backup"]
    if address["matches"] is False:
        where = f"{address['registry']} in the registry, but {address['detected']} on {address['interface']}: repoman setup"
    elif not address["registry"]:
        where = f"not in the registry{', but ' + address['detected'] + ' on ' + address['interface'] if address['detected'] else ''}: repoman setup"
    else:
        where = (
            address["registry"] if address["detected"] else f"{address['registry']} (no address on {address['interface']} to compare with)"
        )
    lines = [
        row("Incus", f"{host['incus_version']}, project {host['incus_project']}"),
        row("LAN address", where, bool(address["registry"]) and address["matches"] is not False),
        row("library", f"{counted(library['profiles'], 'profile')}, {library['installed']} installed"),
    ]
    lines += [row("", f"{name} differs from its template: repoman profile diff {name}", False) for name in library["drift"]]
    lines += [row("", f"{error['name']}: {sentence(error['msg'])}", False) for error in library["errors"]]
    return [*lines, row("backup", backup_status(backup), backup["state"] == "ready")]


def backup_status(backup: Result) -> str:
    """Return what is to be said of the backup's target."""
    path, detail = backup["path"], f" ({backup['detail']})" if backup["detail"] else ""
    if backup["state"] == "ready":
        return f"{path}, {amount(backup['free'])} free"
    return {
        "missing": f"{path} does not exist; is it mounted?",
        "unmarked": f"{path} has no mark of repoman; is it mounted? for the first backup to it: repoman sync --init",
        "foreign": f"{path} is somebody else's{detail}",
        "unreadable": f"{path} cannot be read{detail}",
        "unreachable": f"{path} {backup['detail']}",
    }[backup["state"]]


def project_status(project: Result, now: str) -> list[Line]:
    """Return what is to be said of a project."""
    name, state = project["name"], project_state(project)
    is_well = project["state"] != "missing" and project["registered"] and not project["unfinished"]
    remedy = (
        ""
        if is_well
        else f"; repoman new {name} {'finishes' if project['unfinished'] else 'makes' if project['state'] == 'missing' else 'enters'} it"
    )
    lines = [Line("head", name), row("container", state + remedy, is_well)]
    if project["addresses"]:
        lines.append(row("address", ", ".join(project["addresses"])))
    lines.append(row("repository", project["repo"] + ("" if project["repo_exists"] else " (missing)"), project["repo_exists"]))
    if project["vcs"]:
        lines += vcs_status(project["vcs"], now)
    if project["problem"]:
        lines.append(row("problem", sentence(project["problem"]), False))
    drifting = [f"{each} (differs from its template)" if each in project["profile_drift"] else each for each in project["profiles"]]
    drifting += [f"{each} (differs from its template)" for each in project["profile_drift"] if each not in project["profiles"]]
    lines.append(row("profiles", ", ".join(drifting) or "none", not project["profile_drift"]))
    if project["profiles_missing"]:
        missing = project["profiles_missing"]
        lines.append(row("", f"not installed: {', '.join(missing)}: repoman profile install {' '.join(missing)}", False))
    lines += [row("skipped", f"{each['source']} does not exist (device {each['device']})", False) for each in project["missing_sources"]]
    lines += [row("differs" if not number else "", each, False) for number, each in enumerate(project["differences"])]
    if project["differences"]:
        lines.append(row("", f"to correct it: repoman new {name}", False))
    if not project["backup"]:
        return [*lines, row("last sync", "no backup")]
    lines += left_out_status(project.get("left_out") or {})
    ago = "" if project["sync_age"] is None else f" ({duration(project['sync_age'])} ago)"
    return [*lines, row("last sync", f"{project['last_sync'] or 'never'}{ago}", bool(project["last_sync"]))]


def left_out_status(left_out: Result) -> list[Line]:
    """Return lines about everything that backups leave out."""
    lines = [other_file_system(path) for path in left_out.get("skipped_mounts", [])]
    patterns = [*left_out.get("exclude", []), *(["caches"] if left_out.get("exclude_caches") else [])]
    if patterns:
        lines.append(row("excluded", f"{sentence(', '.join(patterns))} ({left_out['excluded']} by the last backup)"))
    return lines + [unverified(each) for each in left_out.get("unverified", [])]


def unverified(repository: Result) -> Line:
    """Return a line about a repository whose format this host's git or Mercurial does not know."""
    return row("not verified", f"{repository['path']} is backed up but cannot be verified: {sentence(repository['reason'])}", False)


def other_file_system(path: str) -> Line:
    """Return a line about what is mounted inside a repository and not backed up."""
    return row("not backed up", f"{path} is another file system; follow_mounts = true backs it up", False)


def vcs_status(state: Result, now: str) -> list[Line]:
    """Return what is to be said of a repository."""
    if not state["kind"]:
        return [row("", state["problem"] or "neither a git nor a Mercurial repository", False)]
    label = {"git": "git", "hg": "Mercurial"}[state["kind"]]
    where = state["branch"] or (f"detached at {state['commit'][:12]}" if state["detached"] else "")
    parts = [f"{where}{' (bookmark ' + state['bookmark'] + ')' if state['bookmark'] else ''}{' (bare)' if state['bare'] else ''}"]
    if state["problem"]:
        return [row(label, "; ".join([*filter(None, parts), f"cannot tell more: {sentence(state['problem'])}"]), False)]
    counts = [f"{state[key]} {word}" for key, word in FILES[state["kind"]] if state[key]]
    if not state["bare"]:
        parts.append(", ".join(counts) or "clean")
    if state["ahead"] or state["behind"]:
        parts.append(distance(state))
    elif state["upstream"] and state["ahead"] is None and not state["bare"]:
        parts.append(f"its upstream {state['upstream']} is not there")
    elif not state["upstream"] and state["branch"] and state["kind"] == "git" and not state["bare"]:
        parts.append("no upstream")
    lines = [row(label, "; ".join(parts), not counts and not state["ahead"] and not state["behind"])]
    seconds = (datetime.fromisoformat(now) - datetime.fromisoformat(state["last_commit"])).total_seconds() if state["last_commit"] else None
    when = "none" if seconds is None else f"{state['last_commit']} ({duration(seconds)} ago)" if seconds >= 0 else state["last_commit"]
    return [*lines, row("last commit", when)]


def distance(state: Result) -> str:
    """Return the words for what is not pushed, and what is not pulled."""
    ahead, behind = state["ahead"], state["behind"]
    if state["kind"] == "hg":
        return ", ".join(text for count, text in ((ahead, f"{ahead} not public"), (behind, f"{behind} newer on the branch")) if count)
    words = [f"{count} {word}" for count, word in ((ahead, "ahead of"), (behind, "behind")) if count]
    return f"{' and '.join(words)} {state['upstream']}"


def duration(seconds: float) -> str:
    """Return a time in the greatest unit that it fills."""
    for length, unit in ((86400, "day"), (3600, "hour"), (60, "minute")):
        if seconds >= length:
            return counted(int(seconds // length), unit)
    return "less than a minute"


def sync(result: Result, mode: Mode) -> Told:
    """Say what came of each unit, and of all."""
    if "kept" in result:
        return kept(result)
    lines = steps(result, mode)
    rows = [
        (
            unit["name"],
            ACTIONS[unit["action"]] if not mode.check or unit["action"] not in WOULD else WOULD[unit["action"]],
            str(unit["files"]) if unit["files"] else "-",
            amount(unit["bytes"]) if unit["bytes"] else "-",
            amount(unit["kept_bytes"]) if unit["kept_bytes"] else "-",
        )
        for unit in result["units"]
    ]
    lines += table(("NAME", "STATE", "FILES", "BYTES", "KEPT"), rows) if rows else [Line("out", "there is nothing to back up")]
    code = 0
    for unit in result["units"]:
        differences = unit.get("differences") or []
        lines += [Line("out", f"{unit['name']}: {difference}") for difference in differences[:SHOWN]]
        if len(differences) > SHOWN:
            lines.append(Line("out", f"{unit['name']}: and {len(differences) - SHOWN} more; --json has all"))
        lines += [Line("warning", f"{unit['name']}: {note}") for note in unit.get("notes") or ()]
        if "msg" in unit:
            lines += error(unit["msg"], unit.get("hints") or ())
            code = max(code, int(unit["exit_code"]))
        elif unit["action"] == "differs":
            code = max(code, 1)
    return Told([*lines, Line("out" if mode.check else "done", total(result["summary"], mode))], code)


def total(summary: Result, mode: Mode) -> str:
    """Return what came of a whole run."""
    said = [
        f"{summary[action]} {WOULD.get(action, word) if mode.check else word}" for action, word in ACTIONS.items() if summary.get(action)
    ]
    work = [counted(summary["files"])]
    if not mode.check:
        work += [f"{amount(summary['bytes'])} copied", f"{amount(summary['kept_bytes'])} kept"]
    if "same" in summary or "differs" in summary:
        work = []
    work.append(f"{summary['seconds']:.1f} s")
    return f"{', '.join(said) or 'nothing'}; {', '.join(work)}"


def kept(result: Result) -> Told:
    """List what is kept of a unit."""
    if not result["kept"]:
        return Told([Line("out", f"nothing is kept of {result['name']}")])
    rows = [(each["time"], str(each["files"]), amount(each["bytes"]), each["path"]) for each in result["kept"]]
    again = f"next: repoman restore {shlex.quote(result['name'])} --from {rows[-1][0]} --to DIR"
    return Told([*table(("TIME", "FILES", "BYTES", "DIRECTORY"), rows), Line("out", again)])


def restore(result: Result, mode: Mode) -> Told:
    """Say what was restored, and where what it replaced is."""
    restored = result["restored"]
    lines = steps(result, mode)
    if "objects" in restored:
        return Told(lines or [Line("done", f"no object of {restored['to']} is missing or damaged")])
    if not lines:
        return Told([Line("done", f"{restored['to']} already matches the backup")])
    if restored["saved"] and not mode.check:
        lines.append(Line("out", f"its previous contents are in {restored['saved']}"))
    if restored["has_container"] and not mode.check:
        lines.append(Line("out", "a running container may still see the previous contents; restart it"))
    return Told(lines)


def profile_list(result: Result, mode: Mode) -> Told:
    """List the profile library."""
    profiles = result["profiles"]
    if not profiles:
        return Told([Line("out", "the profile library is empty")])
    rows = [
        (
            profile["name"],
            "user (shadows vendor)" if profile["shadows"] else profile["source"],
            "yes" if profile["installed"] else "no",
            drift(profile),
        )
        for profile in profiles
    ]
    warnings = [Line("warning", sentence(profile["error"])) for profile in profiles if profile["error"]]
    return Told([*table(("NAME", "SOURCE", "INSTALLED", "DRIFT"), rows, PROFILE_WIDTHS), *warnings])


def drift(profile: Result) -> str:
    """Return the word for a profile's drift."""
    if profile["error"]:
        return "error"
    if not profile["installed"]:
        return "n/a"
    return "yes" if profile["drift"] else "no"


def profile_install(result: Result, mode: Mode) -> Told:
    """Say what became of each profile."""
    lines: list[Line] = []
    for profile in result["profiles"]:
        name, action = profile["name"], profile["action"]
        if action == "failed":
            lines += error(profile["msg"], profile.get("hints") or ())
        elif action == "unchanged":
            lines.append(Line("done", f"{name} is up to date (source: {profile['source']})"))
        elif mode.check:
            lines.append(Line("out", f"would {'install' if action == 'installed' else 'update'} {name} (source: {profile['source']})"))
        else:
            lines.append(Line("done", f"installed {name} (source: {profile['source']})"))
    return Told(lines, worst(result["profiles"]))


def profile_remove(result: Result, mode: Mode) -> Told:
    """Say what became of each profile; one that is not installed is an error."""
    lines: list[Line] = []
    code = worst(result["profiles"])
    for profile in result["profiles"]:
        name, action = profile["name"], profile["action"]
        if action == "failed":
            lines += error(profile["msg"], profile.get("hints") or ())
        elif action == "absent":
            code = max(code, 1)
            lines += error(f"incus: Profile not found: {name!r} is not installed.", ("it may not need removing: repoman profile list",))
        else:
            text = f"{name} from incus (file at {profile['file_path']} untouched)"
            lines.append(Line("out", f"would remove {text}") if mode.check else Line("done", f"removed {text}"))
    return Told(lines, code)


def worst(lines: Iterable[Result]) -> int:
    """Return the worst exit code of single profiles or projects."""
    return max((int(line.get("exit_code", 1)) for line in lines if line["action"] == "failed"), default=0)


def profile_diff(result: Result, mode: Mode) -> Told:
    """Show how each profile differs."""
    lines: list[Line] = []
    differ = False
    for profile in result["profiles"]:
        difference = profile.get("vendor_diff", profile.get("diff", ""))
        if not profile.get("installed", True):
            differ = True
            lines += [Line("out", f"not installed; would install {profile['name']}"), Line("raw", profile["rendered"])]
        elif difference:
            differ = True
            lines += diff_lines(difference)
        else:
            lines.append(Line("out", "no difference"))
    return Told(lines, int(differ))


def profile_show(result: Result, mode: Mode) -> Told:
    """Print each profile as it would be installed."""
    return Told([Line("raw", profile["rendered"]) for profile in result["profiles"]])


VIEWS: dict[str, Callable[[Result, Mode], Told]] = {
    "setup": setup,
    "new": new,
    "remove": remove,
    "sync": sync,
    "restore": restore,
    "shell": shell,
    "list": projects,
    "status": status,
    "profile_list": profile_list,
    "profile_install": profile_install,
    "profile_diff": profile_diff,
    "profile_remove": profile_remove,
    "profile_show": profile_show,
}
"""A task's variable ``repoman_view`` names one of these."""
