# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work on a file system that may stop answering, in a child process that can be given up on.

A system call on a dead server does not return, and no signal ends it. So this process never touches such a file system: a child does, and
reports over a pipe. If the child is silent and the file system does not answer another process either, the child is abandoned and the
caller gets an error.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from types import FrameType
from typing import Any, NoReturn

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger, relay_forks
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import signals_as_exceptions
from ansible_collections.homelab.repoman.plugins.module_utils.process.command import Command
from ansible_collections.homelab.repoman.plugins.module_utils.process.identity import Identity, drop_privileges

LIVENESS_INTERVAL = 2.0
"""Seconds of silence after which the file system is probed."""
GRACE_SECONDS = 10.0
"""How long the child may take to end after SIGTERM."""
REAP_SECONDS = 1.0
REPORT, RESULT, RAISED, CRASHED = "report", "result", "raised", "crashed"

Report = Callable[[Any], None]
Work = Callable[[Report], Any]

_logger = get_logger("process")


class UnresponsiveError(RepomanError):
    """The file system does not answer."""


def run_in_child(
    work: Work, user: Identity, idle_timeout: float, liveness_command: Sequence[str] = (), on_report: Report = lambda _report: None
) -> Any:
    """Return the result of ``work``, which runs in a child process: as ``user`` if this process is root.

    :param work: takes a function that sends a report to this process. Reports and the result must be picklable.
    :param idle_timeout: seconds of silence after which the child is given up on.
    :param liveness_command: ends once the file system has answered it, which counts as a sign of life. Without it only reports do.
    :param on_report: called in this process with each report.
    :raises UnresponsiveError: neither child nor file system answered for ``idle_timeout`` seconds; the child was abandoned.
    :raises RunInterruptedError: SIGINT or SIGTERM; the child has ended, or was killed.
    :raises RepomanError: raised by ``work``; an ``OSError`` becomes one.
    """
    results_fd, results_in_fd = multiprocessing.Pipe(duplex=False)
    parent_fd, parent_in_fd = os.pipe()  # the writing end is open in this process only, so the child notices when this process ends
    with signals_as_exceptions():
        child = os.fork()
        if child == 0:
            results_fd.close()
            os.close(parent_in_fd)
            _child_main(work, user, results_in_fd, parent_fd)
        results_in_fd.close()
        os.close(parent_fd)
        try:
            _logger.debug("started child %d as %s", child, user.name)
            with suppress(OSError):  # the child does this too; both, because it is unknown which is first
                os.setpgid(child, child)
            return _wait_for_result(results_fd, idle_timeout, liveness_command, on_report)
        except RunInterruptedError:
            _terminate(child, results_fd, on_report)
            raise
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            _reap(child)
            results_fd.close()
            os.close(parent_in_fd)


def _wait_for_result(results_fd: Connection, idle_timeout: float, liveness_command: Sequence[str], on_report: Report) -> Any:
    """Return the result, or raise the error, of the child; see :func:`run_in_child`."""
    last_activity = time.monotonic()
    probe: Command | None = None
    try:
        while True:
            is_ready = results_fd.poll(min(LIVENESS_INTERVAL, idle_timeout))
            relay_forks()
            if is_ready:
                message_type, message = _receive(results_fd)
                if message_type == RESULT:
                    return message
                if message_type != REPORT:
                    raise message if message_type == RAISED else RuntimeError(message)
                on_report(message)
                last_activity = time.monotonic()
            elif liveness_command and probe is None:
                probe = Command(liveness_command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                last_activity = time.monotonic()
            elif probe and probe.poll() is not None:
                probe.end()
                probe, last_activity = None, time.monotonic()
            elif time.monotonic() - last_activity >= idle_timeout:
                raise UnresponsiveError(f"no answer for {idle_timeout:g} s.")
    finally:
        if probe:
            probe.end(grace=0)


def _receive(results_fd: Connection) -> tuple[str, Any]:
    try:
        message_type, message = results_fd.recv()
    except EOFError:
        return RAISED, RepomanError(
            "the process that worked on the backup was killed.", "run the command again: it continues where it stopped"
        )
    return str(message_type), message


def _terminate(child: int, results_fd: Connection, on_report: Report) -> None:
    """Terminate the child and its children, and pass on the reports that they still send."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while results_fd.poll(max(0.0, deadline - time.monotonic())):
        message_type, message = _receive(results_fd)
        if message_type != REPORT:
            return
        on_report(message)


def _reap(child: int) -> None:
    """Collect the child, unless it hangs in a system call."""
    deadline = time.monotonic() + REAP_SECONDS
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)


def _child_main(work: Work, user: Identity, results_in_fd: Connection, parent_fd: int) -> NoReturn:
    """Do the work, send its result, and end the process."""
    code = 1
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _interrupt)
        lock = threading.Lock()

        def send(message_type: str, message: Any) -> None:
            with lock:
                results_in_fd.send((message_type, message))

        try:
            threading.Thread(target=_exit_with_parent, args=(parent_fd,), daemon=True).start()
            drop_privileges(user)
            send(RESULT, work(lambda report: send(REPORT, report)))
            code = 0
        except Exception as error:
            shown = RepomanError.from_exception(error)
            send(*((CRASHED, traceback.format_exc()) if shown is None else (RAISED, shown)))
    finally:
        os._exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise RunInterruptedError("interrupted.")


def _exit_with_parent(parent_fd: int) -> None:
    """Wait for the end of the parent, even if it is killed; then kill this process and its children, which are a process group.

    :param parent_fd: a pipe whose writing end is open in the parent only.
    """
    os.read(parent_fd, 1)
    os.killpg(0, signal.SIGKILL)
