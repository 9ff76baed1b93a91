# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read many repositories at the same time.

A few at once keep all processors busy. More are read while commands wait without doing anything, such as for a server that does not
answer: many of those take as long as one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import TypeVar

WORKING = 8
"""Repositories that are read at the same time while their commands work."""
WAITING_FACTOR = 2
"""Repositories that are read in addition for each one whose command waits."""
MOST = 256
INTERVAL = 0.5
"""Seconds between reports of the progress. A command that did nothing in that time is waiting."""
PROC = Path("/proc")

Item = TypeVar("Item")
Read = TypeVar("Read")
Work = tuple[frozenset[int], int]
"""The commands of a thread, and how many nanoseconds they have run."""


def read_all(items: Iterable[Item], read: Callable[[Item], Read], on_progress: Callable[[int], None]) -> list[Read]:
    """Return the results of ``read`` for all items, in their order.

    :param read: works in a thread, with commands that it starts and waits for.
    :param on_progress: gets the number of items that were read.
    """
    queue, limit, threads = iter(items), WORKING, set[int]()
    futures: list[Future[Read]] = []
    running: set[Future[Read]] = set()
    before: dict[int, Work] = {}
    checked = time.monotonic()
    with ThreadPoolExecutor(MOST, initializer=lambda: threads.add(threading.get_native_id())) as pool:
        while True:
            started = [pool.submit(read, item) for item in islice(queue, limit - len(running))]
            futures += started
            running |= set(started)
            if not running:
                return [future.result() for future in futures]
            _done, running = wait(running, INTERVAL, FIRST_COMPLETED)
            if time.monotonic() - checked < INTERVAL:
                continue
            on_progress(len(futures) - len(running))
            now = {thread: _work(thread) for thread in threads.copy()}
            waiting = sum(bool(work[0]) and work == before.get(thread) for thread, work in now.items())
            limit = max(limit, min(MOST, WORKING + WAITING_FACTOR * waiting))
            before, checked = now, time.monotonic()


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
