# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run the same work for many jobs in forked processes, which end when their parent does.

Not ``concurrent.futures``: its processes outlive a parent that is killed, and get the work pickled; these inherit it.
"""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Generic, NoReturn, TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import SIGNALS

J = TypeVar("J")
R = TypeVar("R")

_LENGTH = struct.Struct("<Q")
_NUMBER = struct.Struct("<I")
_NUMBERS_PER_WRITE = 512

NEWS, STARTED, END = -1, -2, -3
"""Sent by a process in place of a job's number: before a message of the work, before the number of the job it starts, at its end."""
DIED = object()
"""In place of the result of a job whose process ended before it had one."""


class WorkerDiedError(RepomanError):
    """A process ended in the middle of its work."""


def map_forked(work: Callable[[J], R], jobs: Sequence[J], processes: int) -> list[R]:
    """Return the results of all jobs in their order.

    :param work: must not raise; its result must pickle.
    :param processes: maximum at the same time; with one, the work is done in this process.
    :raises WorkerDiedError: a process was killed.
    """
    results = dict(imap_forked(lambda job, _send: work(job), jobs, processes))
    return [results[number] for number in range(len(jobs))]


def imap_forked(
    work: Callable[[J, Callable[[Any], None]], R],
    jobs: Sequence[J],
    processes: int,
    *,
    concurrency: int = 0,
    on_message: Callable[[Any], None] = lambda _message: None,
    lost: Callable[[J], R] | None = None,
    grace: float = 0.0,
) -> Iterator[tuple[int, R]]:
    """Yield the number of each job and its result, in the order in which they finish.

    :param work: gets the job and a function that sends a message to this process; must not raise.
    :param processes: maximum at the same time; with one, the work is done in this process.
    :param concurrency: jobs at the same time, in threads of the processes; 0 for one in each process.
    :param on_message: called in this process with each message.
    :param lost: returns the result of a job whose process was killed, such as by a kernel without memory; without it that is an error.
    :param grace: if the jobs are abandoned, because of an interruption or an error: seconds that the processes get to roll back after SIGTERM.
    :raises WorkerDiedError: a process was killed, or all of them.
    """
    processes = max(1, min(processes, len(jobs)))
    if processes == 1 and concurrency <= 1:
        for number, job in enumerate(jobs):
            yield number, work(job, on_message)
        return
    pool = _Pool(work, jobs)
    try:
        pool.start(threads_per_process(concurrency, processes))
        done = 0
        for number, result in pool.results(on_message):
            if result is not DIED:
                done += 1
                yield number, result
            elif lost is not None:
                done += 1
                yield number, lost(jobs[number])
        if done < len(jobs):
            raise WorkerDiedError("A process of this run was killed in the middle of its work.", "run the command again")
    except BaseException:
        if grace:
            pool.terminate(grace)
        raise
    finally:
        pool.close()


