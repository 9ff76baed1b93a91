# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Work on a file system that may stop answering: done in a child process that can be given up on.

A system call on a dead server does not return, and no signal ends it. So this process never touches such a
file system: a child does, and reports over a pipe. Where it falls silent and the file system does not answer
another process either, it is left to its fate and the caller gets an error.
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
from typing import Any, NoReturn, Protocol

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import InterruptedRunError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import signals_as_exceptions

ASK_SECONDS = 2.0
"""So long may the child be silent before the file system is asked."""
GRACE_SECONDS = 10.0
"""So long may the child take to end after it was asked to."""
REPORT, RESULT, REFUSED, CRASHED = "report", "result", "refused", "crashed"

Report = Callable[[Any], None]
Work = Callable[[Report], Any]


class Identity(Protocol):
    """Whose the child process becomes; ``host.account.Account`` is one."""

    @property
    def name(self) -> str:
        """Login name."""

    @property
    def uid(self) -> int:
        """User ID."""

    @property
    def gid(self) -> int:
        """ID of the primary group."""

    @property
    def home(self) -> str:
        """Home directory."""


class SilentError(RepomanError):
    """The file system does not answer."""


def run(work: Work, owner: Identity, patience: float, alive: Sequence[str] = (), on_report: Report = lambda said: None) -> Any:
    """Return what ``work`` returns, which runs in a child process that is ``owner``'s where this process is root.

    :param work: takes a function that sends a report to this process. Reports and the result must be picklable.
    :param patience: seconds of silence after which the child is given up on.
    :param alive: a command that ends once the file system has answered it; that counts as a sign of life. Without it only reports do.
    :param on_report: called here with each report.
    :raises SilentError: neither child nor file system answered for ``patience`` seconds; the child was left to its fate.
    :raises InterruptedRunError: SIGINT or SIGTERM; the child has ended, or was killed.
    :raises RepomanError: what ``work`` raised; an ``OSError`` as a sentence.
    """
    reading, writing = multiprocessing.Pipe(duplex=False)
    ended, living = os.pipe()
    with signals_as_exceptions():
        child = os.fork()
        if child == 0:
            reading.close()
            os.close(living)
            _be_child(work, owner, writing, ended)
        writing.close()
        os.close(ended)
        try:
            with suppress(OSError):  # the child does it too: whoever comes first
                os.setpgid(child, child)
            return _listen(reading, patience, alive, on_report)
        except InterruptedRunError:
            _end(child, reading, on_report)
            raise
        finally:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)
            _reap(child)
            reading.close()
            os.close(living)


def _listen(reading: Connection, patience: float, alive: Sequence[str], on_report: Report) -> Any:
    """Wait for the result; see :func:`run`."""
    since = time.monotonic()
    asked: subprocess.Popen[bytes] | None = None
    try:
        while True:
            if reading.poll(min(ASK_SECONDS, patience)):
                kind, said = _receive(reading)
                if kind == RESULT:
                    return said
                if kind != REPORT:
                    raise said if kind == REFUSED else RuntimeError(said)
                on_report(said)
                since = time.monotonic()
            elif alive and asked is None:
                asked = subprocess.Popen(list(alive), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                since = time.monotonic()
            elif asked and asked.poll() is not None:
                asked, since = None, time.monotonic()
            elif time.monotonic() - since >= patience:
                raise SilentError(f"no answer for {patience:g} s.")
    finally:
        if asked and asked.poll() is None:
            asked.kill()


def _receive(reading: Connection) -> tuple[str, Any]:
    try:
        kind, said = reading.recv()
    except EOFError:
        return REFUSED, RepomanError("the process that worked on the backup was killed.", "run it again: it goes on where it was")
    return str(kind), said


def _end(child: int, reading: Connection, on_report: Report) -> None:
    """Ask the child and its children to end, and hear what they still have to say."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child, signal.SIGTERM)
    deadline = time.monotonic() + GRACE_SECONDS
    while reading.poll(max(0.0, deadline - time.monotonic())):
        kind, said = _receive(reading)
        if kind != REPORT:
            return
        on_report(said)


def _reap(child: int) -> None:
    """Collect the child, unless it cannot end."""
    deadline = time.monotonic() + 1.0
    while time.monotonic() < deadline:
        if os.waitpid(child, os.WNOHANG)[0]:
            return
        time.sleep(0.01)


def _be_child(work: Work, owner: Identity, writing: Connection, ended: int) -> NoReturn:
    """Do the work, say what came of it, and end the process."""
    code = 1
    try:
        with suppress(OSError):
            os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, _interrupt)
        threading.Thread(target=_die_with_parent, args=(ended,), daemon=True).start()
        lock = threading.Lock()

        def send(kind: str, said: Any) -> None:
            with lock:
                writing.send((kind, said))

        try:
            become(owner)
            send(RESULT, work(lambda said: send(REPORT, said)))
            code = 0
        except RepomanError as error:
            send(REFUSED, error)
        except OSError as error:
            send(REFUSED, explained(error))
        except Exception:
            send(CRASHED, traceback.format_exc())
    finally:
        os._exit(code)


def become(owner: Identity) -> None:
    """Make this process ``owner``'s, where it is root's and ``owner`` is another; new files are private."""
    os.umask(0o077)
    if os.geteuid() != 0 or owner.uid == 0:
        return
    os.initgroups(owner.name, owner.gid)
    os.setresgid(owner.gid, owner.gid, owner.gid)
    os.setresuid(owner.uid, owner.uid, owner.uid)
    os.environ.update(HOME=owner.home, USER=owner.name, LOGNAME=owner.name)
    os.chdir("/")


def explained(error: OSError) -> RepomanError:
    """Return an error of the operating system as a sentence."""
    return RepomanError.from_os_error(error)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise InterruptedRunError("interrupted.")


def _die_with_parent(ended: int) -> None:
    """Wait for the end of the parent, however it comes; then kill this process and its children."""
    os.read(ended, 1)
    os.killpg(0, signal.SIGKILL)
