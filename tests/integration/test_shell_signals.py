# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The verb shell: signals reach the command in the container, with and without a terminal, and what it leaves ends too."""

from __future__ import annotations

import signal
import subprocess
import time

from test_shell import terminal
from world import TIMEOUT, World

SCRIPT = 'sleep 4321 & exec sh -c "echo started; exec sleep 4321"'
"""For bash, which itself always ignores SIGQUIT: a key typed once it says that it has started must not be lost."""
STATUS = {signal.SIGINT: 130, signal.SIGQUIT: 131, signal.SIGTERM: 143, signal.SIGHUP: 143}
"""The signals that end a command, and the exit status that ``incus exec`` gives."""


def sleeping(world: World) -> int:
    """Return the number of processes ``sleep 4321`` in the container."""
    return world.incus("exec", "--project=repoman", "demo", "--", "sh", "-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr -d '\\0'").count(
        "sleep4321"
    )


def interrupted(world: World, number: signal.Signals, *command: str) -> int:
    """Send a signal to a command without a terminal, once it runs; return its exit status."""
    process = world.start("repoman", "shell", "demo", "--", *command)
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=TIMEOUT)
    assert b"killing" not in err, (out, err)
    return process.returncode


def test_signals(ready: World) -> None:
    """SIGINT, SIGQUIT, SIGTERM and SIGHUP end the command and its background jobs, which ignore SIGINT; keys on a terminal do the same."""
    ready.git_repository("demo")
    ready.new("demo", image="debian")
    for number, status in STATUS.items():
        assert interrupted(ready, number, "bash", "-c", SCRIPT) == status
        assert sleeping(ready) == 0
    assert interrupted(ready, signal.SIGTERM, "sh", "-c", "trap 'echo cleaned; exit 9' TERM; echo started; sleep 4321") == 9
    for key, status in (("\x03", 130), ("\x1c", 131)):
        with terminal(ready, "sh", "-c", f"repoman shell demo -- bash -c '{SCRIPT}' | cat; exit ${{PIPESTATUS:-0}}") as there:
            there.wait_for("started")
            there.type(key)
            there.end()
        with terminal(ready, "repoman", "shell", "demo", "--", "bash", "-c", SCRIPT) as there:
            there.wait_for("started")
            there.type(key)
            assert there.end() == status
        assert sleeping(ready) == 0
    for number, command in ((signal.SIGTERM, ["--", "bash", "-c", SCRIPT]), (signal.SIGHUP, []), (signal.SIGTERM, [])):
        with terminal(ready, "repoman", "shell", "demo", *command) as there:
            if not command:
                there.type("sleep 4321 & echo star''ted\n")
            there.wait_for("started")
            subprocess.run(["kill", f"-{number.value}", str(there.pid)], check=True)
            assert there.end() == (143 if command else 129)
    deadline = time.monotonic() + TIMEOUT
    while sleeping(ready):
        assert time.monotonic() < deadline


def test_command_that_does_not_exist(ready: World) -> None:
    """One sentence and 127, with any image; other exit statuses stay what they are, and no file stays."""
    ready.git_repository("demo")
    ready.new("demo")
    done = ready.run("repoman", "shell", "demo", "--", "nosuch", "x")
    assert (done.code, done.out, done.err) == (127, "", "repoman: error: the container has no command 'nosuch'.\n")
    done = ready.run("repoman", "shell", "demo", "--", "sh", "-c", "ls -A /tmp; exit 253")
    assert (done.code, done.out, done.err) == (253, "", "")
    assert interrupted(ready, signal.SIGINT, "sh", "-c", SCRIPT) == 130
    assert sleeping(ready) == 0
