# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each verb says: results of modules fed to the callback, its words on both streams, the exit code."""

from __future__ import annotations

import ast
import io
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import pytest
from ansible.plugins.callback import CallbackBase
from ansible_collections.homelab.repoman.plugins.callback import report
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Line, table, unified, use_color
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import PAST_TENSES, Mode
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.render import render
from repository_states import CLEAN

MODULE_UTILS = Path(__file__).parents[3] / "plugins/module_utils"
Data = dict[str, Any]


@dataclass
class Host:
    """A host of a result."""

    name: str

    def get_name(self) -> str:
        """Return its name."""
        return self.name


@dataclass
class Task:
    """A task of a result."""

    vars: Data = field(default_factory=dict)
    check_mode: bool = False
    diff: bool = False

    def get_name(self) -> str:
        """Return its name."""
        return "the task"


@dataclass
class Result:
    """A result as ansible-core 2.19 and later hand it to a callback."""

    task: Task
    host: Host
    result: Data
    warnings: list[str] = field(default_factory=list)

    @property
    def _result(self) -> Data:
        """What ansible's own base class may still ask for."""
        return self.result


class OldResult:
    """A result as ansible-core 2.18 hands it to a callback."""

    def __init__(self, task: Task, host: Host, result: Data) -> None:
        self._task, self._host, self._result = task, host, result


@dataclass
class Start:
    """A playbook, or a play."""

    _file_name: str = ""
    hosts: list[str] = field(default_factory=lambda: ["localhost"])


class Screen:
    """Stands in for ansible's display: keeps what is printed."""

    def __init__(self, verbosity: int = 0) -> None:
        self.verbosity = verbosity
        self.out: list[str] = []
        self.err: list[str] = []

    def display(self, text: str, stderr: bool = False) -> None:
        """Keep the lines of ``text``."""
        (self.err if stderr else self.out).extend(text.split("\n"))


class Run:
    """A run of a playbook of the collection, or of somebody's own where it has no name."""

    def __init__(self, name: str, hosts: tuple[str, ...] = ("localhost",), verbosity: int = 0, **options: Any) -> None:
        self.callback = report.CallbackModule()
        self.screen = Screen(verbosity)
        self.callback._display = self.screen
        self.callback._plugin_options = {"format": "text", "brief": False, "details": False, "strict": None, "output": None} | options
        path = report.PLAYBOOKS / f"{name}.yml" if name else "/home/me/site.yml"
        self.callback.v2_playbook_on_start(Start(str(path)))
        self.callback.v2_playbook_on_play_start(Start(hosts=list(hosts)))

    def ends(self) -> Run:
        """End the run."""
        self.callback.v2_playbook_on_stats(None)
        return self

    def says(self) -> tuple[list[str], list[str], int]:
        """Return what was said on both streams, and the exit code."""
        return self.screen.out, self.screen.err, report.run_report.exit_code


def told(view: str, data: Data, failed: bool = False, check: bool = False, **options: Any) -> tuple[list[str], list[str], int]:
    """Return what is said of one result of a verb: standard output, standard error, exit code."""
    run = Run(view, **options)
    result = Result(Task({"repoman_view": view}, check), Host("localhost"), data)
    (run.callback.v2_runner_on_failed if failed else run.callback.v2_runner_on_ok)(result)
    return run.ends().says()


def profile(name: str = "claude-share", action: str = "installed", **more: Any) -> Data:
    """Return a line of what ``repoman_profile`` answers."""
    return {"name": name, "action": action, "source": "vendor", "file_path": f"/home/me/{name}.yml", "referenced_by": []} | more


def entry(name: str, **more: Any) -> Data:
    """Return a line of what ``repoman_profile_info`` answers."""
    return {"name": name, "source": "vendor", "file_path": "/f", "installed": False, "drift": False, "shadows": False, "error": ""} | more


SETUP: Data = {
    "changed": True,
    "path": "/r.toml",
    "lan_ip": "192.0.2.1",
    "incus_project": "repoman",
    "steps": ["create the Incus project repoman", "write the registry /r.toml"],
    "detected": {"lan_ip": "192.0.2.1", "interface": "br0", "user": "me", "home": "/home/me"},
}
DETECTED = ["detected:", "  user         me", "  home         /home/me", "  LAN address  192.0.2.1 (br0)"]


def project(name: str = "isurus", **more: Any) -> Data:
    """Return the result of ``repoman_project`` for one project."""
    steps = [f"create container {name}", f"start {name}"]
    line = {"name": name, "action": "created", "steps": steps, "differences": [], "changed": True} | more
    return {"changed": line["changed"], "projects": [line]}


PROJECT = project()
UNCHANGED = project(action="unchanged", steps=[], changed=False)
REMOVED = project(
    action="removed",
    steps=["delete container isurus", "remove isurus from the registry"],
    kept={"repo": "/repos/isurus", "mirror": "/nfs/isurus"},
)
REFUSED = project(action="failed", steps=[], changed=False, msg="isurus: no.", hints=["do c"], exit_code=4)
ENVELOPE: Data = {"verb": "", "exit_code": 0, "changed": False, "failed": False, "msg": "", "hints": [], "warnings": []}
"""What each document has."""
FAILURE: Data = {"msg": "there is no registry at /r.toml.", "hints": ["repoman setup"], "exit_code": 3}
FAILED_LINE = profile("b", "failed", msg="profile 'b': no.", hints=["do c"], exit_code=4)


