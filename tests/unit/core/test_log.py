# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trace of a run: complete enough for a bug report, and without secrets."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import run as restore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import run as sync
from ansible_collections.homelab.repoman.plugins.module_utils.core import log
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, PlannedItem, Step, plan_and_apply
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, HostFacts, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import run_lines
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import run_in_child
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import map_forked
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Template, parse_template
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.edit import put_project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Project
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override
from ansible_collections.homelab.repoman.plugins.modules import repoman_restore
from backup_fixture import BackupHome

ENVIRONMENT = {"PATH": os.environ["PATH"]}


@pytest.fixture(autouse=True)
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """Start a trace, and return what returns its lines, without their times."""
    path = tmp_path / "trace"
    monkeypatch.setenv(log.FILE_VARIABLE, str(path))
    monkeypatch.setattr(log, "_secrets", set())
    start = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z \d+ ")

    def lines() -> list[str]:
        text = path.read_text()
        assert all(start.match(line) for line in text.splitlines())
        return [re.sub(r"\d+ ms", "N ms", start.sub("", line)) for line in text.splitlines()]

    return lines


def test_it_names_requests_commands_steps_and_files(daemon: Any, me: Account, trace: Callable[[], list[str]]) -> None:
    """With what came of each; the file is private."""
    path = registry.default_path(me.home)

    def logic(_params: dict[str, Any], _check: bool) -> dict[str, Any]:
        with closing(Client(daemon.path)) as client:
            client.get("/1.0/profiles?recursion=1")
        CommandRunner(me).run(["sh", "-c", "exit 3"], ENVIRONMENT, "/")
        run_lines(["printf", "a b"], env=ENVIRONMENT, seconds=60, out=lambda _line: None)
        registry.edit_file(path, lambda data: put_project(data, Project("demo", "demo")), me)
        registry.load(path)
        Plan([Step("create demo", lambda: None)]).apply()
        return {"changed": True}

    run_logic(logic, {"user": "alice", "config": None}, check=True)
    assert trace() == [
        f"module: {__name__} in check mode with options: user",
        "incus: GET /1.0/profiles?recursion=1 200 N ms",
        "process: exit 3 after N ms: sh -c 'exit 3'",
        "process: exit 0 after N ms: printf 'a b'",
        f"registry: wrote {path}",
        f"registry: read {path}: schema 3, 1 projects",
        "plan: start: create demo",
        "plan: done: create demo",
        "module: changed: True",
    ]
    assert os.stat(os.environ[log.FILE_VARIABLE]).st_mode & 0o777 == 0o600


def test_no_secret_is_in_it(daemon: Any, reply: Any, me: Account, trace: Callable[[], list[str]]) -> None:
    """Not from options, requests, answers or overrides, even if an error repeats it; also a line of a longer value."""
    path = registry.default_path(me.home)
    Path(path).parent.joinpath("repos.d").mkdir(parents=True)
    Path(path).parent.joinpath("repos.d/demo.toml").write_text('[config]\n"environment.KEY" = "hush-4 \\" quoted"\n')
    options = {"config": {"environment.KEY": "hush-1"}, "user": "alice"}
    body = {"config": {"cloud-init.user-data": "#cloud-config\npassword: hush-2\n"}}
    daemon.say(reply({"config": {"user.vendor-data": "hush-3"}}), reply({"secret": "hush-5"}))

    def logic(_params: dict[str, Any], _check: bool) -> dict[str, Any]:
        with closing(Client(daemon.path)) as client:
            client.put("/1.0/profiles/demo", body)
            client.post("/1.0/images/abc/secret", None)
        load_override(path, "demo")

        def fail() -> None:
            raise RepomanError('incus refused: hush-1, password: hush-2, hush-3, hush-4 " quoted, hush-5.')

        with suppress(RepomanError):
            Plan([Step("use hush-1", fail)]).apply()
        CommandRunner(me).run(["printf", "hush-5"], ENVIRONMENT, "/")
        fail()
        return {}

    result = run_logic(logic, options, check=False)
    assert "hush-1" in result["msg"]
    text = "\n".join(trace())
    assert "hush" not in text
    assert "plan: failed, rolled back: RepomanError: incus refused: (secret), (secret), (secret), (secret), (secret)." in text
    assert "POST /1.0/images/abc/secret 200" in text


