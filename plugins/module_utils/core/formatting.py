# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers and other text as people read them."""

from __future__ import annotations

import re
from collections.abc import Sequence

STEP = 1000.0
MINUTE = 60
ELLIPSIS = "…"
BEFORE_PATH = r"(?<![^\s(,])"
"""What may stand before a path in a sentence. Quotes may not: what they enclose is for a shell, which would not replace ``~``."""


def plural(number: int, noun: str = "file") -> str:
    """Return a number of things, such as ``1 file`` or ``2 files``, ``1 repository`` or ``2 repositories``."""
    nouns = f"{noun[:-1]}ies" if noun.endswith("ry") else f"{noun}s"
    return f"{number} {noun if number == 1 else nouns}"


def first_of(texts: Sequence[str], most: int) -> str:
    """Return the first texts of a list, and how many more there are, such as ``a, b, c and 2 more``."""
    return ", ".join(texts[:most]) + (f" and {len(texts) - most} more" if len(texts) > most else "")


def format_bytes(size: int) -> str:
    """Return a number of bytes in a unit that suits it, such as ``18.2 kB``."""
    value = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if value < STEP:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= STEP
    return f"{value:.1f} TB"


def format_duration(seconds: float) -> str:
    """Return a duration in its largest unit, such as ``2 days``."""
    for length, unit in ((86400, "day"), (3600, "hour"), (MINUTE, "minute")):
        if seconds >= length:
            return plural(int(seconds // length), unit)
    return "less than a minute"


def format_age(seconds: float) -> str:
    """Return how long ago something was, such as ``2 days ago``."""
    return f"{format_duration(seconds)} ago" if seconds >= MINUTE else "just now"


def shorten_home(text: str, home: str) -> str:
    """Return a path, or a sentence with paths, in which ``~`` stands for the home directory.

    Not for commands: a shell does not replace ``~`` inside of quotes.

    :param home: absolute path; if it is empty, nothing is replaced.
    """
    if not home.strip("/"):
        return text
    return re.sub(rf"{BEFORE_PATH}{re.escape(home.rstrip('/'))}(?=/|$|[\s,;:)])", "~", text)


def display_width(text: str) -> int:
    """Return the number of columns that text takes on a terminal: two for East Asian characters and emoji, none for combining accents."""
    return len(text) if text.isascii() else sum(map(_columns, text))


def _columns(character: str) -> int:
    if character.isascii():
        return 1
    import unicodedata  # most runs print ASCII only

    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def pad(text: str, width: int) -> str:
    """Return text with spaces behind it, so that it takes at least ``width`` columns."""
    return text + " " * (width - display_width(text))


def shorten(text: str, width: int, keep_end: bool = False) -> str:
    """Return text of at most ``width`` columns; an ellipsis stands for what is left out.

    :param keep_end: leave out the beginning, as for a path, instead of the end.
    """
    if display_width(text) <= width:
        return text
    if text.isascii():
        return ELLIPSIS + text[len(text) - width + 1 :] if keep_end else text[: width - 1].rstrip() + ELLIPSIS
    size = columns = 0
    for character in reversed(text) if keep_end else text:
        columns += _columns(character)
        if columns >= width:
            break
        size += 1
    return ELLIPSIS + text[len(text) - size :] if keep_end else text[:size].rstrip() + ELLIPSIS


def escape_control_characters(text: str, keep_tabs: bool = False) -> str:
    """Return text on one line, with characters escaped that a terminal would interpret or that cannot be shown.

    :param keep_tabs: leave tabs, for lines of a file; in a name they are escaped.
    """
    return "".join(
        character if character.isprintable() or (keep_tabs and character == "\t") else character.encode("unicode_escape").decode()
        for character in text
    )
