# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Edit the text of a TOML file: only the statements that must change do, to the letter.

A comment or blank line above a header belongs to that header, not to the table before it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

TOKEN = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|#[^\n]*|[\[\]{}]|\n|[^"\'#\[\]{}\n]+', re.DOTALL
)
KEY = re.compile(r'(?:"(?:\\.|[^"\\])*"|\'[^\']*\'|[^=\'"])*')
BARE = re.compile(r"[A-Za-z0-9_-]+")

Path = tuple[str | int, ...]
"""Keys, and for the tables of an array their numbers."""


@dataclass
class _Statement:
    """A key with its value, or a comment or blank line, which has no path."""

    text: str
    path: Path | None = None


@dataclass
class _Block:
    """A table of the text: what is above its header, the header, what is below it."""

    path: Path
    lead: str = ""
    header: str = ""
    body: list[_Statement] = field(default_factory=list)


def same(one: Any, other: Any) -> bool:
    """Return whether two values of TOML are the same in kind and content (not a number is the same as itself)."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and repr(one) == repr(other)


def rewrite(text: str, wanted: dict[str, Any]) -> str:
    """Return ``text``, which is TOML, with as few statements changed as make it say ``wanted``.

    Tables of an array are told apart by their ``name``.

    :raises ValueError: it cannot be done.
    """
    document = _Document(text, wanted)
    document.merge((), tomllib.loads(text), wanted)
    new = document.text()
    if not same(tomllib.loads(new), wanted):
        raise ValueError("its form is too unusual")
    return new


class _Document:
    """A TOML text in blocks.

    :param wanted: what it is to say in the end.
    """

    def __init__(self, text: str, wanted: dict[str, Any]) -> None:
        self.wanted = wanted
        self.newline = "\r\n" if "\r\n" in text else "\n"
        self.counts: dict[Path, int] = {}
        self.blocks = [_Block(())]
        for statement in _statements(text):
            stripped = statement.lstrip()
            block = self.blocks[-1]
            if stripped.startswith("["):
                new = _Block(self._header_path(stripped), header=statement)
                while block.body and block.body[-1].path is None:
                    new.lead = block.body.pop().text + new.lead
                self.blocks.append(new)
            elif not stripped or stripped.startswith("#"):
                block.body.append(_Statement(statement))
            else:
                block.body.append(_Statement(statement, block.path + _names(KEY.match(statement)[0] + "=0")))  # type: ignore[index]

    def text(self) -> str:
        """Return the text."""
        parts = [part for block in self.blocks for part in (block.lead, block.header, *(each.text for each in block.body)) if part]
        return "".join(part if part.endswith("\n") or part is parts[-1] else part + self.newline for part in parts)

    def merge(self, path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
        """Make the table at ``path`` say ``new`` instead of ``old``."""
        for key in old.keys() - new.keys():
            self._remove((*path, key))
        for key, value in new.items():
            here: Path = (*path, key)
            if key not in old:
                self._add(path, key, value)
            elif same(old[key], value):
                continue
            elif isinstance(old[key], dict) and isinstance(value, dict):
                self.merge(here, old[key], value)
            elif here in self.counts and isinstance(value, list):
                self._merge_array(here, old[key], value)
            else:
                self._replace(here, value)

    def _merge_array(self, path: Path, old: list[Any], new: list[Any]) -> None:
        wanted = {entry.get("name"): entry for entry in new}
        for number, entry in enumerate(old):
            if entry.get("name") in wanted:
                self.merge((*path, number), entry, wanted.pop(entry.get("name")))
            else:
                self._remove((*path, number))
        for entry in wanted.values():
            self._add_table(path, entry, "[[{}]]")

    def _header_path(self, header: str) -> Path:
        array = header.startswith("[[")
        path: Path = ()
        names = _names(header)
        for place, name in enumerate(names, 1):
            path = (*path, name)
            if array and place == len(names):
                self.counts[path] = self.counts.get(path, -1) + 1
            if path in self.counts:
                path = (*path, self.counts[path])
        return path

    def _holder(self, path: Path) -> _Statement | None:
        """Return the statement whose value holds ``path``: an inline table or array."""
        found = (each for block in self.blocks for each in block.body if each.path and len(each.path) <= len(path))
        return next((each for each in found if path[: len(each.path or ())] == each.path), None)

    def _replace(self, path: Path, value: Any) -> None:
        holder = self._holder(path)
        if holder is None:
            self._remove(path)
            self._add(path[:-1], str(path[-1]), value)
            return
        place: Any = self.wanted
        for step in holder.path or ():
            place = next(entry for entry in [place] if entry)[step] if isinstance(place, dict) else place[step]
        key = KEY.match(holder.text)[0]  # type: ignore[index]
        after = holder.text[len(key) + 1 :]
        old = "".join(_until_comment(after)).rstrip()
        indent = len(old) - len(old.lstrip())
        holder.text = f"{key}={after[:indent]}{_literal(value if holder.path == path else place)}{after[len(old) :]}"

    def _remove(self, path: Path) -> None:
        holder = self._holder(path)
        if holder is not None and holder.path != path:
            self._replace(path, None)
            return
        lead, kept = "", []
        for block in self.blocks:
            if block.path[: len(path)] == path:
                lead += block.lead + "".join(each.text for each in _trailing(block.body))
                continue
            block.body = [each for each in block.body if each.path is None or each.path[: len(path)] != path]
            block.lead, lead = lead + block.lead, ""
            kept.append(block)
        if lead:
            kept[-1].body.append(_Statement(lead))
        self.blocks = kept
        parent = path[:-1]
        if (
            parent
            and isinstance(path[-1], str)
            and not any(block.path[: len(parent)] == parent for block in kept)
            and not self._dotted(parent)
        ):
            self._add_table(parent, {})

    def _dotted(self, path: Path) -> tuple[_Block, int] | None:
        """Return where the last statement of the table at ``path`` stands, should it be written with dotted keys."""
        found = None
        for block in self.blocks:
            for place, each in enumerate(block.body):
                if each.path and each.path[: len(path)] == path and len(each.path) > len(path):
                    found = (block, place)
        return found

    def _add(self, path: Path, key: str, value: Any) -> None:
        here: Path = (*path, key)
        if self._holder(here):
            self._replace(here, value)
        elif isinstance(value, dict):
            self._add_table(here, value)
        elif isinstance(value, list) and value and all(isinstance(entry, dict) for entry in value):
            for entry in value:
                self._add_table(here, entry, "[[{}]]")
        else:
            self._add_value(path, key, value)

    def _add_value(self, path: Path, key: str, value: Any) -> None:
        block = next((block for block in self.blocks if block.path == path), None)
        dotted = self._dotted(path)
        if dotted and (block is None or block is dotted[0]) and (path or dotted[0].path == ()):
            block, place = dotted
        elif block is not None:
            place = -1
        else:
            self._add_table(path, {key: value})
            return
        name = ".".join(_key(str(step)) for step in (*path, key)[len(block.path) :])
        block.body.insert(place + 1, _Statement(f"{name} = {_literal(value)}{self.newline}", (*path, key)))

    def _add_table(self, path: Path, value: dict[str, Any], form: str = "[{}]") -> None:
        name = ".".join(_key(step) for step in path if isinstance(step, str))
        inner = {key: each for key, each in value.items() if isinstance(each, dict)}
        block = _Block((*path, -1) if form == "[[{}]]" else path, self.newline, form.format(name) + self.newline)
        block.body = [
            _Statement(f"{_key(key)} = {_literal(each)}{self.newline}", (*block.path, key))
            for key, each in value.items()
            if key not in inner
        ]
        above = path if form == "[[{}]]" else path[:-1]
        near = [place for place, each in enumerate(self.blocks) if above and each.path[: len(above)] == above]
        self.blocks.insert(near[-1] + 1 if near else len(self.blocks), block)
        for key, each in inner.items():
            self._add_table((*block.path, key), each)


def _statements(text: str) -> Iterator[str]:
    """Return the statements of ``text``, each with its line end; together they are the text."""
    depth, current = 0, ""
    for token in TOKEN.finditer(text):
        current += token[0]
        depth += (token[0] in "[{") - (token[0] in "]}")
        if token[0] == "\n" and depth == 0:
            yield current
            current = ""
    if current:
        yield current


def _trailing(body: list[_Statement]) -> list[_Statement]:
    """Return the comments and blank lines at the end of a table."""
    last = max((place for place, each in enumerate(body) if each.path is not None), default=-1)
    return body[last + 1 :]


def _until_comment(text: str) -> Iterator[str]:
    depth = 0
    for token in TOKEN.finditer(text):
        depth += (token[0] in "[{") - (token[0] in "]}")
        if depth == 0 and token[0][0] in "#\n":
            return
        yield token[0]


def _names(statement: str) -> tuple[str, ...]:
    """Return the keys that a header, or a statement with a value that is no table, names."""
    names: list[str] = []
    place: Any = tomllib.loads(statement)
    while place:
        (name, place), *_none = place.items()
        names.append(name)
        if isinstance(place, list):
            break
    return tuple(names)


def _key(name: str) -> str:
    return name if BARE.fullmatch(name) else _literal(name)


def _literal(value: Any) -> str:
    """Return ``value`` as TOML in one line."""
    import tomlkit  # here: only writes need it, and loading it costs as much as all the rest

    if isinstance(value, dict):
        return f"{{ {', '.join(f'{_key(key)} = {_literal(each)}' for key, each in value.items())} }}" if value else "{}"
    if isinstance(value, list):
        return f"[{', '.join(_literal(each) for each in value)}]"
    return str(tomlkit.item(value).as_string())
