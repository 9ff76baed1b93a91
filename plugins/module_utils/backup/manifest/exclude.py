# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Patterns that exclude paths from a backup, with the meaning that ``.gitignore`` gives them.

Names are bytes, as git compares them. A pattern becomes one regular expression in which each ``*`` and each ``**`` is an atomic
group: the leftmost match of what follows a star is always good enough, so no name makes the matching take more than the product of
both lengths.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

CACHED_NAMES = 1 << 14
"""Maximum number of names whose result is cached: the same names occur in many directories."""

_ANY = "(?s:.)"
_SEGMENT = "[^/]"
_SPACE = b" \t\n\r"
_PRINTABLE = frozenset(range(0x20, 0x7F))
_ALNUM = frozenset(byte for byte in _PRINTABLE if chr(byte).isalnum())
_CLASSES = {
    b"alnum": _ALNUM,
    b"alpha": frozenset(byte for byte in _ALNUM if chr(byte).isalpha()),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset([*range(0x20), 0x7F]),
    b"digit": frozenset(b"0123456789"),
    b"graph": _PRINTABLE - {0x20},
    b"lower": frozenset(byte for byte in _ALNUM if chr(byte).islower()),
    b"print": _PRINTABLE,
    b"punct": _PRINTABLE - _ALNUM - {0x20},
    b"space": frozenset(_SPACE),
    b"upper": frozenset(byte for byte in _ALNUM if chr(byte).isupper()),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
}


class _Malformed(ValueError):
    """The pattern matches nothing, such as one with an open bracket."""


class Rule(NamedTuple):
    """One pattern.

    :param regex: matches all of a name, or of a path if ``whole_path``.
    :param negated: it includes again what an earlier one excludes.
    :param only_directories: it means directories alone.
    :param whole_path: it is compared with the path, not with the name alone.
    """

    regex: re.Pattern[bytes]
    negated: bool
    only_directories: bool
    whole_path: bool


class Patterns:
    """A list of patterns, the last one that matches decides.

    :param patterns: as in a ``.gitignore``; comments and empty ones are ignored.
    """

    def __init__(self, patterns: Iterable[str]) -> None:
        self.rules: Sequence[Rule] = [rule for pattern in patterns if (rule := _rule(os.fsencode(pattern))) is not None]
        self._backwards = tuple(reversed(self.rules))
        self._names = _union(rule for rule in self.rules if not rule.whole_path)
        self._paths = _union(rule for rule in self.rules if rule.whole_path)
        self._seen: dict[bytes, bool] = {}

    def __bool__(self) -> bool:
        """True if any pattern can match."""
        return bool(self.rules)

    def match(self, directory: bytes, name: bytes, is_directory: bool) -> bool:
        """Return whether the path itself matches, regardless of its parent directories; see :meth:`decide`."""
        return bool(self.decide(directory, name, is_directory))

    def decide(self, directory: bytes, name: bytes, is_directory: bool) -> bool | None:
        """Return whether the path itself is excluded or included again; None if no pattern matches.

        :param directory: the one it is in, relative to what the patterns are relative to; empty for that itself.
        """
        by_name = self._seen.get(name)
        if by_name is None:
            by_name = self._names is not None and self._names.fullmatch(name) is not None
            if len(self._seen) >= CACHED_NAMES:
                self._seen.clear()
            self._seen[name] = by_name
        if not by_name and self._paths is None:
            return None
        path = directory + b"/" + name if directory else name
        if not by_name and (self._paths is None or not self._paths.fullmatch(path)):
            return None
        for rule in self._backwards:
            if (is_directory or not rule.only_directories) and rule.regex.fullmatch(path if rule.whole_path else name):
                return not rule.negated
        return None

    def match_path(self, path: bytes, is_directory: bool) -> bool:
        """Return whether a path or one of its parent directories is excluded."""
        parts = path.split(b"/")
        last = len(parts) - 1
        return any(self.match(b"/".join(parts[:at]), part, at < last or is_directory) for at, part in enumerate(parts))


@lru_cache(maxsize=256)
def compiled(patterns: tuple[str, ...]) -> Patterns:
    """Return patterns, made ready once for each list."""
    return Patterns(patterns)


def _union(rules: Iterable[Rule]) -> re.Pattern[bytes] | None:
    """Return one expression that matches if any rule does; None without rules."""
    parts = [b"(?:" + rule.regex.pattern + b")" for rule in rules]
    return re.compile(b"|".join(parts)) if parts else None


def _rule(pattern: bytes) -> Rule | None:
    """Return what a line means; None if it can match nothing."""
    pattern = _without_trailing_spaces(pattern)
    if not pattern or pattern[:1] == b"#":
        return None
    negated = pattern[:1] == b"!"
    pattern = pattern[negated:]
    only_directories = pattern[-1:] == b"/"
    if only_directories:
        pattern = pattern[:-1]
    whole_path = b"/" in pattern
    pattern = pattern.removeprefix(b"/")
    if not pattern:
        return None
    try:
        text = _path_regex(pattern) if whole_path else _segment_regex(list(_tokens(pattern)), any_byte=_ANY)
    except _Malformed:
        return None
    return Rule(re.compile(text.encode("ascii")), negated, only_directories, whole_path)