def test_a_backup_shows_what_it_decides(tmp_path: Path, trace: Callable[[], list[str]]) -> None:
    """From the target to each unit, and what comes of it."""
    home = BackupHome(tmp_path)
    home.git("isurus")
    home.write("plain/file")
    run_logic(sync.run, home.params(init=True, allow_local=True), False)
    home.write("plain/file", "changed")
    run_logic(sync.run, home.params(keep_days=1), False)
    (home.repos / "plain/file").unlink()
    run_logic(restore.run, home._params(repoman_restore.SPEC, {"name": "plain", "overwrite": True}), False)
    lines = [re.sub(r"\b[0-9a-f]{16}\b|\b\d{8}T\d{6}Z", "ID", line) for line in trace()]
    for line in (
        f"target: {home.backup} is a target with ID ID",
        "target: locked 2 units; locked by another run: none",
        "scan: isurus: scanned: it is as in its manifest",
        "mirror: plain: compared with the manifest of its mirror: 0 to create, 1 to change, 0 to remove",
        "target: made the version ID",
        "mirror: plain: synced, 1 files, 7 bytes",
        "restore: plain as of the last run: 1 layers, 2 entries",
    ):
        assert line in lines, "\n".join(lines)
    assert any(line.startswith("process: exit 0 after N ms: git fsck ") for line in lines)
    assert any(line.startswith("restore: planned: ") for line in lines)


def test_what_a_run_decides_for_each_item(trace: Callable[[], list[str]]) -> None:
    """By name, also that there is nothing to do, or that it cannot be done."""

    class Item(PlannedItem):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.name = name

        def make_plan(self) -> Plan:
            if self.name == "bad":
                raise RepomanError("it cannot be.")
            return Plan([Step("create it", lambda: None)] if self.name == "new" else [])

    with log.tracing():
        plan_and_apply([Item("new"), Item("old"), Item("bad")], check=False)
    assert trace() == [
        "plan: new planned: create it",
        "plan: old planned: nothing to do",
        "plan: bad cannot be planned: it cannot be.",
        "plan: start: create it",
        "plan: done: create it",
    ]


def test_a_request_without_an_answer(daemon: Any, trace: Callable[[], list[str]]) -> None:
    """It is in the trace like the others."""

    def logic(_params: dict[str, Any], _check: bool) -> dict[str, Any]:
        with closing(Client(daemon.path + "-missing")) as client:
            client.get("/1.0")
        return {}

    assert run_logic(logic, {}, False)["failed"]
    assert "incus: GET /1.0 no answer N ms" in trace()


def test_secrets_of_a_template(trace: Callable[[], list[str]]) -> None:
    """A profile's template is read with its secrets, which no later line has."""

    def logic(_params: dict[str, Any], _check: bool) -> dict[str, Any]:
        text = "config: {environment.API_KEY: hush-6, limits.cpu: 2, environment.bad: [hush-8]}"
        parse_template(Template("demo", "user", "/demo.yml", False, text), HostFacts("", "alice", "/home/alice"))
        return {}

    assert "environment.bad" in run_logic(logic, {}, False)["msg"]
    assert "profiles: read /demo.yml" in trace() and "hush" not in "".join(trace())


def test_secrets_of_a_registry(tmp_path: Path, trace: Callable[[], list[str]]) -> None:
    """Also in tables that are not repoman's."""
    path = tmp_path / "repoman.toml"
    path.write_text('[repoman]\nschema = 3\n[tool.other]\npassword = "hush-9"\n')

    def logic(_params: dict[str, Any], _check: bool) -> dict[str, Any]:
        registry.load(str(path))
        raise RepomanError("what is hush-9?")

    run_logic(logic, {}, False)
    assert trace()[-1] == "module: failed: what is (secret)?"


