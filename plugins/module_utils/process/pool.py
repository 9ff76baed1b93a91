# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The same work for many things, spread over processes that end when their parent does."""

from __future__ import annotations

import os
import pickle
import selectors
import signal
import struct
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError

J = TypeVar("J")
R = TypeVar("R")

_LENGTH = struct.Struct("<Q")
_NUMBER = struct.Struct("<I")

NEWS, BEGUN, END = -1, -2, -3
"""What a process sends beside results: news of its work, the number of the job it begins; and that it sends no more."""
ENDED = object()


class LostWorkerError(RepomanError):
    """A process ended in the middle of its work."""


def spread(work: Callable[[J], R], jobs: Sequence[J], processes: int) -> list[R]:
    """Do the work of every job, and return the results in the jobs' order.

    :param work: must not raise; its result must pickle.
    :param processes: how many at once; with one it is done right here.
    :raises LostWorkerError: a process was killed.
    """
    results: dict[int, R] = {}
    for number, result in stream(lambda job, _tell: work(job), jobs, processes):
        results[number] = result
    return [results[number] for number in range(len(jobs))]


def stream(
    work: Callable[[J, Callable[[Any], None]], R],
    jobs: Sequence[J],
    processes: int,
    *,
    at_once: int = 0,
    heard: Callable[[Any], None] = lambda _news: None,
    lost: Callable[[J], R] | None = None,
) -> Iterator[tuple[int, R]]:
    """Do the work of every job, and yield the number of the job and its result as each is done.

    :param work: gets the job and a function that tells news while it works; must not raise.
    :param at_once: how many at once in all, in threads of the processes; 0 for one in each process.
    :param heard: is called here with what the work tells.
    :param lost: gives the result of a job whose process was killed, such as by a kernel without memory; without it that is an error.
    :raises LostWorkerError: a process was killed, or all of them.
    """
    processes = max(1, min(processes, len(jobs)))
    if processes == 1 and at_once <= 1:
        for number, job in enumerate(jobs):
            yield number, work(job, heard)
        return
    tasks, tasks_in = os.pipe()
    alive, alive_in = os.pipe()
    children: dict[int, int] = {}
    sys.stdout.flush()
    sys.stderr.flush()
    try:
        for threads in shares(at_once, processes):
            reader, writer = os.pipe()
            child = os.fork()
            if not child:
                for each in (reader, tasks_in, alive_in, *children.values()):
                    os.close(each)
                _serve(work, jobs, threads, tasks, alive, writer)
            os.close(writer)
            children[child] = reader
        threading.Thread(target=_feed, args=(tasks_in, len(jobs)), daemon=True).start()
        done = 0
        for number, message in _results(list(children.values()), heard):
            if message is not ENDED:
                done += 1
                yield number, message
            elif lost is not None:
                done += 1
                yield number, lost(jobs[number])
        if done < len(jobs):
            raise LostWorkerError("A process of this run was killed in the middle of its work.", "run the command again")
    finally:
        os.close(alive_in)
        for child, reader in children.items():
            os.close(reader)
            os.waitpid(child, 0)
        os.close(tasks)
        os.close(alive)


def shares(total: int, processes: int) -> list[int]:
    """Return how many threads each process has, so that there are ``total``, and one in each at least."""
    return [max(1, total // processes + (number < total % processes)) for number in range(processes)]


def _results(readers: list[int], heard: Callable[[Any], None]) -> Iterator[tuple[int, Any]]:
    """Yield jobs with their results; ``ENDED`` for one whose process ended before it had any."""
    begun: dict[int, set[int]] = {reader: set() for reader in readers}
    for reader, number, message in _hear(readers):
        if number >= 0:
            begun[reader].discard(number)
            yield number, message
        elif number == BEGUN:
            begun[reader].add(message)
        elif number == NEWS:
            heard(message)
        else:
            for each in sorted(begun[reader]):
                yield each, ENDED


def _hear(readers: list[int]) -> Iterator[tuple[int, int, Any]]:
    """Yield what the processes send, each with the pipe it came from, until all of them have ended."""
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


def _feed(pipe: int, count: int) -> None:
    try:
        for start in range(0, count, 512):
            os.write(pipe, b"".join(_NUMBER.pack(number) for number in range(start, min(start + 512, count))))
    except OSError:
        pass
    finally:
        os.close(pipe)


def _messages(buffer: bytearray) -> Iterator[tuple[int, Any]]:
    while len(buffer) >= _LENGTH.size:
        (size,) = _LENGTH.unpack_from(buffer)
        if len(buffer) < _LENGTH.size + size:
            return
        message = pickle.loads(memoryview(buffer)[_LENGTH.size : _LENGTH.size + size].tobytes())  # noqa: S301 - from our own child
        del buffer[: _LENGTH.size + size]
        yield message


def _serve(work: Callable[[J, Callable[[Any], None]], R], jobs: Sequence[J], threads: int, tasks: int, alive: int, writer: int) -> None:
    """Take jobs until there are none; never returns."""
    code = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
        lock = threading.Lock()

        def send(number: int, message: Any) -> None:
            data = pickle.dumps((number, message))
            data = _LENGTH.pack(len(data)) + data
            with lock:
                view = memoryview(data)
                while view:
                    view = view[os.write(writer, view) :]

        def take() -> None:
            while len(found := os.read(tasks, _NUMBER.size)) == _NUMBER.size:
                (number,) = _NUMBER.unpack(found)
                send(BEGUN, number)
                send(number, work(jobs[number], lambda news: send(NEWS, news)))

        if threads == 1:
            take()
        else:
            crew = [threading.Thread(target=take) for _number in range(threads)]
            for each in crew:
                each.start()
            for each in crew:
                each.join()
        code = 0
    except BaseException:
        code = 1
    finally:
        os._exit(code)


def _end_with_parent(alive: int) -> None:
    os.read(alive, 1)
    os._exit(1)
