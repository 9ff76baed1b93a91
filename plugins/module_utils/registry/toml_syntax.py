# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The syntax of TOML: the statements of a text, and values written as TOML.

The standard library's parser interprets a text; this module splits it into statements that can be kept or replaced.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias

Path: TypeAlias = "tuple[str | int, ...]"
TOKEN = re.compile(
    r'''"""(?:[^"\\]++|\\.|"(?!""))*+"""(?:"{0,2})|"(?:[^"\\]++|\\.)*+"'''  # strings
    + r"""|'''.*?'''(?:'{0,2})|'[^']*'"""
    + r"""|#[^\n]*|\n|[^\S\n]+|[\[\]{}=,]|[^\s"'#\[\]{}=,]+""",  # comments, ends of lines, blanks, marks, all else
    re.DOTALL,
)
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
PLAIN_STRING = re.compile(r"""[ !#-\[\]-~]*""")
"""A string of printable ASCII with nothing to escape."""
HEADERS = ("[", "[[")


@dataclass
class Statement:
    """A statement of TOML: usually one line, several if its value is longer.

    :param text: with the end of the line.
    :param line: number of its first line.
    :param type: ``[`` or ``[[``: a header; ``=``: a key with its value; empty: a comment or a blank line.
    :param path: path of the key or table that it defines; a table of an array is a number.
    :param table: path of the table whose header it stands under.
    :param value: start and end of the value in ``text``.
    """

    text: str
    line: int = 0
    type: str = ""
    path: Path = ()
    table: Path = ()
    value: tuple[int, int] = (0, 0)


def parse_statements(text: str) -> list[Statement]:
    """Return the statements of valid TOML; joined, they are the text."""
    statements = []
    last: dict[Path, int] = {}  # the arrays of tables, with the number of their last table so far
    table: Path = ()

    def resolve(keys: list[str]) -> Path:
        path: Path = ()
        for key in keys:
            path = (*path, key)
            if path in last:
                path = (*path, last[path])
        return path

    line = 1
    for tokens in _logical_lines(text):
        start = tokens[0].start()
        raw = text[start : tokens[-1].end()]
        statement = Statement(raw, line)
        line += raw.count("\n")
        code = [token for token in tokens if token[0][0] != "#" and not token[0].isspace()]
        if code and code[0][0] == "[":
            head = text[code[0].start() : code[-1].end()]
            statement.type = "[[" if head.startswith("[[") else "["
            *parents, key = _split_key(head.strip("[]"))
            table = resolve([*parents, key])
            if statement.type == "[[":
                array = (*resolve(parents), key)
                last[array] = last.get(array, -1) + 1
                table = (*array, last[array])
            statement.path = table
        elif code:
            equals = next(number for number, token in enumerate(code) if token[0] == "=")
            statement.type = "="
            statement.path = (*table, *_split_key(text[code[0].start() : code[equals].start()]))
            statement.value = (code[equals + 1].start() - start, code[-1].end() - start)
        statement.table = table
        statements.append(statement)
    return statements


def _logical_lines(text: str) -> Iterator[list[re.Match[str]]]:
    """Yield the tokens of each logical line, which continues while brackets are open."""
    tokens: list[re.Match[str]] = []
    depth = 0
    for token in TOKEN.finditer(text):
        tokens.append(token)
        depth += (token[0] in ("[", "{")) - (token[0] in ("]", "}"))
        if token[0] == "\n" and depth == 0:
            yield tokens
            tokens = []
    if tokens:
        yield tokens


def _split_key(dotted: str) -> list[str]:
    """Return the parts of a dotted key."""
    keys = []
    nested: Any = tomllib.loads(f"{dotted} = 0")
    while isinstance(nested, dict):
        ((key, nested),) = nested.items()
        keys.append(key)
    return keys


def equal_values(left: Any, right: Any) -> bool:
    """Return whether two values are equal in type and value, whatever the order of keys; ``nan`` equals ``nan``."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(equal_values(value, right[key]) for key, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(equal_values, left, right))
    return type(left) is type(right) and (left == right or repr(left) == repr(right) == "nan")


def dotted_key(path: Path) -> str:
    """Return a path as a dotted key, without its numbers."""
    return ".".join(key if BARE_KEY.fullmatch(key) else to_toml(key) for key in path if isinstance(key, str))


def to_toml(value: Any) -> str:
    """Return a value as TOML, on one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{dotted_key((key,))} = {to_toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(to_toml, value)) + "]"
    if isinstance(value, str) and PLAIN_STRING.fullmatch(value):
        return f'"{value}"'
    if isinstance(value, bool):
        return str(value).lower()
    import tomlkit  # what needs it is rare, and loading it costs as much as the rest of a registry's entry

    return str(tomlkit.item(value).as_string())
