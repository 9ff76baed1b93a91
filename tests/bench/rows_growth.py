# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""How time and memory of a backup grow with the number of repositories, and with one very large tree."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.contenders import Ours
from bench.pairs import Pair, Round, Row, Series
from bench.worlds import Bench

COUNTS = (1, 10, 100, 1000)
MEGABYTES = 200
MANY_FILES = 1_000_000
HOW = (
    "Small generated repositories of about 60 entries: the first copy and once more, local. Memory is that of the largest process,"
    " as the kernel counts it."
)
LINEAR = Row(
    "growth.linear",
    "first copy, for each of 1000",
    "for each of 100",
    "The time for each repository more, both less the time of the run with one repository.",
    1.2,
)
LARGE = "One tree of a million empty files in 2000 directories: the first copy, once more, and with --full."
WHAT = {"first": ("first copy", "s"), "unchanged": ("unchanged", "s"), "memory": ("memory", "MB")}


def rows_of(count: int) -> tuple[Row, ...]:
    """Return the rows of a number of repositories."""
    many = "1 repository" if count == 1 else f"{count} repositories"
    return tuple(
        Row(f"growth.{count}.{key}", f"{many}, {title}", "the value", HOW, MEGABYTES if unit == "MB" else None, unit)
        for key, (title, unit) in WHAT.items()
    )


MILLION = (
    *(
        Row(f"million.{key}", f"a million, {title}", "the value", LARGE, unit="s")
        for key, title in {"first": "first copy", "unchanged": "unchanged", "full": "--full"}.items()
    ),
    Row("million.memory", "a million, memory", "the value", LARGE, MEGABYTES, "MB"),
)


def backup(bench: Bench, source: Path) -> tuple[float, float, Ours]:
    """Make a backup, and make it once more; return the seconds of both, and what made them."""
    ours = Ours(bench, source, bench.fresh_directory("ours"))
    return ours.run(), ours.run(), ours


@contextmanager
def open_growth(bench: Bench) -> Iterator[Round]:
    """Make the trees."""
    sources = {count: bench.place / f"small{count}" for count in COUNTS}
    for count, source in sources.items():
        bench.trees("small", source, count)

    def measure(_number: int, _wanted: Collection[str]) -> dict[str, Pair]:
        found: dict[str, Pair] = {}
        for count, source in sources.items():
            first, again, ours = backup(bench, source)
            for key, value in {"first": first, "unchanged": again, "memory": ours.megabytes}.items():
                found[f"growth.{count}.{key}"] = (value, 1.0)
        one, middle, most = (found[f"growth.{count}.first"][0] for count in (COUNTS[0], *COUNTS[2:]))
        return found | {LINEAR.key: ((most - one) / (COUNTS[3] - 1), (middle - one) / (COUNTS[2] - 1))}

    yield measure


@contextmanager
def open_million(bench: Bench) -> Iterator[Round]:
    """Make the tree."""
    source = bench.place / "million"
    bench.trees("million", source, MANY_FILES)

    def measure(_number: int, _wanted: Collection[str]) -> dict[str, Pair]:
        first, again, ours = backup(bench, source)
        full = ours.run("--full")
        values = {"first": first, "unchanged": again, "full": full, "memory": ours.megabytes}
        return {f"million.{key}": (value, 1.0) for key, value in values.items()}

    yield measure


SERIES = (
    Series("Growth", (*(row for count in COUNTS for row in rows_of(count)), LINEAR), open_growth, least=2, most=4, flag="growth"),
    Series("A million entries", MILLION, open_million, least=1, most=1, flag="million"),
)
