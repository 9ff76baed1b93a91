# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines of output: their styles and colors, tables, and diffs."""

from __future__ import annotations

import difflib
import os
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import display_width, escape_control_characters, pad, shorten

PREFIXES = {
    "done": "==> ",
    "error": "repoman: error: ",
    "warning": "repoman: warning: ",
    "hint": "hint: ",
    "ok": "ok    ",
    "warn": "warn  ",
    "fail": "fail  ",
    "remedy": "      hint: ",
}
COLORS = {
    "done": "1;32",
    "error": "1;31",
    "warning": "1;33",
    "hint": "36",
    "ok": "32",
    "warn": "1;33",
    "fail": "1;31",
    "remedy": "36",
    "head": "1",
    "note": "33",
    "+": "32",
    "-": "31",
    "@": "36",
}
STANDARD_WIDTH = 80
"""Columns of output that does not go to a terminal, and the fewest that a terminal is taken to have."""
NO_BREAK = "\u00a0"
FILLER = "\0"
"""Stands behind a character that takes two columns while lines are measured; it is in no text, because control characters are escaped."""
GAP = "  "
ERRORS = ("error", "warning", "hint", "trace")
"""Styles of lines that go to standard error."""


@dataclass(frozen=True)
class Line:
    """A line of output.

    :param style: ``done``, ``error``, ``warning``, ``hint``, ``head``, ``note`` (needs attention), ``diff`` or ``out``;
        ``ok``, ``warn`` and ``fail`` are results of checks, and ``remedy`` is a hint below one;
        ``raw`` and ``trace`` are blocks of several lines that are printed unchanged.
    :param text: the text without the prefix of its style.
    """

    style: str
    text: str

    @property
    def is_error(self) -> bool:
        """True if it goes to standard error."""
        return self.style in ERRORS

    @property
    def color_key(self) -> str:
        """Key of its color: the first character for a line of a diff, otherwise the style."""
        if self.style != "diff":
            return self.style
        return "head" if self.text.startswith(("--- ", "+++ ")) else self.text[:1]

    def render(self, color: bool = False) -> str:
        """Return the printed form, with control characters escaped."""
        if self.style in ("raw", "trace"):
            return self.text.removesuffix("\n")
        is_content = self.style == "diff" and not self.text.startswith(("--- ", "+++ "))
        prefix, text = PREFIXES.get(self.style, ""), escape_control_characters(self.text, keep_tabs=is_content)
        code = COLORS.get(self.color_key, "") if color else ""
        if not code:
            return prefix + text
        label = prefix.rstrip()
        return f"\033[{code}m{label}\033[0m{prefix[len(label) :]}{text}" if prefix else f"\033[{code}m{text}\033[0m"


