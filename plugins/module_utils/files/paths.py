# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths as text: how a path that may hold any byte is shown in messages and results."""

from __future__ import annotations

MAX_SHOWN_BYTES = 400
"""Longer paths lose their middle in :func:`shorten_path`."""


def decode_path(path: bytes) -> str:
    r"""Return a path as text; bytes that are not UTF-8 become ``\xNN``. Line breaks stay."""
    return path.decode("utf-8", "backslashreplace")


def escape_path(path: bytes) -> str:
    """Return a path as one line of printable text, for messages. Two paths can have the same text."""
    return "".join(character if character.isprintable() else repr(character)[1:-1] for character in decode_path(path))


def escape_path_uniquely(path: bytes) -> str:
    """Return a path as one line of text, a different one for each path, for lists that are compared."""
    return decode_path(path.replace(b"\\", b"\\\\")).replace("\n", "\\n").replace("\r", "\\r")


def shorten_path(path: bytes) -> str:
    """Return a path as :func:`escape_path` does, without its middle if it is long."""
    if len(path) > MAX_SHOWN_BYTES:
        path = path[: MAX_SHOWN_BYTES // 2] + b"[...]" + path[-MAX_SHOWN_BYTES // 2 :]
    return escape_path(path)
