# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readers of the files of the backup's state, on the target and on the host, for tests with damaged ones."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

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

Read = Callable[[Path, bytes], object]
NOW = 1_800_000_000.0
OWNER = Account(name="alice", uid=os.getuid(), gid=os.getgid(), group="alice", home="/", shell="/bin/sh")
VERSIONS = ["20260501T000000Z", "20260502T000000Z"]
MARKER = 'format = 1\nid = "0123456789abcdef"\nhost = "attic"\nuser = "alice"\ncreated = "2026-05-01T00:00:00Z"\n'


@contextmanager
def state_place() -> Iterator[Path]:
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
    """Read them as a run does, which writes them again, and as it does when it takes over a target."""
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
    """Read the history, with everything that depends on its order."""
    (place / ".repoman/history.json").write_bytes(data)
    found = history.load(target_of(place), NOW)
    assert sorted(found.names) == VERSIONS  # nothing that exists is lost, and nothing else is made up
    found.versions_since("20260501T120000Z")
    assert found.oldest


def read_created(place: Path, data: bytes) -> None:
    """Read what a run created."""
    (place / ".repoman/created" / VERSIONS[0]).write_bytes(data)
    assert history.created_of(target_of(place), VERSIONS[0], "unit") is not False


def read_what_was_left_out(place: Path, data: bytes) -> None:
    """Read it as a run and as ``status`` do."""
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
    """Read it as each command does, and as a run that takes the target over."""
    marker.marker_path(str(place)).write_bytes(data)
    state._judge_marker(str(place), data.decode("utf-8", "replace"), OWNER)
    text = marker.read_marker_text(str(place))
    found = marker.read_marker(str(place))
    assert text is not None and found is not None
    str(marker.owner_of(found))
    marker.check_format(str(place), found)
    marker.with_new_owner(text, marker.Owner("attic", "bob"), datetime.now(timezone.utc))


def read_the_owner(place: Path, data: bytes) -> None:
    """Read the owner of the settings."""
    text = data.decode("utf-8", "replace")
    found = parse_owner(text, place)
    assert found is None or parse_owner(found.as_json().decode(), place) == found


def read_the_install_record(place: Path, data: bytes) -> None:
    """Read the record, and write it again."""
    (place / "profiles.json").write_bytes(data)
    record = InstallRecord(str(place), OWNER)
    record.is_own("web", {"config": {}})
    record.add("web", {"config": {}})
    record.write()
    assert InstallRecord(str(place), OWNER).is_own("web", {"config": {}})


def read_the_times(place: Path, data: bytes) -> None:
    """Read the times of the last backups."""
    (place / sync_times.FILE).write_bytes(data)
    sync_times.read(str(place), "/nfs")
    sync_times.write(str(place), "/nfs", ["unit"], "2026-05-01T00:00:00Z", OWNER)
    assert sync_times.read(str(place), "/nfs")["unit"] == "2026-05-01T00:00:00Z"


def read_a_stored_registry(_place: Path, data: bytes) -> None:
    """Read the registry in the backup of the settings."""
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