class TestProfiles:
    """The verbs of ``profile``."""

    def test_install(self) -> None:
        """Installed and updated are both installed; what is up to date says so."""
        lines = [profile(), profile("b", "updated", source="user"), profile("c", "unchanged")]
        out, err, code = told("profile_install", {"changed": True, "profiles": lines})
        assert out == [
            "==> installed claude-share (source: vendor)",
            "==> installed b (source: user)",
            "3 profiles: 2 installed, 1 up to date",
        ]
        assert (err, code) == ([], 0)

    def test_install_of_what_is_up_to_date(self) -> None:
        """One that was asked for always gets its line. Several are counted, and named if the registry or the command says so."""
        unchanged: Data = {"profiles": [profile(action="unchanged")]}
        line = "==> claude-share is up to date (source: vendor)"
        assert told("profile_install", unchanged)[0] == [line] == told("profile_install", unchanged, output="quiet")[0]
        several = {"profiles": unchanged["profiles"] * 3}
        quiet, normal = ["3 profiles are up to date"], [line] * 3 + ["3 profiles are up to date"]
        assert told("profile_install", several)[0] == told("profile_install", several | {"output": "quiet"})[0] == quiet
        for output in ("normal", "verbose"):
            assert told("profile_install", several | {"output": output})[0] == normal
        assert told("profile_install", several | {"output": "verbose"}, output="quiet")[0] == quiet
        assert told("profile_install", several | {"output": "quiet"}, verbosity=1)[0] == normal
        failed = {"profiles": [FAILED_LINE, FAILED_LINE]}
        assert told("profile_install", failed, failed=True)[0] == ["2 profiles failed"]

    def test_install_in_check_mode(self) -> None:
        """It says what would be done."""
        out, _err, _code = told("profile_install", {"changed": True, "profiles": [profile(), profile("b", "updated")]}, check=True)
        assert out == [
            "would install claude-share (source: vendor)",
            "would update b (source: vendor)",
            "2 profiles: 1 to install, 1 to update",
        ]

    def test_copy(self) -> None:
        """The path of the copy, whether it was made or was there."""
        lines = [profile(action="copied"), profile("b", "unchanged"), FAILED_LINE]
        out, err, code = told("profile_copy", {"profiles": lines, "msg": "no.", "hints": [], "exit_code": 4}, failed=True)
        assert out == ["==> copied the template to /home/me/claude-share.yml", "==> /home/me/b.yml is the same already"]
        assert (err, code) == (["repoman: error: profile 'b': no.", "hint: do c"], 4)
        out, _err, _code = told("profile_copy", {"profiles": [profile(action="copied")]}, check=True)
        assert out == ["would copy the template to /home/me/claude-share.yml"]

    def test_install_saves_what_it_replaces(self) -> None:
        """The line has the command that brings it back; an error that Incus told afterwards does not hide the change."""
        lines = [
            profile(
                "my own",
                "updated",
                saved="/s/my own-1.yml",
                restore_command="incus x",
                msg="profile 'my own' was installed, but.",
                hints=["do"],
                exit_code=1,
            )
        ]
        out, err, code = told("profile_install", {"changed": True, "profiles": lines, "exit_code": 1, "msg": "m", "hints": []}, failed=True)
        assert out == [
            "==> saved the former my own; to bring it back: incus x",
            "==> installed my own (source: vendor)",
        ]
        assert (err, code) == (["repoman: error: profile 'my own' was installed, but.", "hint: do"], 1)
        out, _err, _code = told("profile_install", {"profiles": [profile("b", "updated", saved="/s/b-1.yml")]}, check=True)
        assert out == ["would save the installed b in /s", "would update b (source: vendor)"]

    def test_install_fails_in_part(self) -> None:
        """Each failure is told once; the worst exit code wins."""
        worse = profile("c", "failed", msg="no c.", hints=[], exit_code=3)
        data = {"profiles": [FAILED_LINE, profile(), worse], "msg": "profile 'b': no. no c.", "hints": ["do c"], "exit_code": 4}
        out, err, code = told("profile_install", data, failed=True)
        assert out == ["==> installed claude-share (source: vendor)", "3 profiles: 1 installed, 2 failed"]
        assert err == ["repoman: error: profile 'b': no.", "hint: do c", "repoman: error: no c."]
        assert code == 4

    def test_next_command_on_another_host(self) -> None:
        """What works there: the client that Incus brings along, with the socket that the task used; ``repoman`` is not needed there."""

        def last(view: str, data: Data) -> str:
            run = Run(view, hosts=("nas",))
            run.callback.v2_runner_on_ok(Result(Task({"repoman_view": view}, False), Host("nas"), data))
            return run.ends().says()[0][-1]

        made = project(incus_project="lab") | {"socket": "/run/incus/unix.socket", "account": {"name": "alice"}}
        enter = "incus exec --project lab local:isurus -- su -l alice"
        assert last("new", made) == f"next, on nas: {enter}"
        assert last("new", made | {"socket": "/x/unix.socket"}) == f"next, on nas: INCUS_SOCKET=/x/unix.socket {enter}"
        several = made | {"projects": made["projects"] * 2}
        assert last("new", several) == f"next, on nas: {enter.replace('isurus', 'NAME')}"
        assert last("setup", SETUP) == "next: repoman profile install --all -i INVENTORY -l nas"

    def test_remove(self) -> None:
        """The file is said to be untouched; who still names the profile is a warning."""
        data = {"changed": True, "profiles": [profile(action="removed")], "warnings": ["profile 'claude-share' is still used by a"]}
        out, err, code = told("profile_remove", data)
        assert out == ["==> removed claude-share from incus (file at /home/me/claude-share.yml untouched)"]
        assert (err, code) == (["repoman: warning: profile 'claude-share' is still used by a"], 0)

    def test_remove_in_check_mode(self) -> None:
        """It says what would be done."""
        out, _err, _code = told("profile_remove", {"profiles": [profile(action="removed")]}, check=True)
        assert out == ["would remove claude-share from incus (file at /home/me/claude-share.yml untouched)"]

    def test_remove_what_is_not_installed(self) -> None:
        """It is Incus's error, with exit code 1."""
        out, err, code = told("profile_remove", {"profiles": [profile("foo", "absent")]})
        assert err == [
            "repoman: error: profile 'foo' is not installed.",
            "hint: repoman profile list",
        ]
        assert (out, code) == ([], 1)
        err = told("profile_remove", {"profiles": [profile("foo", "absent", suggestions=["foos"])]})[1]
        assert err[1] == "hint: repoman profile remove foos   # did you mean 'foos'?"

    def test_list(self) -> None:
        """The table has the widths of the design; errors are warnings and no failure."""
        lines = [
            entry("claude-share", installed=True),
            entry("llm-share", source="user", shadows=True, installed=True, drift=True),
            entry("dotfiles"),
            entry("broken", error="/f: line 3: no."),
        ]
        out, err, code = told("profile_list", {"profiles": lines})
        assert out == [
            "NAME            SOURCE                 INSTALLED   DRIFT",
            "claude-share    vendor                 yes         no",
            "llm-share       user (shadows vendor)  yes         yes",
            "dotfiles        vendor                 no          n/a",
            "broken          vendor                 no          error",
        ]
        assert (err, code) == (["repoman: warning: /f: line 3: no."], 0)

    def test_empty_library(self) -> None:
        """No table is made of nothing."""
        assert told("profile_list", {"profiles": []})[0] == ["the profile library is empty"]

    @pytest.mark.parametrize(
        ("line", "out", "code"),
        [
            ({"installed": True, "rendered": "x\n", "diff": ""}, ["no difference"], 0),
            ({"installed": True, "rendered": "x\n", "diff": "--- a\n+++ b\n-x\n"}, ["--- a", "+++ b", "-x"], 1),
            ({"installed": False, "rendered": "a: b\nc: d\n", "diff": ""}, ["not installed; would install p", "a: b", "c: d"], 1),
            ({"vendor_diff": ""}, ["no difference"], 0),
            ({"vendor_diff": "--- a\n"}, ["--- a"], 1),
        ],
    )
    def test_diff(self, line: Data, out: list[str], code: int) -> None:
        """Exit code 1 where they differ."""
        assert told("profile_diff", {"profiles": [{"name": "p"} | line]}) == (out, [], code)

    def test_show(self) -> None:
        """The text is printed as it is."""
        assert told("profile_show", {"profiles": [{"name": "p", "rendered": "a: \tb\n"}]}) == (["a: \tb"], [], 0)


TARGET: Data = {"last_sync": "2026-01-02T22:00:00Z", "sync_age": 7200, "sync_state": "ok"}
HOST: Data = {
    "incus_version": "6.0.4",
    "incus_project": "repoman",
    "registry": "/r.toml",
    "lan_ip": {"registry": "192.0.2.1", "detected": "192.0.2.1", "interface": "br0", "matches": True},
    "library": {"profiles": 3, "installed": 2, "drift": [], "errors": []},
    "backup": TARGET | {"path": "/nfs/repos", "state": "ready", "detail": "", "free": 1 << 40},
    "directories": [],
}
WELL: Data = {
    "name": "isurus",
    "state": "Running",
    "unfinished": False,
    "registered": True,
    "relation": "own",
    "owner": "me",
    "origin": "",
    "hints": [],
    "repo": "/repos/isurus",
    "repo_exists": True,
    "image": "images:x",
    "profiles": ["default", "p"],
    "last_sync": "2026-01-02T22:00:00Z",
    "backup": True,
    "problem": "",
    "addresses": ["10.0.0.2", "fd00::2"],
    "profile_drift": [],
    "profiles_missing": [],
    "missing_sources": [],
    "differences": [],
    "sync_age": 7200,
    "sync_state": "ok",
    "vcs": CLEAN,
}


