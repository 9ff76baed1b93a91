# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is going on, for somebody who waits: a live line on a terminal, a plain line per phase elsewhere.

Nothing is told until somebody listens. The report does, before Ansible forks the worker that the logic runs in;
a module that is shipped to another process has no listener and is silent.
"""

from __future__ import annotations

import os
from typing import TextIO

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters

CLEAR = "\r\033[K"
WIDTH = 80
"""Columns of a terminal that does not tell."""

output: TextIO | None = None
"""Where progress goes; set by :func:`set_output`."""


def set_output(to: TextIO | None) -> None:
    """Send progress to ``to`` from now on; ``None`` ends it."""
    global output  # noqa: PLW0603 - what a fork takes along
    output = to


def is_live() -> bool:
    """Whether a line can be written over: the listener is a terminal that can."""
    return output is not None and output.isatty() and os.environ.get("TERM") != "dumb"


def start_phase(text: str) -> None:
    """Tell that something begins: on a terminal in place of what was told last, elsewhere on a line of its own."""
    if is_live():
        update(text)
    else:
        _write(f"{escape_control_characters(text)}\n")


def update(text: str) -> None:
    """Tell how far a phase is; only on a terminal, in place of what was told last."""
    if output is not None and is_live():
        width = os.get_terminal_size(output.fileno()).columns or WIDTH
        _write(f"{CLEAR}{escape_control_characters(text)[: width - 1]}")


def clear() -> None:
    """Take the live line away: what comes next is a result."""
    if is_live():
        _write(CLEAR)


def _write(text: str) -> None:
    """Write at once; a listener that is gone is no reason to stop the work."""
    global output  # noqa: PLW0603
    if output is None:
        return
    try:
        output.write(text)
        output.flush()
    except OSError:
        output = None
