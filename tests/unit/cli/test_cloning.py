# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``new --clone`` with the real git and Mercurial; only the run that creates the container is replaced."""

from __future__ import annotations

import errno
import fcntl
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import CLONING_PREFIX

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
    ("https://me:p@secret@127.0.0.1:1/x", 1, "neither git nor hg can read https://***@127.0.0.1:1/x; git: "),
    ("https://127.0.0.1:1/x?token=secret", 1, "neither git nor hg can read https://127.0.0.1:1/x?***; git: "),
    ("https://me:secret@127.0.0.1", 2, "'127.0.0.1' cannot be the name of a project."),
    ("https://secret@127.0.0.1:1/x.git", 1, "hint: git ls-remote -- URL   # tests the access, with the URL that you gave\n"),
    ("https://secret@127.0.0.1:1/x.git other", 4, "hint: repoman new --clone URL NAME   # another name, with the URL that you gave\n"),
    ("{home}/away/my_repo", 2, "'my_repo' cannot be the name of a project."),
    ("{home}/away/git ./x", 2, "'./x' cannot be the name of a project."),
    ("{home}/away/git a b", 2, "--clone is the repository of one project, but several are named."),
    ("{home}/away/git --all", 2, "--all takes every project as it is configured, so it cannot be combined with --clone."),
    ("{home}/away/git a -i hosts", 2, "--clone works on this host only."),
    ("{home}/away/git a --repo ../../x", 2, "is not below {home}/repos."),
    ("{home}/away/git a --repo link/x", 2, "{home}/repos/link/x is not below {home}/repos."),
    ("{home}/away/git a --repo sharks/galeus/x", 4, "{home}/repos/sharks/galeus/x is in the repository of galeus."),
    ("{home}/away/git a --repo sharks/galeus/link/x", 4, "{home}/repos/sharks/galeus/link/x is in the repository of galeus."),
    ("{home}/away/git galeus --repo sharks/galeus/x", 4, "{home}/repos/sharks/galeus/x is in the repository of galeus."),
    ("{home}/away/git other --adopt -p p", 4, "hint: repoman new other -p p --adopt   # creates a container for what is there\n"),
    (
        "{home}/away/git a --repo=other --image i",
        4,
        "hint: repoman new a --repo other --image i   # creates a container for what is there\n",
    ),
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
    (home / "repos/link").symlink_to("../away")
    (home / "repos/sharks/galeus").mkdir(parents=True)
    (home / "repos/sharks/galeus/link").symlink_to("../..")
    before = sorted(os.listdir(home / "repos"))
    words = line.format(home=home).split()
    assert cli.main(["new", f"--clone={words[0]}", *words[1:]]) == code
    said = capfd.readouterr()
    assert message.format(home=home) in said.err and "\nhint: " in said.err and said.out == ""
    assert "secret" not in said.err.replace(str(home), "")
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
    assert clone.STAGING_PREFIX == CLONING_PREFIX
    left = home / "repos/.repoman-clone-x"
    (left / "half").mkdir(parents=True)
    ended: list[str] = []

    def interrupted(self: Any, timeout: Any = None) -> int:
        monkeypatch.undo()
        ended.append(self.args[0])
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        clone.clone(clone.Source(str(home / "away/git"), "git"), str(home / "repos/x"), str(home / "repos"))
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


PLANTED = """
[core]
\tfsmonitor = touch {ran}
\tsshCommand = touch {ran}
\talternateRefsCommand = touch {ran}
\thooksPath = {hooks}
[uploadpack]
\tpackObjectsHook = touch {ran}; git pack-objects
[remote "origin"]
\turl = ext::touch {ran}
\tpromisor = true
[protocol]
\tallow = always
"""


@pytest.mark.parametrize("kind", ["git", "hg"])
def test_sources_of_this_host(kind: str, home: Path, runs: list[Playbook]) -> None:
    """A container may have written them: nothing that they configure is run, and the clone shares no files with them."""
    source, ran = home / "away" / kind, home / "ran"
    if kind == "git":
        borrowed = home / "away/borrowed"
        run("git", "clone", "-q", "--shared", source, borrowed)
        source, hooks = borrowed, borrowed / ".git/hooks"
        for name in ("post-checkout", "pre-receive", "reference-transaction", "post-index-change"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {ran}\n")
            (hooks / name).chmod(0o755)
        with (source / ".git/config").open("a") as config:
            config.write(PLANTED.format(ran=ran, hooks=hooks))
    else:
        (source / ".hg/extension.py").write_text(f"import os\nos.system('touch {ran}')\n")
        (source / ".hg/hgrc").write_text(f"[extensions]\nx = {source}/.hg/extension.py\n[hooks]\noutgoing = touch {ran}\n")
    assert cli.main(["new", "--clone", str(source), "first"]) == cli.main(["new", "--clone", f"{kind}+file://{source}", "second"]) == 0
    assert not ran.exists() and len(runs) == 2
    for name in ("first", "second"):
        files = [path for path in (home / "repos" / name).rglob("*") if path.is_file()]
        assert len(files) > 9 and {path.stat().st_nlink for path in files} == {1}
        assert not (home / "repos" / name / ".git/objects/info/alternates").exists()


def test_variables_of_another_repository(home: Path, runs: list[Playbook], monkeypatch: pytest.MonkeyPatch) -> None:
    """A hook of git has some, which would lead git to the repository of the hook; they are what this git lists."""
    listed = run("git", "rev-parse", "--local-env-vars").split()
    assert set(listed) <= clone.LOCAL_ENVIRONMENT
    for key in listed:
        monkeypatch.setenv(key, str(home / "no"))
    monkeypatch.setenv("GIT_CONFIG_PARAMETERS", f"'core.sshcommand=touch {home}/ran'")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "x")
    for _time in range(2):  # the second run reads the clone's configuration
        assert cli.main(["new", "--clone", f"ssh://host{home}/away/git", "first"]) == 0
    assert (home / "repos/first/.git/HEAD").is_file() and not (home / "no").exists() and not (home / "ran").exists()


