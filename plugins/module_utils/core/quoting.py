# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in hints: quoted so that they work when pasted into bash or zsh, whatever bytes a name has."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence


def shell_word(value: str | bytes) -> str:
    """Return a name or path as one word of a shell command.

    A name that is not UTF-8, or holds control characters, is written as ``$'…'``, so that it fits on one line and can be pasted.
    """
    text = os.fsdecode(value)
    if text.isprintable():
        return shlex.quote(text)
    return "$'" + "".join(_escape(character) for character in text) + "'"


def _escape(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in os.fsencode(character))


def repoman_command(verb: str, names: Sequence[str | bytes], *options: str | tuple[str, str | bytes]) -> str:
    """Return a ``repoman`` command; names and values that start with ``-`` are not taken for options.

    :param options: flags, and options with their values.
    """
    words = []
    for option in options:
        if isinstance(option, str):
            words.append(option)
        else:
            value = os.fsdecode(option[1])
            words.append(f"{option[0]}{'=' if value.startswith('-') else ' '}{shell_word(value)}")
    quoted = [shell_word(name) for name in names]
    if any(os.fsdecode(name).startswith("-") for name in names):
        return " ".join(["repoman", verb, *words, "--", *quoted])
    return " ".join(["repoman", verb, *quoted, *words])
