# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is printed and written, and the history."""

from __future__ import annotations

from pathlib import Path
from xml.etree.ElementTree import fromstring

import pytest
from bench import history, plot
from bench.history import Entry
from bench.machine import Machine
from bench.pairs import Figures, Row, Series
from bench.report import WIDTH, Results, Table, page, table_lines, terminal_lines

ROWS = (
    Row("start.list", "repoman list", "one ping", "How it is.", 0.5),
    Row("start.help", "repoman --help", "one ping", "How it is.", 0.08),
    Row("grow.memory", "memory <of> all", "the value", "Counted by the kernel.", 200, "MB"),
    Row("status.end", "repoman status", "git | git", "How it is.", None),
)
FIGURES = {
    "start.list": Figures(0.5234, 1.1, 0.4758, 0.46, 0.49, 9),
    "start.help": Figures(0.1, 1.1, 0.0909, 0.09, 0.0912, 9),
    "grow.memory": Figures(120.4, 1.0, 120.4, 120.4, 120.4, 1),
    "status.end": Figures(120.0, 10.0, 12.0, 12.0, 12.0, 1),
}


@pytest.fixture
def results() -> Results:
    """A series of four rows, one over its mark."""
    return Results([Series("Start & end", ROWS, None, 1, 1)], dict(FIGURES))  # type: ignore[arg-type]


def test_terminal(results: Results) -> None:
    """Each row has its verdict; the alternative is named once; nothing is wider than 80 columns."""
    lines = list(terminal_lines(results.series[0], results.figures))
    assert lines == [
        "Start & end",
        "  alternative: one ping",
        "   repoman list                    523 ms   1.10 s   0.48   0.46–0.49  0.50 ok",
        "   repoman --help                  100 ms   1.10 s  0.091 0.090–0.091 0.080 over",
        "  the value:",
        "   memory <of> all                 120 MB                               200 ok",
        "  alternative: git | git",
        "   repoman status                   120 s  10.00 s   12.0    one pair       -",
    ]
    assert max(map(len, lines)) <= WIDTH


def test_what_is_good(results: Results) -> None:
    """A row over its mark is not; neither is a series that could not be measured."""
    assert not results.is_good
    del results.figures["start.help"]
    assert results.is_good
    results.failures["Start & end"] = "no reason"
    assert not results.is_good


def test_page(results: Results) -> None:
    """The machine, each row in a table, each sentence once, other tables, and why something was not measured."""
    results.failures["Something"] = "it is not there"
    results.tables.append(Table("Parts", "About them.", [["part", "ms"], ["first", "12"]]))
    results.slower["start.help"] = 1.3
    text = page(results, Machine(2, "A processor", "6.1", "3.11.2"), {"rsync": "3.2.7", "incus": "6.0.4"}, "2026-01-31", "abc1234")
    assert "on 2 processors (A processor), Linux 6.1, Python 3.11.2" in text and "incus 6.0.4, rsync 3.2.7" in text
    assert "on 2026-01-31 at commit abc1234" in text
    assert "| repoman list | one ping | 9 pairs | 523 ms | 1.10 s | 0.48 | 0.46–0.49 | 0.50 | ok |\n" in text
    assert "| repoman status | git \\| git | 1 pair |" in text
    assert "| memory <of> all | none: the value | 1 value | 120 MB |  |" in text
    results.figures["grow.memory"] = Figures(120.4, 1.0, 120.4, 120.4, 120.4, 3)
    assert "| none: the value | median of 3 values |" in page(results, Machine(2, "A", "6", "3"), {}, "", "")
    assert text.count("How it is.") == 1 and "- memory <of> all: Counted by the kernel.\n" in text
    assert "## Something\n\nNot measured: it is not there\n" in text
    assert "Slower than in the run recorded before: start.help, 1.30 times its ratio.\n" in text and "growth.svg" not in text
    results.figures["growth.1.first"] = FIGURES["start.list"]
    assert "](benchmarks/growth.svg)\n" in page(results, Machine(2, "A", "6", "3"), {}, "", "")
    assert "## Parts\n\nAbout them.\n\n| part | ms |\n|---|---|\n| first | 12 |\n" in text


def test_wide_tables_are_cut() -> None:
    """The first column gives way."""
    lines = list(table_lines(Table("T", "", [["part", "ms"], ["x" * 200, "12"]])))
    assert [len(line) for line in lines] == [1, WIDTH, WIDTH] and lines[2].endswith("x…  12")


def test_pictures(results: Results) -> None:
    """They are XML, with a bar for each row that has a mark, in the colour of its verdict; the growth only if it was measured."""
    made = plot.pictures(results)
    assert set(made) == {"ratios.svg"}
    picture = made["ratios.svg"]
    fromstring(picture)  # noqa: S314 - our own
    assert (picture.count(f'fill="{plot.GOOD}"'), picture.count(f'fill="{plot.BAD}"')) == (2, 1)
    assert "Start &amp; end" in picture and "memory &lt;of&gt; all" in picture and "repoman status" not in picture
    for count in (1, 10, 100):
        results.figures |= {f"growth.{count}.{key}": Figures(count, 1, count, count, count, 1) for key in ("first", "memory")}
    curves = plot.growth_curves(results.figures)
    assert curves["first copy, s"] == [(1, 1), (10, 10), (100, 100)] and len(curves) == 2
    assert len(fromstring(plot.pictures(results)["growth.svg"]).findall("{*}polyline")) == 2  # noqa: S314


def test_bars_grow_with_the_logarithm() -> None:
    """Half the mark and twice the mark are as far from it; what is beyond the picture ends at its edge."""
    at_mark = plot.position(1)
    assert at_mark - plot.position(0.5) == pytest.approx(plot.position(2) - at_mark)
    assert (plot.position(0.001), plot.position(1000)) == (0, plot.BAR)


def test_history_of_a_machine(tmp_path: Path) -> None:
    """Lines can be read again; a row has its newest figures, of machines of the same kind only."""
    path = tmp_path / "history.jsonl"
    assert history.read(path) == []
    one, two = FIGURES["start.list"], FIGURES["start.help"]
    entries = [
        Entry("2026-01-01", "a", "here", {"list": one, "help": one}),
        Entry("2026-01-02", "b", "elsewhere", {"list": two}),
        Entry("2026-01-03", "c", "here", {"help": two}),
    ]
    path.write_text("".join(entry.line() for entry in entries))
    assert history.read(path) == entries
    assert history.last_figures(history.read(path), "here") == {"list": one, "help": two}


@pytest.mark.parametrize(
    ("ratio", "low", "is_slower"),
    [
        (0.60, 0.55, True),
        (0.57, 0.55, False),  # less than 15 %
        (0.60, 0.52, False),  # the spreads touch
        (0.30, 0.29, False),
    ],
)
def test_regression(ratio: float, low: float, is_slower: bool) -> None:
    """It is beyond 15 % and beyond the spread; new rows have nothing to be compared with."""
    last = {"list": Figures(0.5, 1, 0.5, 0.48, 0.52, 9)}
    now = {"list": Figures(ratio, 1, ratio, low, 0.7, 9), "new": Figures(9, 1, 9, 9, 9, 9)}
    assert history.regressions(last, now) == ({"list": pytest.approx(1.2)} if is_slower else {})
