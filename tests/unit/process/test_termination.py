# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands end with the process that started them, however that is ended, except by SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = """\
import os, signal, sys
from pathlib import Path
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import signals_as_exceptions
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import get_account
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.parallel import read_all
number, handler, place = signal.Signals[sys.argv[1]], sys.argv[2], sys.argv[3]

def worker(signum, frame):
    signal.signal(signum, signal.SIG_DFL)
    os.kill(os.getpid(), signum)

def command(name):
    runner = CommandRunner(get_account(), 600)
    return runner.run(["sh", "-c", f"sleep 600 & echo $$ $! >{name}.new; mv {name}.new {name}; wait"], os.environ, place)

def work():
    if "threads" in sys.argv:
        read_all(["one", "two"], command, lambda done: None)
    else:
        command("one")

signal.signal(signal.SIGINT, signal.default_int_handler)
if handler == "worker":
    signal.signal(number, worker)
if handler == "exception":
    with signals_as_exceptions():
        work()
work()
"""


def is_running(pid: int) -> bool:
    """Return whether a process has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def pids(process: subprocess.Popen[bytes], place: Path, count: int) -> list[int]:
    """Return the processes of the commands, once all have begun."""
    deadline = time.monotonic() + 60
    while len(found := [path for path in place.iterdir() if not path.suffix]) < count:
        assert process.poll() is None and time.monotonic() < deadline, process.poll() and process.communicate()
        time.sleep(0.02)
    return [int(pid) for path in found for pid in path.read_text().split()]


@pytest.mark.parametrize("how", ["threads", "main"])
@pytest.mark.parametrize(
    ("name", "handler"),
    [
        ("SIGINT", "none"),
        ("SIGTERM", "none"),
        ("SIGHUP", "none"),
        ("SIGINT", "worker"),
        ("SIGTERM", "worker"),
        ("SIGTERM", "exception"),
        ("SIGINT", "exception"),
    ],
)
def test_commands_end_with_their_process(tmp_path: Path, name: str, handler: str, how: str) -> None:
    """With every kind of signal handler, the commands and their children end too, and the process ends as before."""
    argv = [sys.executable, "-c", PROGRAM, name, handler, str(tmp_path), how]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        started = pids(process, tmp_path, 2 if how == "threads" else 1)
        process.send_signal(signal.Signals[name])
        _out, err = process.communicate(timeout=60)
    assert process.returncode in {-signal.Signals[name], 1}, err
    deadline = time.monotonic() + 10
    while left := [pid for pid in started if is_running(pid)]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def test_what_handles_signals_otherwise_is_not_replaced() -> None:
    """The handlers are the same afterwards, and an ignored signal stays ignored."""
    from ansible_collections.homelab.repoman.plugins.module_utils.process.termination import SIGNALS, commands_end_too

    before = {number: signal.getsignal(number) for number in SIGNALS}
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with commands_end_too():
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before[signal.SIGHUP])
    assert {number: signal.getsignal(number) for number in SIGNALS} == before