class TestProjects:
    """The verbs about projects, and setup."""

    def test_setup(self) -> None:
        """What was detected, what was done, what comes next."""
        steps = ["==> created the Incus project repoman", "==> wrote the registry /r.toml", "next: repoman profile install --all"]
        assert told("setup", SETUP) == (DETECTED + steps, [], 0)
        assert told("setup", SETUP, brief=True) == (steps, [], 0)

    def test_preview_of_setup(self) -> None:
        """It says what would be done."""
        assert told("setup", SETUP, check=True)[0] == [
            *DETECTED,
            "would create the Incus project repoman",
            "would write the registry /r.toml",
        ]

    @pytest.mark.parametrize("check", [True, False])
    def test_setup_with_nothing_to_do(self, check: bool) -> None:
        """It says so."""
        last = "nothing to do: the Incus project repoman and the registry /r.toml are up to date"
        assert told("setup", SETUP | {"steps": [], "changed": False}, check=check)[0] == [*DETECTED, last]

    def test_setup_without_address(self) -> None:
        """An address that is only in the registry is told apart from one that was found."""
        found = SETUP["detected"] | {"lan_ip": "", "interface": ""}
        none = "  LAN address  none (neither br0 nor an IPv4 default route)"
        assert told("setup", SETUP | {"detected": found})[0][3] == f"{none}; the registry has 192.0.2.1"
        assert told("setup", SETUP | {"detected": found, "lan_ip": ""})[0][3] == none
        given = SETUP["detected"] | {"interface": ""}
        assert told("setup", SETUP | {"detected": given})[0][3] == "  LAN address  192.0.2.1"

    def test_new(self) -> None:
        """Each step, and how to get in."""
        assert told("new", PROJECT)[0] == ["==> created container isurus", "==> started isurus", "next: repoman shell isurus"]
        assert told("new", PROJECT, check=True)[0] == ["would create container isurus", "would start isurus"]
        differing = project(action="updated", steps=["do it"], differences=["key a was changed", "device b\x1b is missing"])
        lines = ["isurus differs: key a was changed", "isurus differs: device b\\x1b is missing"]
        assert told("new", differing)[0] == [*lines, "==> do it", "next: repoman shell isurus"]
        assert told("new", differing, check=True)[0] == [*lines, "would do it"]
        assert told("new", UNCHANGED)[0] == ["==> isurus is up to date", "next: repoman shell isurus"]
        assert told("new", UNCHANGED, check=True)[0] == ["nothing to do: isurus is up to date"]

    def test_new_of_several(self) -> None:
        """A summary; hints that several failures share are told once, and each error names its project."""
        failed = {"action": "failed", "steps": [], "exit_code": 4}
        results = {
            "projects": [
                *project(steps=["create container isurus"])["projects"],
                *project("a", **failed, msg="no.", hints=["do a b"])["projects"],
                *project("lamna", action="unchanged", steps=[])["projects"],
                *project("c", **failed, msg="c: no.", hints=["do a b"])["projects"],
                *project("d", **failed, msg="else.", hints=["do d"])["projects"],
            ]
        }
        summary = "5 projects: 1 created, 1 up to date, 3 failed"
        done = ["==> created container isurus", "==> lamna is up to date", summary]
        errors = [
            *("repoman: error: a: no.", "repoman: error: c: no.", "hint: do a b"),
            *("repoman: error: d: else.", "hint: do d"),
        ]
        assert told("new", results | {"output": "normal"}, failed=True) == ([*done, "next: repoman shell NAME"], errors, 4)
        assert told("new", results, failed=True)[0] == [done[0], summary, "next: repoman shell NAME"]
        would = ["would create container isurus", "5 projects: 1 to be created, 1 up to date, 3 failed"]
        assert told("new", results, failed=True, check=True)[0] == would
        assert told("new", {"projects": []})[0] == ["no projects yet; create one: repoman new NAME"]

    def test_steps(self) -> None:
        """Those that are a part of another one are printed by check mode and if the output is verbose, or if there is no other."""
        steps = [
            "create container isurus from x",
            "prepare the home /home/me",
            "start isurus",
            "create the account me",
            "verify that me can write to /r",
            "write isurus to the registry",
            "mark isurus as ready",
        ]
        made = project(steps=steps)
        assert told("new", made)[0] == ["==> created container isurus from x", "==> started isurus", "next: repoman shell isurus"]
        assert told("new", made | {"output": "normal"})[0] == told("new", made)[0]
        assert len(told("new", made | {"output": "verbose"})[0]) == len(told("new", made, verbosity=1)[0]) == len(steps) + 1
        assert told("new", made, check=True)[0] == [f"would {step}" for step in steps]
        assert told("new", project(steps=steps[-2:-1]))[0][0] == "==> wrote isurus to the registry"

    def test_remove(self) -> None:
        """What goes, and what stays."""
        stays = "repository /repos/isurus and mirror /nfs/isurus"
        assert told("remove", REMOVED)[0] == [f"==> removed isurus ({stays} untouched)"]
        assert told("remove", REMOVED, check=True)[0] == [
            "would delete container isurus",
            "would remove isurus from the registry",
            f"would leave untouched: {stays}, with its history",
        ]
        alone = project(action="removed", steps=["delete container isurus"], kept={"repo": "/repos/isurus", "mirror": ""})
        assert told("remove", alone)[0] == ["==> removed isurus (repository /repos/isurus untouched)"]
        assert told("remove", alone, check=True)[0][1:] == ["would leave untouched: repository /repos/isurus"]

    def test_remove_of_an_unknown_project(self) -> None:
        """It is an error of the command, though not of the module."""
        unknown = project(action="absent", steps=[], changed=False, suggestions=["isuru"])
        err = ["repoman: error: there is no project called 'isurus'.", "hint: did you mean 'isuru'?", "hint: repoman list"]
        assert told("remove", unknown) == ([], err, 3)

    def test_power(self) -> None:
        """What was done, what was so already, and what failed; in check mode what would be done."""
        results = {
            "projects": [
                *project(action="started", steps=["start isurus"], state="Running")["projects"],
                *project("lamna", action="unchanged", steps=[], state="Running")["projects"],
                *project("x", action="failed", msg="no.", hints=["try"], exit_code=4)["projects"],
            ]
        }
        err = ["repoman: error: no.", "hint: try"]
        summary = "3 projects: 1 started, 1 running already, 1 failed"
        assert told("start", results) == (["==> started isurus", summary], err, 4)
        assert told("start", results | {"output": "normal"})[0] == ["==> started isurus", "==> lamna is running already", summary]
        assert told("start", results, check=True)[0] == ["would start isurus", "3 projects: 1 to be started, 1 running already, 1 failed"]
        assert told("restart", project(steps=["restart isurus"]))[0] == ["==> restarted isurus"]
        assert told("stop", project(state="Stopped", steps=[]))[0] == ["==> isurus is stopped already"]
        stopped = {"projects": project(action="unchanged", state="Stopped", steps=[])["projects"] * 2}
        assert told("stop", stopped)[0] == ["2 projects are stopped already"]
        assert told("stop", {"projects": []}) == (["no containers yet; create one: repoman new NAME"], [], 0)

    @pytest.mark.parametrize(("view", "done"), [("new", PROJECT), ("remove", REMOVED), ("shell", PROJECT)])
    def test_one_of_several_failed(self, view: str, done: Data) -> None:
        """The others are told, and the exit code is the worst."""
        both = {"changed": True, "projects": [*done["projects"], *REFUSED["projects"]]}
        out, err, code = told(view, both | {"failed": True, "msg": "isurus: no.", "hints": [], "exit_code": 4}, failed=True)
        assert (
            [line for line in out if not line.startswith("2 projects: ")] == told(view, done)[0]
            and err == ["repoman: error: isurus: no.", "hint: do c"]
            and code == 4
        )

    def test_shell(self) -> None:
        """It is silent, but for what it would do."""
        assert told("shell", PROJECT) == ([], [], 0)
        assert told("shell", PROJECT, check=True)[0] == ["would create container isurus", "would start isurus"]

    def test_list(self) -> None:
        """The columns are aligned; control characters are escaped."""
        line = {
            "name": "a",
            "state": "Running",
            "repo": "/repos/a\x1b[2J",
            "repo_exists": True,
            "image": "images:x",
            "profiles": ["default", "p"],
            "last_sync": "",
            "sync_age": None,
            "backup": True,
            "unfinished": False,
            "registered": True,
            "relation": "own",
            "owner": "me",
            "origin": "",
            "hints": [],
            "problem": "",
        }
        other = line | {"name": "longer", "state": "missing", "repo": "/r", "repo_exists": False, "backup": False}
        synced = line | {"name": "c", "repo": "/c", "profiles": [], "last_sync": "2026-01-01T00:00:00Z", "sync_age": 90000}
        assert told("list", {"projects": [line, other, synced], "account": {"home": "/repos"}})[0] == [
            "NAME    STATE    REPO          IMAGE     PROFILES   LAST SYNC",
            "a       Running  ~/a\\x1b[2J    images:x  default,p  never",
            "longer  missing  /r (missing)  images:x  default,p  no backup",
            "c       Running  /c            images:x             1 day ago",
        ]
        half = line | {"repo": "/a", "unfinished": True, "problem": "/r/a.toml, line 1:\nno"}
        stray = line | {"name": "b", "repo": "/b", "registered": False}
        assert told("list", {"projects": [half, stray]}) == (
            [
                "NAME  STATE                          REPO  IMAGE     PROFILES   LAST SYNC",
                "a     unfinished                     /a    images:x  default,p  never",
                "b     Running (not in the registry)  /b    images:x  default,p  never",
            ],
            ["repoman: warning: a: /r/a.toml, line 1: no"],
            0,
        )

    def test_list_fits(self) -> None:
        """Columns are shortened, then left out, and names are shortened last; a wide terminal shows all."""
        line = {key: value for key, value in WELL.items() if key != "vcs"}
        line |= {"image": "images:ubuntu/26.04/cloud", "profiles": ["default", "dotfiles", "claude-share"]}
        named = [line | {"name": name, "repo": f"/home/me/repos/{name}"} for name in ("isurus", "kernel-patches")]
        data: Data = {"projects": named, "account": {"home": "/home/me"}}
        assert told("list", data)[0] == [
            "NAME            STATE    REPO                IMAGE       PROFILES    LAST SYNC",
            "isurus          Running  ~/repos/isurus      images:ub…  default,d…  2 hours ago",
            "kernel-patches  Running  …os/kernel-patches  images:ub…  default,d…  2 hours ago",
        ]
        long = line | {"name": "n" * 63, "repo": "/" + "r" * 90, "state": "Stopped", "registered": False}
        assert [line.split()[0] for line in told("list", {"projects": [long]})[0]] == ["NAME", "n" * 39 + "…"]
        assert max(len(line) for line in told("list", {"projects": [*named, long | {"relation": "foreign"}]})[0]) <= 80
        wide = [line.render() for line in render("list", data, False, Mode(width=120)).lines]
        assert wide[2].split() == [
            *("kernel-patches", "Running", "~/repos/kernel-patches", "images:ubuntu/26.04/cloud", "default,dotfiles,claude-share"),
            *("2", "hours", "ago"),
        ]

    def test_list_with_git(self) -> None:
        """The branch and the number of changes of each repository; nothing for one that does not exist."""
        lines = told("list", {"projects": [WELL, WELL | {"vcs": WELL["vcs"] | {"unstaged": 1, "ahead": 2}}, WELL | {"vcs": None}]})[0]
        assert lines == [
            "NAME    STATE    BRANCH  CHANGES             REPO           LAST SYNC",
            "isurus  Running  main    clean               /repos/isurus  2 hours ago",
            "isurus  Running  main    1 changed, 2 ahead  /repos/isurus  2 hours ago",
            "isurus  Running                              /repos/isurus  2 hours ago",
        ]

    def test_list_of_containers_that_are_not_the_projects_own(self) -> None:
        """They are named for what they are, with the commands that take them back; another user's have a column, and no time of a backup."""
        line = {key: value for key, value in WELL.items() if key != "vcs"}
        line |= {"registered": False, "profiles": [], "problem": "p.", "hints": ["c   # r"]}
        changes: list[Data] = [{"relation": "renamed", "origin": "o"}, {"relation": "copy", "origin": "o"}, {"relation": "adoptable"}]
        out, err, code = told("list", {"projects": [line | change for change in changes]})
        assert [row.split("  ")[1] for row in out[1:]] == ["Running (renamed from o)", "Running (copy of o)", "Running (not adopted)"]
        assert (err, code) == (["repoman: warning: isurus: p.", "hint: c   # r"] * 3, 0)
        foreign = line | {"relation": "foreign", "owner": "bob", "repo_exists": False}
        out, err, _code = told("list", {"projects": [foreign, foreign | {"owner": ""}]})
        assert out == [
            "NAME    STATE                     REPO           IMAGE     LAST SYNC  OWNER",
            "isurus  Running (another user's)  /repos/isurus  images:x             bob",
            "isurus  Running (another user's)  /repos/isurus  images:x             unknown",
        ]
        assert err == []
        taken = foreign | {"registered": True, "state": "missing"}
        assert told("list", {"projects": [taken]})[1] == ["repoman: warning: isurus: p.", "hint: c   # r"]

    def test_status_of_a_host_where_all_is_well(self) -> None:
        """It takes a few lines, in columns."""
        home = {"home": "/repos"}
        assert told("status", {"account": home, "host": HOST, "projects": [WELL], "time": "2026-01-03T00:00:00Z"}, details=True)[0] == [
            "host",
            "  Incus         6.0.4, project repoman",
            "  LAN address   192.0.2.1",
            "  library       3 profiles, 2 installed",
            "  backup        /nfs/repos, 1.1 TB free",
            "  last backup   2 hours ago",
            "",
            "isurus",
            "  container     Running",
            "  address       10.0.0.2, fd00::2",
            "  repository    ~/isurus",
            "  git           main; clean",
            "  last commit   1 day ago",
            "  profiles      default, p",
            "  last sync     2 hours ago",
        ]

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            ({"lan_ip": {"registry": "192.0.2.1", "detected": "192.0.2.2", "interface": "br0", "matches": False}}, "but 192.0.2.2 on br0"),
            (
                {"lan_ip": {"registry": "", "detected": "192.0.2.2", "interface": "br0", "matches": None}},
                "not in the registry, but 192.0.2.2",
            ),
            ({"lan_ip": {"registry": "192.0.2.1", "detected": "", "interface": "", "matches": None}}, "192.0.2.1 (neither br0 nor an IPv4"),
            (
                {"lan_ip": {"registry": "", "detected": "", "interface": "", "matches": None}},
                "none (neither br0 nor an IPv4 default route)",
            ),
            ({"library": {"profiles": 1, "installed": 1, "drift": ["p"], "errors": []}}, "repoman profile diff p"),
            ({"library": {"profiles": 1, "installed": 1, "drift": [], "errors": [{"name": "p", "msg": "no\nway"}]}}, "p: no way"),
            ({"backup": TARGET | {"path": "/b", "state": "missing", "detail": "", "free": None}}, "/b does not exist"),
            ({"backup": TARGET | {"path": "/b", "state": "unmarked", "detail": "", "free": 1}}, "/b has no marker of repoman"),
            (
                {"backup": TARGET | {"path": "/b", "state": "foreign", "detail": "of alice on x", "free": 1}},
                "/b is the backup of alice on x; to go on with it here:\n                repoman sync --take-over",
            ),
            ({"backup": TARGET | {"path": "/b", "state": "unreadable", "detail": "No", "free": 1}}, "/b cannot be read (No)"),
            ({"backup": TARGET | {"path": "/b", "state": "unreachable", "detail": "is late", "free": None}}, "/b is late"),
            ({"backup": HOST["backup"] | {"sync_age": None, "last_sync": "", "sync_state": "never"}}, "  last backup   none yet\n"),
            ({"backup": HOST["backup"] | {"sync_age": 345600, "sync_state": "old"}}, "  last backup   4 days ago: repoman sync\n"),
            (
                {"backup": HOST["backup"] | {"sync_age": 0, "sync_state": "future"}},
                "  last backup   2026-01-02T22:00:00Z (in the future); is the clock right?\n",
            ),
            (
                {"directories": [TARGET | {"name": name, "sync_state": "never"} for name in ("a", "b\x1b", "(loose files)")]},
                "  never synced  a, b\\x1b, (loose files): repoman sync\n",
            ),
            ({"directories": [TARGET | {"name": "a", "sync_state": "old"}]}, "  old backup    a: repoman sync\n"),
            ({"directories": [TARGET | {"name": "a", "sync_state": "future"}]}, "  future backup a: repoman doctor\n"),
            ({"skipped_mounts": ["/repos/shark/d"]}, "/repos/shark/d is a separate file system"),
            (
                {"unverified": [{"path": "/repos/shark/d", "reason": "git is too\nold"}]},
                "  not verified  /repos/shark/d is backed up but cannot be verified: git is too\n                old",
            ),
        ],
    )
    def test_status_of_a_host(self, change: Data, line: str) -> None:
        """What wants attention is said, with what mends it."""
        lines = told("status", {"host": HOST | change, "projects": [], "time": "2026-01-03T00:00:00Z"}, details=True)[0]
        assert line in "\n".join(lines) and max(map(len, lines)) <= 80
        assert lines[-1] == "no projects yet; create one: repoman new NAME"

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            ({"state": "missing"}, "  container     missing; to create it: repoman new isurus"),
            ({"unfinished": True}, "  container     unfinished; to complete it: repoman new isurus"),
            ({"registered": False}, "  container     Running (not in the registry); to register it:\n                repoman new isurus"),
            ({"repo_exists": False, "vcs": None}, "  repository    /repos/isurus (missing)"),
            ({"problem": "no\nway"}, "  problem       no way"),
            ({"relation": "copy", "origin": "o", "registered": False}, "  container     Running (copy of o)"),
            ({"problem": "x.", "hints": ["command   # remark"]}, "                command   # remark"),
            ({"profile_drift": ["p"]}, "  profiles      default, p (differs from its template)"),
            ({"profiles_missing": ["p", "q"]}, "                not installed: p, q: repoman profile install p q"),
            ({"missing_sources": [{"device": "d", "source": "/x"}]}, "  skipped       /x does not exist (device d)"),
            ({"differences": ["key k was changed"]}, "  differs       key k was changed"),
            (
                {"left_out": {"skipped_mounts": ["/repos/isurus/d"], "exclude": [], "exclude_caches": False, "excluded": 0}},
                "  not backed up /repos/isurus/d is a separate file system; to back it up:\n                follow_mounts = true",
            ),
            (
                {"left_out": {"skipped_mounts": [], "exclude": ["*.o", "b/"], "exclude_caches": True, "excluded": 3}},
                "  excluded      *.o, b/, caches (3 by the last backup)",
            ),
            (
                {"left_out": {"unverified": [{"path": "/repos/isurus/d", "reason": "git is too old"}]}},
                "  not verified  /repos/isurus/d is backed up but cannot be verified: git is too\n                old",
            ),
            ({"last_sync": "", "sync_age": None, "sync_state": "never"}, "  last sync     never"),
            ({"sync_age": 0, "sync_state": "future"}, "  last sync     in the future"),
            ({"backup": False}, "  last sync     no backup"),
        ],
    )
    def test_status_of_a_project(self, change: Data, line: str) -> None:
        """What wants attention is said, with what mends it."""
        lines = told("status", {"host": HOST, "projects": [WELL | change], "time": "2026-01-03T00:00:00Z"}, details=True)[0]
        assert f"\n{line}\n" in "\n".join([*lines, ""]) and max(map(len, lines)) <= 80

    @pytest.mark.parametrize(
        ("change", "line"),
        [
            (
                {"staged": 1, "unstaged": 2, "untracked": 3, "conflicts": 4},
                "  git           main; 4 in conflict, 1 staged, 2 changed, 3 untracked",
            ),
            ({"ahead": 2, "behind": 1}, "  git           main; clean; 2 ahead of and 1 behind origin/main"),
            ({"ahead": 2}, "  git           main; clean; 2 ahead of origin/main"),
            ({"ahead": None}, "  git           main; clean; upstream origin/main does not exist"),
            ({"upstream": "", "ahead": None}, "  git           main; clean; no upstream"),
            ({"branch": "", "detached": True, "upstream": ""}, "  git           detached at 0123456789ab; clean"),
            ({"branch": "x\x1b[31m\u202e", "upstream": "x"}, "  git           x\\x1b[31m\\u202e; clean"),
            ({"problem": "git did not answer"}, "  git           main; incomplete: git did not answer"),
            ({"bare": True}, "  git           main (bare)"),
            ({"kind": ""}, "                neither a git nor a Mercurial repository"),
            (
                {"kind": "hg", "branch": "default", "bookmark": "b", "upstream": "", "ahead": 2, "behind": 1},
                "  Mercurial     default (bookmark b); clean; 2 not public, 1 newer on the branch",
            ),
            ({"last_commit": ""}, "  last commit   none"),
            ({"last_commit": "2027-01-01T00:00:00Z"}, "  last commit   2027-01-01T00:00:00Z"),
        ],
    )
    def test_status_of_a_repository(self, change: Data, line: str) -> None:
        """What is not committed and not pushed is said; names are escaped."""
        project = WELL | {"vcs": WELL["vcs"] | change}
        assert line in told("status", {"host": HOST, "projects": [project], "time": "2026-01-03T00:00:00Z"}, details=True)[0]

    def test_status_of_a_renamed_container(self) -> None:
        """Its project does not offer a new container, which would take the name."""
        missing = WELL | {"state": "missing", "addresses": []}
        other = WELL | {"name": "sand", "relation": "renamed", "origin": missing["name"], "registered": False}
        data = {"host": HOST, "projects": [missing, other], "time": "2026-01-03T00:00:00Z"}
        lines = told("status", data, details=True)[0]
        assert "  container     missing; its container is called sand now" in lines
        assert not any("repoman new" in line for line in lines)

    def test_no_projects(self) -> None:
        """A hint says how to make one."""
        assert told("list", {"projects": []}) == (["no projects yet; create one: repoman new NAME"], [], 0)


