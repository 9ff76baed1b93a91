# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which backups are old or missing, after real runs of sync."""

from __future__ import annotations

import json
import os
import shutil
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup import left_out, staleness
from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staleness import BackupTimes, add_to_status
from ansible_collections.homelab.repoman.plugins.module_utils.backup.status import BackupStatus
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.state import target_state
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import SyncState, iso_time, sync_state
from ansible_collections.homelab.repoman.plugins.module_utils.host import hung_mounts
from backup_fixture import BackupHome
from hung import hung_mount

DAY = 86400


@pytest.fixture
def world(tmp_path: Path) -> BackupHome:
    """A home with a project, two directories without one and a loose file, all backed up."""
    world = BackupHome(tmp_path)
    for path in ("isurus/a", "attic/a", "group/lamna/a", "loose"):
        world.write(path)
    world.project("isurus", repo='"isurus"')
    world.init()
    return world


def times_of(world: BackupHome, later: float = 0.0) -> BackupTimes:
    """Return the times as ``status`` reads them ``later`` seconds later."""
    context = load_context({"user": None, "registry_path": str(world.registry)})
    now = datetime.now(timezone.utc) + timedelta(seconds=later)
    return BackupTimes(context, target_state(str(world.backup), context.account), now)


def states(world: BackupHome, later: float = 0.0) -> dict[str, str]:
    """Return the states of the project, the directories and the whole backup."""
    times = times_of(world, later)
    registry = times.backup.registry
    projects = [
        {"name": name, "repo": str(world.repos / name), "backup": times.backup.projects[name].backup, "last_sync": project.last_sync}
        for name, project in registry.projects.items()
    ]
    result: dict[str, Any] = {"host": {"backup": dict(times.target)}, "projects": projects}
    add_to_status(result, times)
    found = {entry["name"]: entry.get("sync_state", "") for entry in [*result["projects"], *result["host"]["directories"]]}
    return found | {"whole": result["host"]["backup"]["sync_state"]}


def everything(state: str, **other: str) -> dict[str, str]:
    """Return the same state for everything, or another one."""
    return dict.fromkeys(("isurus", "attic", "group", "(loose files)", "whole"), state) | other


def record(world: BackupHome) -> Path:
    """Return the file with the local times."""
    return world.log / "times/last_sync.json"


@pytest.mark.parametrize(
    ("clock", "state"),
    [(0, "ok"), (2 * DAY, "ok"), (3 * DAY + 60, "old"), (-300, "ok"), (-3600, "future"), (-400 * DAY, "future")],
    ids=["right", "later", "went forward", "a little back", "went back", "battery failed"],
)
def test_clock(world: BackupHome, clock: float, state: str) -> None:
    """A backup of a wrong clock, or seen with one, is not called recent."""
    assert states(world, clock) == everything(state)


@pytest.mark.parametrize(
    ("age", "later", "state"), [("36h", 1.6 * DAY, "old"), ("36h", 1.4 * DAY, "ok"), ("never", 900 * DAY, "ok"), ("never", -DAY, "future")]
)
def test_configured_age(world: BackupHome, age: str, later: float, state: str) -> None:
    """With ``never`` nothing is too old, but a time in the future is reported."""
    world.registry.write_text(world.registry.read_text().replace("[defaults]", f'[defaults]\nstale_after = "{age}"'))
    world.write("more/a")
    assert states(world, later) == everything(state, more="ok" if age == "never" else "never")


@pytest.mark.parametrize("time", ["", "soon"])
def test_without_a_time(time: str) -> None:
    """It was never backed up, unless that does not matter."""
    now = datetime.now(timezone.utc)
    assert (sync_state(time, now, 5), sync_state(time, now, None)) == (SyncState.NEVER, SyncState.OK)


def test_what_no_run_has_backed_up(world: BackupHome) -> None:
    """A new directory is reported at once, with a project or without; excluded ones, links, and directories of a running restore are not."""
    world.git("new")
    world.write("registered/a")
    world.write("excluded/a")
    world.write(".repoman-restore-x/a")
    os.symlink("isurus", world.repos / "link")
    os.makedirs(os.path.join(os.fsencode(world.repos), b"odd\xff"))
    world.project("registered", repo='"registered"')
    world.project("excluded", repo='"excluded"', backup="false")
    assert states(world) == everything("ok", new="never", registered="never", excluded="", **{"odd\\xff": "never"})
    world.sync(names=["new"])
    assert states(world)["new"] == "ok"
    world.project("lamna", repo='"group/lamna"')
    found = states(world)  # the directory is the project's now, and its backup counts for the project
    assert "group" not in found and found["lamna"] == "ok"


