# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Start commands. All commands are started here, so that the trace has each of them once."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.log import format_command, get_logger

_logger = get_logger("process")


class Command(subprocess.Popen[bytes]):
    """A command, which is in the trace once it has ended: its words, exit status and duration.

    Its environment is not: it may hold secrets.

    :param argv: the command and its arguments.
    :param how: further arguments of ``Popen``.
    """

    def __init__(self, argv: Sequence[str | bytes], **how: Any) -> None:
        self._argv, self._start_time, self._is_logged = list(argv), time.monotonic(), False
        try:
            super().__init__(self._argv, **how)
        except OSError as error:
            _logger.debug("cannot be run (%s): %s", error.strerror, format_command(self._argv))
            raise

    def end(self, grace: float | None = None, problem: str = "") -> None:
        """Kill it if it is still running, collect it, and close its pipes.

        :param grace: maximum number of seconds to wait for its end; a process in a system call on a dead server's file system outlives
            even SIGKILL.
        :param problem: why it was ended early.
        """
        if self.poll() is None:
            self.kill()
            with suppress(subprocess.TimeoutExpired):
                self.wait(grace)
        if not self._is_logged:
            self._is_logged = True
            code = "killed, still there" if self.returncode is None else f"exit {self.returncode}"
            why = f" ({problem})" if problem else ""
            _logger.debug("%s after %d ms%s: %s", code, 1000 * (time.monotonic() - self._start_time), why, format_command(self._argv))
        for stream in (self.stdin, self.stdout, self.stderr):
            if stream is not None:
                with suppress(BrokenPipeError):
                    stream.close()

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None) -> None:
        """End it; unlike ``Popen``, do not wait for its own end."""
        self.end()