class TestFailures:
    """What fails, and how much is said of it."""

    @pytest.mark.parametrize("view", ["setup", "new", "remove", "shell", "list", "profile_list", "profile_install", "profile_diff"])
    def test_of_ours(self, view: str) -> None:
        """One sentence, hints, the module's exit code."""
        err = ["repoman: error: there is no registry at /r.toml.", "hint: repoman setup"]
        assert told(view, FAILURE, failed=True) == ([], err, 3)

    def test_of_others(self) -> None:
        """The first line of the message, and how to see more."""
        data = {"msg": "Task failed: MODULE FAILURE\nSee stdout", "exception": "Traceback", "rc": 1}
        err = ["repoman: error: MODULE FAILURE", "hint: run it again with -v to see more"]
        assert told("list", data, failed=True) == ([], err, 1)
        details = told("list", data, failed=True, verbosity=1)[1]
        assert details[:2] == err
        assert '"rc": 1' in "".join(details)
        assert "Traceback" not in "".join(details)
        assert told("list", data, failed=True, verbosity=3)[1][-1] == "Traceback"

    def test_without_a_message(self) -> None:
        """A task that says nothing is still told of."""
        assert told("list", {}, failed=True)[1][0] == "repoman: error: the task failed and did not say why."

    def test_of_a_task_without_view(self) -> None:
        """In our playbooks other tasks are told of only if they fail."""
        run = Run("new")
        run.callback.v2_runner_on_ok(Result(Task(), Host("localhost"), {"changed": True}))
        assert run.says() == ([], [], 0)
        run.callback.v2_runner_on_failed(Result(Task(), Host("localhost"), {"msg": "no."}))
        assert run.says() == ([], ["repoman: error: no.", "hint: run it again with -v to see more"], 1)

    def test_lines_are_not_forged(self) -> None:
        """A message stays on its line, its control characters escaped."""
        _out, err, _code = told("list", {"msg": "a\nrepoman: error: b\x1b[2J", "hints": ["x\ny"], "exit_code": 1}, failed=True)
        assert err == ["repoman: error: a repoman: error: b\\x1b[2J", "hint: x y"]

    def test_no_hosts(self) -> None:
        """Nothing to work on is a failure."""
        run = Run("list", ("all",))
        run.callback.v2_playbook_on_no_hosts_matched()
        _out, err, code = run.ends().says()
        assert (err[0], code) == ("repoman: error: no host matches.", 1)