def test_one_that_is_left_behind(world: BackupHome) -> None:
    """If only some are backed up again and again, the others become old; the newest backup counts for the whole."""
    data = json.loads(record(world).read_text())
    data[str(world.backup)] |= {"attic": iso_time(time.time() - 5 * DAY), "isurus": iso_time(time.time() - 5 * DAY)}
    record(world).write_text(json.dumps(data))
    assert states(world) == everything("ok", attic="old")  # the registry has the time of a project
    assert times_of(world).describe(data[str(world.backup)]["attic"])["sync_age"] // DAY == 5


def test_a_run_that_failed_for_all(world: BackupHome) -> None:
    """That it ran makes nothing newer."""
    stamps = world.backup / ".repoman/stamps.json"
    stamps.write_text(json.dumps(json.loads(stamps.read_text()) | {"run": time.time() + 4 * DAY}))
    assert states(world, 4 * DAY) == everything("old")


def without_last_sync(world: BackupHome) -> None:
    """Remove the local times, as a reinstallation does."""
    shutil.rmtree(world.log)
    lines = world.registry.read_text().splitlines()
    world.registry.write_text("\n".join(line for line in lines if not line.startswith("last_sync")) + "\n")


def test_a_new_host(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a local time is missing, the records of the target count; otherwise the target is not read."""
    with monkeypatch.context() as patch:
        patch.setattr(staleness, "read_sync_times", None)
        assert states(world) == everything("ok")
    without_last_sync(world)
    world.write("more/a")
    assert states(world) == everything("ok", more="never")
    assert states(world, 4 * DAY) == everything("old", more="never")
    world.sync(names=["isurus"])
    assert states(world) == everything("ok", more="never")
    without_last_sync(world)
    stamps = world.backup / ".repoman/stamps.json"
    data = json.loads(stamps.read_text())
    data["units"]["attic"]["digest"] = ""
    stamps.write_text(json.dumps(data))
    assert states(world)["attic"] == "never"  # its mirror may be incomplete
    data["units"]["isurus"]["time"] = 1e300
    stamps.write_text(json.dumps(data))
    assert states(world)["isurus"] == "never" and states(world)["group"] == "ok"


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"run": 5, "units": []}', '{"run": "x", "units": {}}', '{"run": NaN, "units": {"attic": {"digest": "a"}}}']
)
def test_damaged_records(world: BackupHome, text: str) -> None:
    """They have no times."""
    without_last_sync(world)
    (world.backup / ".repoman/stamps.json").write_text(text)
    assert states(world) == everything("never")


def test_the_records_of_another(world: BackupHome) -> None:
    """They are not read."""
    without_last_sync(world)
    marker = world.backup / ".repoman/mirror.toml"
    marker.write_text(marker.read_text().replace("host = ", 'host = "elsewhere"\n#'))
    assert states(world) == everything("never")


def test_nothing_to_back_up(tmp_path: Path) -> None:
    """Then nothing was missed."""
    world = BackupHome(tmp_path)
    assert states(world) == {"whole": "ok"}
    world.project("isurus", repo='"isurus"')
    assert states(world) == {"isurus": "never", "whole": "never"}


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_repositories_that_do_not_answer(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are not looked at; a project has the time of the registry."""
    monkeypatch.setattr(hung_mounts, "PROBE_TIMEOUT", 0.5)
    with hung_mount(world.repos) as gave_up:
        hung_mounts._served_mounts.cache_clear()
        times = times_of(world)
        assert states(world) == {"isurus": "ok", "whole": "ok"} and times.of_project("isurus")
        assert left_out.read(times.backup.account, str(world.registry), times.backup.registry) == ([], {}, [])
        result: dict[str, Any] = {"host": {}, "projects": [], "time": iso_time()}
        BackupStatus(times.backup.account, str(world.registry), times.backup.registry).add_to(result, times.target)
        assert result["host"]["directories"] == [] and not gave_up.is_set()
    hung_mounts._served_mounts.cache_clear()
