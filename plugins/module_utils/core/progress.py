# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress of a run: a line that is overwritten on a terminal, a line for each phase elsewhere.

The callback plugin sets the output before Ansible forks the worker in which the logic runs. A module on another host has no output, and
prints nothing.
"""

from __future__ import annotations

import os
from typing import TextIO

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters

CLEAR = "\r\033[K"
WIDTH = 80
"""Columns of a terminal whose size is unknown."""

output: TextIO | None = None
"""The stream for progress; see :func:`set_output`."""


def set_output(to: TextIO | None) -> None:
    """Send progress to ``to`` from now on; ``None`` stops it."""
    global output  # noqa: PLW0603 - what a fork takes along
    output = to


def is_live() -> bool:
    """Return whether lines can be overwritten: the output is a terminal that supports it."""
    return output is not None and output.isatty() and os.environ.get("TERM") != "dumb"


def start_phase(text: str) -> None:
    """Show the start of a phase: on a terminal in place of the last line, elsewhere on a new line."""
    if is_live():
        update(text)
    else:
        _write(f"{escape_control_characters(text)}\n")


def update(text: str) -> None:
    """Show the progress of a phase, in place of the last line; only on a terminal."""
    if output is not None and is_live():
        width = os.get_terminal_size(output.fileno()).columns or WIDTH
        _write(f"{CLEAR}{escape_control_characters(text)[: width - 1]}")


def clear() -> None:
    """Remove the live line, before results are printed."""
    if is_live():
        _write(CLEAR)


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