class TestLoops:
    """Tasks with several turns."""

    def turns(self, **options: Any) -> Run:
        """Return a run of ``remove`` whose second turn failed."""
        run = Run("remove", **options)
        task = Task({"repoman_view": "remove"})
        good, bad = (data | {"ansible_loop_var": "item", "item": "x"} for data in (REMOVED, FAILURE))
        run.callback.v2_runner_item_on_ok(Result(task, Host("localhost"), good))
        run.callback.v2_runner_item_on_failed(Result(task, Host("localhost"), bad))
        run.callback.v2_runner_on_failed(Result(task, Host("localhost"), {"results": [good, bad], "msg": "One or more items failed"}))
        return run.ends()

    def test_each_turn_is_told_once(self) -> None:
        """The end of the loop adds nothing."""
        out, err, code = self.turns().says()
        assert out == ["==> removed isurus (repository /repos/isurus and mirror /nfs/isurus untouched)"]
        assert (err, code) == (["repoman: error: there is no registry at /r.toml.", "hint: repoman setup"], 3)

    def test_as_json(self) -> None:
        """Each turn is an element of ``results``, with its own exit code."""
        out, err, _code = self.turns(format="json").says()
        document = json.loads("\n".join(out))
        assert {key: document[key] for key in ("verb", "changed", "exit_code")} == {"verb": "remove", "changed": True, "exit_code": 3}
        assert document["results"] == [REMOVED | {"exit_code": 0}, FAILURE | {"failed": True}]
        assert err[0] == "repoman: error: there is no registry at /r.toml."

    def test_loop_that_did_not_begin(self) -> None:
        """A failure before the first turn is told."""
        run = Run("remove")
        run.callback.v2_runner_on_failed(Result(Task({"repoman_view": "remove"}), Host("localhost"), {"msg": "no names."}))
        assert run.says()[1][0] == "repoman: error: no names."


