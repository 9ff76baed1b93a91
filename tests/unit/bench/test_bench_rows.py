# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of rows, what is chosen from it, and what is read from traces and events."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import RESTORING_PREFIX
from bench import command, floor, history, rows_hosts, rows_profiles, rows_start, rows_sync, timeline
from bench.command import SERIES, main, parser, select
from bench.history import Entry
from bench.machine import ROOT
from bench.pairs import Figures, Round, Row, Series
from bench.report import Results, Table
from bench.timeline import merged, steps
from bench.worlds import COLLECTION, PACKAGES, Bench, BenchError
from world import IncusRefusalError

TRACE = """\
2026-01-31T10:00:00.000Z 7 module: projects.run with options: projects
2026-01-31T10:00:00.010Z 7 incus: GET /1.0/instances?recursion=1&all-projects=true 200 4 ms
2026-01-31T10:00:00.020Z 7 plan: a planned: create container a; start a
2026-01-31T10:00:00.021Z 7 plan: start: start a
2026-01-31T10:00:00.100Z 7 incus: POST /1.0/instances/a/exec?project=repoman 202 3 ms
2026-01-31T10:00:00.101Z 7 incus: WebSocket /1.0/operations/06e0ab2e-0fab-4328-bf39-0bf255aa089e/websocket
2026-01-31T10:00:00.102Z 7 incus: WebSocket /1.0/operations/06e0ab2e-0fab-4328-bf39-0bf255aa089e/websocket
2026-01-31T10:00:01.500Z 7 incus: GET /1.0/operations/06e0ab2e-0fab-4328-bf39-0bf255aa089e/wait?timeout=390 200 0 ms
2026-01-31T10:00:01.501Z 7 plan: done: start a
not a line of a trace
"""


def test_timeline() -> None:
    """Requests and steps with their times; the connections of an exec are one line; the last line has their number."""
    lines = TRACE.splitlines()
    assert [(step.at, step.took) for step in steps(lines)] == [(10, 4), (21, None), (100, 3), (101, None), (102, None), (1500, 0)]
    assert [count for _step, count in merged(steps(lines))] == [1, 1, 1, 2, 1]
    assert timeline.table("busybox", lines, {"instances": "things"}).rows == [
        ["request or step", "at", "took"],
        ["→ GET /1.0/things", "10", "4"],
        ["start a", "21", ""],
        ["→ POST /1.0/things/a/exec", "100", "3"],
        ["→ WebSocket /1.0/operations/ID/websocket (2 times)", "101", ""],
        ["→ GET /1.0/operations/ID/wait", "1500", "0"],
        ["all: 3 requests, 1 of them an exec", "1500", ""],
    ]


def test_parts_of_a_run() -> None:
    """Each part ends with its event; a part whose event did not happen, or happened earlier, is left out."""
    text = (
        "1.1 5 python\n1.3 5 import ansible.cli\n1.9 5 import ansible_collections.homelab.repoman.plugins.modules\n"
        "2.0 5 os.fork\n2.2 6 socket.connect\n2.3 5 os.fork\n"
    )
    assert floor.phases(floor.events(text), 1.0, 2.5) == {
        "python starts": pytest.approx(0.1),
        "repoman, up to its first import of ansible": pytest.approx(0.2),
        "ansible: imports, settings, playbook, plugins": pytest.approx(0.6),
        "imports of the collection, up to the worker": pytest.approx(0.1),
        "up to the connection to Incus": pytest.approx(0.2),
        "Incus answers, the result is printed, all ends": pytest.approx(0.3),
    }
    assert list(floor.phases(floor.events("1.1 5 python\n2.0 5 socket.connect\n"), 1.0, 2.5).values()) == pytest.approx([0.1, 0.9, 0.5])
    assert "socket.connect" in floor.HOOK and compile(floor.HOOK, "hook", "exec")


def test_rows() -> None:
    """Keys tell rows apart, titles fit their column, and every row says how it is measured in whole sentences."""
    rows = [row for series in SERIES for row in series.rows]
    assert len({row.key for row in rows}) == len(rows) > 40
    assert [row.title for row in rows if len(row.title) > 30] == []
    assert [row.how for row in rows if not row.how.endswith(".")] == []
    assert [series.title for series in SERIES if not 1 <= series.least <= series.most] == []


def chosen(*argv: str) -> set[str]:
    """Return the keys that a command line asks for."""
    return {key for _series, keys in select(parser().parse_args(list(argv))) for key in keys}


