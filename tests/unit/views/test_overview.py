# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The overview of status: the summary, what needs attention, and a line for each project."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import Mode
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.needs import Urgency
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.overview import preview_rows
from ansible_collections.homelab.repoman.plugins.plugin_utils.views.render import render
from repository_states import CLEAN as VCS

Data = dict[str, Any]
PATHS = {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
LONG = "x" * 63
TARGET: Data = {"last_sync": "2026-01-02T22:00:00Z", "sync_age": 720, "sync_state": "ok"}
NEVER: Data = {"last_sync": "", "sync_age": None, "sync_state": "never"}
OLD: Data = {"sync_age": 4 * 86400, "sync_state": "old"}
FUTURE: Data = {"sync_age": 0, "sync_state": "future", "last_sync": "2027-01-01T00:00:00Z"}
HOST: Data = {
    "incus_version": "6.0.4",
    "incus_project": "repoman",
    "lan_ip": {"registry": "192.0.2.1", "detected": "192.0.2.1", "interface": "br0", "matches": True},
    "library": {"profiles": 3, "installed": 2, "drift": [], "errors": []},
    "backup": TARGET | {"path": "/home/me/backup", "state": "ready", "detail": "", "free": 1 << 40},
    "directories": [],
}


def project(name: str = "isurus", **more: Any) -> Data:
    """Return a project that needs nobody."""
    return {
        "name": name,
        "state": "Running",
        "unfinished": False,
        "registered": True,
        "relation": "own",
        "owner": "me",
        "origin": "",
        "hints": [],
        "repo": f"/home/me/repos/{name}",
        "repo_exists": True,
        "image": "images:x",
        "profiles": ["default"],
        "last_sync": "2026-01-02T22:00:00Z",
        "sync_age": 720,
        "sync_state": "ok",
        "backup": True,
        "problem": "",
        "addresses": [],
        "profile_drift": [],
        "profiles_missing": [],
        "missing_sources": [],
        "differences": [],
        "vcs": VCS,
    } | more


def page(*projects: Data, width: int = 80, details: bool = False, **host: Any) -> list[str]:
    """Return the lines of status; none has more columns than ``width``."""
    account = {"home": "/home/me"}
    result = {"host": HOST | host, "projects": list(projects), "time": "2026-01-03T00:00:00Z", "account": account}
    lines = [line.render() for line in render("status", result, False, Mode(width=width, details=details)).lines]
    assert [line for line in lines if len(line) > width] == []
    return lines


def needs(*projects: Data, **more: Any) -> list[str]:
    """Return the lines of what needs attention, with single spaces between columns."""
    lines = page(*projects, **more)
    section = lines[lines.index("") + 1 :]
    return [" ".join(line.split()) for line in section[: section.index("")]] if "" in section else []


def test_page() -> None:
    """The summary, the backup, what needs attention with its command, unsaved work without one, and a line for each project."""
    lines = page(
        project("lamna", state="Stopped", differences=["key a was changed"], vcs=VCS | {"branch": "a-rather-long-branch", "untracked": 1}),
        project("isurus", vcs=VCS | {"staged": 1, "unstaged": 1, "ahead": 2}),
        project("gone", repo_exists=False, vcs=None),
        library={"profiles": 3, "installed": 2, "drift": ["dotfiles"], "errors": []},
    )
    assert lines == [
        "3 projects: 2 running, 1 stopped, 2 with changes; 3 need you",
        "backup: 12 minutes ago to ~/backup, 1.1 TB free",
        "",
        "gone     repository is missing  repoman restore gone",
        "library  dotfiles differs       repoman profile diff dotfiles",
        "lamna    key a was changed      repoman new lamna",
        "lamna    a-rather-long-branch: 1 untracked",
        "isurus   main: 1 staged, 1 changed, 2 ahead",
        "",
        "lamna   stopped  a-rather-long-branch  1 untracked         synced 12 minutes ago",
        "isurus  running  main                  2 changed, 2 ahead  synced 12 minutes ago",
        "gone    running                        missing             synced 12 minutes ago",
    ]


def test_all_is_well() -> None:
    """There is no section of what needs attention; an optional source that does not exist is not a need."""
    missing = [{"device": "d", "source": "/x"}]
    assert page(project(missing_sources=missing)) == [
        "1 project: 1 running",
        "backup: 12 minutes ago to ~/backup, 1.1 TB free",
        "",
        "isurus  running  main  clean  synced 12 minutes ago",
    ]
    lines = page(project(missing_sources=missing), details=True)
    assert "  skipped       /x does not exist (device d)" in lines


BACKUP_OLD = "isurus not backed up for 4 days repoman sync isurus"
OVERLAP = {"container": "sand", "device": "d", "source": "/s", "writer": "isurus", "directory": "/d", "msg": "m", "hints": []}
UNVERIFIED: Data = {"path": "/r/x", "reason": "it has another format."}
ORDER: list[tuple[Urgency, Data, Data, str]] = [
    (Urgency.REPOSITORY_MISSING, {"repo_exists": False, "vcs": None}, {}, "isurus repository is missing repoman restore isurus"),
    (Urgency.DANGER, {"overlaps": [OVERLAP]}, {}, "isurus mounts overlap with sand repoman status isurus"),
    (Urgency.UNUSABLE, {"unfinished": True}, {}, "isurus container is unfinished repoman new isurus"),
    (Urgency.CONTAINER_MISSING, {"state": "missing"}, {}, "isurus container is missing repoman new isurus"),
    (Urgency.STALE_MOUNT, {"stale_mount": True}, {}, "isurus container shows a deleted directory repoman new isurus"),
    (Urgency.PROFILE_MISSING, {"profiles_missing": ["p", "q"]}, {}, "isurus profiles not installed: p, q repoman profile install p q"),
    (
        Urgency.BACKUP_TARGET,
        {},
        {"backup": TARGET | {"path": "/b", "state": "missing", "detail": "", "free": None}},
        "backup target does not exist findmnt --target /b",
    ),
    (Urgency.BACKUP_OLD, OLD, {}, BACKUP_OLD),
    (
        Urgency.PROFILE_DRIFT,
        {},
        {"library": {"profiles": 1, "installed": 1, "drift": ["p"], "errors": []}},
        "library p differs repoman profile diff p",
    ),
    (Urgency.DIFFERENT, {"differences": ["a", "b"]}, {}, "isurus 2 differences from its configuration repoman new isurus"),
    (
        Urgency.ADDRESS,
        {},
        {"lan_ip": {"registry": "192.0.2.1", "detected": "192.0.2.2", "interface": "br0", "matches": False}},
        "host LAN address is 192.0.2.2 now repoman setup",
    ),
    (
        Urgency.BACKUP_PARTIAL,
        {"left_out": {"skipped_mounts": ["/r/m"], "unverified": [UNVERIFIED]}},
        {"skipped_mounts": ["/r/m"], "unverified": [UNVERIFIED]},
        "isurus backup: 1 mount not backed up, 1 not verified repoman status isurus",
    ),
    (Urgency.WORK, {"vcs": VCS | {"unstaged": 2}}, {}, "isurus main: 2 changed"),
]
"""Each kind of need, with the change of a project or of the host that causes it, and its line."""


def test_each_kind_of_need_is_tested() -> None:
    """In their order."""
    assert [urgency for urgency, _project, _host, _line in ORDER] == list(Urgency)


@pytest.mark.parametrize(("change", "host", "line"), [(change, host, line) for _urgency, change, host, line in ORDER])
def test_need(change: Data, host: Data, line: str) -> None:
    """A need has one line, with the command."""
    assert needs(project(**change), **host) == [line]


@pytest.mark.parametrize("index", range(len(ORDER) - 1))
def test_order(index: int) -> None:
    """The more urgent need is first, whatever the order of the projects."""
    (_first, change, host, line), (_second, other_change, other_host, other_line) = ORDER[index : index + 2]
    other = project("lamna", **other_change)
    expected = [line] if other_line == BACKUP_OLD else [line, other_line.replace("isurus", "lamna")]  # see test_backup_target
    assert needs(other, project(**change), **host, **other_host) == expected


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"repo_exists": False, "vcs": None} | NEVER, "isurus repository is missing repoman status isurus"),
        ({"relation": "foreign", "registered": True, "problem": "p."}, "isurus container is another user's repoman status isurus"),
        ({"relation": "unmanaged", "problem": "p."}, "isurus container is not made by repoman repoman status isurus"),
        (
            {"relation": "adoptable", "problem": "p.", "hints": ["repoman new isurus --adopt   # takes it over"]},
            "isurus container is not adopted repoman new isurus --adopt",
        ),
        ({"problem": "no\nway", "hints": ["x"]}, "isurus no way repoman status isurus"),
        ({"problem": "/home/me/x: no"}, "isurus ~/x: no repoman status isurus"),
        ({"registered": False}, "isurus project is not in the registry repoman new isurus"),
        ({"overlaps": [OVERLAP | {"container": "isurus"}]}, "isurus mounts overlap with each other repoman status isurus"),
        ({"overlaps": [OVERLAP | {"container": "isurus", "writer": "a"}]}, "isurus mounts overlap with a repoman status isurus"),
        ({"security_notes": ["root\nwas here"]}, "isurus root was here repoman status isurus"),
        (NEVER, "isurus never backed up repoman sync isurus"),
        (FUTURE, "isurus last backup is in the future repoman doctor"),
        ({"vcs": VCS | {"problem": "git did not answer"}}, "isurus git: git did not answer"),
        ({"vcs": VCS | {"kind": "hg", "bookmark": "b", "ahead": 1}}, "isurus b: 1 not public"),
        ({"vcs": VCS | {"detached": True, "branch": "", "untracked": 1}}, "isurus detached at 0123456789ab: 1 untracked"),
    ],
)
def test_more_needs(change: Data, line: str) -> None:
    """Each has a command that works as it stands."""
    assert needs(project(**change)) == [line]


