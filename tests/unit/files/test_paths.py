# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Paths of any bytes as text."""

from __future__ import annotations

from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import (
    MAX_SHOWN_BYTES,
    decode_path,
    escape_path,
    escape_path_uniquely,
    shorten_path,
)


def test_a_shown_path_is_one_printable_line() -> None:
    """Control characters, invalid UTF-8 and bidirectional marks are escaped."""
    assert escape_path(b"a \xff\n\x1b[1m\xe2\x80\xaeb\xc3\xa9") == "a \\xff\\n\\x1b[1m\\u202eb\xe9"
    assert escape_path(bytes(range(256))).isprintable()


def test_a_decoded_path_keeps_its_line_breaks() -> None:
    """Only bytes that are not UTF-8 are escaped."""
    assert decode_path(b"a\n\xff") == "a\n\\xff"


def test_two_paths_never_look_the_same_in_a_list() -> None:
    """Backslashes of a path are escaped, too."""
    paths = [b"\n", b"\\n", b"\\\\n", b"\r", b"\\r", b"\xff", b"\\xff", b"\\", b"\\\\"]
    texts = [escape_path_uniquely(path) for path in paths]
    assert len(set(texts)) == len(paths)
    assert not any("\n" in text or "\r" in text for text in texts)


def test_a_long_path_loses_its_middle() -> None:
    """A path at the limit is whole."""
    assert shorten_path(b"a" * MAX_SHOWN_BYTES) == "a" * MAX_SHOWN_BYTES
    half = MAX_SHOWN_BYTES // 2
    assert shorten_path(b"\n" + b"a" * MAX_SHOWN_BYTES + b"z") == "\\n" + "a" * (half - 1) + "[...]" + "a" * (half - 1) + "z"
