# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""End the commands of this process when it is interrupted or terminated.

Each command has a session of its own, so a signal to this process or its group does not reach it. A command that hangs, such as git at a
FIFO or on a dead server, would stay for ever.

Signals are handled only while the main thread waits for commands. Elsewhere a handler would be worse than none: a process that waits for a
dead server inside the kernel is ended only by a signal without a handler.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RunInterruptedError

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
TASKS = Path("/proc/self/task")
COLLECTION = __name__.partition(".plugins.")[0]
"""Handlers of the collection raise exceptions, or hold signals back during a rollback."""


@contextmanager
def commands_end_too() -> Iterator[None]:
    """Kill the commands of this process if it is interrupted in the block, or ended by a signal."""
    if threading.current_thread() is not threading.main_thread():  # which signals do not reach
        yield
        return
    previous: dict[signal.Signals, Any] = {number: handler for number in SIGNALS if _ends_process(handler := signal.getsignal(number))}

    def end(number: int, _frame: FrameType | None) -> None:
        kill_commands()
        signal.signal(number, previous[signal.Signals(number)])
        os.kill(os.getpid(), number)

    for number in previous:
        signal.signal(number, end)
    try:
        yield
    except (KeyboardInterrupt, RunInterruptedError):
        kill_commands()
        raise
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def kill_commands() -> None:
    """Kill the child processes that lead a session, with what they started: the commands, but nothing that this process forked."""
    for children in TASKS.glob("*/children"):
        with suppress(OSError, ValueError):
            for child in map(int, children.read_text().split()):
                with suppress(ProcessLookupError, PermissionError):
                    if os.getsid(child) == child:
                        os.killpg(child, signal.SIGKILL)


def _ends_process(handler: Callable[[int, FrameType | None], Any] | int | None) -> bool:
    """Return whether a handler ends the process without an exception: the kernel's, or that of Ansible's workers."""
    if handler is signal.SIG_DFL:
        return True
    return callable(handler) and handler is not signal.default_int_handler and not str(handler.__module__).startswith(COLLECTION)
