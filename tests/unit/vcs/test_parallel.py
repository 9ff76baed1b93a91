# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many repositories at the same time."""

from __future__ import annotations

import os
import pty
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError, CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import hg, parallel, state

LIMIT = 60
"""Seconds after which a test fails that waits for something that does not come."""


class Count:
    """Counts what was started, and waits for a number."""

    def __init__(self) -> None:
        self.value, self.changed = 0, threading.Condition()

    def add(self) -> None:
        """Count one."""
        with self.changed:
            self.value += 1
            self.changed.notify_all()

    def wait_for(self, value: int) -> bool:
        """Return whether it becomes that number."""
        with self.changed:
            return self.changed.wait_for(lambda: self.value >= value, LIMIT)


def test_commands_that_wait_do_not_keep_others_from_being_started() -> None:
    """All of them wait at the same time, however many there are: together they take no longer than one. The results are in order."""
    count, numbers = Count(), range(5 * parallel.WORKING)
    waiting, end = os.pipe()

    def read(number: int) -> int:
        count.add()
        subprocess.run(["sh", "-c", "cat; true"], stdin=waiting, check=True)
        return -number

    with ThreadPoolExecutor() as pool:
        results = pool.submit(parallel.read_all, numbers, read, lambda _done: None)
        all_started = count.wait_for(len(numbers))
        os.close(end)
        assert all_started
        assert results.result(LIMIT) == [-number for number in numbers]
    os.close(waiting)


def test_commands_that_work_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than the processors can work on would only make all of them slow."""
    monkeypatch.setattr(parallel, "WORKING", 2)
    started, reports, done = Count(), Count(), []

    def read(number: int) -> None:
        started.add()
        subprocess.run(["sh", "-c", f"until [ -e {tmp_path}/end ]; do :; done"], check=True)

    def on_progress(number: int) -> None:
        done.append(number)
        reports.add()

    with ThreadPoolExecutor() as pool:
        results = pool.submit(parallel.read_all, range(5), read, on_progress)
        is_reported = reports.wait_for(3)
        running = started.value
        (tmp_path / "end").touch()
        results.result(LIMIT)
    assert is_reported and running == 2 and done[:3] == [0, 0, 0] and started.value == 5


def test_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that waits for a command lets another one work."""
    monkeypatch.setattr(parallel, "PATIENCE", LIMIT)
    turns, order, is_waiting, end = parallel.Turns(), list[str](), threading.Event(), threading.Event()

    def first() -> None:
        with turns.working():
            order.append("works")
            with turns.waiting():
                is_waiting.set()
                assert end.wait(LIMIT)
            order.append("works again")

    def second() -> None:
        assert is_waiting.wait(LIMIT)
        with turns.working():
            end.set()
            order.append("other works")

    with ThreadPoolExecutor() as pool:
        for future in [pool.submit(first), pool.submit(second)]:
            future.result()
    assert order == ["works", "other works", "works again"]


def test_a_thread_that_hangs_does_not_keep_its_turn_from_the_others() -> None:
    """They work without one, and what they give back is not more than what they took."""
    turns, hangs, end = parallel.Turns(), threading.Event(), threading.Event()

    def hang() -> None:
        with turns.working():
            hangs.set()
            assert end.wait(LIMIT)

    def work() -> None:
        with turns.working(), turns.waiting():
            pass

    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(hang)
        assert hangs.wait(LIMIT)
        for future in [pool.submit(work) for _number in range(3)]:
            future.result(LIMIT)
        assert turns._free == 0
        end.set()
        hanging.result()
    assert turns._free == turns.count


def test_work_that_waits_for_a_disk_gets_more_turns() -> None:
    """Up to the number of repositories that are read at the same time; work that needs the processor gets none."""
    waits, computes, together = parallel.Turns(), parallel.Turns(), threading.Barrier(parallel.WORKING)

    def wait() -> bool:
        for _number in range(200):
            with waits.working():
                time.sleep(0.004)
            if waits.count == parallel.WORKING:
                break
        with waits.working():
            return together.wait(LIMIT) >= 0

    with ThreadPoolExecutor(parallel.WORKING) as pool:
        assert all(future.result(LIMIT) for future in [pool.submit(wait) for _number in range(parallel.WORKING)])
    assert waits.count == waits._free == parallel.WORKING
    for _number in range(20):
        computes._judge(0.006, 0.004)
    assert computes.count == computes._free == 1


def test_waiting_without_working_changes_nothing() -> None:
    """Another thread that runs a command takes no turn and gives none back."""
    turns = parallel.Turns()
    with turns.waiting():
        assert turns._free == 1
    with turns.working(), turns.waiting(), turns.waiting():
        assert turns._free == 1
    assert turns._free == 1


