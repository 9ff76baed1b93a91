# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Unknown keys of a registry that look like misspelled ones.

A registry may hold tables and keys of the user's own, so an unknown name is a warning only if it is similar to one that repoman reads.
"""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.homelab.repoman.plugins.module_utils.core.names import nearest
from ansible_collections.homelab.repoman.plugins.module_utils.registry import keys
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_reader import Table

TABLES = {
    "repoman": tuple(key.name for key in keys.REPOMAN),
    "host": tuple(key.name for key in keys.HOST),
    "defaults": (*(key.name for key in keys.DEFAULTS), "llm"),
}
"""The keys of each table; ``llm`` is of schema 2."""
PROJECT = "project"
MAX_WARNINGS = 20
"""The most warnings that a run prints; a damaged file may cause thousands."""
PROJECT_KEYS = tuple(key.name for key in keys.PROJECT)


def misspellings(root: Table) -> Iterator[str]:
    """Yield a warning for each key of a registry that is probably misspelled.

    :param root: the registry, whose tables have the right types.
    """
    for key, value in root.data.items():
        match = _misspelled(key, (*TABLES, PROJECT))
        if match:
            is_table = isinstance(value, dict | list)
            unknown = f"the table {_header(key, isinstance(value, list))}" if is_table else f"the key {key!r} outside a table"
            yield _warning(root, key, unknown, _header(match, match == PROJECT))
    for name, known in TABLES.items():
        yield from _misspelled_keys(root.table(name), known, f"[{name}]")
    for project in root.tables(PROJECT):
        yield from _misspelled_keys(project, PROJECT_KEYS, f"[[{PROJECT}]]")


def _misspelled_keys(table: Table, known: tuple[str, ...], header: str) -> Iterator[str]:
    for key in table.data:
        match = _misspelled(key, known)
        if match:
            yield _warning(table, key, f"the key {key!r} of {header}", repr(match))


def _misspelled(key: str, known: tuple[str, ...]) -> str:
    return "" if key in known else nearest(key, known)


def _warning(table: Table, key: str, unknown: str, match: str) -> str:
    return f"{table.file}, line {table.line_of(key)}: {unknown} is not known and has no effect; did you mean {match}?"


def _header(name: str, is_array: bool) -> str:
    return f"[[{name}]]" if is_array else f"[{name}]"
