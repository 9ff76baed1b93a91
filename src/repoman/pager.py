# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A pager for output that is longer than the screen."""

from __future__ import annotations

import io
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from repoman.streams import STDERR, STDOUT

DEFAULT = "less -FRX"
LESS_OPTIONS = "FRX"
"""For a pager ``less`` without options: leave short output, show colors, and keep the output on the screen."""
NOT_STARTED = (126, 127)
"""Exit codes of a shell that could not start the command."""


class Captured(io.TextIOWrapper):
    """Text for a terminal, which keeps the properties of the terminal.

    :param stream: the stream of the terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(io.BytesIO(), stream.encoding or "utf-8", "backslashreplace", newline="")
        self.stream = stream

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.stream.isatty()

    def fileno(self) -> int:
        """Return the file descriptor of the stream."""
        return self.stream.fileno()

    def text(self) -> str:
        """Return what was written."""
        self.flush()
        data: bytes = self.buffer.getvalue()  # type: ignore[attr-defined]
        return data.decode(self.encoding)


class Paged:
    """Context in which output is collected, to be shown at its end: with the pager if it is longer than the screen.

    Errors are collected, too, and follow the rest. Enter it only if the standard output is a terminal.
    """

    def __enter__(self) -> None:
        self.streams = sys.stdout, sys.stderr
        self.out, self.err = Captured(sys.stdout), Captured(sys.stderr)
        sys.stdout, sys.stderr = self.out, self.err

    def __exit__(self, exc_type: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        sys.stdout, sys.stderr = self.streams
        text = self.out.text()
        command = pager_command(os.environ)
        if error is not None or not command or not is_longer(text) or not show(text, command):
            sys.stdout.write(text)
            sys.stdout.flush()
        sys.stderr.write(self.err.text())
        sys.stderr.flush()


def pager_command(environment: Mapping[str, str]) -> str:
    """Return the command line of the pager, for a shell; empty for none."""
    command = environment.get("REPOMAN_PAGER", environment.get("PAGER"))
    if command is None:
        return DEFAULT if shutil.which("less", path=environment.get("PATH")) else ""
    return "" if command.strip() in ("", "cat") else command


def is_longer(text: str) -> bool:
    """Return whether a text with a prompt below it is longer than the screen."""
    return text.count("\n") >= shutil.get_terminal_size().lines


def show(text: str, command: str) -> bool:
    """Show a text with a pager; return whether it was started. A pager that ends early is no error.

    The terminal sends an interrupt to the pager, too, which decides what that means: ``less`` goes on. So this process ignores it.

    :raises KeyboardInterrupt: another process terminates this one; then the pager is terminated, too.
    """
    data = text.encode(getattr(sys.stdout, "encoding", None) or "utf-8", "backslashreplace")
    previous = signal.signal(signal.SIGINT, lambda _signum, _frame: None)  # not SIG_IGN, which the pager would inherit
    try:
        direct = command if re.search(r"[|&;()=]", command) else f"exec {command}"  # so that it is the process that is terminated
        environment = {"LESS": LESS_OPTIONS, **os.environ}
        # ansible has marked the standard streams as its own; named here, the pager inherits them all the same
        with subprocess.Popen(["/bin/sh", "-c", direct], stdin=subprocess.PIPE, stdout=STDOUT, stderr=STDERR, env=environment) as pager:
            try:
                pager.communicate(data)
            except BaseException:
                pager.terminate()
                pager.wait()
                raise
    except OSError:
        return False
    finally:
        signal.signal(signal.SIGINT, previous)
    return pager.returncode not in NOT_STARTED
