# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What each verb says: the result of its module as lines and an exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, diff_lines, sentence, table

Result = Mapping[str, Any]

PROFILE_WIDTHS = (16, 23, 12)
MORE = "run it again with -v to see more"
NOT_KNOWN = 3


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
    if failed and not result.get("profiles") and not result.get("projects"):
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
    """Say each step, and how to get in."""
    lines: list[Line] = []
    for project in result["projects"]:
        name = project["name"]
        if project["action"] == "failed":
            lines += error(project["msg"], project["hints"])
        elif project["steps"]:
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
    for project in result["projects"]:
        if project["action"] == "failed":
            lines += error(project["msg"], project["hints"])
        elif mode.check:
            lines += steps(project, mode)
    return Told(lines, worst(result["projects"]))


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
    "shell": shell,
    "list": projects,
    "profile_list": profile_list,
    "profile_install": profile_install,
    "profile_diff": profile_diff,
    "profile_remove": profile_remove,
    "profile_show": profile_show,
}
"""A task's variable ``repoman_view`` names one of these."""
