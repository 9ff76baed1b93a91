# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run work that changes things for several jobs at once, each in a forked process that can roll back.

The processes of ``pool.py`` end at once if the run does. These get a signal first, so that each ends as a run of its own would. Processes and
not threads, because only the main thread of a process receives signals.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, NoReturn, TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import relay_forks
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import SIGNALS
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import exit_with_parent
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import WorkerDiedError

J = TypeVar("J")
R = TypeVar("R")

RELAY_SECONDS = 0.5


def run_forked(work: Callable[[J], R], jobs: Sequence[J], processes: int, on_result: Callable[[J, R | RepomanError], None]) -> None:
    """Do ``work`` for each job, in as many forked processes at once as ``processes``.

    :param work: must raise nothing but :class:`RepomanError`; its result must pickle.
    :param on_result: called in this process with the job and the result of its work, or the error that it raised.
    :raises RunInterruptedError: a signal asked to stop. The processes got SIGTERM and have ended; what they have done was reported.
    """
    run = _ForkedRun(work, list(jobs), on_result)
    try:
        while run.waiting or run.running:
            while run.waiting and len(run.running) < processes:
                run.start()
            run.collect()
    except RunInterruptedError:
        run.terminate()
        raise
    finally:
        run.close()


class _ForkedRun(Generic[J, R]):
    """The processes of one call of :func:`run_forked`.

    :ivar waiting: jobs without a process.
    :ivar running: process ID and job, by the end of a pipe that the process writes its result to.
    """

    def __init__(self, work: Callable[[J], R], jobs: list[J], on_result: Callable[[J, R | RepomanError], None]) -> None:
        self.work, self.waiting, self.on_result = work, jobs, on_result
        self.running: dict[Connection, tuple[int, J]] = {}
        self._parent, self._parent_in = os.pipe()
        """The writing end is open in this process only, so that the others notice when this process ends."""

    def start(self) -> None:
        """Start a process for the next job."""
        reader, writer = multiprocessing.Pipe(duplex=False)
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until this process knows the child, and the child where it is
        try:
            job = self.waiting.pop(0)
            child = os.fork()
            if not child:
                self._child_main(job, reader, writer, mask)
            self.running[reader] = (child, job)
            writer.close()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)

    def _child_main(self, job: J, reader: Connection, writer: Connection, mask: set[signal.Signals | int]) -> NoReturn:
        """Do the work, send its result, and end the process."""
        try:
            os.setpgid(0, 0)  # Ctrl-C is for the parent, which passes it on
            os.close(self._parent_in)
            for other in (reader, *self.running):
                other.close()
            threading.Thread(target=exit_with_parent, args=(self._parent,), daemon=True).start()
            message: Any
            try:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
                message = self.work(job)
            except RepomanError as error:
                message = error
            writer.send_bytes(pickle.dumps(message))
        finally:
            os._exit(0)

    def collect(self) -> None:
        """Report the results of processes that have ended, or return after a while."""
        ready = wait(list(self.running), RELAY_SECONDS)
        for reader in [reader for reader in self.running if reader in ready]:
            child, job = self.running[reader]
            try:
                result = pickle.loads(reader.recv_bytes())  # noqa: S301 - from our own child
            except (EOFError, OSError):
                result = WorkerDiedError("A process of this run was killed in the middle of its work.", "run the command again")
            del self.running[reader]
            reader.close()
            os.waitpid(child, 0)
            self.on_result(job, result)
        relay_forks()

    def terminate(self) -> None:
        """Ask the processes to stop, and wait until they have rolled back. More signals are held back by now; see ``signals_as_exceptions``."""
        for child, _job in self.running.values():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        while self.running:
            self.collect()

    def close(self) -> None:
        """End processes that are left after an error in this process."""
        os.close(self._parent_in)
        for reader, (child, _job) in self.running.items():
            reader.close()
            os.waitpid(child, 0)
        os.close(self._parent)
