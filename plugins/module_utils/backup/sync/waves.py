# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan units in the background, so that work on some can start while a slow one is still being compared."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

WAVE_SECONDS = 20.0
"""Seconds that planned units wait for others: one large wave is cheaper than many small ones."""


class Waves(Generic[T]):
    """The units of one run, in waves that follow the planning, which begins when the first wave is asked for.

    Planning forks processes that import modules. One that is forked while another thread imports the same module may wait for it for ever,
    so the caller does its other work before.

    :param tasks: all units, in the order of the report.
    :param ready: those that are planned already.
    :param plan: plans the remaining units and passes each on when done; runs in a separate thread.
    """

    def __init__(self, tasks: Sequence[T], ready: Sequence[T], plan: Callable[[Callable[[T], None]], None]) -> None:
        self.tasks = list(tasks)
        self._position = {id(task): number for number, task in enumerate(tasks)}
        self._ready = list(ready)
        self._planned: queue.SimpleQueue[T | BaseException | None] = queue.SimpleQueue()
        self._plan = plan

    def _run(self) -> None:
        try:
            self._plan(self._planned.put)
        except BaseException as error:
            self._planned.put(error)
        finally:
            self._planned.put(None)

    def __iter__(self) -> Iterator[list[T]]:
        """Yield planned units: all at once if that does not take long.

        :raises Exception: planning as a whole failed.
        """
        threading.Thread(target=self._run, daemon=True).start()
        wave, self._ready = self._ready, []
        ended = False
        while not ended:
            deadline = time.monotonic() + WAVE_SECONDS
            while not ended and (wait := deadline - time.monotonic()) > 0:
                try:
                    planned = self._planned.get(timeout=wait)
                except queue.Empty:
                    break
                if isinstance(planned, BaseException):
                    raise planned
                if planned is None:
                    ended = True
                else:
                    wave.append(planned)
            if wave or ended:
                yield sorted(wave, key=lambda task: self._position[id(task)])
                wave = []
