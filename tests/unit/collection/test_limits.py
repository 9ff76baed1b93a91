# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""No file, class or function is so long that it has to be searched rather than read."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
FILES = sorted(path for folder in ("plugins", "src") for path in (REPOSITORY / folder).rglob("*.py"))
MAX_FILE, MAX_CLASS, MAX_FUNCTION = 400, 250, 50
"""In lines."""


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(REPOSITORY)) for path in FILES])
def test_length(path: Path) -> None:
    """There are no exceptions: what is longer does two things, which have two names."""
    text = path.read_text(encoding="utf-8")
    long = [f"{text.count(chr(10))} lines"] if text.count("\n") > MAX_FILE else []
    for node in ast.walk(ast.parse(text)):
        limit = MAX_CLASS if isinstance(node, ast.ClassDef) else MAX_FUNCTION
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
            size = node.end_lineno - node.lineno + 1
            if size > limit:
                long.append(f"{node.name}: {size}")
    assert long == []
