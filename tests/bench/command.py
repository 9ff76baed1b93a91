# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line of the bench."""

from __future__ import annotations

import argparse
import datetime
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from fnmatch import fnmatch
from pathlib import Path

from bench import (
    floor,
    history,
    least,
    plot,
    report,
    rows_growth,
    rows_hosts,
    rows_new,
    rows_profiles,
    rows_start,
    rows_status,
    rows_sync,
    timeline,
)
from bench.machine import ROOT, commit, this_machine, versions
from bench.pairs import Series, measure
from bench.processes import Stopped, stoppable
from bench.worlds import Bench, BenchError

MODULES = (rows_start, rows_new, rows_profiles, rows_status, rows_hosts, rows_sync, rows_growth)
SERIES: tuple[Series, ...] = tuple(series for module in MODULES for series in module.SERIES)
TABLES = {"timeline": timeline.tables, "floor": floor.tables, "least": least.tables}
FLAGS = ("growth", "million")
REPEAT_SECONDS = 480
"""Later in an ordinary run, no row is measured more often than it must be, so that it ends after about a quarter of an hour."""
RECORDED = ROOT / "docs"
RESTORING_PREFIX = ".repoman-restore-"
"""Prefix of the directories that a restore fills, which sync finishes or takes away."""
UNRECORDED = ROOT / ".dev/bench/report"
HISTORY = RECORDED / "benchmarks/history.jsonl"


DESCRIPTION = "Measure commands as typed, each in pairs with its alternative: what one would type instead."


def parser() -> argparse.ArgumentParser:
    """Return the parser."""
    made = argparse.ArgumentParser(prog="make bench BENCH=…", allow_abbrev=False, description=DESCRIPTION)
    made.add_argument("--list", action="store_true", help="print the rows, and measure nothing")
    made.add_argument("--rows", action="append", metavar="PATTERN", help="only rows whose key matches, such as 'start.*'; repeatable")
    made.add_argument("--quick", action="store_true", help="one pair for each row: to try a change of the bench itself")
    made.add_argument("--record", action="store_true", help="with --all: write docs/benchmarks.md, its pictures and its history")
    made.add_argument("--growth", action="store_true", help="also sync of 1, 10, 100 and 1000 repositories")
    made.add_argument("--million", action="store_true", help="also sync of a tree of a million entries")
    made.add_argument("--all", action="store_true", help="everything that needs no argument; takes 35 minutes")
    made.add_argument("--tree", type=Path, metavar="DIR", help="also sync of the repositories in this directory, which is only read")
    made.add_argument("--where", type=Path, metavar="DIR", help="make trees and targets here, on the disk that matters (/var/tmp)")
    return made


def select(options: argparse.Namespace) -> list[tuple[Series, set[str]]]:
    """Return the series that are asked for, each with the keys of its rows that are."""
    chosen = []
    for series in SERIES:
        if series.flag == "tree" and not options.tree:
            continue
        if series.flag in FLAGS and not (options.all or getattr(options, series.flag) or options.rows):
            continue
        keys = {row.key for row in series.rows if is_wanted(row.key, options.rows)}
        if keys:
            chosen.append((series, keys))
    return chosen


def is_wanted(key: str, patterns: Sequence[str] | None) -> bool:
    """Return whether a key matches one of the patterns; without patterns, every key does."""
    return not patterns or any(fnmatch(key, pattern) or key.startswith(f"{pattern}.") for pattern in patterns)


def run(bench: Bench, options: argparse.Namespace, results: report.Results) -> None:
    """Measure, and print each series when it is done. After an interrupt, the results have what was measured before."""
    start = time.monotonic()

    def may_repeat() -> bool:
        return options.all or time.monotonic() - start < REPEAT_SECONDS

    with isolated("Installations", results):
        bench.install(sorted({each for series, _keys in select(options) for each in series.needs}))
    for name, tables in TABLES.items():
        with isolated(f"Tables of {name}", results):
            for table in tables(bench) if is_wanted(name, options.rows) else ():
                results.tables.append(table)
                print("\n".join(report.table_lines(table)), flush=True)
    print(report.HEAD.rstrip())
    for series, keys in select(options):
        results.series.append(series)
        bench.say(series.title)
        with isolated(series.title, results):
            results.figures |= measure(series, bench, keys, may_repeat, options.quick)
            print("\n".join(report.terminal_lines(series, results.figures)), flush=True)
        bench.say(f"{time.monotonic() - start:.0f} s since the start")


