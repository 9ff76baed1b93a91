# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``new --clone`` with the real git and Mercurial; only the run that creates the container is replaced."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from repoman import cli, clone
from repoman.playbook import Playbook, PlaybookResult

SSH = '#!/bin/sh\nwhile :; do case $1 in -[op]) shift 2 ;; -*) shift ;; *) break ;; esac done\nshift\nexec sh -c "$*"\n'
"""Runs on this host what ssh would run on another one."""


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home with a registry, git and hg repositories elsewhere, and an ssh that stays on this host."""
    (tmp_path / "repos").mkdir()
    registry = tmp_path / ".config/repoman/repoman.toml"
    registry.parent.mkdir(parents=True)
    registry.write_text('[repoman]\nschema = 3\n[[project]]\nname = "galeus"\nrepo = "sharks/galeus"\n')
    (tmp_path / "ssh").write_text(SSH)
    (tmp_path / "ssh").chmod(0o755)
    (tmp_path / "hgrc").write_text(f"[ui]\nssh = {tmp_path}/ssh\nusername = me\n")
    for key, value in {
        "HOME": str(tmp_path),
        "HGRCPATH": str(tmp_path / "hgrc"),
        "GIT_SSH_COMMAND": str(tmp_path / "ssh"),
        "GIT_CONFIG_NOSYSTEM": "1",
        "LC_ALL": "C.UTF-8",
        "NO_COLOR": "1",
    }.items():
        monkeypatch.setenv(key, value)
    run("git", "init", "-q", "-b", "main", tmp_path / "away/git")
    run("git", "-C", tmp_path / "away/git", "-c", "user.name=me", "-c", "user.email=m@e", "commit", "-q", "--allow-empty", "-m", "x")
    run("hg", "init", tmp_path / "away/hg")
    (tmp_path / "away/hg/file").touch()
    run("hg", "-R", tmp_path / "away/hg", "commit", "-q", "-A", "-m", "x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Playbook]:
    """The playbooks that were run."""
    seen: list[Playbook] = []

    def run_playbook(playbook: Playbook, brief: bool = False) -> PlaybookResult:
        seen.append(playbook)
        return PlaybookResult(0)

    monkeypatch.setattr(Playbook, "run", run_playbook)
    return seen


def run(*argv: Any) -> str:
    """Run a program; return its output."""
    return subprocess.run([*map(str, argv)], check=True, capture_output=True, text=True).stdout


def settings(playbook: Playbook) -> Any:
    """Return the settings of the only project of a run."""
    (project,) = playbook.variables["repoman_projects"]
    return project


CLONES = [
    ("{home}/away/git", "git", {"name": "git"}),
    ("away/hg", "hg", {"name": "hg"}),
    ("file://{home}/away/git", "git", {"name": "git"}),
    ("ssh://host{home}/away/git", "git", {"name": "git"}),
    ("ssh://host/{home}/away/hg", "hg", {"name": "hg"}),
    ("host:{home}/away/git", "git", {"name": "git"}),
    ("hg+ssh://host/{home}/away/hg isurus", "hg", {"name": "isurus"}),
    ("{home}/away/git/.git/ galeus", "git", {"name": "galeus"}),
    ("{home}/away/git lamna --repo sharks/lamna -p p", "git", {"name": "lamna", "repo": "sharks/lamna", "add_profiles": ["p"]}),
]


@pytest.mark.parametrize(("line", "kind", "project"), CLONES)
def test_clone(line: str, kind: str, project: Any, home: Path, runs: list[Playbook], capfd: pytest.CaptureFixture[str]) -> None:
    """The program is found by the prefix, by what a directory has, or by asking both; a second run finds the clone."""
    (home / "repos/sharks").mkdir()
    words = ["new", "--clone", *line.format(home=home).split()]
    path = {"galeus": "sharks/galeus", "lamna": "sharks/lamna"}.get(project["name"], project["name"])
    assert cli.main(["-C", *words]) == 0 and os.listdir(home / "repos/sharks") == [] and runs[0].variables["repoman_predict"]
    assert f" to ~/repos/{path}\n" in capfd.readouterr().out
    assert cli.main(words) == 0 and settings(runs[1]) == project and "repoman_predict" not in runs[1].variables
    said = capfd.readouterr()
    assert said.out.startswith("==> cloned ") and said.out.endswith(f" to ~/repos/{path}\n") and said.out.count("\n") == 1
    repository = home / "repos" / path
    assert run(kind, "-R" if kind == "hg" else "-C", repository, "log").count("x") > 0
    assert [name for name in os.listdir(repository.parent) if name.startswith(".")] == []
    assert cli.main(words) == 0 and capfd.readouterr().out == "" and len(runs) == 3


REFUSED = [
    ("--upload-pack=x", 2, "'--upload-pack=x' cannot be a URL."),
    ("git+-x", 2, "'-x' cannot be a URL."),
    ("ext::sh%20-c%20touch%20{home}/bad isurus", 1, "git could not clone ext::"),
    ("ssh://-oProxyCommand=touch%20{home}%2Fbad/x isurus", 1, "neither git nor hg can read ssh://-oProxyCommand"),
    ("https://me:secret@127.0.0.1:1/x", 1, "neither git nor hg can read https://me:***@127.0.0.1:1/x; git: "),
    ("{home}/away/my_repo", 2, "'my_repo' cannot be the name of a project."),
    ("{home}/away/git ./x", 2, "'./x' cannot be the name of a project."),
    ("{home}/away/git a b", 2, "--clone is the repository of one project, but several are named."),
    ("{home}/away/git --all", 2, "--all takes every project as it is configured, so it cannot be combined with --clone."),
    ("{home}/away/git a -i hosts", 2, "--clone works on this host only."),
    ("{home}/away/git a --repo ../../x", 2, "is not below {home}/repos."),
    ("{home}/away/git a --repo no/such", 3, "there is no directory {home}/repos/no for the clone."),
    ("{home}/away/git other", 4, "{home}/repos/other exists, and is not a clone of {home}/away/git."),
    ("{home}/away/git file", 4, "{home}/repos/file exists, and is not a clone of {home}/away/git."),
]


@pytest.mark.parametrize(("line", "code", "message"), REFUSED)
def test_refused(line: str, code: int, message: str, home: Path, runs: list[Playbook], capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is run for what is no URL, nothing is overwritten, and no part of a clone is left."""
    (home / "repos/other/.git").mkdir(parents=True)
    (home / "repos/other/.git/config").write_text('[remote "origin"]\n\turl = /else\n[include]\n\tpath = /nonexistent\n')
    (home / "repos/file").touch()
    before = sorted(os.listdir(home / "repos"))
    words = line.format(home=home).split()
    assert cli.main(["new", f"--clone={words[0]}", *words[1:]]) == code
    said = capfd.readouterr()
    assert message.format(home=home) in said.err and "\nhint: " in said.err and said.out == ""
    assert "secret" not in said.err
    assert runs == [] and sorted(os.listdir(home / "repos")) == before and not (home / "bad").exists()