def _without_trailing_spaces(pattern: bytes) -> bytes:
    """Return a line without the spaces at its end that no backslash protects."""
    end, at = 0, 0
    while at < len(pattern):
        at += 2 if pattern[at : at + 1] == b"\\" else 1
        if pattern[at - 1 : at] != b" " or pattern[at - 2 : at - 1] == b"\\":
            end = at
    return pattern[:end]


_STAR, _STARS, _SLASH, _ONE = "*", "**", "/", "?"
"""Tokens of a pattern; all others are regular expressions of one byte."""


def _tokens(pattern: bytes) -> Iterator[str]:
    """Yield what a pattern consists of."""
    at = 0
    while at < len(pattern):
        byte = pattern[at : at + 1]
        at += 1
        if byte == b"*":
            begin = at
            while pattern[at : at + 1] == b"*":
                at += 1
            yield _STARS if at > begin else _STAR
        elif byte == b"?":
            yield _ONE
        elif byte == b"/":
            yield _SLASH
        elif byte == b"[":
            text, at = _bracket(pattern, at)
            yield text
        elif byte == b"\\":
            if at == len(pattern):
                raise _Malformed
            yield _SLASH if pattern[at : at + 1] == b"/" else _literal(pattern[at])
            at += 1
        else:
            yield _literal(byte[0])


def _literal(byte: int) -> str:
    return f"\\x{byte:02x}"


def _bracket(pattern: bytes, at: int) -> tuple[str, int]:
    """Parse the set of bytes after a ``[``; return the set and its end."""
    negated = pattern[at : at + 1] in (b"!", b"^")
    at += negated
    members: set[int] = set()
    previous = -1
    first = True
    while True:
        byte = pattern[at : at + 1]
        if not byte:
            raise _Malformed
        if byte == b"]" and not first:
            break
        first = False
        if byte == b"[" and pattern[at + 1 : at + 2] == b":":
            end = pattern.find(b"]", at + 2)
            if end < 0:
                raise _Malformed
            if end > at + 2 and pattern[end - 1 : end] == b":":
                name = pattern[at + 2 : end - 1]
                if name not in _CLASSES:
                    raise _Malformed
                members |= _CLASSES[name]
                previous, at = -1, end + 1
                continue
            members.add(byte[0])
            previous, at = byte[0], at + 1
        elif byte == b"-" and previous > 0 and pattern[at + 1 : at + 2] not in (b"", b"]"):
            last, at = _escaped(pattern, at + 1)
            members.update(range(previous, last + 1))
            previous = -1
        else:
            previous, at = _escaped(pattern, at)
            members.add(previous)
    inside = frozenset(range(256)) - members if negated else members
    inside = inside - {0x2F}
    return ("[" + "".join(map(_literal, sorted(inside))) + "]" if inside else "(?!)"), at + 1


def _escaped(pattern: bytes, at: int) -> tuple[int, int]:
    """Parse one byte in a bracket, possibly escaped by a backslash; return the byte and its end."""
    if pattern[at : at + 1] == b"\\":
        at += 1
    if at >= len(pattern):
        raise _Malformed
    return pattern[at], at + 1


def _segment_regex(tokens: Sequence[str], *, any_byte: str = _SEGMENT) -> str:
    """Return the regular expression for one part of a path."""
    pieces: list[str] = [""]
    for token in tokens:
        if token in (_STAR, _STARS):
            pieces.append("")
        else:
            pieces[-1] += any_byte if token == _ONE else token
    if len(pieces) == 1:
        return pieces[0]
    middle = "".join(f"(?>{any_byte}*?{piece})" for piece in pieces[1:-1] if piece)
    return f"{pieces[0]}{middle}{any_byte}*{pieces[-1]}"


def _path_regex(pattern: bytes) -> str:
    """Return the regular expression for a whole path: runs of named parts, with ``**`` between them."""
    parts: list[list[str]] = [[]]
    for token in _tokens(pattern):
        if token == _SLASH:
            parts.append([])
        else:
            parts[-1].append(token)
    while len(parts) > 1 and parts[-1] == parts[-2] == [_STARS]:
        parts.pop()
    runs: list[list[str]] = [[]]
    for part in parts:
        if part == [_STARS]:
            runs.append([])
        else:
            runs[-1].append(_segment_regex(part))
    if len(runs) == 1:
        return "/".join(runs[0])
    text = "".join(f"{segment}/" for segment in runs[0])
    for run in runs[1:-1]:
        if run:
            text += f"(?>(?:{_SEGMENT}+/)*?" + "".join(f"{segment}/" for segment in run) + ")"
    if not runs[-1]:
        return f"{text}{_ANY}+"
    return f"{text}(?:{_SEGMENT}+/)*" + "/".join(runs[-1])
