# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forked workers that change things: they roll back if the run is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step, signals_as_exceptions
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import imap_forked

TIMEOUT = 60.0


def wait_for(*paths: Path) -> None:
    """Wait until files exist."""
    deadline = time.monotonic() + TIMEOUT
    while not all(path.exists() for path in paths):
        assert time.monotonic() < deadline, paths
        time.sleep(0.01)


def children() -> set[str]:
    """Return the child processes of this process."""
    return {child for file in Path("/proc/self/task").glob("*/children") for child in file.read_text(encoding="ascii").split()}


def results_of(work: Any, jobs: list[Any], processes: int) -> dict[Any, Any]:
    """Return the result of each job; None if its process was killed."""
    found = imap_forked(lambda job, _send: work(job), jobs, processes, lost=lambda _job: None, grace=TIMEOUT)
    return {jobs[number]: result for number, result in found}


@pytest.mark.parametrize("processes", [2, 3, 9])
def test_results_and_deaths(processes: int) -> None:
    """Other processes do the work; the death of one is the result of its job, and stops no other."""

    def work(job: str) -> tuple[str, int]:
        if job == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return job, os.getpid()

    before = children()
    results = results_of(work, ["a", "killed", "b"], processes)
    assert results["a"][0] == "a" and results["b"][0] == "b" and os.getpid() not in (results["a"][1], results["b"][1])
    assert results["killed"] is None
    assert children() == before  # none is left


def test_errors_of_every_class() -> None:
    """An error arrives with its class and attributes, also if its class takes other arguments."""

    def work(job: str) -> RepomanError:
        return IncusError(409, job, f"{job}.", "a hint", "another") if job == "busy" else ConflictError("no.", "try again")

    results = results_of(work, ["busy", "refused"], 2)
    error = results["busy"]
    assert isinstance(error, IncusError) and (error.code, error.reason, error.message) == (409, "busy", "busy.")
    assert error.hints == ["a hint", "another"] and str(error) == "busy."
    assert isinstance(results["refused"], ConflictError) and results["refused"].hints == ["try again"]


def test_as_many_at_once_as_asked_for(tmp_path: Path) -> None:
    """Two wait for each other; the third one starts when one of them has ended."""

    def work(job: str) -> list[str]:
        others = sorted(os.listdir(tmp_path))
        (tmp_path / job).touch()
        if job in "ab":
            wait_for(tmp_path / "a", tmp_path / "b")
        return others

    results = results_of(work, ["a", "b", "c"], 2)
    assert "c" not in results["a"] + results["b"] and {"a", "b"} == set(results["c"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted(tmp_path: Path, number: signal.Signals, request: pytest.FixtureRequest) -> None:
    """What has not ended is rolled back, what has not begun is not begun, and the finished result was reported."""
    previous = signal.signal(number, signal.SIG_DFL)  # nohup would ignore it
    request.addfinalizer(lambda: signal.signal(number, previous))

    def work(job: str) -> str:
        if job == "done":
            return job
        (tmp_path / f"{job}.started").touch()
        Plan([Step("make", (tmp_path / job).touch, undo=(tmp_path / job).unlink), Step("wait", lambda: time.sleep(TIMEOUT))]).apply()
        return job

    results: dict[str, Any] = {}
    jobs = ["done", "b", "c", "d", "e"]
    with pytest.raises(RunInterruptedError), signals_as_exceptions():
        for index, result in imap_forked(lambda job, _send: work(job), jobs, 2, grace=TIMEOUT):
            results[jobs[index]] = result
            wait_for(tmp_path / "b")
            os.kill(os.getpid(), number)
    assert results == {"done": "done"} and not {"d.started", "e.started"} & set(os.listdir(tmp_path))
    assert not [path.name for path in tmp_path.iterdir() if path.suffix != ".started"]


SCRIPT = """
import os, sys, time
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import imap_forked

def work(job, send):
    open(f"{sys.argv[1]}/{job}", "w").write(str(os.getpid()))
    time.sleep(60)

list(imap_forked(work, ["a", "b"], 2, grace=60.0))
"""


def test_killed(tmp_path: Path) -> None:
    """A run that is killed leaves no process behind."""
    process = subprocess.Popen(
        [sys.executable, "-c", SCRIPT, tmp_path], env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    )
    try:
        wait_for(tmp_path / "a", tmp_path / "b")
        deadline = time.monotonic() + TIMEOUT
        while not all((tmp_path / name).read_text() for name in "ab"):
            assert time.monotonic() < deadline
    finally:
        process.kill()
        process.wait()
    pids = [int((tmp_path / name).read_text()) for name in "ab"]
    while any(is_alive(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that has ended may wait for its new parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_error_in_the_parent() -> None:
    """An error while a result is taken ends the other processes."""

    def work(job: str) -> str:
        if job == "b":
            time.sleep(TIMEOUT)
        return job

    before = children()
    with pytest.raises(RepomanError, match="cannot take a"):
        for _number, result in imap_forked(lambda job, _send: work(job), ["a", "b"], 2):
            raise RepomanError(f"cannot take {result}.")
    assert children() == before


FORK_SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step, signals_as_exceptions
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import imap_forked

place, fork, begun = Path(sys.argv[1]), os.fork, os.getpid()

def interrupted_fork():
    child = fork()
    os.kill(os.getpid(), signal.SIGTERM)
    return child

def work(job, send):
    Plan([Step("make", (place / job).touch, undo=(place / job).unlink), Step("wait", lambda: time.sleep(60))]).apply()

os.fork = interrupted_fork
try:
    with signals_as_exceptions():
        list(imap_forked(work, ["a", "b"], 2, grace=60.0))
except RunInterruptedError:
    print(os.getpid() == begun, os.listdir(place))
"""


def test_interrupted_while_it_forks(tmp_path: Path) -> None:
    """A signal at that moment waits: the new process is known, and rolls back; no second copy of the run goes on.

    In a process of its own: other threads, such as those of the test runner, would take the signal.
    """
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, "-c", FORK_SCRIPT, tmp_path], env=os.environ | {"PYTHONPATH": path}, check=True, capture_output=True, text=True
    )
    assert done.stdout == "True []\n", done
