# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Lines for a terminal: what kind each is, how it is printed, and tables and diffs made of them."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TextIO

from ansible_collections.homelab.repoman.plugins.module_utils.core.names import printable

PREFIXES = {"done": "==> ", "error": "repoman: error: ", "warning": "repoman: warning: ", "hint": "hint: "}
COLOURS = {"done": "1;32", "error": "1;31", "warning": "1;33", "hint": "36", "head": "1", "note": "33", "+": "32", "-": "31", "@": "36"}
ERRORS = ("error", "warning", "hint", "trace")
"""Kinds of lines that belong on standard error."""


@dataclass(frozen=True)
class Line:
    """A line to print.

    :param kind: ``done``, ``error``, ``warning``, ``hint``, ``head``, ``note`` (wants attention), ``diff``, ``out``;
        or, of many lines and printed as they are, ``raw`` and ``trace``.
    :param text: without its prefix.
    """

    kind: str
    text: str

    @property
    def is_error(self) -> bool:
        """Whether it belongs on standard error."""
        return self.kind in ERRORS

    @property
    def shade(self) -> str:
        """What decides its colour: of a diff's line the first character, otherwise its kind."""
        if self.kind != "diff":
            return self.kind
        return "head" if self.text.startswith(("--- ", "+++ ")) else self.text[:1]

    def printed(self, colour: bool = False) -> str:
        """Return it as it is printed, control characters escaped."""
        if self.kind in ("raw", "trace"):
            return self.text.removesuffix("\n")
        prefix, text = PREFIXES.get(self.kind, ""), printable(self.text)
        paint = COLOURS.get(self.shade, "") if colour else ""
        if not paint:
            return prefix + text
        return f"\033[{paint}m{prefix.rstrip()}\033[0m {text}" if prefix else f"\033[{paint}m{text}\033[0m"


def coloured(stream: TextIO) -> bool:
    """Whether ``stream`` wants colour: it is a terminal that can, and nobody said ``NO_COLOR``."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def sentence(text: str) -> str:
    """Return a message of many lines as one."""
    return " ".join(part for part in (line.strip() for line in text.splitlines()) if part)


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], least: Sequence[int] = ()) -> list[Line]:
    """Return the lines of a table, its columns aligned.

    :param least: the least widths of the first columns, with their gap.
    """
    cells = [list(heads), *([printable(cell) for cell in row] for row in rows)]
    gap = 2 if least else 3
    widths = [max([len(row[column]) + gap for row in cells] + list(least[column : column + 1])) for column in range(len(heads))]
    texts = ["".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]
    return [Line("head", texts[0]), *(Line("out", text) for text in texts[1:])]


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
        names = [str(entry.get(f"{side}_header") or side) for side in ("before", "after")]
        lines += [Line("diff", line) for line in difflib.unified_diff(before, after, *names, lineterm="")]
    return lines
