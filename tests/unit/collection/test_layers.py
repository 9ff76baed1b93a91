# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The modules of ``module_utils`` import only from lower rows, so that each can be read without those above it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]
MODULE_UTILS = REPOSITORY / "plugins/module_utils"
PACKAGE = "ansible_collections.homelab.repoman.plugins.module_utils"

ROWS: dict[str, int] = {
    "core": 0,
    "files": 1,
    "process": 2,
    "host": 3,
    "incus": 4,
    "registry": 5,
    "vcs": 6,
    "profiles": 7,
    "projects": 8,
    "backup.target": 7,
    "backup.manifest": 8,
    "backup.mirror": 9,
    "backup": 10,
    "backup.settings": 11,
    "backup.sync": 12,
    "backup.restore": 12,
    "doctor": 13,
}
"""Each folder's row; ``backup`` is the files directly in it. Folders of one row do not import each other."""


def folder_of(module: str) -> str:
    """Return the folder of a module, or of a name in it; both relative to ``module_utils``."""
    first, _dot, rest = module.partition(".")
    inner = f"{first}.{rest.partition('.')[0]}"
    return inner if inner in ROWS else first


def module_names() -> list[str]:
    """Return all modules, relative to ``module_utils``."""
    return sorted(".".join(path.relative_to(MODULE_UTILS).with_suffix("").parts) for path in MODULE_UTILS.rglob("*.py"))


def imports_of(module: str) -> Iterator[tuple[int, str]]:
    """Yield line and name of each import from ``module_utils``, also of those inside functions."""
    path = MODULE_UTILS.joinpath(*module.split(".")).with_suffix(".py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module}, line {node.lineno}: a relative import"
            found = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from ((node.lineno, name.removeprefix(f"{PACKAGE}.")) for name in found if name.startswith(f"{PACKAGE}."))


def is_allowed(importer: str, imported: str) -> bool:
    """Return whether a module of one folder may import one of another."""
    sides = {"backup" if folder.startswith("backup") else folder for folder in (importer, imported)}
    if "backup" in sides and sides & {"profiles", "projects"}:
        return False
    return importer == imported or ROWS[imported] < ROWS[importer]


def test_every_folder_has_a_row() -> None:
    """A new folder needs a place among the others."""
    assert {folder_of(module) for module in module_names()} == set(ROWS)


@pytest.mark.parametrize("module", module_names())
def test_imports_come_from_lower_rows(module: str) -> None:
    """Nothing is imported from above, from beside, or across from ``projects`` to ``backup``."""
    importer = folder_of(module)
    assert [f"line {line}: {name}" for line, name in imports_of(module) if not is_allowed(importer, folder_of(name))] == []


@pytest.mark.parametrize(
    ("importer", "imported", "allowed"),
    [
        ("vcs", "core", True),
        ("core", "vcs", False),
        ("backup.sync", "backup.restore", False),
        ("backup.sync", "backup", True),
        ("backup", "backup.sync", False),
        ("backup", "projects", False),
        ("backup.sync", "profiles", False),
        ("projects", "backup.target", False),
    ],
)
def test_the_rule_itself(importer: str, imported: str, allowed: bool) -> None:
    """What it allows and what it refuses."""
    assert is_allowed(importer, imported) == allowed


def test_no_module_imports_itself_by_way_of_others() -> None:
    """In one folder too, imports at the top of modules have an order: each module can be imported first."""
    known = set(module_names())
    imports: dict[str, set[str]] = {}
    for module in known:
        path = MODULE_UTILS.joinpath(*module.split(".")).with_suffix(".py")
        found = imports.setdefault(module, set())
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(f"{PACKAGE}."):
                place = (node.module or "").removeprefix(f"{PACKAGE}.")
                found |= {name if (name := f"{place}.{alias.name}") in known else place for alias in node.names}
    done: set[str] = set()
    while ready := {module for module in imports.keys() - done if imports[module] <= done}:
        done |= ready
    assert sorted(imports.keys() - done) == []
