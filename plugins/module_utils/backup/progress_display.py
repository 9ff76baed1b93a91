# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a backup goes on, for somebody who waits: live lines on a terminal, a plain line for each project elsewhere."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_mirror import Tally
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import printable

ROWS = 12
"""So many running projects are shown at most."""
STEP = 1000.0
QUIET = ("unchanged",)
ACTIONS = {
    "synced": "synced",
    "unchanged": "up to date",
    "gone": "put away",
    "same": "same",
    "differs": "differs",
    "busy": "too busy",
    "failed": "failed",
}
"""What came of a unit, in words."""


class Display:
    """Shows tallies and what came of units; a context manager.

    :param check: nothing is done, so there is nothing to show.
    """

    def __init__(self, check: bool) -> None:
        self.on = not check and progress.stream is not None
        self.begun = time.monotonic()
        self.live: Any = None

    def __enter__(self) -> Display:
        if self.on and progress.is_live():
            self.live = _live()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.stop()
        elif self.on:
            progress.clear()

    def tally(self, tally: Tally) -> None:
        """Show how far the run is."""
        if self.live:
            self.live.update(_group(self.lines(tally)), refresh=True)
        elif self.on:
            progress.update(self.lines(tally)[-1])

    def unit(self, line: Mapping[str, Any]) -> None:
        """Tell what came of a unit, where there is no live display and something came of it."""
        if self.on and not progress.is_live() and line["action"] not in QUIET:
            more = f", {counted(line['files'])}, {amount(line['bytes'])}" if line["action"] == "synced" else ""
            progress.phase(f"{line['name']}: {ACTIONS[line['action']]}{more}")

    def lines(self, tally: Tally) -> list[str]:
        """Return a line for each running project, and one for all."""
        names = sorted(tally.running)
        rows = [f"  {printable(name)}: {printable(tally.running[name])}" for name in names[:ROWS]]
        if len(names) > ROWS:
            rows.append(f"  and {len(names) - ROWS} more")
        seconds = max(time.monotonic() - self.begun, 0.001)
        rate = amount(int(tally.bytes / seconds))
        return [*rows, f"sync: {counted(tally.files)}, {amount(tally.bytes)}, {rate}/s"]


def counted(number: int, noun: str = "file") -> str:
    """Return a number of things."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def amount(size: int) -> str:
    """Return a number of bytes as people read it."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= STEP
    return f"{value:.1f} TB"


def _live() -> Any:
    """Return a started live display, or None where the library for it is not installed."""
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        return None
    console = Console(file=progress.stream, force_terminal=True, no_color=bool(os.environ.get("NO_COLOR")))
    live = Live(console=console, auto_refresh=False, transient=True)
    live.start()
    return live


def _group(lines: list[str]) -> Any:
    from rich.text import Text

    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
