# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each verb says: the result of its module as lines and an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.show import amount, counted
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, diff_lines, sentence, table

Result = Mapping[str, Any]

PROFILE_WIDTHS = (16, 23, 12)
MORE = "run it again with -v to see more"
NOT_KNOWN = 3
SHOWN = 50
"""So many differences of a unit are shown."""
ACTIONS = {
    "synced": "synced",
    "unchanged": "up to date",
    "gone": "put away",
    "same": "same",
    "differs": "differs",
    "busy": "too busy",
    "failed": "failed",
}
"""What came of a unit of the backup, in the words of the summary."""
WOULD = {"synced": "to sync", "gone": "to put away"}
"""The same, where it is only planned."""


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
    if failed and not result.get("profiles") and not result.get("units"):
        return failure(result)
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
    """Return the steps that were done, or would be."""
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
    """Say each step, and how to get in."""
    name = result["project"]["name"]
    lines = steps(result, mode)
    if mode.check:
        return Told(lines or [Line("out", f"nothing to do: {name} is as it should be")])
    if not lines:
        lines.append(Line("done", f"{name} is up to date"))
    return Told([*lines, Line("out", f"next: repoman shell {name}")])


def remove(result: Result, mode: Mode) -> Told:
    """Say what went and what stayed."""
    name, kept = result["project"]["name"], result["kept"]
    if not result["steps"]:
        return Told(error(f"there is no project called {name!r}.", ("repoman list",)), NOT_KNOWN)
    stays = f"repository {kept['repo']} and mirror {kept['mirror']}"
    if mode.check:
        return Told([*steps(result, mode), Line("out", f"would leave untouched: {stays}")])
    return Told([Line("done", f"removed {name} ({stays} untouched)")])


def shell(result: Result, mode: Mode) -> Told:
    """Say nothing: what is printed is the shell's."""
    return Told(steps(result, mode) if mode.check else [])


def projects(result: Result, mode: Mode) -> Told:
    """List the projects."""
    if not result["projects"]:
        return Told([Line("out", "no projects yet; make one: repoman new NAME")])
    rows = [
        (
            project["name"],
            project["state"],
            project["repo"] if project["repo_exists"] else f"{project['repo']} (missing)",
            project["image"],
            ",".join(project["profiles"]),
            (project["last_sync"] or "never") if project["backup"] else "no backup",
        )
        for project in result["projects"]
    ]
    return Told(table(("NAME", "STATE", "REPO", "IMAGE", "PROFILES", "LAST SYNC"), rows))


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
    return Told([*lines, Line("done", total(result["summary"], mode))], code)


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
    again = f"next: repoman restore {result['name']} --from {rows[-1][0]} --to DIR"
    return Told([*table(("TIME", "FILES", "BYTES", "DIRECTORY"), rows), Line("out", again)])


def restore(result: Result, mode: Mode) -> Told:
    """Say what was restored, and where what it replaced is."""
    restored = result["restored"]
    lines = steps(result, mode)
    if not lines:
        return Told([Line("done", f"{restored['to']} is what the backup holds")])
    if restored["saved"] and not mode.check:
        lines.append(Line("out", f"what was there is now in {restored['saved']}"))
        if restored["has_container"]:
            lines.append(Line("out", "a running container of it may still see what was there; restart it"))
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


def worst(profiles: Iterable[Result]) -> int:
    """Return the worst exit code of single profiles."""
    return max((int(profile.get("exit_code", 1)) for profile in profiles if profile["action"] == "failed"), default=0)


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
    "profile_list": profile_list,
    "profile_install": profile_install,
    "profile_diff": profile_diff,
    "profile_remove": profile_remove,
    "profile_show": profile_show,
}
"""A task's variable ``repoman_view`` names one of these."""
