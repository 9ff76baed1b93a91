# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress of a run: a line that is overwritten on a terminal, a line for each phase elsewhere.

The callback plugin sets the output before Ansible forks the worker in which the logic runs. A module on another host has no output, and
prints nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters

CLEAR = "\r\033[K"
NO_WRAPPING, WRAPPING = "\033[?7l", "\033[?7h"
"""Some characters take two columns, and a row that was wrapped could not be removed."""
WIDTH, HEIGHT = 80, 24
"""Columns and lines of a terminal whose size is unknown."""

Preview = Callable[[Mapping[str, Any]], list[str]]
"""Returns a line for each item that is known already. It takes what is known by name, and is called in the process that does the work."""

output: TextIO | None = None
"""The stream for progress; see :func:`set_output`."""
preview: Preview | None = None
"""What to show above the live line of a run that reads many things; see :func:`set_preview`."""
_rows_above = 0
"""Rows that stand above the live line now."""
_lock = threading.Lock()
"""Held while the rows above are replaced, because several threads report."""


def set_output(to: TextIO | None) -> None:
    """Send progress to ``to`` from now on; ``None`` stops it."""
    global output  # noqa: PLW0603 - what a fork takes along
    output = to


def set_preview(to: Preview | None) -> None:
    """Show what a run has read so far with ``to``; ``None`` shows only how much it is."""
    global preview  # noqa: PLW0603 - what a fork takes along
    preview = to


def is_live() -> bool:
    """Return whether lines can be overwritten: the output is a terminal that supports it."""
    return output is not None and output.isatty() and os.environ.get("TERM") != "dumb"


def start_phase(text: str) -> None:
    """Show the start of a phase: on a terminal in place of the last line, elsewhere on a new line."""
    if is_live():
        update(text)
    else:
        _write(f"{escape_control_characters(text)}\n")


def update(text: str, above: Sequence[str] = ()) -> None:
    """Show the progress of a phase, in place of the last line and of the rows above it; only on a terminal.

    :param above: rows to show above the line. Those that the screen has no room for are left out.
    """
    global _rows_above
    if output is None or not is_live():
        return
    size = os.get_terminal_size(output.fileno())
    width, height = size.columns or WIDTH, size.lines or HEIGHT
    rows = list(above)[: max(0, height - 2)]
    shown = [escape_control_characters(row)[: width - 1] for row in (*rows, text)]
    with _lock:
        start, _rows_above = _clear_sequence(), len(rows)
        _write(NO_WRAPPING + start + "\n".join(shown) + WRAPPING)


def clear() -> None:
    """Remove the live line and the rows above it, before results are printed."""
    global _rows_above
    if is_live():
        with _lock:
            start, _rows_above = _clear_sequence(), 0
            _write(start)


def _clear_sequence() -> str:
    return f"\r\033[{_rows_above}A\033[J" if _rows_above else CLEAR


def _write(text: str) -> None:
    """Write and flush; an output that was closed does not stop the work."""
    global output  # noqa: PLW0603
    if output is None:
        return
    try:
        output.write(text)
        output.flush()
    except OSError:
        output = None