def test_failure_after_the_clone(home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The clone stays, and the hint creates its container later."""
    monkeypatch.setattr(Playbook, "run", lambda _playbook: PlaybookResult(4))
    assert cli.main(["new", "--clone", "away/git", "isurus", "--image", "x y"]) == 4
    assert capfd.readouterr().err.endswith("hint: repoman new isurus --image 'x y'   # the clone stays in ~/repos/isurus\n")

    def interrupt(_playbook: Playbook) -> PlaybookResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(Playbook, "run", interrupt)
    assert cli.main(["new", "--clone", "away/git"]) == 130 and (home / "repos/git/.git").is_dir()
    assert "hint: repoman new git   # the clone stays in ~/repos/git\n" in capfd.readouterr().err


def test_leftovers(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed run left is removed by the next; an interrupt leaves nothing, and ends the program."""
    left = home / "repos/.repoman-clone-x"
    (left / "half").mkdir(parents=True)
    ended: list[str] = []

    def interrupted(self: Any, timeout: Any = None) -> int:
        monkeypatch.undo()
        ended.append(self.args[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clone.clone(clone.Source(str(home / "away/git"), "git"), str(home / "repos/x"))
    assert ended == ["git"] and os.listdir(home / "repos") == []


@pytest.mark.parametrize("kind", ["git", "hg"])
def test_the_repository_around_is_not_read(kind: str, home: Path, runs: list[Playbook], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its configuration names commands that git and Mercurial would run, in a repository of theirs, on this host."""
    around = home / "repos/around"
    run(kind, "init", around)
    command = f"touch {home}/ran"
    if kind == "git":
        run("git", "-C", around, "config", "core.sshCommand", command)
    else:
        (around / ".hg/extension.py").write_text(f"import os\nos.system({command!r})\n")
        (around / ".hg/hgrc").write_text(f"[extensions]\nx = {around}/.hg/extension.py\n[ui]\nssh = {command}\n")
    monkeypatch.chdir(around)
    monkeypatch.delenv("GIT_SSH_COMMAND")
    monkeypatch.setenv("GIT_SSH", str(home / "ssh"))
    place = f"ssh://host{home}/away/{kind}"
    assert cli.main(["new", "--clone", place, "first"]) == cli.main(["new", "--clone", f"../../away/{kind}", "second"]) == 0
    assert cli.main(["new", "--clone", f"{kind}+{place}", "third"]) == 0
    assert not (home / "ran").exists() and len(runs) == 3
    assert all((home / "repos" / name / f".{kind}").is_dir() for name in ("first", "second", "third"))
