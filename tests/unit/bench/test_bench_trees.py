# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The generated trees."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from bench import trees
from bench.least import PARTS, sum_table
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


def test_the_parts_of_a_first_copy(tmp_path: Path) -> None:
    """The copy is complete for rsync, and damaged objects and incomplete repositories are noticed."""
    source, target = tmp_path / "source", tmp_path / "target"
    trees.build(source, 3)
    target.mkdir()

    def part(*arguments: str) -> int:
        return subprocess.run([sys.executable, "-c", PARTS, *arguments], check=False, capture_output=True).returncode

    assert [part("copy", str(source), str(target)), part("inflate", str(target)), part("prove", str(target))] == [0, 0, 0]
    differences = subprocess.run(
        ["rsync", "-rlptcni", "--delete", f"{source}/repo001/", f"{target}/repo001/"], check=True, capture_output=True
    )
    assert differences.stdout == b""
    lost, damaged = sorted((target / "repo001/.git/objects").glob("??/*"))[:2]
    lost.unlink()
    assert part("prove", str(target)) == 1
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    assert part("inflate", str(target)) == 1


def test_parts_are_added_up() -> None:
    """The sum, and what it is of the alternative."""
    rows = sum_table("title", "about", {"one": 0.5, "two": 1.0}, {"rsync": 3.0}).rows
    assert rows == [["part", "ms"], ["one", "500"], ["two", "1000"], ["all", "1500"], ["rsync", "3000"], ["the parts, of that", "0.50"]]