def use_color(stream: TextIO) -> bool:
    """Return true if ``stream`` is a terminal with colors and ``NO_COLOR`` is not set."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def output_width(stream: TextIO) -> int:
    """Return the number of columns for output to ``stream``."""
    return max(STANDARD_WIDTH, shutil.get_terminal_size((STANDARD_WIDTH, 24)).columns) if stream.isatty() else STANDARD_WIDTH


def wrap(text: str, width: int, command: str = "") -> list[str]:
    """Return a sentence as lines of at most ``width`` columns, at least one; control characters are escaped.

    :param command: a part of the text that stays on one line, so that it can be pasted, even if it is longer.
    """
    text, command = escape_control_characters(sentence(text)), escape_control_characters(command)
    if command:
        text = text.replace(command, command.replace(" ", NO_BREAK))
    is_long = display_width(command) > width
    if not text.isascii():
        text = "".join(character + FILLER * (display_width(character) - 1) for character in text)
    if FILLER in text:
        width -= 1  # a long word may be broken between a character and what stands behind it
    lines = textwrap.wrap(text, width, break_long_words=not is_long, break_on_hyphens=False) or [""]
    return [line.replace(NO_BREAK, " ").replace(FILLER, "") for line in lines]


def hint_texts(hint: str, width: int) -> list[str]:
    """Return a hint as lines that can be pasted together: if it does not fit on one, its remark follows as comments."""
    text = escape_control_characters(sentence(hint))
    command, separator, remark = text.partition("   # ")
    if display_width(text) <= width or not separator:
        return [text]
    return [command, *(f"# {line}" for line in wrap(remark, width - 2))]


def sentence(text: str) -> str:
    """Join a message of several lines into one line."""
    return " ".join(part for part in (line.strip() for line in text.splitlines()) if part)


def table(titles: Sequence[str], rows: Iterable[Sequence[str]], min_widths: Sequence[int] = (), width: int = 0) -> list[Line]:
    """Return the lines of a table with aligned columns.

    :param min_widths: minimum widths of the first columns, including the gap to the next.
    :param width: columns that a line may take; the first cells are shortened until they fit. 0 does not shorten them.
    """
    cells = [list(titles), *([escape_control_characters(cell) for cell in row] for row in rows)]
    gap = 2 if min_widths else 3
    widths = [
        max([display_width(row[column]) + gap for row in cells] + list(min_widths[column : column + 1])) for column in range(len(titles))
    ]
    if width:
        widths[0] = max(min(widths[0], width + gap - sum(widths[1:])), display_width(titles[0]) + gap)
    texts = ["".join(pad(shorten(cell, size - gap), size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [Line("head", texts[0]), *(Line("out", text) for text in texts[1:])]


@dataclass(frozen=True)
class Column:
    """A column of a table that fits the width of the output.

    :param title: its title.
    :param min_width: width down to which its cells are shortened; 0 if they never are.
    :param is_optional: it is left out if shortening is not enough.
    :param is_last: it is shortened only after columns were left out.
    :param keep_end: cells lose their beginning, not their end.
    """

    title: str
    min_width: int = 0
    is_optional: bool = False
    is_last: bool = False
    keep_end: bool = False


def fitted_table(columns: Sequence[Column], rows: Iterable[Sequence[str]], width: int) -> list[list[str]]:
    """Return the cells of a table, padded so that each line joined with :data:`GAP` has at most ``width`` columns.

    Columns are shortened, then left out, from right to left.

    :returns: a list for each line; the first has the titles.
    """
    cells = [[column.title for column in columns], *([escape_control_characters(cell) for cell in row] for row in rows)]
    natural = [max(display_width(row[index]) for row in cells) for index in range(len(columns))]
    shown = list(range(len(columns)))
    while True:
        widths, excess = _shrink(columns, natural, shown, width, with_last=False)
        optional = [index for index in shown if columns[index].is_optional]
        if not excess or not optional:
            break
        shown.remove(optional[-1])
    if excess:
        widths, _excess = _shrink(columns, natural, shown, width, with_last=True)
    return [[pad(shorten(row[index], widths[index], columns[index].keep_end), widths[index]) for index in shown] for row in cells]


def _shrink(
    columns: Sequence[Column], natural: Sequence[int], shown: Sequence[int], width: int, with_last: bool
) -> tuple[dict[int, int], int]:
    """Return the widths of the shown columns, and by how much the table is still too wide."""
    widths = {index: natural[index] for index in shown}
    excess = max(0, sum(widths.values()) + len(GAP) * (len(shown) - 1) - width)
    for index in reversed(shown):
        column = columns[index]
        if column.min_width and (with_last or not column.is_last):
            less = min(excess, max(0, widths[index] - max(column.min_width, len(column.title))))
            widths[index] -= less
            excess -= less
    return widths, excess


def diff_lines(text: str) -> list[Line]:
    """Return the lines of a unified diff."""
    return [Line("diff", line) for line in text.splitlines()]


def unified(diffs: Any) -> list[Line]:
    """Return a result's ``diff`` as unified diffs.

    :param diffs: Ansible's form: one entry or a list, each with ``before``, ``after`` and their headers, or ``prepared``.
    """
    lines: list[Line] = []
    for entry in diffs if isinstance(diffs, list) else [diffs]:
        if "prepared" in entry:
            lines += diff_lines(str(entry["prepared"]))
        before, after = (str(entry.get(side) or "").splitlines() for side in ("before", "after"))
        before_name, after_name = (str(entry.get(f"{side}_header") or side) for side in ("before", "after"))
        lines += [Line("diff", line) for line in difflib.unified_diff(before, after, before_name, after_name, lineterm="")]
    return lines
