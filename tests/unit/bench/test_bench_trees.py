# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated trees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bench import trees
from bench.worlds import TREES


def git(repository: Path, *arguments: str) -> str:
    """Return what git prints."""
    return subprocess.run(["git", "-C", repository, *arguments], check=True, capture_output=True, text=True).stdout


def test_repositories(tmp_path: Path) -> None:
    """They have a history, are the same each time, and change in one file of a hundred."""
    for name in ("one", "two"):
        trees.build(tmp_path / name, 2)
    texts = [[path.read_text() for path in sorted((tmp_path / name).rglob("*.py"))] for name in ("one", "two")]
    assert texts[0] == texts[1] and len(texts[0]) == 220
    repository = tmp_path / "one/repo001"
    assert len(git(repository, "log", "--oneline").splitlines()) == 4 and git(repository, "status", "--short") == ""
    trees.change(tmp_path / "one", 1)
    assert git(repository, "status", "--short") == "" and len(git(repository, "log", "--oneline").splitlines()) == 5
    assert len(git(tmp_path / "one/repo000", "status", "--short").splitlines()) == 4


def test_small_and_large(tmp_path: Path) -> None:
    """Copies of one repository with a file more; a directory with as many files as were asked for."""
    trees.small(tmp_path / "small", 3)
    assert [git(path, "status", "--short") for path in sorted((tmp_path / "small").iterdir())] == ["", "?? own.py\n", "?? own.py\n"]
    trees.million(tmp_path / "large", 1000)
    assert sum(path.is_file() for path in (tmp_path / "large").rglob("*")) == 1000


def test_as_a_program(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Another user's Python runs the text of the file."""
    for arguments in (["million", str(tmp_path / "large"), "500"], ["entries", str(tmp_path)]):
        subprocess.run([sys.executable, "-c", TREES, *arguments], check=True)
    assert capfd.readouterr().out == "504\n"