def test_command_of_a_renamed_container() -> None:
    """A new container would take the old name."""
    renamed = project("sand", relation="renamed", origin="isurus", registered=False, problem="p.")
    lines = needs(project(state="missing"), renamed)
    assert "isurus container is called sand now repoman status sand" in lines and not any("repoman new" in line for line in lines)


@pytest.mark.parametrize(
    ("state", "line"),
    [
        ("unmarked", "backup target has no marker of repoman repoman sync --init"),
        ("foreign", "backup target is the backup of alice on x repoman doctor"),
        ("unreadable", "backup target cannot be read repoman doctor"),
        ("unreachable", "backup target does not answer findmnt --target /b"),
    ],
)
def test_backup_target(state: str, line: str) -> None:
    """Nothing can be backed up before it is there, so old backups are not named, too; the line about the backup has no free space."""
    backup = TARGET | {"path": "/b", "state": state, "detail": "of alice on x", "free": None}
    assert needs(project(**NEVER), backup=backup) == [line]
    assert needs(project(backup=False), backup=backup) == [line]
    assert needs(project(backup=False), backup=backup, directories=[{"name": "a"} | NEVER]) == [line]
    assert needs(project(backup=False), backup=backup | NEVER) == []  # there is nothing to back up
    assert page(project(**NEVER), backup=backup | NEVER)[1] == "backup: none yet to /b"