def test_paths_of_sources(home: Path, runs: list[Playbook], capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path of a bundle is found from the current directory; there is none if that was deleted."""
    run("git", "-C", home / "away/git", "bundle", "create", home / "away/lamna.bundle", "main")
    for words in (["away/lamna.bundle", "lamna"], ["away/lamna.bundle", "lamna"], ["away/lamna", "other"]):
        assert cli.main(["new", "--clone", *words]) == 0
    assert len(runs) == 3 and (home / "repos/other/.git").is_dir()
    (home / "gone").mkdir()
    monkeypatch.chdir(home / "gone")
    (home / "gone").rmdir()
    capfd.readouterr()
    assert cli.main(["new", "--clone", ".", "galeus"]) == 2
    assert "the current directory was deleted, so relative paths cannot be resolved." in capfd.readouterr().err


@pytest.mark.parametrize(
    ("number", "code", "hint"),
    [
        (errno.ENOSPC, 1, "df -h '{home}/repos/a b'"),
        (errno.EDQUOT, 1, "df -h '{home}/repos/a b'"),
        (errno.EACCES, 1, "ls -ld '{home}/repos/a b'"),
        (errno.ENOTEMPTY, 4, "ls -ld '{home}/repos/a b/x'"),
        (errno.ENOTDIR, 4, "ls -ld '{home}/repos/a b/x'"),
    ],
)
def test_failing_directories(
    number: int, code: int, hint: str, home: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only what is in the way is a conflict; the hint shows what is full, or whose it is."""

    def fail(**_how: Any) -> str:
        raise OSError(number, os.strerror(number))

    (home / "repos/a b").mkdir()
    monkeypatch.setattr(tempfile, "mkdtemp", fail)
    assert cli.main(["new", "--clone", "away/git", "x", "--repo", "a b/x"]) == code
    assert capfd.readouterr().err == (
        f"repoman: error: cannot make {home}/repos/a b/x: {os.strerror(number)}.\nhint: {hint.format(home=home)}\n"
    )


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_temporary_directories_that_another_run_removes(moment: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It finds them without a lock; then they are made again, in ``repos_root`` also for a clone below it."""
    made: list[str] = []
    make, lock = tempfile.mkdtemp, fcntl.flock

    def making(**how: Any) -> str:
        made.append(make(**how))
        if moment == "before it is opened" and len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    def locking(fd: int, how: int) -> None:
        if moment == "before it is locked" and len(made) == 1:
            os.rmdir(made[0])
        lock(fd, how)

    monkeypatch.setattr(tempfile, "mkdtemp", making)
    monkeypatch.setattr(fcntl, "flock", locking)
    (home / "repos/below").mkdir()
    clone.clone(clone.Source(str(home / "away/git"), "git"), str(home / "repos/below/x"), str(home / "repos"))
    assert len(made) == 2 and {os.path.dirname(path) for path in made} == {str(home / "repos")}
    assert (home / "repos/below/x/.git/HEAD").is_file() and sorted(os.listdir(home / "repos")) == ["below"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_directory_on_another_file_system(home: Path) -> None:
    """Nothing can be renamed to there from ``repos_root``, so the clone is made next to its directory; also on a mount of the same one."""
    (home / "repos/disk").mkdir()
    code = """
import sys
from repoman import clone
clone.clone(clone.Source(sys.argv[1], "git"), sys.argv[2], sys.argv[3])
"""
    for number, mount in enumerate(("-t tmpfs none", f"--bind {home}/away")):
        script = f'mount {mount} "$4/disk" && "$1" -c "$2" "$3" "$4/disk/x" "$4" && test -f "$4/disk/x/.git/HEAD" && ls -A "$4" "$4/disk"'
        words = ["unshare", "-m", "sh", "-c", script, "sh", sys.executable, code, home / "away/git", home / "repos"]
        assert ".repoman" not in run(*words), number


def test_code_of_the_collection_is_not_left_loaded(home: Path) -> None:
    """Ansible's loader could not load plugins of a collection that Python's has begun with."""
    code = "import sys; from repoman.shared import module_util; print(module_util('host.hung_mounts').hung_mount('/'), *sys.modules)"
    assert "ansible_collections" not in run(sys.executable, "-c", code)
