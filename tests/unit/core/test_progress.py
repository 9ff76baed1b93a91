# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress: live on a terminal, lines elsewhere, nothing where nobody listens."""

from __future__ import annotations

import io
import os
import pty
import termios
from collections.abc import Iterator

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress


@pytest.fixture(autouse=True)
def nobody() -> Iterator[None]:
    """No listener before and after."""
    progress.set_output(None)
    yield
    progress.set_output(None)


def test_elsewhere_a_phase_is_a_line() -> None:
    """Lines that follow each other; how far it is, is not told."""
    heard = io.StringIO()
    progress.set_output(heard)
    progress.start_phase("creating a\x1b[31m")
    progress.update("50%")
    progress.clear()
    assert heard.getvalue() == "creating a\\x1b[31m\n"


CLEAR = b"\r\x1b[K"


def unwrapped(text: bytes) -> bytes:
    """Return text for a terminal that does not continue long rows on the next one: some characters take two columns."""
    return b"\x1b[?7l" + text + b"\x1b[?7h"


def test_a_terminal_has_one_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes the place of the last, and nothing is left."""
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    with open(slave, "w") as heard, open(master, "rb", buffering=0) as seen:
        progress.set_output(heard)
        progress.start_phase("creating")
        progress.update("x" * 500)
        progress.clear()
        expected = unwrapped(CLEAR + b"creating") + unwrapped(CLEAR + b"x" * 79) + CLEAR
        text = b""
        while len(text) < len(expected):
            text += os.read(seen.fileno(), 4096)
    assert text == expected


def test_rows_above_the_live_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are cut to the screen, so that all of them can be removed; the line that follows takes their place."""
    monkeypatch.setenv("TERM", "xterm")
    master, slave = pty.openpty()
    termios.tcsetwinsize(slave, (4, 10))
    with open(slave, "w") as heard, open(master, "rb", buffering=0) as seen:
        progress.set_output(heard)
        progress.update("2 of 9", ["one\x1b[2J" + "x" * 20, "two", "three"])
        progress.update("3 of 9")
        progress.update("4 of 9", ["one"])
        progress.clear()
        progress.clear()
        expected = unwrapped(CLEAR + b"one\\x1b[2\r\ntwo\r\n2 of 9") + unwrapped(b"\r\x1b[2A\x1b[J3 of 9")
        expected += unwrapped(CLEAR + b"one\r\n4 of 9") + b"\r\x1b[1A\x1b[J" + CLEAR
        text = b""
        while len(text) < len(expected):
            text += os.read(seen.fileno(), 4096)
    assert text == expected


def test_nobody_hears_and_a_listener_that_is_gone_stops_nothing() -> None:
    """Neither is an error."""
    progress.start_phase("nothing")
    reading, writing = os.pipe()
    os.close(reading)
    heard = open(writing, "w")  # noqa: SIM115 - its end fails as well
    progress.set_output(heard)
    progress.start_phase("gone")
    assert progress.output is None
    with pytest.raises(BrokenPipeError):
        heard.close()
