# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Text that fits the width of the output."""

from __future__ import annotations

import io

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import display_width, pad, shorten
from ansible_collections.homelab.repoman.plugins.plugin_utils.text import Column, fitted_table, hint_texts, output_width, table, wrap
from hypothesis import given
from hypothesis import strategies as st


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


CELLS = st.text(st.sampled_from("ab -/é\u0301\u200b鮫サー한🦈\x1b\u2028\udc80"), max_size=60)
"""Letters, combining accents, characters of two columns, and characters that are escaped."""


def test_columns_of_a_terminal() -> None:
    """East Asian characters and emoji take two columns, combining accents none. A shortened text is at most as wide as asked for."""
    assert [display_width(text) for text in ("shark", "鮫", "e\u0301", "🦈", "ｱ", "é", "")] == [5, 2, 1, 2, 1, 1, 0]
    assert pad("鮫", 4) == "鮫  " and pad("鮫鮫", 2) == "鮫鮫"
    assert [shorten("鮫鮫鮫", width) for width in (6, 5, 4, 3, 1)] == ["鮫鮫鮫", "鮫鮫…", "鮫…", "鮫…", "…"]
    assert [shorten("鮫鮫鮫", width, keep_end=True) for width in (6, 5, 4)] == ["鮫鮫鮫", "…鮫鮫", "…鮫"]
    assert wrap("鮫鮫 鮫 a", 5) == ["鮫鮫", "鮫 a"] and wrap("鮫鮫鮫", 4) == ["鮫鮫", "鮫"]


@given(st.lists(st.tuples(CELLS, CELLS, CELLS, CELLS), min_size=1, max_size=6), st.integers(40, 200))
def test_tables_fit_and_are_aligned(rows: list[tuple[str, str, str, str]], width: int) -> None:
    """With any cells, no line is wider than the terminal, and each column begins below its title."""
    columns = (
        Column("NAME", min_width=5, is_last=True),
        Column("PATH", min_width=6, keep_end=True),
        Column("X", min_width=3, is_optional=True),
        Column("Y", min_width=4),
    )
    lines = fitted_table(columns, rows, width)
    assert all(display_width("  ".join(line)) <= width for line in lines)
    assert all([display_width(cell) for cell in line] == [display_width(cell) for cell in lines[0]] for line in lines)
    texts = [line.text for line in table(("NAME", "N", "M"), [(row[0], "1", "22") for row in rows], width=width)]
    assert all(display_width(text) <= width for text in texts)
    starts = {display_width(text[: text.rindex("1")]) for text in texts[1:]}
    assert starts == {texts[0].index("N   M")}


@given(CELLS, st.integers(10, 80))
def test_wrapped_lines_fit(text: str, width: int) -> None:
    """No line is too long, and no character is lost."""
    lines = wrap(text, width)
    assert all(display_width(line) <= width for line in lines)
    assert "".join("".join(lines).split()) == "".join("".join(wrap(text, 10_000)).split())