class TestJson:
    """``--json``."""

    DATA: ClassVar[Data] = {
        "changed": True,
        "profiles": [profile()],
        "diff": [{"before": "", "after": "x"}],
        "invocation": {},
        "_ansible_no_log": False,
    }

    def test_document(self) -> None:
        """The module's keys, without Ansible's, and nothing else on standard output."""
        out, err, code = told("profile_install", self.DATA, format="json")
        assert json.loads("\n".join(out)) == ENVELOPE | {"verb": "profile install", "changed": True, "profiles": [profile()]}
        assert list(json.loads("\n".join(out)))[:7] == list(ENVELOPE)
        assert (err, code) == ([], 0)

    def test_exit_code_of_a_difference(self) -> None:
        """The exit code is the command's, not the module's."""
        out, _err, code = told("profile_diff", {"profiles": [{"name": "p", "vendor_diff": "x"}]}, format="json")
        assert (json.loads("\n".join(out))["exit_code"], code) == (1, 1)

    def test_failure(self) -> None:
        """It is in the document and on standard error."""
        out, err, _code = told("list", FAILURE, failed=True, format="json")
        assert json.loads("\n".join(out)) == ENVELOPE | {"verb": "list", "failed": True} | FAILURE
        assert err == ["repoman: error: there is no registry at /r.toml.", "hint: repoman setup"]

    @pytest.mark.parametrize(
        ("view", "data", "code", "msg", "hints"),
        [
            (
                "remove",
                project(action="absent", steps=[], changed=False, suggestions=["b"]),
                3,
                "there is no project called 'isurus'.",
                ["did you mean 'b'?", "repoman list"],
            ),
            ("profile_remove", {"profiles": [profile("foo", "absent")]}, 1, "profile 'foo' is not installed.", ["repoman profile list"]),
            ("profile_diff", {"profiles": [{"name": "p", "vendor_diff": "x"}]}, 1, "", []),
        ],
    )
    def test_failures_of_the_command(self, view: str, data: Data, code: int, msg: str, hints: list[str]) -> None:
        """An error that the module does not call one is in the document, too; a difference is no error."""
        document = json.loads("\n".join(told(view, data, format="json")[0]))
        found = [document[key] for key in ("exit_code", "failed", "msg", "hints")]
        assert found == [code, bool(msg), msg, hints]

    def test_one_of_several_failed(self) -> None:
        """The document has the worst failure, and each item keeps its own."""
        worse = profile("c", "failed", msg="no c.", hints=["do x"], exit_code=4)
        bad = profile("b", "failed", msg="no b.", hints=[], exit_code=3)
        data = {"profiles": [bad, worse, profile()], "msg": "no b. no c.", "hints": ["do x"], "exit_code": 4, "warnings": ["w"]}
        document = json.loads("\n".join(told("profile_install", data, failed=True, format="json")[0]))
        expected = {"failed": True, "exit_code": 4, "msg": "no c.", "hints": ["do x"], "warnings": ["w"]}
        assert document == ENVELOPE | expected | {"verb": "profile install", "profiles": data["profiles"]}

    def test_failure_of_ansible(self) -> None:
        """What only Ansible says about it has a key of its own."""
        data = {"msg": "MODULE FAILURE\nSee stdout", "exception": "Traceback", "rc": 1}
        document = json.loads("\n".join(told("list", data, failed=True, format="json")[0]))
        expected = {"verb": "list", "failed": True, "exit_code": 1, "msg": "MODULE FAILURE", "hints": ["run it again with -v to see more"]}
        assert document == ENVELOPE | expected | {"ansible": {"msg": data["msg"], "rc": 1}}

    def test_diff(self) -> None:
        """With ``--diff`` it is in the document."""
        run = Run("profile_install", format="json")
        run.callback.v2_runner_on_ok(Result(Task({"repoman_view": "profile_install"}, diff=True), Host("localhost"), self.DATA))
        assert json.loads("\n".join(run.ends().screen.out))["diff"] == self.DATA["diff"]


