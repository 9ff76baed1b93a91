# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Memory of the machine's clock: the time of the last run, and large jumps forward between two runs.

If the clock went forward by a year between two runs, it may be wrong, or the machine was off for a year: the machine cannot know. So the
time in between does not count for expiry. If the clock is set back, its jump is forgotten. On a machine that is only used now and then,
all pauses are long; after several of them in a row, the first ones count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import finite

DAY = 24 * 3600.0
RELEASED = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
"""No run is older than repoman itself: a clock with an earlier time is wrong, for example after its battery failed."""
OUTLIVED = RELEASED + 40 * 365 * DAY
"""A clock after this time counts as wrong, even if many runs agree with it: nothing expires."""
PAUSE = 2 * DAY
"""Shorter times between two runs are not remembered."""
MAX_JUMPS = 500
CONFIRMED_BY = 3
"""A pause counts after this number of further pauses in a row, if no run followed soon after any of them."""

Jump = tuple[float, float]
"""The time at a run, and at the next one."""


@dataclass(frozen=True)
class Clock:
    """The clock as earlier runs saw it, in UNIX times.

    :param last: time of the last run; 0 if it is unknown.
    :param high: when the last run was before the clock was set back; 0 if it was not, or has passed that time again.
    :param jumps: pauses between two runs, oldest first.
    """

    last: float = 0.0
    high: float = 0.0
    jumps: tuple[Jump, ...] = ()

    def before(self, now: float) -> float:
        """Return the time of the last run; if the clock has come back from an earlier time, of the last one before that."""
        return self.high if self.high and now >= self.high - DAY else self.last

    def at(self, now: float) -> Clock:
        """Return the clock as the next run sees it; a clock that cannot be right is not remembered."""
        if not (math.isfinite(now) and RELEASED <= now <= OUTLIVED):
            return self
        jumps = [jump for jump in self.jumps if jump[1] <= now + DAY]
        before = self.jumps[len(jumps)][0] if len(jumps) < len(self.jumps) else self.before(now)
        high = self.high if now < self.high - DAY else 0.0
        if before > now + DAY:
            high = max(high, before)
        elif before and now - before > PAUSE:
            jumps.append((before, now))
        return Clock(now, high, tuple(jumps[-MAX_JUMPS:]))

    def data(self) -> dict[str, Any]:
        """Return it for a file; :func:`of_data` reads it."""
        return {"last": self.last, "high": self.high, "jumps": [list(jump) for jump in self.jumps]}


def of_data(data: Any, run: float) -> Clock:
    """Return the clock that a file holds.

    :param run: time of the last run, if an earlier version of repoman wrote the file.
    :raises ValueError: (or another error of parsing) it was not written by :meth:`Clock.data`.
    """
    if data is None:
        return Clock(run)
    jumps = [(finite(before), finite(after)) for before, after in data["jumps"]]
    return Clock(finite(data["last"]), finite(data["high"]), tuple(sorted(jumps)))


def doubtful(jumps: Sequence[Jump], keep: float) -> tuple[list[Jump], bool]:
    """Return the jumps whose time does not count, and whether the machine is only used now and then (several long pauses in a row).

    :param keep: seconds; jumps that are not longer count.
    """
    doubted: list[Jump] = []
    streak: list[Jump] = []
    for jump in jumps:
        if jump[1] - jump[0] <= keep:
            continue
        if streak and jump[0] - streak[-1][1] > DAY:
            doubted += streak[-CONFIRMED_BY:]
            streak = []
        streak.append(jump)
    return doubted + streak[-CONFIRMED_BY:], len(streak) > CONFIRMED_BY


def left_out(jumps: Sequence[Jump], since: float) -> float:
    """Return the number of seconds since a time that do not count."""
    return sum(max(0.0, after - max(before, since)) for before, after in jumps)