def threads_per_process(total: int, processes: int) -> list[int]:
    """Return the number of threads of each process: ``total`` in all, but at least one in each."""
    return [max(1, total // processes + (number < total % processes)) for number in range(processes)]


class _Pool(Generic[J, R]):
    """Worker processes, which take the numbers of jobs from one pipe and each send their results through their own."""

    def __init__(self, work: Callable[[J, Callable[[Any], None]], R], jobs: Sequence[J]) -> None:
        self.work, self.jobs = work, jobs
        self.readers: dict[int, int] = {}
        """The pipe of each process, by its ID."""
        self.numbers, self._numbers_in = os.pipe()
        self.parent, self._parent_in = os.pipe()
        """The writing end is open in this process only, so the workers notice when this process ends."""

    def start(self, threads: list[int]) -> None:
        """Start a process for each number of threads, and hand out the jobs.

        This does not flush the standard streams: in a thread of a worker of ansible-core 2.18 that waits for ever, as its main thread
        holds their lock. The children end without writing what is in the buffers.
        """
        for count in threads:
            reader, writer = os.pipe()
            mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # until this process knows the child, and the child where it is
            try:
                child = os.fork()
                if not child:
                    _Worker(self, writer).main(count, (reader, self._numbers_in, self._parent_in, *self.readers.values()), mask)
                self.readers[child] = reader
                os.close(writer)
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        threading.Thread(target=_enqueue, args=(self._numbers_in, len(self.jobs)), daemon=True).start()

    def results(self, on_message: Callable[[Any], None]) -> Iterator[tuple[int, Any]]:
        """Yield jobs with their results; ``DIED`` for a job whose process ended before it had one."""
        started: dict[int, set[int]] = {reader: set() for reader in self.readers.values()}
        for reader, number, message in _receive(list(started)):
            if number >= 0:
                started[reader].discard(number)
                yield number, message
            elif number == STARTED:
                started[reader].add(message)
            elif number == NEWS:
                on_message(message)
            else:
                for unfinished in sorted(started[reader]):
                    yield unfinished, DIED

    def terminate(self, grace: float) -> None:
        """Ask the processes to end, and wait for them.

        :param grace: maximum of seconds.
        """
        for child in self.readers:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGTERM)
        deadline = time.monotonic() + grace
        with selectors.DefaultSelector() as selector:
            for reader in self.readers.values():
                selector.register(reader, selectors.EVENT_READ)
            while selector.get_map() and (wait := deadline - time.monotonic()) > 0:
                for key, _events in selector.select(wait):
                    if not os.read(key.fd, 1 << 20):  # its process has ended
                        selector.unregister(key.fd)

    def close(self) -> None:
        """End the processes, also in the middle of their work."""
        os.close(self._parent_in)
        for child, reader in self.readers.items():
            os.close(reader)
            os.waitpid(child, 0)
        os.close(self.numbers)
        os.close(self.parent)


def _enqueue(pipe: int, count: int) -> None:
    """Write the numbers of the jobs into a pipe, in a thread because it may be full."""
    try:
        for start in range(0, count, _NUMBERS_PER_WRITE):
            os.write(pipe, b"".join(_NUMBER.pack(number) for number in range(start, min(start + _NUMBERS_PER_WRITE, count))))
    except OSError:
        pass
    finally:
        os.close(pipe)


def _receive(readers: list[int]) -> Iterator[tuple[int, int, Any]]:
    """Yield the messages of the processes, each with the pipe it came from, until all processes have ended."""
    with selectors.DefaultSelector() as selector:
        for reader in readers:
            selector.register(reader, selectors.EVENT_READ, bytearray())
        while selector.get_map():
            for key, _events in selector.select():
                chunk = os.read(key.fd, 1 << 20)
                key.data.extend(chunk)
                for number, message in _messages(key.data):
                    yield key.fd, number, message
                if not chunk:
                    selector.unregister(key.fd)
                    yield key.fd, END, None


def _messages(buffer: bytearray) -> Iterator[tuple[int, Any]]:
    """Take the complete messages out of a buffer."""
    while len(buffer) >= _LENGTH.size:
        (size,) = _LENGTH.unpack_from(buffer)
        if len(buffer) < _LENGTH.size + size:
            return
        message = pickle.loads(memoryview(buffer)[_LENGTH.size : _LENGTH.size + size].tobytes())  # noqa: S301 - from our own child
        del buffer[: _LENGTH.size + size]
        yield message


class _Worker(Generic[J, R]):
    """The code of a worker process.

    :param writer: pipe to the parent.
    """

    def __init__(self, pool: _Pool[J, R], writer: int) -> None:
        self.pool, self.writer, self.lock = pool, writer, threading.Lock()

    def main(self, threads: int, others: Iterable[int], mask: set[signal.Signals | int]) -> NoReturn:
        """Do jobs until there are no more, then end the process.

        :param others: descriptors of the parent to close.
        :param mask: signals to block, as the parent did before the fork.
        """
        code = 1
        try:
            for fd in others:
                os.close(fd)
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            threading.Thread(target=_exit_with_parent, args=(self.pool.parent,), daemon=True).start()
            if threads == 1:
                self.consume_jobs()
            else:
                consumers = [threading.Thread(target=self.consume_jobs) for _number in range(threads)]
                for consumer in consumers:
                    consumer.start()
                for consumer in consumers:
                    consumer.join()
            code = 0
        except BaseException:
            code = 1
        finally:
            os._exit(code)

    def consume_jobs(self) -> None:
        """Take numbers of jobs, and send the results."""
        while len(data := os.read(self.pool.numbers, _NUMBER.size)) == _NUMBER.size:
            (number,) = _NUMBER.unpack(data)
            self.send(STARTED, number)
            self.send(number, self.pool.work(self.pool.jobs[number], lambda message: self.send(NEWS, message)))

    def send(self, number: int, message: Any) -> None:
        """Send a result, or a message, to the parent."""
        data = pickle.dumps((number, message))
        data = _LENGTH.pack(len(data)) + data
        with self.lock:
            view = memoryview(data)
            while view:
                view = view[os.write(self.writer, view) :]


def _exit_with_parent(parent: int) -> None:
    os.read(parent, 1)
    os._exit(1)
