# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The end of a worker of Ansible when its parent, the command, is killed.

SIGKILL, for example from the kernel when memory is short, reaches only the parent. The worker would go on, unseen and with its locks held.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
from contextlib import suppress
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1


def end_with_parent(in_process: bool) -> None:
    """Let the kernel end this process when its parent ends; do nothing in a process that is not a worker.

    :param in_process: this process does the work of the module. It is killed, as if the whole run had been: the kernel releases its locks,
        its own child processes notice, and the next run continues or cleans up. Otherwise, the programs that it runs, such as ssh, are
        terminated first, so that the module on the other host notices.
    """
    parent = multiprocessing.parent_process()
    if parent is None or parent.pid is None:
        return
    parent_pid = parent.pid
    number = signal.SIGKILL
    if not in_process:
        number = signal.SIGTERM
        previous = signal.getsignal(number)

        def handler(signum: int, frame: FrameType | None) -> None:
            if os.getppid() != parent_pid:
                terminate_children()
                os._exit(1)
            if callable(previous):
                previous(signum, frame)

        signal.signal(number, handler)
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent_pid:  # it ended before this call
        os.kill(os.getpid(), number)


def terminate_children() -> None:
    """Terminate the child processes of this one."""
    for children in Path("/proc/self/task").glob("*/children"):
        with suppress(OSError, ValueError):
            for child in children.read_text().split():
                os.kill(int(child), signal.SIGTERM)
