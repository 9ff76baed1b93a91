# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which project ``.``, a path and the current directory mean."""

from __future__ import annotations

import os
import shlex
import subprocess
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import INSTANCE_NAME

from repoman.cli import targets
from repoman.cli.command import make_playbook
from repoman.cli.parser import parse
from repoman.errors import CliError

HERE = Namespace(inventory=None, limit=None)
REGISTRY = """
[repoman]
schema = 3
[[project]]
name = "isurus"
repo = "isurus"
[[project]]
name = "sharks"
repo = "sharks"
[[project]]
name = "lamna"
repo = "sharks/lamna"
[[project]]
name = "moved"
repo = "elsewhere"
[[project]]
name = "linked"
repo = "link"
[[project]]
name = "absolute"
repo = "~/repos/abs"
"""
Go = Callable[[str], Path]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home behind a link, with a registry and repositories."""
    real = tmp_path / "real"
    for name in ("isurus/src", "sharks/lamna/src", "elsewhere2", "target/src", "abs", "fresh/src", "my_repo", "a/b/c", "group/isurus", "x"):
        (real / "repos" / name).mkdir(parents=True)
    for name in ("a/b", "group/isurus", "fresh", "my_repo"):
        (real / "repos" / name / ".git").mkdir()
    (real / "repos/link").symlink_to(real / "repos/target")
    (real / ".config/repoman/repos.d").mkdir(parents=True)
    (real / ".config/repoman/repoman.toml").write_text(REGISTRY, encoding="utf-8")
    (real / ".config/repoman/repos.d/moved.toml").write_text('repo = "elsewhere2"\n', encoding="utf-8")
    (tmp_path / "home").symlink_to(real)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def go(home: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """Change into a directory of the home as a shell does, which has the links in ``PWD``."""

    def change(directory: str) -> Path:
        path = Path(os.path.join(home, directory))
        monkeypatch.chdir(path)
        monkeypatch.setenv("PWD", str(path))
        return path

    return change


@pytest.mark.parametrize("pwd", [True, False])
@pytest.mark.parametrize(
    ("directory", "name", "subdirectory"),
    [
        ("repos/isurus", "isurus", ""),
        ("repos/isurus/src", "isurus", "src"),
        ("repos/sharks", "sharks", ""),
        ("repos/sharks/lamna/src", "lamna", "src"),
        ("repos/elsewhere2", "moved", ""),
        ("repos/target/src", "linked", "src"),
        ("repos/link/src", "linked", "src"),
        ("repos/abs", "absolute", ""),
        ("repos/fresh/src", "fresh", ""),
    ],
)
def test_current_directory(go: Go, monkeypatch: pytest.MonkeyPatch, directory: str, name: str, subdirectory: str, pwd: bool) -> None:
    """The innermost repository counts, whether ``PWD`` has the links of the path or not."""
    go(directory)
    if not pwd:
        monkeypatch.delenv("PWD")
    assert targets.container_target(HERE, "shell", None) == targets.Target(name, subdirectory=subdirectory)
    assert targets.container_target(HERE, "shell", ".") == targets.Target(name, subdirectory=subdirectory)


@pytest.mark.parametrize(
    ("word", "name"),
    [
        ("isurus", "isurus"),
        ("nosuch", "nosuch"),
        ("./isurus", "isurus"),
        ("isurus/src/nosuch", "isurus"),
        ("~/repos/isurus", "isurus"),
        ("{home}/repos/isurus/", "isurus"),
        ("../repos/sharks/lamna", "lamna"),
        ("./elsewhere2/../isurus", "isurus"),
    ],
)
def test_words(go: Go, home: Path, word: str, name: str) -> None:
    """A word with a slash is a path as the shell has it; others are names."""
    go("repos")
    assert targets.container_target(HERE, "status", word.format(home=home)).name == name


def line_of(line: str) -> dict[str, object]:
    """Return the variables of a command line."""
    return dict(make_playbook(*parse(line.split())).variables)


NEW = [
    ("repos/isurus/src", "new", {"name": "isurus"}),
    ("repos/fresh/src", "new", {"name": "fresh"}),
    ("repos/a/b/c", "new", {"name": "b", "repo": "a/b"}),
    ("repos/a", "new .", {"name": "a"}),
    ("repos", "new ./fresh", {"name": "fresh"}),
    ("repos", "new ./nosuch", {"name": "nosuch"}),
    ("", "new --repo a/b", {"name": "b", "repo": "a/b"}),
    ("", "new --repo sharks/galeus", {"name": "galeus", "repo": "sharks/galeus"}),
    ("repos/sharks/lamna/src", "new --repo ..", {"name": "lamna", "repo": "{home}/repos/sharks/lamna"}),
    ("repos/a/b/c", "new --repo .", {"name": "c", "repo": "{home}/repos/a/b/c"}),
    ("repos/x", "new other --repo .", {"name": "other", "repo": "{home}/repos/x"}),
]


@pytest.mark.parametrize(("directory", "line", "project"), NEW)
def test_new(go: Go, home: Path, directory: str, line: str, project: dict[str, str]) -> None:
    """A directory without a project gives a new one its name; the innermost repository counts."""
    go(directory)
    assert line_of(line) == {"repoman_projects": [{key: value.format(home=home) for key, value in project.items()}]}


OTHERS = [
    ("repos/sharks/lamna", "remove .", {"repoman_projects": [{"name": "lamna"}]}),
    ("repos/isurus", "status . isurus ../sharks", {"repoman_project_names": ["isurus", "sharks"]}),
    ("repos/isurus", "stop", {"repoman_projects": [{"name": "isurus"}]}),
    ("repos/isurus", "status", {}),
    ("repos/isurus", "sync", {}),
    ("repos/a/b/c", "sync .", {"repoman_sync_names": ["a"]}),
    ("repos/isurus/src", "sync .", {"repoman_sync_names": ["isurus"]}),
    ("repos", "sync --list-versions ./x", {"repoman_sync_list_versions": "x"}),
    ("repos", "restore ./lost", {"repoman_restore_name": "lost"}),
]


@pytest.mark.parametrize(("directory", "line", "variables"), OTHERS)
def test_other_verbs(go: Go, directory: str, line: str, variables: dict[str, object]) -> None:
    """They take paths, too; ``status`` and ``sync`` without a name stay the whole."""
    go(directory)
    assert line_of(line) == variables


REFUSED = [
    ("", "shell", 2, "which project? {home} is not in a repository below {home}/repos.", "repoman list   # shows the projects"),
    ("repos", "start", 2, "which project? {home}/repos is the directory of all repositories.", "repoman list   # shows the projects"),
    ("", "new ./x", 2, "{home}/x is not in a repository below {home}/repos.", "repoman list   # shows the projects"),
    ("repos/my_repo", "new", 2, "'my_repo' cannot be the name of a project.", "repoman new my-repo --repo my_repo"),
    ("repos/my_repo", "shell", 3, "there is no project for {home}/repos/my_repo.", "repoman new my-repo --repo my_repo"),
    ("repos/a/b", "stop", 3, "there is no project for {home}/repos/a/b.", "repoman new b --repo a/b"),
    ("repos", "stop ./-x", 3, "there is no project for {home}/repos/-x.", "repoman new x --repo=-x"),
    (
        "repos/group/isurus",
        "new",
        4,
        "the project 'isurus' has another repository, {home}/repos/isurus.",
        "repoman new group-isurus --repo group/isurus",
    ),
    (
        "repos/group/isurus",
        "shell",
        3,
        "there is no project for {home}/repos/group/isurus.",
        "repoman new group-isurus --repo group/isurus",
    ),
]


@pytest.mark.parametrize(("directory", "line", "code", "message", "hint"), REFUSED)
def test_refused(go: Go, home: Path, directory: str, line: str, code: int, message: str, hint: str) -> None:
    """One sentence, and a hint that the parser takes."""
    go(directory)
    with pytest.raises(CliError) as caught:
        line_of(line)
    assert (caught.value.exit_code, caught.value.message) == (code, message.format(home=home))
    assert caught.value.hints[0] == hint
    for each in caught.value.hints:
        if not each.endswith("--help"):
            make_playbook(*parse(shlex.split(each, comments=True)[1:]))


def test_a_directory_with_the_name_of_another_project(go: Go, home: Path) -> None:
    """``link`` is the repository of ``linked``; a directory called ``moved`` is not that of the project ``moved``."""
    (home / "repos/moved/src").mkdir(parents=True)
    go("repos/moved/src")
    for line, code in (("shell", 3), ("sync .", 4), ("new", 4)):
        with pytest.raises(CliError) as caught:
            line_of(line)
        assert caught.value.exit_code == code


@pytest.mark.parametrize(
    ("directory", "line", "hints"),
    [
        ("repos/isurus", "shell make test", ["repoman shell -- make test   # runs it in isurus"]),
        ("repos/isurus", "shell lamna test", []),
        ("repos", "shell make test", []),
        ("repos/x", "shell make test", []),
    ],
)
def test_a_command_that_was_taken_for_a_name(go: Go, directory: str, line: str, hints: list[str]) -> None:
    """In a repository of a project, the hint runs the command in it."""
    go(directory)
    verb, options = parse(line.split())
    verb.variables(options)
    assert targets.command_hints(options) == hints


@pytest.mark.parametrize(
    ("directory", "line", "hint"),
    [
        ("repos/isurus", "shell ./configure all", "repoman shell -- ./configure all   # runs it"),
        ("repos/isurus/src", "shell ../configure", "repoman shell -- ../configure   # runs it"),
        ("repos/sharks", "shell ../isurus/configure", "repoman shell isurus"),
        ("", "shell repos/isurus/configure", "repoman shell isurus"),
    ],
)
def test_a_program_that_was_taken_for_a_path(go: Go, home: Path, directory: str, line: str, hint: str) -> None:
    """A shell opens in a directory, so a file is a command of the project that one is in."""
    (home / "repos/isurus/configure").touch()
    go(directory)
    with pytest.raises(CliError, match=r"repos/isurus/configure is not a directory\.") as caught:
        line_of(line)
    assert (caught.value.exit_code, caught.value.hints) == (2, [hint])


def test_a_link_from_one_project_to_another(go: Go, home: Path) -> None:
    """A container can make one in its repository; the command does not choose."""
    (home / "repos/isurus/vendor").symlink_to("../sharks")
    (home / "repos/isurus/inside").symlink_to("src")
    (home / "work").symlink_to(home / "repos/sharks")
    go("repos/isurus/vendor")
    for line in ("shell", "stop", "new", "remove .", "sync .", "status ."):
        with pytest.raises(CliError, match=r"which project.*is in isurus, but a link there leads to sharks") as caught:
            line_of(line)
        verb = line.split()[0]
        assert caught.value.hints == [f"repoman {verb} isurus", f"repoman {verb} sharks"]
    (home / "repos/sharks/lamna").rename(home / "repos/sharks/moved")
    (home / "repos/sharks/lamna").symlink_to("../isurus")
    go("repos/sharks/lamna")
    with pytest.raises(CliError, match="is in lamna, but a link there leads to isurus"):
        line_of("stop")
    go("repos/isurus/inside")
    assert targets.container_target(HERE, "shell", None) == targets.Target("isurus", subdirectory="src")
    go("work")
    assert targets.container_target(HERE, "shell", None) == targets.Target("sharks")


def git(*command: str, cwd: Path) -> None:
    """Run git, which must succeed."""
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@example.org", *command], cwd=cwd, check=True, capture_output=True)


@pytest.mark.parametrize("place", ["repos/feature", "feature"])
def test_linked_worktree(go: Go, home: Path, place: str) -> None:
    """It selects the project of its main repository, unless it has one; ``new`` creates one if possible. Backups use the directory."""
    repo = home / "repos/isurus"
    git("init", "-q", cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=repo)
    git("worktree", "add", "-q", str(home / place), cwd=repo)
    (home / place / "src").mkdir()
    path = go(f"{place}/src")
    assert targets.container_target(HERE, "shell", None) == targets.Target("isurus", subdirectory=str(path))
    assert line_of("start") == {"repoman_projects": [{"name": "isurus"}]}
    if place == "feature":
        assert targets.new_target(HERE, None).name == "isurus"
        with pytest.raises(CliError):
            line_of("sync .")
    else:
        assert targets.new_target(HERE, None) == targets.Target("feature")
        assert line_of("sync .") == {"repoman_sync_names": ["feature"]} and line_of("remove .") == {
            "repoman_projects": [{"name": "feature"}]
        }
        registry = home / ".config/repoman/repoman.toml"
        registry.write_text(registry.read_text() + '[[project]]\nname = "own"\nrepo = "feature"\n')
        assert targets.container_target(HERE, "shell", None) == targets.Target("own", subdirectory="src")


def test_a_pointer_that_the_main_repository_does_not_know(go: Go, home: Path) -> None:
    """A directory cannot claim another repository, and a pipe for a pointer does not hang."""
    repo = home / "repos/isurus"
    git("init", "-q", cwd=repo)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=repo)
    git("worktree", "add", "-q", str(home / "feature"), cwd=repo)
    fake = home / "fake"
    fake.mkdir()
    (fake / ".git").write_text((home / "feature/.git").read_text())
    go("fake")
    with pytest.raises(CliError, match="not in a repository"):
        line_of("shell")
    (fake / ".git").unlink()
    os.mkfifo(fake / ".git")
    with pytest.raises(CliError, match="not in a repository"):
        line_of("shell")


def test_a_pointer_to_a_forged_worktree(go: Go, home: Path) -> None:
    """A forged git directory cannot claim another repository, and a path with a null byte is ignored."""
    (home / "repos/isurus/.git").mkdir()
    forged, own = home / "repos/x", home / "repos/x/worktrees/y"
    own.mkdir(parents=True)
    (forged / ".git").write_text(f"gitdir: {own}\n")
    (own / "gitdir").write_text(f"{forged}/.git\n")
    (own / "commondir").write_text(f"{home}/repos/isurus/.git\n")
    go("repos/x")
    assert line_of("stop") == {"repoman_projects": [{"name": "x"}]}
    (forged / ".git").write_text("gitdir: worktrees/\0\n")
    assert line_of("stop") == {"repoman_projects": [{"name": "x"}]}


def test_linked_worktree_with_relative_paths(go: Go, home: Path) -> None:
    """Newer versions of git can write them."""
    own = home / "repos/isurus/.git/worktrees/feature"
    own.mkdir(parents=True)
    (home / "feature").mkdir()
    (home / "feature/.git").write_text("gitdir: ../repos/isurus/.git/worktrees/feature\n")
    (own / "gitdir").write_text("../../../../../feature/.git\n")
    (own / "commondir").write_text("../..\n")
    go("feature")
    assert line_of("start") == {"repoman_projects": [{"name": "isurus"}]}


@pytest.mark.parametrize(("text", "message"), [("nonsense", "cannot read .*repoman.toml: Expected"), (None, "it is not a regular file")])
def test_registry_that_cannot_be_read(go: Go, home: Path, text: str | None, message: str) -> None:
    """It is an error of a path, and of the current directory; names need no registry here."""
    registry = home / ".config/repoman/repoman.toml"
    registry.unlink()
    if text is None:
        os.mkfifo(registry)
    else:
        registry.write_text(text)
    go("repos/isurus")
    with pytest.raises(CliError, match=message) as caught:
        line_of("shell")
    assert caught.value.exit_code == 3
    assert line_of("shell isurus") == {"repoman_project_name": "isurus"}


def test_without_a_registry(go: Go, home: Path) -> None:
    """The repositories are in ``~/repos``; the module says that there is no registry."""
    (home / ".config/repoman/repoman.toml").unlink()
    go("repos/isurus/src")
    assert line_of("shell") == {"repoman_project_name": "isurus"}


def test_directory_that_incus_cannot_name(go: Go, home: Path) -> None:
    """Only its repository can be opened."""
    (home / "repos/isurus/caf\udce9").mkdir()
    go("repos/isurus/caf\udce9")
    with pytest.raises(CliError, match="is not UTF-8 text") as caught:
        line_of("shell")
    assert caught.value.hints == ["repoman shell isurus"]


def test_names_are_those_of_the_modules() -> None:
    """The command and the modules agree on the names that a project can have."""
    assert targets.PROJECT_NAME.pattern == INSTANCE_NAME.pattern
