# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work in a child process that can be given up on."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process import child
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report, UnresponsiveError, run_in_child


def test_reports_and_result_arrive(me: Account) -> None:
    """Reports and result arrive."""
    said: list[object] = []

    def work(report: Report) -> object:
        report(1)
        report("a\udcff")
        return {"pid": os.getpid()}

    assert run_in_child(work, me, 60, on_report=said.append)["pid"] != os.getpid()
    assert said == [1, "a\udcff"]


def test_errors_arrive_as_they_were(me: Account) -> None:
    """Errors arrive as they were."""

    def conflict(report: Report) -> None:
        raise ConflictError("no.", "hint")

    def missing(report: Report) -> None:
        os.stat("/nowhere/at/all")

    def no_thread(report: Report) -> None:
        raise RuntimeError("can't start new thread")

    with pytest.raises(ConflictError, match="no") as caught:
        run_in_child(conflict, me, 60)
    assert caught.value.hints == ["hint"]
    with pytest.raises(RepomanError, match="/nowhere/at/all: No such file") as other:
        run_in_child(missing, me, 60)
    assert other.value.hints
    with pytest.raises(RepomanError, match="no process, memory or file descriptor left"):
        run_in_child(no_thread, me, 60)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        run_in_child(lambda report: 1 / 0, me, 60)
    assert pickle.loads(pickle.dumps(ConflictError("a", "b"))).hints == ["b"]  # noqa: S301


def test_a_target_that_does_not_answer_is_given_up_on(tmp_path: Path, me: Account) -> None:
    """A target that does not answer is given up on."""
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnresponsiveError):
        run_in_child(lambda report: (tmp_path / "fifo").read_text(), me, 0.2)
    with pytest.raises(UnresponsiveError):
        run_in_child(lambda report: (tmp_path / "fifo").read_text(), me, 0.2, ["cat", str(tmp_path / "fifo")])


def test_slow_work_on_a_target_that_answers_is_waited_for(tmp_path: Path, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work ends only once the target was asked, tenth by tenth of a second, for longer than the timeout."""
    monkeypatch.setattr(child, "LIVENESS_INTERVAL", 0.1)
    asked = tmp_path / "asked"

    def work(report: Report) -> str:
        while not asked.exists() or asked.stat().st_size < 30:
            time.sleep(0.01)
        return "done"

    assert run_in_child(work, me, 4, ["sh", "-c", f"printf x >>{asked}"]) == "done"


def test_a_child_that_is_killed_is_an_error_and_takes_its_children_along(me: Account) -> None:
    """A child that is killed is an error and takes its children along."""
    pids: list[int] = []

    def work(report: Report) -> None:
        report(subprocess.Popen(["sleep", "1000"]).pid)
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RepomanError, match="was killed"):
        run_in_child(work, me, 60, on_report=pids.append)
    assert _gone(pids[0])


def test_an_interruption_reaches_the_child_and_its_children(me: Account) -> None:
    """An interruption reaches the child and its children."""
    said: list[object] = []

    def work(report: Report) -> None:
        try:
            report(subprocess.Popen(["sleep", "1000"]).pid)
            while True:
                time.sleep(1)
        finally:
            report("ended")

    def interrupt(report: object) -> None:
        said.append(report)
        if isinstance(report, int):
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(RunInterruptedError):
        run_in_child(work, me, 60, on_report=interrupt)
    assert said[1:] == ["ended"]
    assert _gone(said[0])


def test_a_child_does_not_outlive_its_parent(me: Account) -> None:
    """A child does not outlive its parent."""
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        try:
            run_in_child(lambda report: (os.write(writing, f"{os.getpid()} ".encode()), signal.pause()), me, 60)
        finally:
            os._exit(0)
    os.close(writing)
    worker = int(os.read(reading, 20))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    assert os.read(reading, 1) == b""  # the end of the pipe: nobody holds it any more
    os.close(reading)
    assert _gone(worker)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another")
def test_root_works_as_the_user_it_serves(tmp_path: Path) -> None:
    """Root works as the user it serves."""
    nobody = Account("nobody", 65534, 65534, "nogroup", "/nonexistent", "/bin/sh")

    def work(report: Report) -> object:
        return os.getresuid(), os.getresgid(), os.environ["HOME"], threading.active_count()

    uids, gids, home, _threads = run_in_child(work, nobody, 60)
    assert (set(uids), set(gids), home) == ({65534}, {65534}, "/nonexistent")


def _gone(pid: object) -> bool:
    """Whether a process ends; it was killed, so it will."""
    while True:
        try:
            with open(f"/proc/{pid}/stat", encoding="ascii") as file:
                if file.read().rpartition(")")[2].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