def test_age_of_backups() -> None:
    """A recent one is no need, nor is a project without backup; many old backups share a line but are counted."""
    assert needs(project(), project("a", backup=False, sync_age=None, sync_state="")) == []
    names = ["a", "b", "c", "d"]
    never = [project(name, **NEVER) for name in names]
    assert needs(*never[:3])[2:] == ["c never backed up repoman sync c"]
    assert needs(*never) == ["4 projects never backed up repoman sync"] and page(*never)[0].endswith("; 4 need you")
    old = [project(name, sync_state="old", sync_age=86400 * (4 + index)) for index, name in enumerate(names)]
    assert needs(*old) == ["4 projects not backed up for 4 days or more repoman sync"]
    future = [project(name, **FUTURE) for name in names]
    assert needs(*future) == ["4 projects last backup is in the future repoman doctor"]
    assert page(*future)[-1].endswith("synced in the future")


def directories(state: Data, *names: str) -> list[Data]:
    """Return directories without a project."""
    return [{"name": name} | state for name in names]


def test_directories_without_a_project() -> None:
    """They are reported like projects, and with them; the command names the directory, unless sync would take a project of that name."""
    assert needs(project(), directories=directories(TARGET, "a", "b", "c", "d")) == []
    assert needs(project(), directories=directories(NEVER, "my notes", "isurus", "(loose files)")) == [
        "my notes never backed up repoman sync 'my notes'",
        "isurus never backed up repoman sync",
        "(loose files) never backed up repoman sync '(loose files)'",
    ]
    assert needs(project(), directories=directories(OLD, "a")) == ["a not backed up for 4 days repoman sync a"]
    lines = page(project(**NEVER), directories=directories(NEVER, "a", "b", "c", "\x1bd"))
    assert lines[3] == "5 repositories  never backed up  repoman sync" and lines[0].endswith("; 5 need you")
    assert needs(project(), directories=directories(NEVER, "a" * 200)) == [f"{'a' * 19}… never backed up repoman sync"]