@contextmanager
def isolated(title: str, results: report.Results) -> Iterator[None]:
    """Note an error as the reason why something was not measured, and go on: what else is measured must not be lost."""
    try:
        yield
    except Exception as error:
        reason = str(error) if isinstance(error, BenchError) else f"{type(error).__name__}: {error}"
        results.failures[title] = reason
        print(f"{title}\n   not measured: {reason}", flush=True)


def refusal(options: argparse.Namespace) -> str:
    """Return why these options cannot be used together, with a hint; empty if they can."""
    if options.record and (not options.all or options.rows or options.quick or options.tree):
        return "--record writes a whole page\nhint: make bench BENCH='--all --record', without --rows, --quick and --tree"
    if options.rows and not (select(options) or any(is_wanted(name, options.rows) for name in TABLES)):
        return "no row matches\nhint: make bench BENCH=--list"
    if options.tree and not options.tree.expanduser().is_dir():
        return f"{options.tree} is not a directory"
    unfinished = sorted(options.tree.expanduser().glob(f"{RESTORING_PREFIX}*")) if options.tree else []
    if unfinished:
        first = shlex.quote(str(unfinished[0]))
        return (
            f"a restore into {options.tree} was killed: repoman sync would finish that, and here the directory is only read"
            f"\nhint: ls -la {first}  # what it left; repoman sync of that directory takes it away"
        )
    return ""


def write(results: report.Results, entry: history.Entry, known: dict[str, str], recorded: bool) -> Path:
    """Write the page and the pictures; into docs, and with a line of the history, only if the run is recorded. Return the page's path."""
    top = RECORDED if recorded else UNRECORDED
    (top / "benchmarks").mkdir(parents=True, exist_ok=True)
    (top / "benchmarks.md").write_text(report.page(results, this_machine(), known, entry.date, entry.commit))
    for name, picture in plot.pictures(results).items():
        (top / "benchmarks" / name).write_text(picture)
    if recorded:
        with HISTORY.open("a") as file:
            file.write(entry.line())
    return top / "benchmarks.md"


def main(argv: Sequence[str]) -> int:
    """Measure what the command line asks for; return 1 if a row is over its mark or could not be measured."""
    made = parser()
    options = made.parse_args(argv)
    if reason := refusal(options):
        made.error(reason)
    if options.list:
        for series, _keys in select(argparse.Namespace(**vars(options) | {"all": True, "tree": True})):
            for row in series.rows:
                print(f"{row.key:<22} {row.title}, alternative: {row.alternative}")
        return 0
    with stoppable() as finish, ExitStack() as stack:
        bench = Bench(options, stack)
        results, code = report.Results([]), 0
        try:
            run(bench, options, results)
        except Stopped as stopped:
            results.failures["The rest"] = str(stopped)
            code = stopped.code
        finish()
        entry = history.Entry(datetime.datetime.now(datetime.UTC).date().isoformat(), commit(), this_machine().kind, results.figures)
        results.slower = history.regressions(history.last_figures(history.read(HISTORY), entry.machine), results.figures)
        is_recorded = options.record and not results.failures
        page = write(results, entry, versions(bench.ansible_playbook), is_recorded)
        if options.record and not is_recorded:
            print("not recorded: see what could not be measured")
    for key, times in results.slower.items():
        print(f"slower than recorded: {key}, {times:.2f} times the last ratio on this kind of machine")
    print(f"report: {page.relative_to(ROOT)}", file=sys.stderr)
    return code or (0 if results.is_good else 1)
