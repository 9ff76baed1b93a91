# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damaged files of the backup's state, on the target and on the host: an error, or as if the file were missing."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup import left_out
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import ScanResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import digest, project_names
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import parse_owner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.records import RunRecords
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history, marker, records, state
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import LEFT_OUT, LeftOut, read_left_out
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_duration
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.install_record import InstallRecord
from ansible_collections.homelab.repoman.plugins.module_utils.registry import sync_times
from fuzzing import bounded, damaged_bytes, damaged_data, outcome
from hypothesis import given
from registry_texts import SCHEMA_3

Read = Callable[[Path, bytes], object]
NOW = 1_800_000_000.0
OWNER = Account(name="alice", uid=os.getuid(), gid=os.getgid(), group="alice", home="/", shell="/bin/sh")
VERSIONS = ["20260501T000000Z", "20260502T000000Z"]
MARKER = 'format = 1\nid = "0123456789abcdef"\nhost = "attic"\nuser = "alice"\ncreated = "2026-05-01T00:00:00Z"\n'


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A target with two versions, which is also a local state directory with a unit in it."""
    with tempfile.TemporaryDirectory() as directory:
        for name in (".repoman/kept", ".repoman/created", "unit/sub", "times"):
            Path(directory, name).mkdir(parents=True)
        for name in VERSIONS:
            Path(directory, ".repoman/kept", name).mkdir()
        yield Path(directory)


def target_of(place: Path) -> Target:
    """Return the target."""
    return Target(str(place), "ident")


def read_the_records(place: Path, data: bytes) -> None:
    """As a run does, which writes them again; and as it takes over a target."""
    (place / ".repoman/stamps.json").write_bytes(data)
    run = RunRecords(target_of(place), place, OWNER, NOW, False)
    run.read()
    for name in run.current.units:
        run.trusted_digest(name)
    format_duration(max(0.0, NOW - run.current.run))
    for clock in (run.current.clock, run.current.clock.at(NOW)):
        found = history.load(target_of(place), NOW)
        found.expired(clock, 30)
        found.warnings(clock, 30)
    records.write_records(target_of(place), run.current, OWNER)
    assert records.read_records(target_of(place)).units.keys() == run.current.units.keys()


def read_the_history(place: Path, data: bytes) -> None:
    """With what depends on its order."""
    (place / ".repoman/history.json").write_bytes(data)
    found = history.load(target_of(place), NOW)
    assert sorted(found.names) == VERSIONS  # nothing that exists is lost, and nothing else is made up
    found.versions_since("20260501T120000Z")
    assert found.oldest


def read_created(place: Path, data: bytes) -> None:
    """What a run created."""
    (place / ".repoman/created" / VERSIONS[0]).write_bytes(data)
    assert history.created_of(target_of(place), VERSIONS[0], "unit") is not False


def read_what_was_left_out(place: Path, data: bytes) -> None:
    """As a run and as ``status`` use it."""
    (place / LEFT_OUT).write_bytes(data)
    unit = Unit("unit", str(place / "unit"))
    record = read_left_out(place / LEFT_OUT).get("unit", {})
    left_out._mounts_of(unit, record.get("skipped", []))
    left_out._unverified(unit, record.get("unverified", {}))
    kept = LeftOut(place)
    kept.absent(ScanResult(unit))
    kept.record(ScanResult(unit, excluded=1), [])
    kept.record_unverified("unit", {"": "reason"})
    kept.save(["unit"], OWNER)
    assert read_left_out(place / LEFT_OUT)["unit"]["excluded"] == 1


def read_the_marker(place: Path, data: bytes) -> None:
    """As each command does, and as a run that takes the target over."""
    marker.marker_path(str(place)).write_bytes(data)
    state._judge_marker(str(place), data.decode("utf-8", "replace"), OWNER)
    text = marker.read_marker_text(str(place))
    found = marker.read_marker(str(place))
    assert text is not None and found is not None
    str(marker.owner_of(found))
    marker.check_format(str(place), found)
    marker.with_new_owner(text, marker.Owner("attic", "bob"), datetime.now(timezone.utc))


def read_the_owner(place: Path, data: bytes) -> None:
    """Of the settings."""
    text = data.decode("utf-8", "replace")
    found = parse_owner(text, place)
    assert found is None or parse_owner(found.as_json().decode(), place) == found


def read_the_install_record(place: Path, data: bytes) -> None:
    """And write it again."""
    (place / "profiles.json").write_bytes(data)
    record = InstallRecord(str(place), OWNER)
    record.is_own("web", {"config": {}})
    record.add("web", {"config": {}})
    record.write()
    assert InstallRecord(str(place), OWNER).is_own("web", {"config": {}})


def read_the_times(place: Path, data: bytes) -> None:
    """Of the last backups."""
    (place / sync_times.FILE).write_bytes(data)
    sync_times.read(str(place), "/nfs")
    sync_times.write(str(place), "/nfs", ["unit"], "2026-05-01T00:00:00Z", OWNER)
    assert sync_times.read(str(place), "/nfs")["unit"] == "2026-05-01T00:00:00Z"


def read_a_stored_registry(_place: Path, data: bytes) -> None:
    """Of the backup of the settings."""
    project_names(data)
    digest("repoman.toml", data)


JSON_FILES: dict[str, tuple[Read, Any]] = {
    "records": (
        read_the_records,
        {
            "run": NOW,
            "clock": {"last": NOW, "high": 0.0, "jumps": [[NOW - 9e5, NOW - 2e5], [NOW - 1e5, NOW]]},
            "units": {"unit": {"digest": "00" * 32, "full": NOW, "time": NOW, "session": "a"}, "b\udcff": {"digest": "", "full": 0.0}},
        },
    ),
    "history": (read_the_history, {"states": [[name, True] for name in VERSIONS]}),
    "created": (read_created, {"unit": ["a", "b\udcff/c"], "other": None}),
    "left_out": (
        read_what_was_left_out,
        {"unit": {"skipped": ["sub"], "followed": ["sub"], "excluded": 3, "unverified": {"sub/.git": "reason"}}},
    ),
    "owner": (
        read_the_owner,
        {
            "format": 1,
            "host": "attic",
            "user": "alice",
            "home": "/home/alice",
            "time": "2026-05-01T00:00:00Z",
            "files": {"repoman.toml": "00"},
        },
    ),
    "install record": (read_the_install_record, {"web": "00", "default": "11"}),
    "times": (read_the_times, {"/nfs": {"unit": "2026-05-01T00:00:00Z"}}),
}


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