def test_without_the_variable_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nor are secrets collected."""
    monkeypatch.delenv(log.FILE_VARIABLE)
    with log.tracing():
        log.protect({"environment.KEY": "hush"})
        log.get_logger("module").debug("quiet")
    assert list(tmp_path.iterdir()) == [] and capfd.readouterr() == ("", "") and log._secrets == set()


def test_forks_log_as_their_parent_does(trace: Callable[[], list[str]]) -> None:
    """Ansible's display is not used in a fork; it gets the lines of forks in the process that it belongs to, in their order."""
    lines: list[str] = []
    parent = os.getpid()

    def emit(line: str) -> None:
        assert os.getpid() == parent
        lines.append(line)

    with log.tracing(emit):
        for number in (1, 2):
            if not (child := os.fork()):
                log.get_logger("module").debug("in child %d", number)
                os._exit(0)
            assert os.waitpid(child, 0)[1] == 0
            log.get_logger("module").debug("in the parent\n\x1b[1m")
        if not (child := os.fork()):
            log.get_logger("module").debug("in the last child")
            os._exit(0)
        os.waitpid(child, 0)
    expected = ["in child 1", "in the parent | \\x1b[1m", "in child 2", "in the parent | \\x1b[1m", "in the last child"]
    assert trace() == [f"module: {each}" for each in expected]
    assert [line.partition(" module: ")[2] for line in lines] == expected


def test_children_and_workers_log(me: Account, trace: Callable[[], list[str]]) -> None:
    """Those that give up their privileges, and those that share the work; also while the parent only waits for them."""
    lines: list[str] = []
    user = get_account("nobody") if os.geteuid() == 0 else me

    def job(number: int) -> int:
        log.protect({"password": "hush-7"})
        log.get_logger("job").debug("%d, %s", number, "hush-7")
        return number

    def work(_report: object) -> list[int]:
        return map_forked(job, [1, 2], 2)

    def logic(_params: dict[str, Any], _check: bool) -> dict[str, Any]:
        run_in_child(work, user, 60)
        seen.extend(lines)
        return {}

    seen: list[str] = []
    run_logic(logic, {}, False, lines.append)
    expected = ["job: 1, (secret)", "job: 2, (secret)"]
    assert sorted(each for each in trace() if each.startswith("job")) == expected
    for said in (seen, lines):
        assert sorted(line.split(" ", 2)[2] for line in said if " job: " in line) == expected


def test_a_file_that_cannot_be_written_ends_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing directory, a full device, a link that another user may have planted."""
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    for path in (tmp_path / "missing/trace", Path("/dev/full"), tmp_path / "link"):
        monkeypatch.setenv(log.FILE_VARIABLE, str(path))
        with log.tracing():
            log.get_logger("module").debug("lost")
            log.get_logger("module").debug("lost too")
    assert not (tmp_path / "victim").exists()


def test_a_long_word_of_a_command_is_cut() -> None:
    """A script is no news, and its arguments follow."""
    assert log.format_command(["python3", "-c", "x" * 1000, b"\xff"]) == f"python3 -c '{'x' * log.MAX_WORD_LENGTH}…' '\udcff'"


def test_a_trace_that_cannot_be_written_prevents_no_rollback() -> None:
    """The terminal may be gone: steps are undone all the same, and the error is the step's."""
    undone: list[str] = []

    def refuse(_line: str) -> None:
        raise BrokenPipeError

    def fail() -> None:
        raise RepomanError("it failed.")

    steps = [Step("one", lambda: None, undo=lambda: undone.append("one")), Step("two", fail)]
    with log.tracing(refuse), pytest.raises(RepomanError, match="it failed"):
        Plan(steps).apply()
    assert undone == ["one"]


def test_secrets_are_masked_before_words_are_cut(trace: Callable[[], list[str]]) -> None:
    """A long secret in a command leaves no part of itself."""
    with log.tracing():
        log.protect({"password": "s3cret-" * 30})
        log.get_logger("run").debug("%s", log.format_command(["program", "s3cret-" * 30]))
    assert "s3cret" not in "\n".join(trace())
