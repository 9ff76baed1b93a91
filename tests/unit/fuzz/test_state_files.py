# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damaged files of the backup's state, on the target and on the host: an error, or as if the file were missing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import records, state
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import LEFT_OUT, read_left_out
from fuzzing import bounded, damaged_bytes, damaged_data, outcome
from hypothesis import given
from registry_texts import SCHEMA_3
from state_readers import (
    JSON_FILES,
    MARKER,
    OWNER,
    read_a_stored_registry,
    read_the_marker,
    read_what_was_left_out,
    state_place,
    target_of,
)


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory for the files of all examples."""
    with state_place() as directory:
        yield directory


@pytest.mark.parametrize("name", JSON_FILES)
def test_json_files(place: Path, name: str) -> None:
    """By their bytes, and by their values."""
    read, valid = JSON_FILES[name]
    text = json.dumps(valid).encode()
    assert outcome(lambda: read(place, text)) == ""

    @given(damaged=damaged_bytes(text) | damaged_data(valid).map(lambda data: json.dumps(data).encode()))
    def check(damaged: bytes) -> None:
        outcome(lambda: read(place, damaged))

    check()


@given(damaged=damaged_bytes(MARKER.encode()))
def test_markers(place: Path, damaged: bytes) -> None:
    """A marker that cannot be read is an error, because the target may belong to somebody else."""
    outcome(lambda: read_the_marker(place, damaged))


@given(damaged=damaged_bytes(SCHEMA_3.encode()))
def test_a_stored_registry(place: Path, damaged: bytes) -> None:
    """It has no names then."""
    assert outcome(lambda: read_a_stored_registry(place, damaged)) == ""


JSON_BOMBS = {
    "lists": b"[" * 1_000_000,
    "objects": b'{"a":' * 500_000,
    "a few hundred lists": b"[" * 900 + b"]" * 900,
    "digits": b'{"run": ' + b"9" * 1_000_000 + b"}",
    "large": b'"' + b"a" * (80 << 20) + b'"',
    "NUL": bytes(1 << 20),
    "half a pair": rb'{"\ud800": {"\ud800": ["\ud800"]}}',
}


@pytest.mark.parametrize("bomb", JSON_BOMBS)
def test_json_bombs(place: Path, bomb: str) -> None:
    """For each reader."""

    def read_all() -> None:
        for read, _valid in JSON_FILES.values():
            outcome(lambda read=read: read(place, JSON_BOMBS[bomb]))  # type: ignore[misc]

    assert bounded(read_all) == ""


@pytest.mark.parametrize(
    ("bomb", "reason"),
    [
        (f"x = {'[' * 30_000}", "nested too deeply"),
        (f"{'.'.join('a' * 20_000)} = 1", "nested too deeply"),
        (f"format = 0x{'f' * 5000}", "an integer has more than 64 bits"),
        ("x = 1\n" * 20_000, "larger than"),
        ("x = 1\n" * 2, "Cannot overwrite a value"),
    ],
)
def test_marker_bombs(place: Path, bomb: str, reason: str) -> None:
    """On a target that anybody may write to, also for ``status``."""
    text = bounded(lambda: read_the_marker(place, bomb.encode()))
    assert "cannot read the backup's marker" in text and reason in text
    assert state._judge_marker(str(place), bomb, OWNER)[0] == "unreadable"


@pytest.mark.parametrize("number", ["1e999", "-1e999", "NaN", "Infinity", "-Infinity"])
def test_numbers_that_are_not_finite(place: Path, number: str) -> None:
    """repoman never writes them: the file is not its own. A run that takes over a target would compute with them."""
    for value in (number, f'"{number}"'):
        (place / ".repoman/stamps.json").write_text(f'{{"run": {value}, "units": {{}}}}')
        assert records.read_records(target_of(place)).run == 0
    (place / LEFT_OUT).write_text(f'{{"unit": {{"skipped": [], "followed": [], "excluded": {number}}}}}')
    assert read_left_out(place / LEFT_OUT) == {}


@pytest.mark.parametrize("path", [r"a\u0000b", r"a\ud800b"])
@pytest.mark.parametrize("key", ["skipped", "followed"])
def test_paths_that_cannot_exist(place: Path, path: str, key: str) -> None:
    """The system's calls would raise ``ValueError``."""
    record = {"skipped": [], "followed": [], "excluded": 0, "unverified": {}} | {key: ["PATH"]}
    read_what_was_left_out(place, json.dumps({"unit": record}).replace("PATH", path).encode())