class TestCompletion:
    """A task that completes the result of the one before."""

    RESTORE: ClassVar[Data] = {"changed": True, "steps": ["restore a"], "warnings": ["w"], "restored": {"to": "/r/a", "saved": ""}}

    def document(self, *data: Data) -> Data:
        """Return the JSON document of a restore, and of what its later tasks return."""
        run = Run("restore", format="json")
        run.callback.v2_runner_on_ok(Result(Task({"repoman_view": "restore"}), Host("localhost"), self.RESTORE))
        for later in data:
            task = Task({"repoman_view": "remount"})
            report_task = run.callback.v2_runner_on_failed if later.get("failed") else run.callback.v2_runner_on_ok
            report_task(Result(task, Host("localhost"), later))
        document: Data = json.loads("\n".join(run.ends().screen.out))
        return document

    def test_steps_and_warnings_are_joined(self) -> None:
        """Those of the completed task come first; it stays one document."""
        project = {"name": "a", "action": "updated", "steps": ["remount /r/a in a"], "differences": []}
        document = self.document({"msg": {"projects": []}}, {"changed": True, "projects": [project], "warnings": ["v"]})
        assert document["steps"] == ["restore a", "remount /r/a in a"] and document["warnings"] == ["w", "v"]
        assert document["remounted"] == ["a"] and "results" not in document

    def test_nothing_to_complete(self) -> None:
        """The keys are there all the same."""
        document = self.document({"msg": {"projects": []}})
        assert (document["remounted"], document["steps"], document["warnings"]) == ([], ["restore a"], ["w"])

    def test_failures_have_one_form(self) -> None:
        """Whether one project fails, or the task."""
        failure = {"failed": True, "msg": "a is busy.", "hints": ["again"], "exit_code": 4}
        project = failure | {"name": "a", "action": "failed", "steps": []}
        documents = [self.document(failure | more) for more in ({"projects": [project]}, {})]
        assert documents[0] == documents[1] and documents[0]["msg"] == "a is busy." and documents[0]["failed"]
        assert (documents[0]["exit_code"], documents[0]["remounted"], documents[0]["restored"]["to"]) == (4, [], "/r/a")


class TestHosts:
    """Several hosts."""

    def three(self, **options: Any) -> Run:
        """Return a run on three hosts: one is well, one fails, one is gone."""
        run = Run("list", ("all",), **options)
        task = Task({"repoman_view": "list"})
        run.callback.v2_runner_on_ok(Result(task, Host("a"), {"projects": []}))
        run.callback.v2_runner_on_failed(Result(task, Host("b"), FAILURE))
        run.callback.v2_runner_on_unreachable(Result(task, Host("c"), {"msg": "Task failed: no\nroute", "unreachable": True}))
        return run

    def test_texts_are_held_together(self) -> None:
        """Each host's text comes at the end under its name, its errors name it; the worst exit code wins."""
        run = self.three()
        assert run.says() == ([], [], 3)
        out, err, _code = run.ends().says()
        assert out == ["== a ==", "no projects yet; create one: repoman new NAME"]
        assert err == [
            "repoman: error: [b] there is no registry at /r.toml.",
            "hint: repoman setup",
            "repoman: error: c is unreachable: no route",
            "hint: ansible -i INVENTORY c -m ansible.builtin.ping -vvv   # shows why",
        ]

    def test_errors_stand_last(self) -> None:
        """After the tables of all hosts, and after that of one: also if both streams go to the same place."""
        for hosts in (("all",), ("localhost",)):
            run = Run("list", hosts)
            run.screen.err = run.screen.out
            for name in ("a", "b") if hosts == ("all",) else ("localhost",):
                line = WELL | {"problem": "p.", "hints": ["h"]}
                run.callback.v2_runner_on_ok(Result(Task({"repoman_view": "list"}), Host(name), {"projects": [line], "warnings": ["w"]}))
            texts = run.ends().screen.out
            first = next(index for index, text in enumerate(texts) if text.startswith("repoman: "))
            assert all(text.startswith(("repoman: ", "hint: ")) for text in texts[first:]), texts
        failed = profile("b", "failed", msg="no.", hints=["h"], exit_code=1)
        run = Run("profile_install")
        run.screen.err = run.screen.out
        run.callback.v2_runner_on_failed(
            Result(Task({"repoman_view": "profile_install"}), Host("localhost"), {"profiles": [failed, profile()]})
        )
        assert run.screen.out == [
            "==> installed claude-share (source: vendor)",
            "2 profiles: 1 installed, 1 failed",
            "repoman: error: no.",
            "hint: h",
        ]

    def test_order_is_that_of_the_names(self) -> None:
        """Whichever host is done first."""
        run = Run("list", ("all",))
        for name in ("b", "a"):
            run.callback.v2_runner_on_ok(Result(Task({"repoman_view": "list"}), Host(name), {"projects": []}))
        assert [line for line in run.ends().screen.out if line.startswith("==")] == ["== a ==", "== b =="]

    def test_a_warning_is_told_of_each(self) -> None:
        """What one host was warned of is not known of the others."""
        run = Run("list", ("all",))
        for name in ("a", "b", "b"):
            run.callback.v2_runner_on_ok(Result(Task({"repoman_view": "list"}), Host(name), {"projects": [], "warnings": ["w"]}))
        assert run.ends().screen.err == ["repoman: warning: [a] w", "repoman: warning: [b] w"]

    def test_as_json(self) -> None:
        """The document has a part for each host."""
        document = json.loads("\n".join(self.three(format="json").ends().screen.out))
        whole = {"verb": "list", "exit_code": 3, "failed": True, "msg": f"[b] {FAILURE['msg']}", "hints": FAILURE["hints"]}
        assert {key: value for key, value in document.items() if key != "hosts"} == ENVELOPE | whole
        well = ENVELOPE | {"verb": "list"}
        hint = "ansible -i INVENTORY c -m ansible.builtin.ping -vvv   # shows why"
        gone = {"exit_code": 1, "failed": True, "msg": "c is unreachable: no route", "hints": [hint], "unreachable": True}
        assert document["hosts"] == {"a": well | {"projects": []}, "b": well | FAILURE | {"failed": True}, "c": well | gone}

    def test_no_hosts_as_json(self) -> None:
        """The failure is that of the whole run."""
        run = Run("list", ("all",), format="json")
        run.callback.v2_playbook_on_no_hosts_matched()
        document = json.loads("\n".join(run.ends().screen.out))
        hint = "ansible-inventory -i INVENTORY --graph   # shows the hosts"
        failure = {"verb": "list", "exit_code": 1, "failed": True, "msg": "no host matches.", "hints": [hint]}
        assert document == ENVELOPE | failure | {"hosts": {}}