@pytest.mark.parametrize(
    ("whole", "line"),
    [
        (OLD, "backup last one was 4 days ago repoman sync"),
        (FUTURE, "backup last one is in the future repoman doctor"),
    ],
)
def test_age_of_the_whole_backup(whole: Data, line: str) -> None:
    """One line for all that are as old; what was never backed up has its own."""
    backup = {"backup": HOST["backup"] | whole}
    assert needs(project(**whole), project("lamna", **whole), directories=directories(whole, "a"), **backup) == [line]
    assert needs(project(**NEVER), **backup) == [line, "isurus never backed up repoman sync isurus"]
    assert needs(project(backup=False), **backup) == [line]
    first = page(project(**whole), **backup)[1]
    assert first.startswith("backup: 4 days ago to" if whole is OLD else "backup: 2027-01-01T00:00:00Z (in the future) to")
    never = HOST["backup"] | NEVER
    assert needs(project(**NEVER), backup=never) == ["isurus never backed up repoman sync isurus"]


DRIFT: Data = {"library": {"profiles": 1, "installed": 1, "drift": ["p"], "errors": []}}
PARTIAL: Data = {"left_out": {"skipped_mounts": ["/r/m"], "unverified": []}}


@pytest.mark.parametrize(
    ("change", "host", "everything", "only_projects"),
    [
        ({}, {}, 0, 0),
        (OLD, {}, 1, 1),
        (NEVER, {}, 1, 1),
        ({"state": "missing"}, {}, 1, 1),
        ({}, DRIFT, 1, 0),
        ({}, {"backup": HOST["backup"] | OLD}, 1, 1),
        ({}, {"backup": HOST["backup"] | {"state": "foreign"}}, 1, 1),
        ({}, {"directories": directories(NEVER, "a")}, 1, 0),
        ({}, {"directories": directories(NEVER, "backup")}, 1, 0),
        ({}, {"directories": directories(NEVER, "a", "b", "c", "d")}, 1, 0),
        (PARTIAL, {}, 0, 0),
        ({"vcs": VCS | {"unstaged": 2}}, {}, 0, 0),
    ],
)
def test_strict(change: Data, host: Data, everything: int, only_projects: int) -> None:
    """The output is the same, and the exit code is 1 if a need is counted: of the host, with names only the backup."""
    result = {"host": HOST | host, "projects": [project(**change)], "time": "2026-01-03T00:00:00Z"}
    for details in (False, True):
        plain = render("status", result, False, Mode(details=details))
        for strict, code in (("all", everything), ("projects", only_projects)):
            rendered = render("status", result, False, Mode(details=details, strict=strict))
            assert (rendered.lines, rendered.exit_code, plain.exit_code) == (plain.lines, code, 0)


def test_strict_without_projects() -> None:
    """The host counts."""
    for host, code in (({}, 0), ({"backup": HOST["backup"] | OLD}, 1), ({"directories": directories(NEVER, "a")}, 1)):
        result = {"host": HOST | host, "projects": [], "time": "2026-01-03T00:00:00Z"}
        assert render("status", result, False, Mode(strict="all")).exit_code == code


def test_partial_backups() -> None:
    """What is in no project is the host's; they are not counted, because they may be meant."""
    host = {"skipped_mounts": ["/r/m", "/r/n"], "unverified": [UNVERIFIED, UNVERIFIED | {"path": "/r/y"}]}
    lines = needs(project(left_out={"skipped_mounts": ["/r/m"]}), **host)
    assert lines == [
        "isurus backup: 1 mount not backed up repoman status isurus",
        "host backup: 1 mount not backed up, 2 not verified repoman status --all",
    ]
    assert "need" not in page(project(), **host)[0]


