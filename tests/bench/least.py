# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The shortest time that two commands can take: the sum of the parts that each of them needs, measured one by one."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path

from lab import private_incus
from world import UnixConnection

from bench.report import Table
from bench.rows_profiles import MANY, remove_profiles
from bench.rows_sync import RSYNC
from bench.worlds import Bench

RUNS = 3
PARTS = (Path(__file__).parent / "parts.py").read_text()
START = "the start of a run: repoman list"
ABOUT_COPY = (
    f"Medians of {RUNS} runs, in milliseconds. A Python program copies the 200 repositories of the rows below with the fewest calls to the"
    " kernel and writes no record of them; it inflates and hashes each loose object; git finds out whether each repository is complete. Each"
    " part uses all processors and does nothing else."
)
ABOUT_INSTALL = f"Medians of {RUNS} runs, in milliseconds. {MANY} profiles are created through one connection to Incus, with nothing between the requests."


def medians(sides: Mapping[str, Callable[[], float]]) -> dict[str, float]:
    """Run each side some times, in turns, and once before that; return the median of its seconds."""
    runs: dict[str, list[float]] = {name: [] for name in sides}
    for _number in range(RUNS + 1):
        for name, side in sides.items():
            os.sync()
            runs[name].append(side())
    return {name: statistics.median(each[1:]) for name, each in runs.items()}


def sum_table(title: str, about: str, parts: Mapping[str, float], alternative: Mapping[str, float]) -> Table:
    """Return a table of parts with their sum, and of an alternative with the ratio of the sum to it."""
    whole = sum(parts.values())
    rows = [["part", "ms"], *([name, f"{seconds * 1000:.0f}"] for name, seconds in parts.items()), ["all", f"{whole * 1000:.0f}"]]
    for name, seconds in alternative.items():
        rows += [[name, f"{seconds * 1000:.0f}"], ["the parts, of that", f"{whole / seconds:.2f}"]]
    return Table(title, about, rows)


def first_copy(bench: Bench) -> Table:
    """Measure the parts of a first copy."""
    world, source = bench.main, bench.source

    def part(*argv: str) -> float:
        return bench.run(world, str(bench.bin_dir / "python"), "-c", PARTS, *argv).seconds

    sides = {
        START: bench.side(world, "repoman", "list"),
        "each file is read and written": lambda: part("copy", str(source), str(bench.fresh_directory("least"))),
        "each object is inflated and hashed": lambda: part("inflate", str(source)),
        "git finds each repository complete": lambda: part("prove", str(source)),
        RSYNC: lambda: bench.run(world, "rsync", "-a", "--delete", f"{source}/", f"{bench.fresh_directory('rsync')}/").seconds,
    }
    took = medians(sides)
    rsync = {RSYNC: took.pop(RSYNC)}
    return sum_table("The least that a first copy takes", ABOUT_COPY, took, rsync)


def install(bench: Bench) -> Table:
    """Measure the parts of installing many profiles."""
    with private_incus(" ") as socket:
        world = bench.set_up(socket)

        def create() -> float:
            remove_profiles(world)
            began = time.perf_counter()
            with closing(UnixConnection(socket)) as connection:
                for number in range(MANY):
                    body = {"name": f"p{number:03}", "description": "profile", "config": {"environment.NUMBER": str(number)}, "devices": {}}
                    connection.request("POST", "/1.0/profiles?project=default", json.dumps(body))
                    answer = json.load(connection.getresponse())
                    if answer["type"] == "error":
                        raise RuntimeError(answer["error"])
            return time.perf_counter() - began

        took = medians({START: bench.side(world, "repoman", "list"), f"Incus creates {MANY} profiles": create})
    return sum_table(f"The least that installing {MANY} profiles takes", ABOUT_INSTALL, took, {})


def tables(bench: Bench) -> Iterator[Table]:
    """Yield both."""
    yield first_copy(bench)
    yield install(bench)