class TestWarnings:
    """Warnings of modules."""

    def test_each_is_told_once(self) -> None:
        """Whatever comes again is left out."""
        run = Run("list")
        result = Result(Task({"repoman_view": "list"}), Host("localhost"), {"projects": [], "warnings": ["w", "w"]})
        run.callback.v2_runner_on_ok(result)
        run.callback.v2_runner_on_ok(result)
        assert run.screen.err == ["repoman: warning: w"]

    def test_of_the_result_object(self) -> None:
        """Newer ansible-core may have them only there."""
        run = Run("list")
        run.callback.v2_runner_on_ok(Result(Task({"repoman_view": "list"}), Host("localhost"), {"projects": []}, ["w"]))
        assert run.screen.err == ["repoman: warning: w"]

    def test_after_a_preview(self) -> None:
        """The preview has told them."""
        assert told("list", {"projects": [], "warnings": ["w"]}, brief=True)[1] == []


class TestOthers:
    """A playbook that is not ours."""

    def test_tasks_in_a_line_each(self) -> None:
        """Other people's tasks are seen, ours are told in their words."""
        run = Run("")
        callback, host = run.callback, Host("web")
        callback.v2_runner_on_ok(Result(Task(), host, {"changed": False}))
        callback.v2_runner_on_ok(Result(Task(), host, {"changed": True}))
        callback.v2_runner_item_on_ok(Result(Task(), host, {"changed": True, "ansible_loop_var": "item", "item": "x"}))
        callback.v2_runner_on_skipped(Result(Task(), host, {"skipped": True}))
        callback.v2_runner_on_failed(Result(Task(), host, {"msg": "no"}), ignore_errors=True)
        callback.v2_runner_on_ok(Result(Task({"repoman_view": "profile_install"}), host, {"profiles": [profile()]}))
        callback.v2_runner_on_failed(Result(Task(), host, {"msg": "no"}))
        out, err, code = run.ends().says()
        assert out == [
            "ok: [web] the task",
            "changed: [web] the task",
            "changed: [web] the task (item=x)",
            "==> installed claude-share (source: vendor)",
        ]
        assert err == ["fatal: [web] the task: no; ignored", "fatal: [web] the task: no"]
        assert code == 1

    def test_unknown_view(self) -> None:
        """A view nobody knows is none."""
        run = Run("")
        run.callback.v2_runner_on_ok(Result(Task({"repoman_view": "x"}), Host("web"), {}))
        assert run.screen.out == ["ok: [web] the task"]

    def test_diff_of_others(self) -> None:
        """Changes of other tasks are shown."""
        run = Run("")
        run.callback.v2_on_file_diff(Result(Task(), Host("web"), {"changed": True, "diff": {"before": "a\n", "after": "b\n"}}))
        assert run.screen.out == ["--- before", "+++ after", "@@ -1 +1 @@", "-a", "+b"]


def first_words(text: ast.expr) -> set[str]:
    """Return the words that a text in the code can start with."""
    if isinstance(text, ast.IfExp):
        return first_words(text.body) | first_words(text.orelse)
    if isinstance(text, ast.JoinedStr):
        return first_words(text.values[0])
    if isinstance(text, ast.FormattedValue):
        return first_words(text.value)
    return {str(text.value).split()[0]} if isinstance(text, ast.Constant) else set()


def test_every_step_has_a_past_tense() -> None:
    """The first words of all steps in the code are known, so that a completed step is reported as completed."""
    words: set[str] = set()
    for path in MODULE_UTILS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Step":
                words |= first_words(node.args[0])
    assert {"adopt", "create", "start", "update", "write"} < words
    assert words - PAST_TENSES.keys() == set()


def test_diff_comes_before_its_line() -> None:
    """``--diff`` shows a unified diff of each step."""
    run = Run("profile_install")
    diff = [{"before_header": "profile p", "after_header": "profile p", "before": "a\n", "after": "b\n"}]
    data = {"profiles": [profile("p", "updated")], "diff": diff}
    run.callback.v2_runner_on_ok(Result(Task({"repoman_view": "profile_install"}, diff=True), Host("localhost"), data))
    assert run.screen.out == ["--- profile p", "+++ profile p", "@@ -1 +1 @@", "-a", "+b", "==> installed p (source: vendor)"]


def test_results_of_the_oldest_ansible() -> None:
    """Before 2.19 a result's parts had other names."""
    run = Run("list")
    run.callback.v2_runner_on_ok(OldResult(Task({"repoman_view": "list"}), Host("localhost"), {"projects": []}))
    assert run.screen.out == ["no projects yet; create one: repoman new NAME"]


def test_each_run_starts_with_an_empty_report() -> None:
    """The console script reads one object, whichever run it was."""
    before = report.run_report
    told("list", FAILURE, failed=True)
    assert report.run_report.exit_code == 3
    Run("list")
    assert report.run_report is before
    assert (report.run_report.exit_code, report.run_report.results) == (0, [])


def test_is_a_stdout_callback() -> None:
    """Ansible takes it as one."""
    assert issubclass(report.CallbackModule, CallbackBase)
    assert report.CallbackModule.CALLBACK_TYPE == "stdout"


def test_preview_of_status(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shown only for text output on this terminal; each run decides again."""
    terminal = io.StringIO()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setattr(report.progress, "output", io.StringIO())  # so that no run opens one

    def has_preview(*run: Any, **options: Any) -> bool:
        Run(*run, **options)
        return report.progress.preview is not None

    assert not has_preview("status")
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    assert has_preview("status") and has_preview("status", output="verbose")
    assert not has_preview("status", output="quiet") and not has_preview("status", format="json")
    assert not has_preview("status", ("other",)) and not has_preview("list") and not has_preview("")


def test_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only on a terminal that can, and not with NO_COLOR."""
    terminal = io.StringIO()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert not use_color(terminal)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    assert use_color(terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not use_color(terminal)
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not use_color(terminal)


def test_painted_lines() -> None:
    """The prefix is painted, or a line of a diff."""
    assert Line("done", "x").render(color=True) == "\033[1;32m==>\033[0m x"
    assert Line("diff", "+x").render(color=True) == "\033[32m+x\033[0m"
    assert Line("diff", "+++ x").render(color=True) == "\033[1m+++ x\033[0m"
    assert Line("out", "x").render(color=True) == "x"


def test_table_and_diffs() -> None:
    """Columns grow with their cells; a diff may come prepared, or alone."""
    assert [line.text for line in table(("A", "B"), [("x" * 20, "y")], (4,))] == [f"A{'':21}B", f"{'x' * 20}  y"]
    assert [line.text for line in unified({"prepared": "-a\n+b\n"})] == ["-a", "+b"]
    assert escape_control_characters("a\tb\x07\u202e\udce9", keep_tabs=True) == "a\tb\\x07\\u202e\\udce9"


def test_tabs_in_names_are_escaped() -> None:
    """Names with tabs would break columns and look like two; lines of a file keep theirs."""
    assert Line("out", "a\tb").render() == "a\\tb" and table(("X",), [("a\tb",)])[1].render() == "a\\tb"
    assert Line("error", "a\tb").render() == "repoman: error: a\\tb"
    texts = [line.render() for line in unified({"before": "\tx\n", "after": "\ty\n", "before_header": "a\tb", "after_header": "a\tb"})]
    assert texts[:2] == ["--- a\\tb", "+++ a\\tb"] and texts[3:] == ["-\tx", "+\ty"]
