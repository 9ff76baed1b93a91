# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The archive of the collection has the tests that run from it, and no others."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[3]
IGNORED = [each for each in yaml.safe_load((ROOT / "galaxy.yml").read_text())["build_ignore"] if each.startswith("tests/")]
MADE = {"tests/output"}
"""What only exists after a run of ansible-test."""


def is_ignored(path: Path) -> bool:
    """Return whether ``ansible-galaxy collection build`` leaves a file out."""
    places = [str(each.relative_to(ROOT)) for each in (path, *path.parents) if each.is_relative_to(ROOT)]
    return any(fnmatch(place, pattern) for place in places for pattern in IGNORED)


def imports_of(text: str) -> set[str]:
    """Return the first parts of the names of all imported modules."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found |= {name.partition(".")[0] for name in names}
    return found


def python_files() -> Iterator[Path]:
    """Yield the Python files of the tests."""
    yield from (path for path in (ROOT / "tests").rglob("*.py") if (ROOT / "tests/output") not in path.parents)


def test_what_the_archive_lacks_is_not_used_by_what_it_has() -> None:
    """A test that imports the command, or a helper that is left out, is left out too."""
    missing = {"repoman"} | {path.stem for path in python_files() if is_ignored(path) and path.stem != "conftest"} | {"zoo"}
    missing -= {path.stem for path in python_files() if not is_ignored(path)}
    used = {str(path.relative_to(ROOT)): imports_of(path.read_text()) & missing for path in python_files() if not is_ignored(path)}
    assert {path: names for path, names in used.items() if names} == {}


def test_tables_of_the_engine_are_left_out() -> None:
    """All files with the mark: ``ansible-test`` runs what is there."""
    marked = [path for path in (ROOT / "tests/unit").rglob("test_*.py") if "pytest.mark." + "engine" in path.read_text()]
    assert len(marked) > 10 and [path for path in marked if not is_ignored(path)] == []


def test_every_pattern_leaves_something_out() -> None:
    """A file that was renamed would otherwise come back."""
    files = [str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*")]
    assert [pattern for pattern in IGNORED if pattern not in MADE and not any(fnmatch(path, pattern) for path in files)] == []