def test_selection() -> None:
    """What takes long is measured when it is asked for; a pattern is a glob or the first part of keys."""
    ordinary = chosen()
    assert {key.partition(".")[0] for key in ordinary} == {"start", "new", "install", "profiles", "status", "hosts", "sync"}
    assert chosen("--all") - ordinary == chosen("--growth", "--million") - ordinary == chosen("--rows", "growth", "--rows", "million")
    assert chosen("--tree", "/somewhere") - ordinary == {"sync.tree.first", "sync.tree.unchanged"}
    assert chosen("--rows", "new") == {"new.busybox", "new.debian"}
    assert chosen("--rows", "*.changed", "--rows", "start.l*") == {"start.list"} | {
        f"sync.{kind}.changed" for kind in ("rsync", "best", "latency")
    }


@pytest.mark.parametrize("is_recorded", [False, True])
def test_what_is_written(is_recorded: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page and the picture; only a recorded run writes into docs, and a line of the history for each."""
    docs, other = tmp_path / "docs", tmp_path / "report"
    for name, value in {"RECORDED": docs, "UNRECORDED": other, "HISTORY": docs / "benchmarks/history.jsonl"}.items():
        monkeypatch.setattr(command, name, value)
    figures = {"start.list": Figures(0.5, 1, 0.5, 0.5, 0.5, 1)}
    entry = Entry("2026-01-31", "abc", "here", figures)
    for _run in range(2):
        page = command.write(Results([rows_start.SERIES[0]], figures), entry, {"rsync": "3.2.7"}, is_recorded)
    assert "repoman list" in page.read_text() and "rsync 3.2.7" in page.read_text()
    written = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    if is_recorded:
        assert written == {"docs/benchmarks.md", "docs/benchmarks/ratios.svg", "docs/benchmarks/history.jsonl"}
        assert history.read(docs / "benchmarks/history.jsonl") == [entry, entry]
    else:
        assert written == {"report/benchmarks.md", "report/benchmarks/ratios.svg"}


def test_list_and_refusals(capsys: pytest.CaptureFixture[str]) -> None:
    """All rows are listed; a part of them is not recorded; a pattern that matches nothing is a mistake."""
    assert main(["--list"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == sum(len(series.rows) for series in SERIES)
    whole = ["--all", "--record"]
    assert command.refusal(parser().parse_args(whole)) == ""
    wrong = (
        ["--record"],
        ["--record", "--growth"],
        [*whole, "--rows", "new"],
        [*whole, "--quick"],
        ["--rows", "nothing"],
        ["--tree", "/nonexistent"],
    )
    for argv in wrong:
        with pytest.raises(SystemExit, match="2"):
            main(argv)
        assert ("hint: make bench BENCH=" in capsys.readouterr().err) == (argv[0] != "--tree")


class FailingBench(Bench):
    """Installs nothing, and has no home."""

    def install(self, needs: Collection[str]) -> None:
        """Note what is asked for."""
        self.asked = set(needs)


def test_an_error_ends_only_its_own_series(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Of whatever kind, and also in a table: it is named, the rest is measured, and the result is not good."""

    def broken(_bench: Bench) -> Iterator[Table]:
        yield Table("One", "", [["a", "b"]])
        raise BenchError("the second is not there")

    @contextmanager
    def opened(_bench: Bench) -> Iterator[Round]:
        yield lambda _number, _wanted: {"b": (1.0, 2.0)}

    def refused(_bench: Bench) -> AbstractContextManager[Round]:
        raise IncusRefusalError("no such pool")

    def missing(_bench: Bench) -> AbstractContextManager[Round]:
        raise FileNotFoundError(2, "no such program", "borg")

    rows = {key: Row(key, key, "another", "How.", 1.0) for key in "abc"}
    series = [
        Series("A", (rows["a"],), refused, 1, 1, needs=("borg",)),
        Series("C", (rows["c"],), missing, 1, 1),
        Series("B", (rows["b"],), opened, 1, 1, needs=("cc",)),
    ]
    monkeypatch.setattr(command, "SERIES", series)
    monkeypatch.setattr(command, "TABLES", {"timeline": broken})
    options = parser().parse_args(["--quick"])
    bench, results = FailingBench(options, ExitStack()), Results([])
    command.run(bench, options, results)
    assert results.failures == {
        "Tables of timeline": "the second is not there",
        "A": "IncusRefusalError: no such pool",
        "C": "FileNotFoundError: [Errno 2] no such program: 'borg'",
    }
    assert set(results.figures) == {"b"} and [table.title for table in results.tables] == ["One"] and not results.is_good
    assert bench.asked == {"borg", "cc"} and "not measured: IncusRefusalError: no such pool" in capsys.readouterr().out


def test_needs_have_packages() -> None:
    """What a series needs can be installed."""
    assert {need for series in SERIES for need in series.needs} <= {*PACKAGES, COLLECTION}
    assert {kind.name for kind in rows_sync.TOOLS} < set(PACKAGES)


def test_who_begins_changes_in_each_row_of_pairs() -> None:
    """A row with a ratio has at least two pairs, so that both sides begin once; a row with a unit has values, not pairs."""
    single = {row.key for series in SERIES for row in series.rows if series.least == 1}
    assert single == {"million.first", "million.unchanged", "million.full", "million.memory"}
    assert {row.unit for series in SERIES for row in series.rows if row.key in single} == {"s", "MB"}


def test_the_start_counts_once() -> None:
    """In the loop of a module, whose length is scaled, and in the growth with the hosts."""
    start, each = 2.0, 0.5
    few, more = (start + count * each for count in (rows_profiles.FEW, rows_profiles.MORE))
    assert rows_profiles.all_in_a_loop(few, more) == pytest.approx(start + rows_profiles.MANY * each)
    assert rows_hosts.growth({2: 3 + 1, 8: 3 + 2, 32: 3 + 8}) == (1.0, 1.0)
    most, middle = rows_hosts.growth({2: 3 + 1, 8: 3 + 2, 32: 3 + 10})
    assert rows_hosts.GROWTH.mark and most / middle > rows_hosts.GROWTH.mark


def test_a_tree_is_only_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """sync would finish a killed restore in it."""
    assert command.RESTORING_PREFIX == RESTORING_PREFIX
    (tmp_path / "a").mkdir()
    assert command.refusal(parser().parse_args(["--tree", str(tmp_path)])) == ""
    (tmp_path / f"{RESTORING_PREFIX}1-2-a").mkdir()
    with pytest.raises(SystemExit, match="2"):
        main(["--tree", str(tmp_path)])
    assert "was killed" in (printed := capsys.readouterr().err) and f"hint: ls -la {tmp_path}/{RESTORING_PREFIX}1-2-a  #" in printed


def test_what_only_prints_needs_nothing() -> None:
    """Neither the virtual environment nor what it has."""

    def planned(options: str) -> str:
        command = ["make", "--no-print-directory", "-n", "bench", f"BENCH={options}"]
        others = {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}  # of "make test"
        return subprocess.run(command, cwd=ROOT, env=others, check=True, capture_output=True, text=True).stdout

    assert "dev-incus" in planned("--quick")
    for options in ("--list", "--help", "-h", "--rows new --list"):
        assert len(planned(options).splitlines()) == 1 and ".venv" not in planned(options)
    plain = [sys.executable, "-S", "-m", "bench", "--list"]
    assert "start.list" in subprocess.run(plain, cwd=ROOT / "tests", check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize("is_stopped", [True, False])
def test_a_signal_loses_nothing(is_stopped: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before is on the page, nothing more is installed for it, and signals do not disturb the end."""

    def stopped(_bench: Bench, _options: Any, results: Results) -> None:
        results.series.append(rows_start.SERIES[0])
        results.figures["start.list"] = Figures(0.5, 1, 0.5, 0.5, 0.5, 1)
        if is_stopped:
            signal.raise_signal(signal.SIGTERM)

    def written(*arguments: Any) -> Path:
        signal.raise_signal(signal.SIGINT)
        return write(*arguments)

    write = command.write
    for name, value in {"ROOT": tmp_path, "UNRECORDED": tmp_path, "HISTORY": tmp_path / "history.jsonl"}.items():
        monkeypatch.setattr(command, name, value)
    for name, function in {"run": stopped, "write": written}.items():
        monkeypatch.setattr(command, name, function)
    monkeypatch.delattr(Bench, "bin_dir")
    assert main(["--quick"]) == (128 + signal.SIGTERM if is_stopped else 0)
    page = (tmp_path / "benchmarks.md").read_text()
    assert ("Not measured: stopped by SIGTERM\n" in page) == is_stopped and "| repoman list |" in page
