# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TOML that people edit: values taken out with their types and lines, and changes that leave the rest as it is.

No file is opened here. The standard library's parser says what a text means, also of every text that is made here.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotKnownError

Data = dict[str, Any]
Path: TypeAlias = "tuple[str | int, ...]"
T = TypeVar("T")

TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"""(?:"{0,2})|"(?:\\.|[^"\\])*"'''  # strings
    + r"""|'''.*?'''(?:'{0,2})|'[^']*'"""
    + r"""|#[^\n]*|\n|[^\S\n]+|[\[\]{}=,]|[^\s"'#\[\]{}=,]+""",  # comments, ends of lines, blanks, marks, all else
    re.DOTALL,
)
LINE_START = re.compile(r"\n([ \t]*)\Z")
LINE_REST = re.compile(r"[ \t]*(?:#[^\n]*)?\r?\n")
BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
HEADERS = ("[", "[[")


class Table:
    """A table of a TOML file. Its methods return values of the type they are called after; an error names file and line.

    :param data: what it holds.
    :param text: of the file.
    :param file: path of the file.
    :param path: of the table in the file; a table of an array is a number.
    """

    def __init__(self, data: Data, text: str, file: str, path: Path = ()) -> None:
        """Hold what is given."""
        self.data, self.text, self.file, self.path = data, text, file, path

    def line_of(self, key: str) -> int:
        """Return the line of ``key``, or else of what is nearest: the table, the table it is in, the first line."""
        statements = _statements(self.text)
        path = (*self.path, key)
        while path:
            for statement in statements:
                if statement.kind and statement.path[: len(path)] == path:
                    return statement.line
            path = path[:-1]
        return 1

    def error(self, key: str, reason: str, hint: str = "mend that line; the file was not touched") -> NotKnownError:
        """Return the error that ``key`` is not as it should be."""
        return NotKnownError(f"{self.file}, line {self.line_of(key)}: {reason}.", hint)

    def table(self, key: str) -> Table:
        """Return the table ``key``; an empty one where there is none."""
        value = self.data.get(key, {})
        if not isinstance(value, dict):
            raise self.error(key, f"[{_dotted((*self.path, key))}] is to be a table")
        return Table(value, self.text, self.file, (*self.path, key))

    def tables(self, key: str) -> Iterator[Table]:
        """Return the tables of the array ``key``; none where there is none."""
        value = self.data.get(key, [])
        if not isinstance(value, list) or not all(isinstance(entry, dict) for entry in value):
            raise self.error(key, f"{key}s are written as [[{key}]] tables")
        return (Table(entry, self.text, self.file, (*self.path, key, number)) for number, entry in enumerate(value))

    def string(self, key: str, standard: T) -> str | T:
        """Return a string, or ``standard`` where there is no such key."""
        value: str | T = self._typed(key, str, "a string", standard)
        return value

    def directory(self, key: str, standard: str) -> str:
        """Return the path of a directory that is the same wherever one stands, or ``standard`` where there is no such key."""
        value = self.string(key, standard)
        if not value.startswith(("/", "~/", "$HOME/")) and value not in ("~", "$HOME"):
            raise self.error(key, f"{self._name(key)} is to begin with /, ~/ or $HOME/")
        return value

    def boolean(self, key: str, standard: T) -> bool | T:
        """Return a boolean, or ``standard`` where there is no such key."""
        value: bool | T = self._typed(key, bool, "true or false", standard)
        return value

    def strings(self, key: str, standard: T) -> tuple[str, ...] | T:
        """Return a list of strings, or ``standard`` where there is no such key."""
        if key not in self.data:
            return standard
        value = self.data[key]
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise self.error(key, f"{self._name(key)} is to be a list of strings")
        return tuple(value)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return one of ``choices``; the first where there is no such key."""
        value = self.string(key, choices[0])
        if value not in choices:
            raise self.error(key, f"{self._name(key)} is to be one of {', '.join(choices)}")
        return value

    def scalars(self) -> dict[str, str]:
        """Return all of it as Incus takes it: every value a string."""
        for key, value in self.data.items():
            if not isinstance(value, str | int | float):
                raise self.error(key, f"{self._name(key)} is to be a string, number or boolean")
        return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in self.data.items()}

    def _typed(self, key: str, kind: type[Any], what: str, standard: Any) -> Any:
        if key not in self.data:
            return standard
        if not isinstance(self.data[key], kind):
            raise self.error(key, f"{self._name(key)} is to be {what}")
        return self.data[key]

    def _name(self, key: str) -> str:
        return f"[{_dotted(self.path)}].{key}" if self.path else key


def read(text: str, file: str) -> Table:
    """Return the root table of ``text``; ``file`` is for the errors.

    :raises NotKnownError: it is malformed: file, line and reason are named.
    """
    try:
        return Table(tomllib.loads(text), text, file)
    except RecursionError:
        raise NotKnownError(f"{file}, line 1: nested too deeply.", "mend it; the file was not touched") from None
    except ValueError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        reason = re.sub(r" \(at .*\)", "", str(error))
        raise NotKnownError(f"{file}, line {line}: {reason}.", "mend that line; the file was not touched") from error


def same(one: Any, other: Any) -> bool:
    """Return whether two values of TOML are the same in type and value; the order of keys says nothing, and ``nan`` is ``nan``."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (one == other or repr(one) == repr(other) == "nan")


def rewrite(text: str, wanted: Data) -> str:
    """Return ``text`` changed so that it means ``wanted``; lines that need no change stay, to the letter.

    Comments above a table that goes stay. Tables of an array are told apart by their ``name``.

    :raises ValueError: it cannot be done.
    """
    editor = _Editor(text)
    editor.merge((), tomllib.loads(text), wanted)
    new = "".join(statement.text for statement in editor.statements)
    new.encode()
    if not same(tomllib.loads(new), wanted):
        raise ValueError("it would not mean what it should")
    return new


@dataclass
class _Statement:
    """What TOML is made of: mostly a line, several where a value is that long.

    :param text: with the end of the line.
    :param line: number of its first line.
    :param kind: ``[`` or ``[[``: a header; ``=``: a key with its value; empty: a comment or a blank line.
    :param path: what it defines; a table of an array is a number.
    :param table: path of the table whose header it stands under.
    :param value: where in ``text`` the value starts and ends.
    """

    text: str
    line: int = 0
    kind: str = ""
    path: Path = ()
    table: Path = ()
    value: tuple[int, int] = (0, 0)


def _statements(text: str) -> list[_Statement]:
    """Return what the valid TOML ``text`` is made of; joined it is ``text``."""
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
        statement = _Statement(raw, line)
        line += raw.count("\n")
        code = [token for token in tokens if token[0][0] != "#" and not token[0].isspace()]
        if code and code[0][0] == "[":
            head = text[code[0].start() : code[-1].end()]
            statement.kind = "[[" if head.startswith("[[") else "["
            *parents, key = _keys(head.strip("[]"))
            table = resolve([*parents, key])
            if statement.kind == "[[":
                array = (*resolve(parents), key)
                last[array] = last.get(array, -1) + 1
                table = (*array, last[array])
            statement.path = table
        elif code:
            equals = next(number for number, token in enumerate(code) if token[0] == "=")
            statement.kind = "="
            statement.path = (*table, *_keys(text[code[0].start() : code[equals].start()]))
            statement.value = (code[equals + 1].start() - start, code[-1].end() - start)
        statement.table = table
        statements.append(statement)
    return statements


def _logical_lines(text: str) -> Iterator[list[re.Match[str]]]:
    """Return the tokens of each line; one whose brackets are open goes on."""
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


def _keys(dotted: str) -> list[str]:
    """Return the keys of a dotted key as it is written."""
    keys = []
    nested: Any = tomllib.loads(f"{dotted} = 0")
    while isinstance(nested, dict):
        ((key, nested),) = nested.items()
        keys.append(key)
    return keys


class _Editor:
    """Edits the statements of a text. Paths are those of the text as it was.

    :param text: valid TOML.
    """

    def __init__(self, text: str) -> None:
        self.statements = _statements(text)
        self.newline = "\r\n" if re.match(r"[^\n]*\r\n", text) else "\n"

    def merge(self, path: Path, old: Data, wanted: Data) -> None:
        """Make the table at ``path``, which means ``old``, mean ``wanted``."""
        for key in old.keys() - wanted.keys():
            self._remove((*path, key))
        for key, value in wanted.items():
            here = (*path, key)
            written = next((statement for statement in self.statements if statement.kind == "=" and statement.path == here), None)
            if key not in old:
                self._add(path, key, value)
            elif same(old[key], value):
                continue
            elif written:
                start, end = written.value
                written.text = written.text[:start] + _changed(written.text[start:end], value) + written.text[end:]
            elif isinstance(old[key], dict) and isinstance(value, dict):
                self.merge(here, old[key], value)
            elif isinstance(old[key], list) and isinstance(value, list):
                self._merge_tables(here, old[key], value)

    def _merge_tables(self, path: Path, old: list[Data], wanted: list[Data]) -> None:
        by_name = {entry.get("name"): entry for entry in wanted}
        known = [entry.get("name") for entry in old]
        for number, entry in enumerate(old):
            if entry.get("name") in by_name:
                self.merge((*path, number), entry, by_name[entry.get("name")])
            else:
                self._remove((*path, number))
        under = [
            number for number, statement in enumerate(self.statements) if statement.kind in HEADERS and statement.path[: len(path)] == path
        ]
        at = self._end(under[-1]) if under else len(self.statements)
        for number, entry in enumerate(wanted, len(old)):
            if entry.get("name") not in known:
                at = self._insert_table(at, "[[", (*path, number), entry)

    def _remove(self, path: Path) -> None:
        """Take out what is at ``path`` and below: headers with their keys, and a blank line above each; what is above and below them stays."""
        doomed: set[int] = set()
        for number, statement in enumerate(self.statements):
            if not statement.kind or statement.path[: len(path)] != path:
                continue
            doomed.add(number)
            if statement.kind in HEADERS:
                doomed |= set(range(number, self._end(number)))
                if number and self.statements[number - 1].text.isspace():
                    doomed.add(number - 1)
        self.statements = [statement for number, statement in enumerate(self.statements) if number not in doomed]

    def _add(self, path: Path, key: str, value: Any) -> None:
        """Write a new key of the table at ``path``: under its header, or where it is written with dotted keys."""
        if not path and isinstance(value, dict):
            self._insert_table(len(self.statements), "[", (key,), value)
        elif not path and isinstance(value, list) and value and isinstance(value[0], dict):
            self._merge_tables((key,), [], value)
        elif header := [number for number, statement in enumerate(self.statements) if statement.kind in HEADERS and statement.path == path]:
            self._insert_key(self._end(header[0]), path, (*path, key), value)
        elif not path:
            self._insert_key(self._end(-1), (), (key,), value)
        elif dotted := [number for number, statement in enumerate(self.statements) if self._is_dotted(statement, path)]:
            self._insert_key(dotted[-1] + 1, self.statements[dotted[-1]].table, (*path, key), value)
        else:
            self._insert_table(len(self.statements), "[", path, {key: value})

    @staticmethod
    def _is_dotted(statement: _Statement, table: Path) -> bool:
        return statement.kind == "=" and len(statement.table) < len(table) and statement.path[: len(table)] == table

    def _end(self, header: int) -> int:
        """Return where the keys under the header of that number end; those above all headers have the number -1."""
        end = header + 1
        for number in range(end, len(self.statements)):
            if self.statements[number].kind in HEADERS:
                break
            if self.statements[number].kind:
                end = number + 1
        return end

    def _insert_table(self, at: int, kind: str, path: Path, values: Data) -> int:
        """Write a new table, with a blank line above it; return where it ends."""
        if at and not self.statements[at - 1].text.isspace():
            at = self._insert(at, _Statement(self.newline))
        close = kind.replace("[", "]")
        at = self._insert(at, _Statement(f"{kind}{_dotted(path)}{close}{self.newline}", 0, kind, path, path))
        for key, value in values.items():
            at = self._insert_key(at, path, (*path, key), value)
        return at

    def _insert_key(self, at: int, table: Path, path: Path, value: Any) -> int:
        key, written = _dotted(path[len(table) :]), _written(value)
        start = len(key) + len(" = ")
        return self._insert(at, _Statement(f"{key} = {written}{self.newline}", 0, "=", path, table, (start, start + len(written))))

    def _insert(self, at: int, statement: _Statement) -> int:
        if at and not self.statements[at - 1].text.endswith("\n"):
            self.statements[at - 1].text += self.newline
        self.statements.insert(at, statement)
        return at + 1


def _dotted(path: Path) -> str:
    """Return a path as a dotted key, without its numbers."""
    return ".".join(key if BARE_KEY.fullmatch(key) else _written(key) for key in path if isinstance(key, str))


def _written(value: Any) -> str:
    """Return a value as TOML writes it, in one line."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_dotted((key,))} = {_written(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    import tomlkit  # only writes need it, and loading it costs as much as all the rest

    return str(tomlkit.item(value).as_string())


def _changed(written: str, wanted: Any) -> str:
    """Return a value as it is ``written``, changed to ``wanted``; in a list over several lines the lines that can stay do."""
    if not isinstance(wanted, list) or not written.startswith("[") or "\n" not in written:
        return _written(wanted)
    names = [_name(item) for item in wanted]
    known = [_name(item) for item in tomllib.loads(f"list = {written}")["list"]]
    new = written
    for number, (start, end, stop) in reversed(list(enumerate(_items(written)))):
        if known[number] in names:
            item = wanted[names.index(known[number])]
            if not same(tomllib.loads(f"item = {written[start:end]}")["item"], item):
                new = new[:start] + _written(item) + new[end:]
        else:
            line = LINE_START.search(new, 0, start)
            rest = LINE_REST.match(new, stop)
            new = new[: line.start(1)] + new[rest.end() :] if line and rest else new[:start] + new[stop:].lstrip(" \t")
    new = _extended(new, [item for name, item in zip(names, wanted, strict=True) if name not in known])
    try:
        return new if same(tomllib.loads(f"list = {new}")["list"], wanted) else _written(wanted)
    except ValueError:
        return _written(wanted)


def _extended(written: str, items: list[Any]) -> str:
    """Return a list as it is ``written``, with ``items`` after its own, on lines of their own if it has such."""
    *_rest, (start, end, stop) = [(1, 1, 1), *_items(written)]
    line, rest = LINE_START.search(written, 0, start), LINE_REST.match(written, stop)
    newline = "\r\n" if "\r\n" in written else "\n"
    texts = [f"{line[1] if line else '  '}{_written(item)},{newline}" if rest else f" {_written(item)}," for item in items]
    at = rest.end() if rest else stop
    comma = "," if items and 1 < end == stop else ""
    return written[:end] + comma + written[end:at] + "".join(texts) + written[at:]


def _items(written: str) -> list[tuple[int, int, int]]:
    """Return of each item of a list where it starts and ends, and where the comma after it ends, if it has one."""
    items: list[tuple[int, int, int]] = []
    depth, start, end = 0, -1, -1
    for token in TOKEN.finditer(written):
        depth -= token[0] in ("]", "}")
        if token[0][0] == "#" or token[0].isspace() or (depth == 0 and token[0] in ("[", "]")):
            pass
        elif depth == 1 and token[0] == ",":
            items.append((start, end, token.end()))
            start = -1
        else:
            start, end = token.start() if start < 0 else start, token.end()
        depth += token[0] in ("[", "{")
    return items if start < 0 else [*items, (start, end, end)]


def _name(item: Any) -> Any:
    """Return what tells an item of a list from others."""
    return item.get("name") if isinstance(item, dict) else item
