# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The common beginning of two files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.files.common_prefix import CHUNK, common_length


def length(one: Path, other: Path) -> int:
    """Return the length of the common beginning of two files."""
    with one.open("rb") as first, other.open("rb") as second:
        return common_length(first.fileno(), second.fileno())


@pytest.mark.parametrize("size", [0, 1, 4096, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
@pytest.mark.parametrize("more", [0, 1, CHUNK])
def test_equal_up_to_the_first_difference(tmp_path: Path, size: int, more: int) -> None:
    """Files are equal up to the first byte that differs, or to the end of the shorter one."""
    beginning = os.urandom(size)
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_bytes(beginning)
    other.write_bytes(beginning + b"b" * more)
    assert [length(*pair) for pair in ((one, other), (other, one))] == [size, size]
    one.write_bytes(beginning + b"a" * more)
    assert [length(*pair) for pair in ((one, other), (other, one))] == [size, size]


def test_terabytes_of_holes(tmp_path: Path) -> None:
    """Common holes are skipped; data after a hole, and zeros against a hole, are compared."""
    one, other = tmp_path / "one", tmp_path / "other"
    for path in (one, other):
        path.write_bytes(b"data")
        os.truncate(path, 4 << 40)
    assert length(one, other) == 4 << 40
    with other.open("r+b") as file:
        file.seek(3 << 40)
        file.write(bytes(CHUNK) + b"data")
    assert length(one, other) == (3 << 40) + CHUNK
