# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Long output on a terminal: with real pagers on a real terminal of ten lines."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from command_environment import environment

from repoman.pager import pager_command

SCRIPT = """
import fcntl, os, signal, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
for fd in (0, 1, 2):
    os.set_inheritable(fd, False)  # as ansible does
from repoman import pager, streams

def interrupt(signum, frame):
    raise KeyboardInterrupt

signal.signal(signal.SIGTERM, interrupt)
streams.prepare()
try:
    with pager.Paged():
        print("an error", file=sys.stderr)
        for number in range(int(sys.argv[1])):
            print("line", number)
        print("terminal", sys.stdout.isatty())
        if sys.argv[2:]:
            raise KeyboardInterrupt
    code = 7
except KeyboardInterrupt:
    code = 130
sys.exit(streams.finish(code))
"""
"""Prints an error and lines, and ends with status 7, or with 130 after an interrupt."""


class Terminal:
    """A program on a terminal.

    :param argv: its arguments.
    :param env: its environment.
    """

    def __init__(self, argv: list[str], env: dict[str, str]) -> None:
        self.fd, inner = os.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 10, 80, 0, 0))
        self.process = subprocess.Popen(argv, env=env, stdin=inner, stdout=inner, stderr=inner, start_new_session=True)
        os.close(inner)
        self.text = ""

    def read(self, marker: str = "") -> str:
        """Read up to a marker, or without one to the end; return all that was read so far."""
        while not marker or marker not in self.text:
            data = b""
            with suppress(OSError):  # the end
                data = os.read(self.fd, 4096)
            if not data:
                assert not marker, self.text
                break
            self.text += data.decode().replace("\r\n", "\n")
        return self.text

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self.fd, keys.encode())

    def type_until(self, keys: str, marker: str) -> None:
        """Press keys again and again until a marker is shown: less forgets those that it was sent while it was interrupted."""
        while marker not in self.text:
            self.type(keys)
            if select.select([self.fd], [], [], 0.2)[0]:
                self.text += os.read(self.fd, 4096).decode()

    def ends(self) -> tuple[str, int]:
        """Return all output and the exit status."""
        return self.read(), self.process.wait()


@contextmanager
def terminal(home: Path, lines: int, *more: str, **variables: str) -> Iterator[Terminal]:
    """Run the script for a while."""
    env = environment(home) | {"TERM": "xterm"} | variables
    running = Terminal([sys.executable, "-c", SCRIPT, str(lines), *more], env)
    try:
        yield running
    finally:
        running.process.kill()
        running.process.wait()
        os.close(running.fd)


def program(path: Path, text: str) -> str:
    """Write a script; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def whole(lines: int) -> str:
    """Return the output without a pager: the errors come last."""
    return "".join(f"line {number}\n" for number in range(lines)) + "terminal True\nan error\n"


@pytest.mark.parametrize(
    ("variables", "command"),
    [
        ({}, "less -FRX"),
        ({"PATH": "/nonexistent"}, ""),
        ({"PAGER": "more"}, "more"),
        ({"PAGER": "more", "REPOMAN_PAGER": "less -S"}, "less -S"),
        ({"PAGER": "more", "REPOMAN_PAGER": ""}, ""),
        ({"PAGER": ""}, ""),
        ({"PAGER": " cat "}, ""),
    ],
)
def test_choice(variables: dict[str, str], command: str) -> None:
    """The variable of repoman, that of all programs, or less if there is one."""
    assert pager_command({"PATH": os.environ["PATH"]} | variables) == command


def test_pager_and_status(tmp_path: Path) -> None:
    """More than a screen goes through the pager, with its options, and then come the errors; the exit status is the verb's."""
    with terminal(tmp_path, 20, PAGER="sed -e s/line/paged/ | tail -n 3") as running:
        assert running.ends() == ("paged 18\npaged 19\nterminal True\nan error\n", 7)


@pytest.mark.parametrize(
    ("lines", "pager"),
    [(5, "sed s/line/paged/"), (20, ""), (20, "cat"), (20, "/nonexistent/pager")],
    ids=["fits", "none", "cat", "missing"],
)
def test_plain(tmp_path: Path, lines: int, pager: str) -> None:
    """Output that fits, or for which there is no pager, is complete."""
    with terminal(tmp_path, lines, PAGER=pager) as running:
        text, code = running.ends()
        assert text.endswith(whole(lines)) and code == 7


def test_reader_that_goes_early(tmp_path: Path) -> None:
    """It is no error, however much is left."""
    with terminal(tmp_path, 50000, REPOMAN_PAGER="head -n 1") as running:
        assert running.ends() == ("line 0\nan error\n", 7)


def test_less(tmp_path: Path) -> None:
    """It shows the first screen and waits for keys; it handles an interrupt itself; after q nothing else is printed."""
    with terminal(tmp_path, 100) as running:
        running.read("line 8")
        running.type("\x03")
        running.type_until(" ", "line 17")
        running.type("q")
        text, code = running.ends()
        assert code == 7 and text.endswith("an error\n") and "line 90" not in text and "Traceback" not in text


def test_pager_that_ends_with_an_interrupt(tmp_path: Path) -> None:
    """The status is that of the verb all the same."""
    pager = program(tmp_path / "pager", "cat >/dev/null; echo ready; exec sleep 1000")
    with terminal(tmp_path, 20, PAGER=pager) as running:
        running.read("ready")
        running.type("\x03")
        text, code = running.ends()
        assert (text.replace("^C", ""), code) == ("ready\nan error\n", 7)


def test_termination(tmp_path: Path) -> None:
    """A program that is terminated takes the pager along."""
    pager = program(tmp_path / "pager", "cat >/dev/null; echo pid $$ ready; exec sleep 1000")
    with terminal(tmp_path, 20, PAGER=pager) as running:
        pid = int(running.read("ready").split()[1])
        running.process.send_signal(signal.SIGTERM)
        assert running.ends()[1] == 130
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_interrupted_run(tmp_path: Path) -> None:
    """What was printed until then is shown without a pager."""
    with terminal(tmp_path, 20, "interrupted", PAGER="sed s/line/paged/") as running:
        assert running.ends() == (whole(20), 130)