@pytest.mark.parametrize(("count", "is_early"), [(100, True), (2, False)])
def test_early_progress(monkeypatch: pytest.MonkeyPatch, count: int, is_early: bool) -> None:
    """What is known is shown early if there is much more; what is done soon needs no progress."""
    monkeypatch.setattr(parallel, "INTERVAL", 2)
    monkeypatch.setattr(parallel, "EARLY", 0.1)
    began, is_shown, seen = time.monotonic(), threading.Event(), list[tuple[int, bool]]()

    def read(number: int) -> None:
        if number:
            is_shown.wait(LIMIT)

    def on_progress(done: int) -> None:
        seen.append((done, time.monotonic() - began < parallel.INTERVAL))
        is_shown.set()

    parallel.read_all(range(count), read, on_progress)
    assert seen[0] == (1, is_early)


def test_an_error_is_that_of_the_caller() -> None:
    """It is raised once all have ended."""
    seen = []

    def read(number: int) -> None:
        seen.append(number)
        if number == 1:
            raise ValueError(number)

    with pytest.raises(ValueError, match="1"):
        parallel.read_all(range(20), read, lambda _done: None)
    assert len(seen) == 20
    assert parallel.read_all([], read, lambda _done: None) == []


def test_what_is_read_once_is_read_once(me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that need the version of Mercurial at the same time do not all ask for it; after an error it is asked for again."""
    runner, together = CommandRunner(me, 12.5), threading.Barrier(4)
    asked: list[str] = []

    def read_version(_runner: CommandRunner) -> str:
        asked.append("")
        with suppress(threading.BrokenBarrierError):
            together.wait(0.5)  # that all of them are here would break the rule
        if len(asked) == 1:
            raise CommandError("no answer")
        return "6.0"

    monkeypatch.setattr(hg, "read_hg_version", read_version)
    with ThreadPoolExecutor(4) as pool:
        errors = [future.exception() for future in [pool.submit(hg.check_hg_version, runner) for _number in range(4)]]
        assert isinstance(errors[0], CommandError)
        for future in [pool.submit(hg.check_hg_version, runner) for _number in range(4)]:
            future.result()
    assert len(asked) == 2


def test_progress_on_a_terminal(me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """While repositories are read, a terminal shows how many are done; the line is removed at the end."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(parallel, "INTERVAL", 0.05)
    master, slave = pty.openpty()
    seen = b""

    def read(path: str, *_how: Any) -> state.RepositoryState:
        nonlocal seen
        if path == "/b":
            while b"1 of 2" not in seen:
                seen += os.read(master, 4096)
        return state.RepositoryState(kind="git", branch=path)

    monkeypatch.setattr(state, "read_state", read)
    with open(slave, "w") as terminal:
        progress.set_output(terminal)
        try:
            states = state.read_states({"a": "/a", "b": "/b"}, "/", me, 20)
        finally:
            progress.set_output(None)
        os.write(slave, b"end")
        while not seen.endswith(b"end"):
            seen += os.read(master, 4096)
    os.close(master)
    assert b"\r\x1b[Kreading repositories: 1 of 2" in seen and seen.endswith(b"\r\x1b[Kend")
    assert [each["branch"] for each in states.values()] == ["/a", "/b"]


def test_what_is_known_before_the_rest(me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the first repository does not answer, the others are shown in their order, and the line names the first."""
    monkeypatch.setattr(parallel, "INTERVAL", 0.05)
    shown, enough = list[tuple[str, list[str]]](), threading.Event()

    def read(path: str, *_how: Any) -> state.RepositoryState:
        if path == "/d" or (path == "/a" and not enough.wait(LIMIT)):
            enough.wait(LIMIT)
        return state.RepositoryState(kind="git", branch=path)

    def update(text: str, above: Any = ()) -> None:
        shown.append((text, list(above)))
        if len(above) == 2:
            enough.set()

    monkeypatch.setattr(state, "read_state", read)
    monkeypatch.setattr(progress, "update", update)
    monkeypatch.setattr(progress, "is_live", lambda: True)
    monkeypatch.setattr(progress, "preview", lambda known: [f"{key} {each['branch']}" for key, each in known.items()])
    states = state.read_states({name: f"/{name}" for name in "abcd"}, "/", me, 20)
    assert ("reading repositories: 2 of 4, waiting for a and 1 other", ["b /b", "c /c"]) in shown
    assert [each["branch"] for each in states.values()] == ["/a", "/b", "/c", "/d"]
