# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report: lines of 80 columns for the terminal, and a page of Markdown."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bench.machine import Machine
from bench.pairs import OVER, Figures, Row, Series

WIDTH = 80
HEAD = f"{'':<33}{'ours':>5} {'alternative':>11} {'ratio':>6} {'spread':>11} {'mark':>5} "
PLAIN_MARK = 0.1
"""Marks below it are printed with three digits."""


@dataclass(frozen=True)
class Table:
    """A table that has no verdict, such as a timeline.

    :param rows: of cells; the first row is the head.
    :param about: how it is made, in a sentence or two.
    """

    title: str
    about: str
    rows: Sequence[Sequence[str]]


@dataclass
class Results:
    """All that one call of the bench found out.

    :param figures: by key of the row. :param failures: why a series could not be measured, by its title.
    :param slower: how many times the last recorded ratio a row is now, by key.
    """

    series: list[Series]
    figures: dict[str, Figures] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    tables: list[Table] = field(default_factory=list)
    slower: dict[str, float] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        """Return whether everything was measured, and nothing is over its mark."""
        rows = [row for each in self.series for row in each.rows if row.key in self.figures]
        return not self.failures and all(self.figures[row.key].verdict(row.mark) != OVER for row in rows)


def ratio_text(value: float) -> str:
    """Return a ratio with as many digits as say something."""
    if value < PLAIN_MARK:
        return f"{value:.3f}"
    return f"{value:.2f}" if value < 10 else f"{value:.1f}"


def value_text(value: float, unit: str) -> str:
    """Return a time or a value with its unit."""
    if unit not in {"s", "x"}:
        return f"{value:.0f} {unit}"
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def cells(row: Row, figures: Figures) -> tuple[str, str, str, str, str, str]:
    """Return what is printed of a row: ours, the alternative, ratio, spread, mark, verdict."""
    verdict = figures.verdict(row.mark)
    if row.unit != "x":
        mark = "" if row.mark is None else f"{row.mark:g}"
        return value_text(figures.ratio, row.unit), "", "", "", mark, verdict
    spread = f"{ratio_text(figures.low)}–{ratio_text(figures.high)}" if figures.pairs > 1 else "one pair"
    mark = "" if row.mark is None else ratio_text(row.mark)
    return value_text(figures.ours, "s"), value_text(figures.alternative, "s"), ratio_text(figures.ratio), spread, mark, verdict


def terminal_lines(series: Series, figures: Mapping[str, Figures]) -> Iterator[str]:
    """Yield the lines of a series, at most 80 columns wide."""
    yield series.title
    alternative = ""
    for row in series.rows:
        if row.key not in figures:
            continue
        if row.alternative != alternative:
            alternative = row.alternative
            yield f"  alternative: {alternative}" if row.unit == "x" else f"  {alternative}:"
        ours, theirs, ratio, spread, mark, verdict = cells(row, figures[row.key])
        title = textwrap.shorten(row.title, 30, placeholder="…")
        yield f"   {title:<30}{ours:>8} {theirs:>8} {ratio:>6} {spread:>11} {mark:>5} {verdict:<4}".rstrip()


def table_lines(table: Table) -> Iterator[str]:
    """Yield the lines of a table for the terminal."""
    widths = [max(len(row[column]) for row in table.rows) for column in range(len(table.rows[0]))]
    room = WIDTH - 2 - sum(widths[1:]) - 2 * (len(widths) - 1)
    widths[0] = min(widths[0], room)
    yield table.title
    for row in table.rows:
        first = row[0] if len(row[0]) <= widths[0] else row[0][: widths[0] - 1] + "…"
        rest = "".join(f"  {cell:>{width}}" for cell, width in zip(row[1:], widths[1:], strict=True))
        yield f"  {first:<{widths[0]}}{rest}".rstrip()


def page(results: Results, machine: Machine, versions: Mapping[str, str], date: str, commit: str) -> str:
    """Return the page, in Markdown."""
    known = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    text = INTRODUCTION.format(date=date, commit=commit, machine=machine, known=known)
    if any(key.startswith("growth.") for key in results.figures):
        text += "\n![Time and memory of a backup, from 1 to 1000 repositories](benchmarks/growth.svg)\n"
    for key, times in results.slower.items():
        text += f"\nSlower than in the run recorded before: {key}, {times:.2f} times its ratio.\n"
    for series in results.series:
        rows = [row for row in series.rows if row.key in results.figures]
        if rows:
            text += f"\n## {series.title}\n\n" + _series_table(rows, results.figures) + "\n"
            text += "".join(f"- {line}\n" for line in _sentences(rows))
    for title, reason in results.failures.items():
        text += f"\n## {title}\n\nNot measured: {reason}\n"
    for table in results.tables:
        text += f"\n## {table.title}\n\n{table.about}\n\n" + _markdown(table.rows)
    return text


def _series_table(rows: Sequence[Row], figures: Mapping[str, Figures]) -> str:
    head = ["command", "alternative", "measured", "ours", "alternative took", "ratio", "spread", "mark", "verdict"]
    return _markdown(
        [head, *([row.title, _alternative(row), _count(row, figures[row.key]), *cells(row, figures[row.key])] for row in rows)]
    )


def _alternative(row: Row) -> str:
    return row.alternative if row.unit == "x" else f"none: {row.alternative}"


def _count(row: Row, figures: Figures) -> str:
    """Return how many pairs or values a row comes from."""
    if row.unit == "x":
        return "1 pair" if figures.pairs == 1 else f"{figures.pairs} pairs"
    return "1 value" if figures.pairs == 1 else f"median of {figures.pairs} values"


def _sentences(rows: Sequence[Row]) -> Iterator[str]:
    """Yield how rows are measured, each sentence once."""
    by_sentence: dict[str, list[str]] = {}
    for row in rows:
        by_sentence.setdefault(row.how, []).append(row.title)
    for sentence, titles in by_sentence.items():
        yield sentence if len(by_sentence) == 1 else f"{', '.join(dict.fromkeys(titles))}: {sentence}"


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]) + "\n"


INTRODUCTION = """\
# Benchmarks

`make bench` measures whole commands, as a person types them and waits for them: the command is installed from a wheel, an ordinary user
runs it, and the Incus is a real one. A ratio comes from pairs: our command and its alternative run one right after the other, in
changing order. It is the median of the ratios of the pairs, and the middle half of them lies in the spread. If the mark lies in the spread,
more pairs are run. A row without an alternative is a value, one or the median of several. Each row says how many pairs or values it comes
from. This page is written by `make bench BENCH='--all --record'`.

![Ratios and their marks](benchmarks/ratios.svg)

Measured on {date} at commit {commit}, on {machine.cores} processors ({machine.cpu}), Linux {machine.kernel}, Python {machine.python}, with
{known}.
"""
