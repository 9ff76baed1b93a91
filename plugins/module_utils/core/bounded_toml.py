# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read TOML with limits, so that a damaged or hostile file costs neither much time nor memory, and what uses its values can rely on them.

The standard library's parser takes integers of any size, which cannot be shown, and time and memory that grow with the square of a key's
parts; the tables of such a key are nested too deep for everything that walks them.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

MAX_DEPTH = 100
"""The deepest nesting of tables and lists."""
NESTED = "nested too deeply"
_LONG_KEY = re.compile(rf"""(?<![A-Za-z0-9_-])(?:(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]++|\\.)*+"|'[^'\n]*+')[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}""")
_LARGE_INTEGER = re.compile(r"\b(?:[0-9][0-9_]{17,}|0[xob][0-9a-fA-F_]{16,})")
"""What may be an integer of more than 64 bits."""
_INTEGERS = range(-(1 << 63), 1 << 63)
"""What TOML allows."""


def load_toml(text: str) -> dict[str, Any]:
    """Return the data of a TOML file.

    :raises ValueError: it is malformed, nested deeper than :data:`MAX_DEPTH`, or has an integer of more than 64 bits.
    """
    if _LONG_KEY.search(text):
        raise ValueError(NESTED)
    try:
        data = tomllib.loads(text)
    except RecursionError:
        raise ValueError(NESTED) from None
    if not _has_valid_integers(data):
        literal = _LARGE_INTEGER.search(text)
        line = text.count("\n", 0, literal.start()) + 1 if literal else 1
        raise ValueError(f"an integer has more than 64 bits (at line {line}, column 1)")
    return data


def _has_valid_integers(data: dict[str, Any]) -> bool:
    """Return whether all integers are in the range of TOML.

    :raises ValueError: the data is nested too deep.
    """
    level: list[Any] = [data]
    for _depth in range(MAX_DEPTH + 1):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, int) and value not in _INTEGERS:
                return False
        if not below:
            return True
        level = below
    raise ValueError(NESTED)
