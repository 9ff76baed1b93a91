# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text that fits the width of the output."""

from __future__ import annotations

import io

import pytest
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Column, fitted_table, hint_texts, output_width, wrap


@pytest.mark.parametrize(("is_terminal", "columns", "width"), [(False, "200", 80), (True, "200", 200), (True, "60", 80)])
def test_width(monkeypatch: pytest.MonkeyPatch, is_terminal: bool, columns: str, width: int) -> None:
    """A wide terminal is used, a narrow one counts as 80 columns, and anything else has 80."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: is_terminal)
    monkeypatch.setenv("COLUMNS", columns)
    assert output_width(stream) == width


def test_wrap() -> None:
    """At words, and in words that are too long; a command stays on one line."""
    assert wrap("a b\nc d", 3) == ["a b", "c d"] and wrap("", 3) == [""]
    assert wrap("abcdef g", 4) == ["abcd", "ef g"]
    assert wrap("to do it: a b c", 10, "a b c") == ["to do it:", "a b c"]
    assert wrap("to do it: a b c d e f", 6, "a b c d e f") == ["to do", "it:", "a b c d e f"]
    assert wrap("a\x1b b", 5) == ["a\\x1b", "b"]


def test_hints() -> None:
    """Lines that can be pasted together: the remark follows as a comment."""
    assert hint_texts("do it   # if you like", 80) == ["do it   # if you like"]
    assert hint_texts("do it   # if you like", 12) == ["do it", "# if you", "# like"]
    assert hint_texts("a sentence that is too long", 12) == ["a sentence that is too long"]


def test_table() -> None:
    """From the right, columns are shortened, then left out; the last resort are those that are marked."""
    columns = (
        Column("NAME", min_width=5, is_last=True),
        Column("PATH", min_width=6, keep_end=True),
        Column("X", min_width=3, is_optional=True),
        Column("Y"),
    )
    row = ("a-long-name", "/a/long/path", "xxxxxx", "y")

    def texts(width: int) -> list[str]:
        lines = ["  ".join(line).rstrip() for line in fitted_table(columns, [row], width)]
        assert all(len(line) <= width for line in lines)
        return lines

    assert texts(36) == ["NAME         PATH          X       Y", "a-long-name  /a/long/path  xxxxxx  y"]
    assert texts(34) == ["NAME         PATH          X     Y", "a-long-name  /a/long/path  xxx…  y"]
    assert texts(30) == ["NAME         PATH       X    Y", "a-long-name  …ong/path  xx…  y"]
    assert texts(26) == ["NAME         PATH        Y", "a-long-name  …long/path  y"]
    assert texts(20) == ["NAME       PATH    Y", "a-long-n…  …/path  y"]
