# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read TOML that people write: typed values, and errors that name file and line."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.core.bounded_toml import NESTED, load_toml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import protect
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import parse_duration
from ansible_collections.homelab.repoman.plugins.module_utils.registry.toml_syntax import Path, dotted_key, parse_statements

Data = dict[str, Any]
T = TypeVar("T")
HOST_PLACEHOLDER = "{host}"
"""Stands for the name of the host in ``backup_root``."""
CORRECT = "correct that line; the file was not changed"
"""The hint of most errors."""


class Table:
    """A table of a TOML file, with typed access to its values; errors have file and line.

    :param data: its values.
    :param text: of the file.
    :param file: path of the file.
    :param path: of the table in the file; a table of an array is a number.
    """

    def __init__(self, data: Data, text: str, file: str, path: Path = ()) -> None:
        """See the class."""
        self.data, self.text, self.file, self.path = data, text, file, path

    def line_of(self, key: str) -> int:
        """Return the line of a key; if it has none, of its table, the table around that, or the first line."""
        lines = _lines(self.text)
        path = (*self.path, key)
        while path and path not in lines:
            path = path[:-1]
        return lines.get(path, 1)

    def error(self, key: str, reason: str, *hints: str) -> NotFoundError:
        """Return the error of an invalid value."""
        return NotFoundError(f"{self.file}, line {self.line_of(key)}: {reason}.", *(hints or (CORRECT,)))

    def table(self, key: str) -> Table:
        """Return a table; an empty one if it does not exist."""
        value = self.data.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"[{dotted_key((*self.path, key))}] must be a table")
        return Table(value, self.text, self.file, (*self.path, key))

    def tables(self, key: str) -> Iterator[Table]:
        """Return the tables of an array of tables."""
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self.error(key, f"{key}s are written as [[{key}]] tables")
        return (Table(entry, self.text, self.file, (*self.path, key, number)) for number, entry in enumerate(value))

    def string(self, key: str, default: T) -> str | T:
        """Return a string, or ``default`` if the key is missing."""
        value: str | T = self._typed(key, str, "a string", default)
        return value

    def directory(self, key: str, default: str) -> str:
        """Return the path of a directory, which must not depend on the current directory, or ``default`` if the key is missing."""
        value = self.string(key, default)
        if not value.startswith(("/", "~/", "$HOME/")) and value not in ("~", "$HOME"):
            raise self.error(key, f"{self._key_name(key)} must start with /, ~/ or $HOME/")
        return value

    def host_directory(self, key: str, default: str) -> str:
        """Return the path of a directory, as :meth:`directory`; it may contain ``{host}``, the name of the host, but no other placeholder."""
        value = self.directory(key, default)
        rest = value.replace("${HOME}", "").replace(HOST_PLACEHOLDER, "")
        if "{" in rest or "}" in rest:
            raise self.error(
                key, f"{self._key_name(key)} may have no braces but those of {HOST_PLACEHOLDER}, which is the name of the host"
            )
        return value

    def boolean(self, key: str, default: T) -> bool | T:
        """Return a boolean, or ``default`` if the key is missing."""
        value: bool | T = self._typed(key, bool, "true or false", default)
        return value

    def strings(self, key: str, default: T) -> tuple[str, ...] | T:
        """Return a list of strings, or ``default`` if the key is missing."""
        if key not in self.data:
            return default
        value = self.data[key]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, f"{self._key_name(key)} must be a list of strings")
        self._check_texts(key, value)
        return tuple(value)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return one of ``choices``; the first if the key is missing."""
        value = self.string(key, choices[0])
        if value not in choices:
            raise self.error(key, f"{self._key_name(key)} must be one of {', '.join(choices)}")
        return value

    def duration(self, key: str, default: str) -> str:
        """Return a duration as written, or ``default`` if the key is missing; see :func:`parse_duration`."""
        value = self.data.get(key, default)
        try:
            parse_duration(value)
        except (TypeError, ValueError):
            raise self.error(
                key, f"{self._key_name(key)} must be a number and a unit (s, m, h, d or w), such as '3d', or 'never'"
            ) from None
        return str(value)

    def scalars(self) -> dict[str, str]:
        """Return all values as the strings that Incus uses."""
        for key, value in self.data.items():
            if not isinstance(value, str | int | float):
                raise self.error(key, f"{self._key_name(key)} must be a string, number or boolean")
            self._check_texts(key, (key, value))
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in self.data.items()}

    def _typed(self, key: str, expected_type: type[Any], description: str, default: Any) -> Any:
        if key not in self.data:
            return default
        if not isinstance(self.data[key], expected_type):
            raise self.error(key, f"{self._key_name(key)} must be {description}")
        self._check_texts(key, (self.data[key],))
        return self.data[key]

    def _check_texts(self, key: str, values: Iterable[Any]) -> None:
        """Check that no text has a NUL, which neither a path nor Incus can have."""
        if any(isinstance(value, str) and "\0" in value for value in values):
            raise self.error(key, f"{self._key_name(key)} has the character \\0")

    def _key_name(self, key: str) -> str:
        return f"[{dotted_key(self.path)}].{key}" if self.path else key


@lru_cache(maxsize=1)
def _lines(text: str) -> dict[Path, int]:
    """Return the first line of each key and table, and of what is in it."""
    lines: dict[Path, int] = {}
    for statement in parse_statements(text):
        for size in range(len(statement.path), 0, -1):
            lines.setdefault(statement.path[:size], statement.line)
    return lines


def read_toml(text: str, file: str) -> Table:
    """Return the root table of ``text``; ``file`` is used in errors.

    :raises NotFoundError: it is malformed; the message has file, line and reason.
    """
    try:
        data = load_toml(text)
        protect(data)
        return Table(data, text, file)
    except ValueError as error:
        if str(error) == NESTED:
            raise NotFoundError(f"{file}, line 1: nested too deeply.", "correct it; the file was not changed") from None
        position = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(position[1]) if position else text.count("\n") + 1
        reason = re.sub(r" \(at .*\)", "", str(error))
        raise NotFoundError(f"{file}, line {line}: {reason}.", CORRECT) from error
