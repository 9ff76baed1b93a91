# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""One line of JSON for each run that was recorded, and what became slower since the last one on a machine of the same kind."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.pairs import Figures

SLOWER = 1.15
"""More than this many times the last ratio is slower, if also the spreads of both runs lie apart."""


@dataclass(frozen=True)
class Entry:
    """A run.

    :param date: day, as ``2026-01-31``. :param commit: what was measured. :param machine: its kind. :param rows: figures by key.
    """

    date: str
    commit: str
    machine: str
    rows: dict[str, Figures]

    def line(self) -> str:
        """Return it as a line for the file."""
        rows = {key: {name: _short(value) for name, value in asdict(figures).items()} for key, figures in sorted(self.rows.items())}
        return json.dumps({"date": self.date, "commit": self.commit, "machine": self.machine, "rows": rows}) + "\n"

    @classmethod
    def of(cls, line: str) -> Entry:
        """Return the run of a line."""
        read: dict[str, Any] = json.loads(line)
        return cls(read["date"], read["commit"], read["machine"], {key: Figures(**each) for key, each in read["rows"].items()})


def _short(value: float) -> float:
    return float(f"{value:.4g}") if isinstance(value, float) else value


def read(path: Path) -> list[Entry]:
    """Return the recorded runs, oldest first; an empty list without the file."""
    return [Entry.of(line) for line in path.read_text().splitlines() if line] if path.exists() else []


def last_figures(entries: list[Entry], machine: str) -> dict[str, Figures]:
    """Return the newest recorded figures of each row on machines of a kind."""
    found: dict[str, Figures] = {}
    for entry in entries:
        if entry.machine == machine:
            found |= entry.rows
    return found


def regressions(last: Mapping[str, Figures], now: Mapping[str, Figures]) -> dict[str, float]:
    """Return how many times its last ratio a row is now, for rows that are slower by more than both their spread and 15 %."""
    return {
        key: figures.ratio / last[key].ratio
        for key, figures in now.items()
        if key in last and last[key].ratio > 0 and figures.ratio > SLOWER * last[key].ratio and figures.low > last[key].high
    }
