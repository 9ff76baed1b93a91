# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How verbs run: at once, or after a preview and a question."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host import hung_mounts
from hung import hung_mount

from repoman import cli, shell
from repoman.playbook import Playbook, PlaybookResult


@pytest.fixture
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the terminal away."""
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))


class Runs:
    """Stands in for ansible: keeps the playbooks that were run, and how."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, outcome: PlaybookResult) -> None:
        self.seen: list[tuple[str, Playbook]] = []

        def run(book: Playbook, brief: bool = False) -> PlaybookResult:
            self.seen.append(("brief" if brief else "run", book))
            return outcome

        def preview(book: Playbook) -> PlaybookResult:
            self.seen.append(("preview", book))
            return outcome

        monkeypatch.setattr(Playbook, "run", run)
        monkeypatch.setattr(Playbook, "preview", preview)


def answering(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    """Give the command a terminal where somebody types ``text``."""
    terminal = io.StringIO(text)
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", terminal)


SETTINGS = {"restored": {"name": "(settings)"}}
"""The result of a restore of the settings."""
TAKES_OVER = PlaybookResult(4, True, [{"summary": {}, "previous_owner": {}}])
ASKED = [
    ("setup", "y\n", PlaybookResult(0, True), ["preview", "brief"], 0, "[Y/n]"),
    ("setup", "\n", PlaybookResult(0, True), ["preview", "brief"], 0, "[Y/n]"),
    ("setup", "n\n", PlaybookResult(0, True), ["preview"], 1, "[Y/n]"),
    ("setup", "", PlaybookResult(0, True), ["preview"], 1, "[Y/n]"),
    ("setup", "", PlaybookResult(0, False), ["preview"], 0, ""),
    ("setup", "", PlaybookResult(3, False), ["preview"], 3, ""),
    ("setup --check", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("setup --non-interactive", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("setup --json", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("sync --take-over", "y\n", TAKES_OVER, ["preview", "brief"], 4, "[y/N]"),
    ("sync --take-over", "\n", TAKES_OVER, ["preview"], 1, "[y/N]"),
    ("sync --take-over", "", PlaybookResult(4, False, [{"summary": {}}]), ["preview", "run"], 4, ""),
    ("sync --take-over", "", PlaybookResult(4, False, [{}]), ["preview"], 4, ""),
    ("sync --take-over", "", PlaybookResult(130), ["preview"], 130, ""),
    ("sync --take-over a --check", "", TAKES_OVER, ["run"], 4, ""),
    ("sync --take-over --json", "", TAKES_OVER, ["run"], 4, ""),
    ("sync", "", PlaybookResult(0), ["run"], 0, ""),
    ("restore --settings", "\n", PlaybookResult(0, True, [SETTINGS]), ["preview", "brief"], 0, "[Y/n]"),
    ("restore --settings --from 2026-11-24", "n\n", PlaybookResult(0, True, [SETTINGS]), ["preview"], 1, "[Y/n]"),
    ("restore --settings", "", PlaybookResult(0, False, [SETTINGS]), ["preview"], 0, ""),
    ("restore --settings", "", PlaybookResult(3, False, []), ["preview"], 3, ""),
    ("restore --settings --all", "\n", PlaybookResult(4, True, [SETTINGS, {"summary": {}}]), ["preview", "brief"], 4, "[Y/n]"),
    ("restore --settings --all", "", PlaybookResult(1, True, [SETTINGS]), ["preview"], 1, ""),
    ("restore --settings a", "y\n", PlaybookResult(0, True, [SETTINGS, {"restored": {}}]), ["preview", "brief"], 0, "[Y/n]"),
    ("-i hosts restore --settings --all", "\n", PlaybookResult(4, True, [SETTINGS]), ["preview", "brief"], 4, "[Y/n]"),
    ("restore --settings --check", "", PlaybookResult(0, True, [SETTINGS]), ["run"], 0, ""),
    ("restore --settings --non-interactive", "", PlaybookResult(0, True, [SETTINGS]), ["run"], 0, ""),
    ("restore --settings --json", "", PlaybookResult(0, True, [SETTINGS]), ["run"], 0, ""),
    ("restore a", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("remove a b", "yes\n", PlaybookResult(0, True), ["preview", "brief"], 0, "[y/N]"),
    ("remove a", "\n", PlaybookResult(0, True), ["preview"], 1, "[y/N]"),
    ("remove a", "", PlaybookResult(3, True), ["preview"], 3, ""),
    ("remove a --yes", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("remove a --check", "", PlaybookResult(0, True), ["run"], 0, ""),
    ("remove a", "", PlaybookResult(130, True), ["preview"], 130, ""),
    ("-i hosts setup", "\n", PlaybookResult(3, True), ["preview", "brief"], 3, "[Y/n]"),
    ("-i hosts setup", "n\n", PlaybookResult(3, True), ["preview"], 1, "[Y/n]"),
    ("-i hosts setup", "", PlaybookResult(3, False), ["preview"], 3, ""),
    ("-l nas* remove a", "y\n", PlaybookResult(3, True), ["preview", "brief"], 3, "[y/N]"),
    ("-l nas* remove a", "", PlaybookResult(130, True), ["preview"], 130, ""),
]


@pytest.mark.parametrize(("line", "typed", "outcome", "runs", "code", "question"), ASKED)
def test_asking(
    line: str,
    typed: str,
    outcome: PlaybookResult,
    runs: list[str],
    code: int,
    question: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """On a terminal there is one question, after a preview, if there is anything to do."""
    answering(monkeypatch, typed)
    ran = Runs(monkeypatch, outcome)
    assert cli.main(line.split()) == code
    assert [how for how, _book in ran.seen] == runs
    said = capsys.readouterr()
    assert said.err.count("Proceed?") == bool(question)
    assert question in said.err
    assert (said.out == "nothing was changed\n") == (bool(question) and code == 1)


def test_nobody_to_ask(no_terminal: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """With no terminal setup applies, and remove wants ``--yes``."""
    ran = Runs(monkeypatch, PlaybookResult(0, True))
    assert cli.main(["setup"]) == 0
    assert cli.main(["remove", "a"]) == 2
    assert "hint: add --yes to remove without a question" in capsys.readouterr().err
    assert cli.main(["remove", "a", "--yes"]) == 0
    assert cli.main(["restore", "--settings"]) == 0
    assert [how for how, _book in ran.seen] == ["run", "run", "run"]


def test_interrupted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C is a sentence and 130; with ``--json`` also a document."""

    def interrupt(book: Playbook, brief: bool = False) -> PlaybookResult:
        raise KeyboardInterrupt

    monkeypatch.setattr(Playbook, "run", interrupt)
    assert cli.main(["list", "--json"]) == 130
    said = capsys.readouterr()
    assert said.err == "repoman: error: interrupted.\n"
    failure = {"exit_code": 130, "failed": True, "msg": "interrupted.", "hints": []}
    assert json.loads(said.out) == {"verb": "list", "changed": False, "warnings": []} | failure


RESULT: dict[str, Any] = {
    "projects": [
        {"name": "isurus", "state": "Running", "incus_project": "repoman", "repo": "/home/me/repos/a b", "environment": ["A", "HOME", "B"]}
    ],
    "account": {"name": "me", "shell": "/bin/zsh"},
    "socket": "/run/s",
}


def test_shell_becomes_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """It replaces this process, with the socket of the result; in check mode, or after a failure, it does not."""
    became: list[tuple[Any, ...]] = []
    entered: Callable[..., None] = lambda result, command, _directory: became.append((result, command))  # noqa: E731
    monkeypatch.setattr(shell, "exec_shell", entered)
    monkeypatch.setitem(sys.modules, "repoman.engine", type(sys)("engine"))
    monkeypatch.setattr(sys.modules["repoman.engine"], "cleanup", lambda: None, raising=False)
    monkeypatch.setattr("repoman.engine", sys.modules["repoman.engine"], raising=False)
    Runs(monkeypatch, PlaybookResult(0, results=[RESULT]))
    cli.main(["shell", "isurus", "--check"])
    assert became == []
    cli.main(["shell", "isurus", "--", "ls"])
    assert became == [(RESULT, ["ls"])]
    Runs(monkeypatch, PlaybookResult(3))
    assert cli.main(["shell", "isurus"]) == 3
    for project in ({"state": "missing"}, {"state": "Running", "unfinished": True}):
        Runs(monkeypatch, PlaybookResult(0, results=[RESULT | {"projects": [project]}]))
        assert cli.main(["shell", "isurus"]) == 4 and len(became) == 1


@pytest.mark.parametrize(
    ("line", "details", "strict"),
    [
        ("status", False, None),
        ("status isurus", True, None),
        ("status --all", True, None),
        ("-q status --strict", False, "all"),
        ("status --all --strict", True, "all"),
        ("status isurus --strict", True, "projects"),
    ],
)
def test_details_of_status(monkeypatch: pytest.MonkeyPatch, line: str, details: bool, strict: str | None) -> None:
    """Named projects, or all, are shown in full: the playbook is run with the variables that the report reads."""
    runs = Runs(monkeypatch, PlaybookResult(0))
    assert cli.main(line.split()) == 0
    [(_how, book)] = runs.seen
    assert book.environment({}).get("REPOMAN_DETAILS") == ("1" if details else None)
    assert book.environment({}).get("REPOMAN_STRICT") == strict


REPOSITORIES = (
    "isurus/.git",
    "galeus/.git/x/.git",
    "group/lamna/.hg",
    "my_repo/.git",
    "around/.git",
    "around/in/.git",
    "plain/x",
    ".cache/.git",
)


@pytest.fixture
def repositories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home with two projects, and repositories of which some have none."""
    for name in REPOSITORIES:
        (tmp_path / "repos" / name).mkdir(parents=True)
    (tmp_path / "repos/link").symlink_to("galeus")
    registry = tmp_path / ".config/repoman/repoman.toml"
    registry.parent.mkdir(parents=True)
    entries = (f'[[project]]\nname = "{name}"\nrepo = "{repo}"\n' for name, repo in (("isurus", "isurus"), ("in", "around/in")))
    registry.write_text("[repoman]\nschema = 3\n" + "".join(entries))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.mark.parametrize(("line", "typed"), [("new --all", "\n"), ("new --all", "n\n"), ("new --all", None), ("-C new --all", "\n")])
def test_new_all(
    line: str, typed: str | None, repositories: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It asks once about the repositories without a project; if it cannot ask, it says how to make their containers."""
    answering(monkeypatch, typed or "")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: typed is not None, raising=False)
    ran = Runs(monkeypatch, PlaybookResult(4))
    assert cli.main(line.split()) == 4
    ((_how, playbook),) = ran.seen
    projects = [{"name": "galeus"}, {"name": "lamna", "repo": "group/lamna"}, {"name": "my-repo", "repo": "my_repo"}]
    assert playbook.variables == {"repoman_all": True} | ({"repoman_projects": projects} if typed == "\n" and line == "new --all" else {})
    said = capsys.readouterr().err
    assert said.count("Create containers for them, too? [Y/n]") == (typed is not None and line == "new --all")
    commands = ["new galeus", "new lamna --repo group/lamna", "new my-repo --repo my_repo"]
    tells = typed is None or line != "new --all"
    assert ("3 repositories have no project; to create containers:" in said) == tells
    assert [text for text in said.splitlines() if text.startswith("hint: ")] == [f"hint: repoman {text}" for text in commands if tells]


def test_new_all_and_servers_that_do_not_answer(
    repositories: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing behind their mounts is looked at, and the rest is found: without a repository, or with that of a project."""
    monkeypatch.setattr(sys.stderr, "isatty", lambda: False, raising=False)
    monkeypatch.setenv("NO_COLOR", "1")
    Runs(monkeypatch, PlaybookResult(0))
    with hung_mount(tmp_path / "repos/group", 20) as gave_up, hung_mount(tmp_path / "repos/isurus", 20) as isurus_gave_up:
        hung_mounts._served_mounts.cache_clear()
        assert cli.main(["new", "--all"]) == 0
        assert not gave_up.is_set() and not isurus_gave_up.is_set()
    hung_mounts._served_mounts.cache_clear()
    assert (
        "2 repositories have no project; to create containers:\nhint: repoman new galeus\nhint: repoman new my-repo"
        in capsys.readouterr().err
    )
