# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Show the progress of a backup: live lines on a terminal, one line for each finished unit elsewhere."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from types import TracebackType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import ACTION_LABELS, Action, UnitResult
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters, format_bytes, plural

ROWS = 12
"""Maximum number of running units that are shown."""
SILENT_ACTIONS = (Action.UNCHANGED,)
"""Actions that are not shown during the run."""


class ProgressDisplay:
    """Shows the counters of a run and the results of units; a context manager.

    :param check: check mode: show nothing.
    """

    def __init__(self, check: bool) -> None:
        self.on = not check and progress.output is not None
        self.started = time.monotonic()
        self.live: Any = None
        self.tally = Progress()
        self.done = 0

    def __enter__(self) -> ProgressDisplay:
        if self.on and progress.is_live():
            self.live = _start_live()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.live:
            self.live.stop()
        elif self.on:
            progress.clear()

    def update(self, tally: Progress) -> None:
        """Show the counters."""
        self.tally = replace(tally, total=tally.total or self.tally.total)
        if self.live:
            self.live.update(_render(self.lines()), refresh=True)
        elif self.on:
            progress.update(self.lines()[-1])

    def unit_finished(self, result: UnitResult) -> None:
        """Count a unit. Show its result, if it changed or failed and there is no live display."""
        self.done += 1
        if progress.is_live():
            self.update(self.tally)
        if self.on and not progress.is_live() and result.action not in SILENT_ACTIONS:
            more = f", {plural(result.files)}, {format_bytes(result.bytes)}" if result.action == Action.SYNCED else ""
            progress.start_phase(f"{result.name}: {ACTION_LABELS[result.action]}{more}")

    def lines(self) -> list[str]:
        """Return a line for each running unit, and one for the whole run, which names one of them."""
        tally = self.tally
        names = sorted(tally.running)
        rows = [f"  {escape_control_characters(name)}: {escape_control_characters(tally.running[name])}" for name in names[:ROWS]]
        if len(names) > ROWS:
            rows.append(f"  and {len(names) - ROWS} more")
        seconds = max(time.monotonic() - self.started, 0.001)
        rate = format_bytes(int(tally.bytes / seconds))
        position = f"{self.done} of {tally.total}, " if tally.total else ""
        current = f": {escape_control_characters(names[0])}" if names else ""
        return [*rows, f"sync: {position}{plural(tally.files)}, {format_bytes(tally.bytes)}, {rate}/s{current}"]


def _start_live() -> Any:
    """Start a live display, and return it; None if the library for it is not installed."""
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        return None
    console = Console(file=progress.output, force_terminal=True, no_color=bool(os.environ.get("NO_COLOR")))
    live = Live(console=console, auto_refresh=False, transient=True)
    live.start()
    return live


def _render(lines: list[str]) -> Any:
    from rich.text import Text

    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")
