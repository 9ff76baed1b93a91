# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Pairs, their figures and verdicts, and when more pairs are run."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from bench.pairs import Figures, Pair, Round, Row, Series, contest, measure
from bench.rows_start import with_the_same_alternative


def test_the_ratio_is_that_of_pairs() -> None:
    """Not that of the medians: a machine that was slow for a while slowed both of a pair."""
    figures = Figures.of([(1.0, 2.0), (10.0, 20.0), (3.0, 2.0), (4.0, 8.0), (4.0, 10.0)])
    assert (figures.ratio, figures.ours, figures.alternative, figures.pairs) == (0.5, 4.0, 8.0, 5)
    assert (figures.low, figures.high) == (0.5, 0.5)


def test_one_pair() -> None:
    """It has no spread."""
    assert Figures.of([(1.0, 4.0)]) == Figures(1.0, 4.0, 0.25, 0.25, 0.25, 1)


@pytest.mark.parametrize(
    ("mark", "verdict", "is_unsure"),
    [(None, "-", False), (0.39, "over", False), (0.4, "over", True), (0.5, "ok", True), (0.6, "ok", False)],
)
def test_verdict(mark: float | None, verdict: str, is_unsure: bool) -> None:
    """A ratio equal to the mark is good; a mark inside the spread is not yet certain."""
    figures = Figures(1, 2, 0.5, 0.4, 0.6, 9)
    assert (figures.verdict(mark), figures.is_unsure(mark)) == (verdict, is_unsure)


def test_who_begins_changes() -> None:
    """Two in turn; of three, each begins, in both directions."""

    def orders(names: str, rounds: int) -> list[str]:
        found = []
        for number in range(rounds):
            order: list[str] = []
            contest({name: lambda name=name, order=order: order.append(name) or 1.0 for name in names}, number)  # type: ignore[misc]
            found.append("".join(order))
        return found

    assert orders("ab", 4) == ["ab", "ba", "ba", "ab"]
    assert orders("abc", 6) == ["abc", "cba", "bca", "acb", "cab", "bac"]
    assert contest({"a": lambda: 1.0, "b": lambda: 2.0}, 1) == {"a": 1.0, "b": 2.0}


def test_several_with_the_same_alternative() -> None:
    """The alternative runs twice, not next to each other, and the mean counts."""
    order: list[str] = []
    others = iter([1.0, 3.0])

    def alternative() -> float:
        order.append("-")
        return next(others)

    sides = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}  # type: ignore[misc]
    assert with_the_same_alternative(sides, alternative, 0) == dict.fromkeys("abc", (1.0, 2.0))
    assert "".join(order) == "-a-bc"


def series_of(ratios: dict[str, list[float]], asked: list[set[str]], **limits: int) -> Series:
    """Return a series whose rows have given ratios, one a round; the last one is repeated."""

    @contextmanager
    def opened(_bench: Any) -> Iterator[Round]:
        def measure_once(number: int, wanted: Collection[str]) -> dict[str, Pair]:
            asked.append(set(wanted))
            return {key: (each[min(number, len(each) - 1)], 1.0) for key, each in ratios.items()}

        yield measure_once

    return Series("series", tuple(Row(key, key, "another", "how", 1.0) for key in ratios), opened, **limits)


def test_more_pairs_for_rows_that_are_unsure() -> None:
    """Only for those, until the spread leaves the mark, and not without end."""
    asked: list[set[str]] = []
    series = series_of({"safe": [0.5], "doubtful": [0.8, 1.2, 0.9], "hopeless": [0.8, 1.2, 1.2, 0.8, 1.2, 0.8]}, asked, least=2, most=6)
    figures = measure(series, None, {"safe", "doubtful", "hopeless"})  # type: ignore[arg-type]
    assert {key: each.pairs for key, each in figures.items()} == {"safe": 2, "doubtful": 4, "hopeless": 6}
    assert asked == [*[{"safe", "doubtful", "hopeless"}] * 2, *[{"doubtful", "hopeless"}] * 2, *[{"hopeless"}] * 2]


def test_no_more_pairs_if_there_is_no_time() -> None:
    """The least number stays."""
    asked: list[set[str]] = []
    figures = measure(series_of({"a": [0.8, 1.2]}, asked, least=2, most=6), None, {"a"}, lambda: False)  # type: ignore[arg-type]
    assert figures["a"].pairs == len(asked) == 2


def test_what_is_not_wanted_is_left_out_and_quick_is_one_round() -> None:
    """Also if the round gives more than was asked for."""
    asked: list[set[str]] = []
    series = series_of({"a": [0.8, 1.2], "b": [0.5]}, asked, least=3, most=6)
    assert set(measure(series, None, {"b"}, quick=True)) == {"b"}  # type: ignore[arg-type]
    assert asked == [{"b"}]
