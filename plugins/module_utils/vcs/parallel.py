# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read many repositories at the same time.

A few at once keep all processors busy. More are read while commands wait without doing anything, such as for a server that does not
answer: many of those take as long as one.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.process.termination import commands_end_too

WORKING = 8
"""Repositories that are read at the same time while their commands work."""
WAITING_FACTOR = 2
"""Repositories that are read in addition for each one whose command waits."""
MOST = 256
INTERVAL = 0.5
"""Seconds between reports of the progress. A command that did nothing in that time is waiting."""
EARLY = 0.15
"""Seconds after which the progress is reported for the first time, if the work will take longer than ``INTERVAL``."""
PATIENCE = 0.02
"""Seconds without a change after which a thread works without a turn: those that have one may wait for a disk or a server."""
MEASURED = 0.02
"""Seconds of turns after which their number is judged."""
PROC = Path("/proc")

Item = TypeVar("Item")
Read = TypeVar("Read")
Work = tuple[frozenset[int], int]
"""The commands of a thread, and how many nanoseconds they have run."""


class Turns:
    """Let one thread work at a time, while others wait for commands; more of them if the work itself mostly waits, such as for a disk.

    Python runs one thread at a time anyway. Each system call is a chance for another one, and with many that could run, switching between
    them costs more than the work. If no turn has ended for a while, the others go on without one, so a thread that hangs does not stop them.
    """

    def __init__(self) -> None:
        self.count = self._free = 1
        self._given = 0
        self._elapsed = self._used = 0.0
        self._changed, self._own = threading.Condition(), threading.local()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Take a turn for a ``with``; if none is free in time, work without one."""
        self._own.works = True
        self._take()
        try:
            yield
        finally:
            self._give()
            self._own.works = False

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Let another thread work during a ``with`` that waits for a command; outside of :meth:`working`, this does nothing."""
        if not getattr(self._own, "works", False):
            yield
            return
        self._give()
        self._own.works = False
        try:
            yield
        finally:
            self._take()
            self._own.works = True

    def _take(self) -> None:
        with self._changed:
            while not self._free:
                given = self._given
                if not self._changed.wait(PATIENCE) and given == self._given:
                    break
            self._own.has_turn = self._free > 0
            self._free -= self._own.has_turn
        self._own.began = time.monotonic(), time.thread_time()

    def _give(self) -> None:
        if self._own.has_turn:
            self._own.has_turn = False
            began, used = self._own.began
            with self._changed:
                self._free += 1
                self._given += 1
                self._judge(time.monotonic() - began, time.thread_time() - used)
                self._changed.notify(self._free)

    def _judge(self, elapsed: float, used: float) -> None:
        """Double the number of turns if they take more than twice the time that the same work takes without waiting.

        With ``count`` turns, each may take ``count`` times its processor time, because Python runs one at a time.
        """
        self._elapsed, self._used = self._elapsed + elapsed, self._used + used
        if self._elapsed > MEASURED:
            if self.count < WORKING and self._elapsed > 2 * self.count * self._used:
                self._free += self.count
                self.count *= 2
            self._elapsed = self._used = 0.0


def read_all(items: Collection[Item], read: Callable[[Item], Read], on_progress: Callable[[int], None]) -> list[Read]:
    """Return the results of ``read`` for all items, in their order.

    :param read: works in a thread, with commands that it starts and waits for.
    :param on_progress: gets the number of items that were read.
    """
    queue, limit, threads = iter(items), WORKING, set[int]()
    futures: list[Future[Read]] = []
    running: set[Future[Read]] = set()
    before: dict[int, Work] = {}
    checked = time.monotonic()
    early = checked + EARLY
    with ThreadPoolExecutor(MOST, initializer=lambda: threads.add(threading.get_native_id())) as pool, commands_end_too():
        while True:
            started = [pool.submit(read, item) for item in islice(queue, limit - len(running))]
            futures += started
            running |= set(started)
            if not running:
                return [future.result() for future in futures]
            _done, running = wait(running, INTERVAL if early == math.inf else EARLY, FIRST_COMPLETED)
            done = len(futures) - len(running)
            if time.monotonic() - checked < INTERVAL:
                if early <= time.monotonic() and done:
                    early = math.inf
                    if done * INTERVAL < len(items) * EARLY:
                        on_progress(done)
                continue
            on_progress(done)
            now = {thread: _work(thread) for thread in threads.copy()}
            waiting = sum(bool(work[0]) and work == before.get(thread) for thread, work in now.items())
            limit = max(limit, min(MOST, WORKING + WAITING_FACTOR * waiting))
            before, checked, early = now, time.monotonic(), math.inf


def _work(thread: int) -> Work:
    """Return what the commands of a thread of this process have done."""
    found, time_run = set[int](), 0
    pending = _children(PROC / f"self/task/{thread}")
    while pending:
        pid = pending.pop()
        with suppress(OSError, ValueError, IndexError):  # it may end meanwhile
            time_run += int((PROC / f"{pid}/schedstat").read_bytes().split()[0])
            found.add(pid)
            for task in (PROC / f"{pid}/task").iterdir():
                pending += _children(task)
    return frozenset(found), time_run


def _children(task: Path) -> list[int]:
    with suppress(OSError):
        return [int(pid) for pid in (task / "children").read_bytes().split()]
    return []
