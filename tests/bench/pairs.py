# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs of runs, and what follows from them: medians, spread, verdict.

A pair is our command and its alternative, which run one right after the other; the next pair runs them in the opposite order. Other work of the machine
slows both, so the ratio within a pair says more than either time.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench.worlds import Bench

Pair = tuple[float, float]
"""What ours and the alternative took, both in seconds; or a value in the unit of the row, and 1."""
Side = Callable[[], float]
"""Runs something and returns the seconds that count."""
Round = Callable[[int, Collection[str]], dict[str, Pair]]
"""Measures once: gets the number of the round and the keys of the rows that are wanted, returns a pair for each."""

OK, OVER, NO_MARK = "ok", "over", "-"


@dataclass(frozen=True)
class Row:
    """A line of the report.

    :param key: its name in the history.
    :param title: our command.
    :param alternative: what people would type instead; what the value is if the row has a unit.
    :param how: how it is measured, in one sentence.
    :param mark: what the ratio, or the value, must not exceed; none if only the figure is of interest.
    :param unit: ``x`` for a ratio. A row with another unit reports a value, and has no alternative.
    """

    key: str
    title: str
    alternative: str
    how: str
    mark: float | None = None
    unit: str = "x"


@dataclass(frozen=True)
class Series:
    """Rows that are measured together.

    :param open: prepares what they need and gives a function that measures once.
    :param least: number of rounds; ``most`` if the spread of a row has its mark in it.
    :param flag: the option that asks for it; empty for an ordinary run.
    :param needs: programs, and collections, that are installed before anything is measured.
    """

    title: str
    rows: tuple[Row, ...]
    open: Callable[[Bench], AbstractContextManager[Round]]
    least: int
    most: int
    flag: str = ""
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Figures:
    """What the pairs of a row say.

    :param ours: median, as is ``alternative``.
    :param ratio: the median of the ratios of the pairs.
    :param low: a quarter of the ratios is below; ``high`` is what a quarter is above.
    """

    ours: float
    alternative: float
    ratio: float
    low: float
    high: float
    pairs: int

    @classmethod
    def of(cls, pairs: list[Pair]) -> Figures:
        """Return the figures of at least one pair."""
        ratios = [ours / alternative for ours, alternative in pairs]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
        ours, alternative = (statistics.median(each[side] for each in pairs) for side in (0, 1))
        return cls(ours, alternative, middle, low, high, len(pairs))

    def verdict(self, mark: float | None) -> str:
        """Return ``ok``, ``over``, or ``-`` without a mark."""
        if mark is None:
            return NO_MARK
        return OK if self.ratio <= mark else OVER

    def is_unsure(self, mark: float | None) -> bool:
        """Return whether the mark lies in the spread, so that a few more pairs may change the verdict."""
        return mark is not None and self.low <= mark < self.high


def contest(sides: Mapping[str, Side], number: int) -> dict[str, float]:
    """Run each side once; return their seconds by name. Who begins changes from round to round, and so does the direction.

    :param number: of the round, from 0.
    """
    names = list(sides)
    start = number // 2 % len(names)
    names = names[start:] + names[:start]
    return {name: sides[name]() for name in (names if number % 2 == 0 else reversed(names))}


def measure(
    series: Series, bench: Bench, wanted: Collection[str], may_repeat: Callable[[], bool] = lambda: True, quick: bool = False
) -> dict[str, Figures]:
    """Measure rows of a series until their verdicts are safe, or often enough.

    :param wanted: keys of rows; others of the series are left out.
    :param may_repeat: whether there is time for more rounds than the least number.
    :param quick: one round, whatever the series says.
    :returns: the figures by key.
    """
    marks = {row.key: row.mark for row in series.rows if row.key in wanted}
    pairs: dict[str, list[Pair]] = {key: [] for key in marks}
    with series.open(bench) as measure_once:
        open_keys, number = set(marks), 0
        while open_keys:
            for key, pair in measure_once(number, open_keys).items():
                if key in open_keys:
                    pairs[key].append(pair)
            number += 1
            if quick or number >= series.most:
                break
            if number >= series.least:
                if not may_repeat():
                    break
                open_keys = {key for key in open_keys if Figures.of(pairs[key]).is_unsure(marks[key])}
    return {key: Figures.of(each) for key, each in pairs.items() if each}
