# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files, classes and functions are short enough to be read at once."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
FILE_LINES, CLASS_LINES, FUNCTION_LINES = 400, 250, 50


def sources() -> list[str]:
    """Return the Python files of the collection and of the command."""
    return sorted(str(path.relative_to(REPOSITORY)) for folder in ("plugins", "src") for path in (REPOSITORY / folder).rglob("*.py"))


def too_long(text: str) -> Iterator[str]:
    """Yield what is too long in a Python file, with its number of lines."""
    if (lines := text.count("\n")) > FILE_LINES:
        yield f"the file: {lines}"
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > (CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES):
                yield f"{node.name}: {lines}"


@pytest.mark.parametrize("path", sources())
def test_nothing_is_too_long(path: str) -> None:
    """A file that outgrows the limits does more than one thing: split it by what it does."""
    assert list(too_long((REPOSITORY / path).read_text(encoding="utf-8"))) == []


def test_the_limits_are_noticed() -> None:
    """A function of 51 lines, in a class of 251, in a file of 401."""
    function = "    def function(self):\n" + "        pass\n" * FUNCTION_LINES
    text = "class Class:\n" + function + "    a = 1\n" * (CLASS_LINES - FUNCTION_LINES - 1)
    text += "b = 1\n" * (FILE_LINES + 1 - text.count("\n"))
    assert list(too_long(text)) == ["the file: 401", "Class: 251", "function: 51"]