def test_names_of_projects_and_of_parts_of_the_host() -> None:
    """A project may have the name of a part of the host; both are counted."""
    library = {"profiles": 1, "installed": 1, "drift": ["p"], "errors": []}
    assert page(project("library", repo_exists=False, vcs=None), library=library)[0].endswith("; 2 need you")


def test_library_errors() -> None:
    """A template that cannot be used."""
    library = {"profiles": 1, "installed": 1, "drift": [], "errors": [{"name": "p", "msg": "no\nway"}]}
    assert needs(project(), library=library) == ["library p: no way repoman profile show p"]


def test_long_names_fit() -> None:
    """Texts are shortened, commands are not: one without room stands on the next line, complete. Names are shortened last."""
    vcs = VCS | {"branch": "feature/" + LONG, "conflicts": 1, "staged": 20, "untracked": 300, "ahead": 4}
    lines = page(
        project(LONG, repo_exists=False, relation="copy", origin=LONG, problem="p." + LONG, vcs=vcs, profiles_missing=[LONG]),
        backup=TARGET | {"path": "/" + "y" * 90, "state": "ready", "detail": "", "free": 1},
    )
    assert f"repoman restore {LONG}" in [line.strip() for line in lines]
    assert lines[1].startswith("backup: 12 minutes ago to …yyy") and lines[1].endswith("yyy, 1 B free")
    assert lines[-1].split()[1] == "running" and "…" in lines[-1] and lines[-1].endswith("synced 12 minutes ago")
    normal = page(project("kernel-patches", vcs=VCS | {"branch": "feature/long-branch-name-of-somebody"}))[-1]
    assert normal == "kernel-patches  running  feature/long-branch-name…  clean  synced 12 minutes ago"
    wide = page(project(LONG, vcs=vcs), width=250)
    assert f"{LONG}  running  feature/{LONG}  21 changed, 300 untracked, 4 ahead  synced 12 minutes ago" in wide


def test_blocks_fit() -> None:
    """With details, too: texts are wrapped below the label; a command stays on one line; a remark of a hint follows as a comment."""
    hint = f"incus rename {'a' * 40} b   # {'remark ' * 10}"
    lines = page(project("a" * 30, problem="word " * 30, hints=[hint], differences=["k"], repo="/" + "z" * 90), details=True)
    start = lines.index(f"  problem       {'word ' * 12}word")
    assert lines[start + 1].startswith("                word word")
    index = lines.index(f"                incus rename {'a' * 40} b")
    assert lines[index + 1].startswith("                # remark remark")
    assert f"                to correct it: repoman new {'a' * 30}" in lines
    unfinished = page(project("a" * 30, unfinished=True), details=True)
    assert f"                repoman new {'a' * 30}" in unfinished


def test_escapes() -> None:
    """A branch cannot make the terminal obey, and its width counts as printed."""
    assert page(project(vcs=VCS | {"branch": "x\x1b[31m\u202e", "unstaged": 1}))[-3:] == [
        "isurus  x\\x1b[31m\\u202e: 1 changed",
        "",
        "isurus  running  x\\x1b[31m\\u202e  1 changed  synced 12 minutes ago",
    ]


def test_without_projects() -> None:
    """The page is the host's."""
    assert page()[0] == "host" and page()[-1] == "no projects yet; create one: repoman new NAME"


def test_list_does_not_need_it() -> None:
    """Ansible compiles what it imports in every run, so a short verb imports none of it."""
    code = (
        "import sys; from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import Mode;"
        "from ansible_collections.homelab.repoman.plugins.plugin_utils.views.render import render;"
        "render('list', {'projects': []}, False, Mode());"
        "print(*(name.rpartition('.')[2] for name in sys.modules if '.views.' in name))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | PATHS)
    assert sorted(done.stdout.split()) == ["common", "projects", "render", "repository"]


def test_preview() -> None:
    """A row for each project that is known, aligned, in its order, within a narrow screen; what a repository names is escaped."""
    rows = preview_rows({"two": VCS | {"branch": "x\x1b[2J"}, "one-more": VCS | {"untracked": 2}})
    assert rows == ["two       x\\x1b[2J  clean", "one-more  main      2 untracked"]
    assert all(len(row) < 80 for row in preview_rows({LONG: VCS | {"branch": LONG}}))
    assert preview_rows({}) == []
