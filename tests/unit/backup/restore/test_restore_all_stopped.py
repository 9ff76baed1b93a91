# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore of everything that does not fit, gets no space, or is stopped: nothing is half restored, and the same command goes on."""

from __future__ import annotations

import gc
import os
import shutil
import signal
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.all_units import RestoreProgress, SeveralRestore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Item
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import RestoreOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.modules import repoman_restore
from backup_fixture import BackupHome, actions, differences, killed_after, seen, tmpfs

UNITS = [f"unit{number}" for number in range(6)]
FILES = 600
"""Files of each unit."""


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with repositories of many files, whose sources are gone."""
    world = empty_world
    for name in UNITS:
        for number in range(FILES):
            world.write(f"{name}/d{number % 7}/file{number}", f"{name} {number}\n")
    world.init()
    for name in UNITS:
        shutil.rmtree(world.repos / name)
    return world


def leftovers(world: BackupHome) -> list[Path]:
    """Return what unfinished restores have left."""
    return [path for path in world.root.rglob(".repoman-restore-*") if world.backup not in path.parents]


def assert_whole_or_missing(world: BackupHome) -> list[str]:
    """Check that each unit is complete or not there; return the complete ones."""
    found = [name for name in UNITS if (world.repos / name).exists()]
    for name in found:
        assert differences(world.backup / name, world.repos / name) == []
    return found


def test_nothing_is_written_if_everything_does_not_fit(empty_world: BackupHome) -> None:
    """Each would fit alone, but not all; on two file systems, each has its own space. A check says the same."""
    world = empty_world
    for name in ("one", "two", "three"):
        world.write(f"{name}/big", "x" * (2 << 20))
        for number in range(20):
            world.write(f"{name}/small{number}")
    os.link(world.repos / "one/big", world.repos / "one/again")  # which takes no space
    world.init()
    small = world.root / "small"
    with tmpfs(small, "size=5m"):
        for check in (True, False):
            with pytest.raises(RepomanError) as caught:
                world.restore(all=True, to=str(small / "a"), check=check)
            assert caught.value.message == (
                f"the file system of {small} has 5.2 MB free, but the restore needs 6.5 MB; nothing was restored."
            )
            assert caught.value.hints == [
                f"df -h {small}   # free some space, then run the command again",
                f"one after the other: repoman restore one --to {small}/a/one",
                "to another file system: repoman restore --all --to DIR",
            ]
            assert caught.value.exit_code == 1
            assert os.listdir(small) == []
        assert subprocess.run(["sh", "-c", caught.value.hints[0]], check=False, capture_output=True).returncode == 0
        assert world.restore(names=["one", "two"], to=str(small / "a"))["summary"]["restored"] == 2
        with tmpfs(small / "a/three"):  # the small one is full, but this one has space
            assert actions(world.restore(all=True, to=str(small / "a"))) == {"one": "same", "three": "restored", "two": "same"}
    with tmpfs(small, "size=20m,nr_inodes=50"), pytest.raises(RepomanError) as caught:
        world.restore(all=True, to=str(small))
    assert caught.value.message == (
        f"the file system of {small} has room for 49 more files, but the restore needs 66; nothing was restored."
    )
    with tmpfs(small, "size=20m,nr_inodes=0"):
        assert world.restore(all=True, to=str(small))["summary"]["restored"] == 3


def test_a_disk_that_gets_full_nevertheless(world: BackupHome) -> None:
    """Long links take blocks, too, so that not all fits: some units fail, and come back when there is space."""
    small = world.root / "small"
    for name in UNITS:
        for number in range(200):
            (world.backup / name / f"link{number}").symlink_to("x" * 200)
    with tmpfs(small, "size=15m"):
        done = world.restore(all=True, to=str(small), jobs=2)
        assert done["failed"] and done["exit_code"] == 1 and 0 < done["summary"]["failed"] < len(UNITS)
        failed = next(unit for unit in done["units"] if unit["action"] == "failed")
        assert "cannot be written: No space left on device; it was not restored." in failed["msg"]
        came = sorted(unit["name"] for unit in done["units"] if unit["action"] == "restored")
        assert sorted(os.listdir(small)) == came and leftovers(world) == []
        before = seen(small / came[0])
        subprocess.run(["mount", "-o", "remount,size=50m", small], check=True)
        again = world.restore(all=True, to=str(small))
        assert actions(again) == {name: "same" if name in came else "restored" for name in UNITS}
        assert seen(small / came[0]) == before
        assert all(differences(world.backup / name, small / name) == [] for name in UNITS)


def test_killed_at_any_moment(world: BackupHome) -> None:
    """Each unit is there or not, what is there stays, and the same command goes on without leftovers."""
    complete: list[str] = []
    for turn in range(1, 9):
        killed_after(turn * 0.06, lambda: world.restore(all=True, jobs=2))
        found = assert_whole_or_missing(world)
        assert {*complete} <= {*found}
        complete = found
    before = {name: seen(world.repos / name) for name in complete}
    done = world.restore(all=True)
    assert actions(done) == {name: "same" if name in complete else "restored" for name in UNITS}
    assert {name: seen(world.repos / name) for name in complete} == before
    assert assert_whole_or_missing(world) == UNITS and leftovers(world) == []


@pytest.mark.parametrize(("jobs", "overwrite"), [(1, False), (4, False), (4, True)])
def test_stopped_by_a_signal(world: BackupHome, jobs: int, overwrite: bool) -> None:
    """All workers roll back and end: nothing is left of what was under way."""
    for name in UNITS if overwrite else ():
        world.write(f"{name}/mine")
    output = world.root / "output"
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            world.restore(all=True, jobs=jobs, overwrite=overwrite)
            output.write_text("all")
        os._exit(0)
    while not leftovers(world) and not output.exists():
        time.sleep(0.005)
    os.kill(child, signal.SIGTERM)
    os.waitpid(child, 0)
    assert not output.exists()
    assert leftovers(world) == []
    for name in UNITS:
        if not (world.repos / name / "mine").exists() and (world.repos / name).exists():
            assert differences(world.backup / name, world.repos / name) == []
    done = world.restore(all=True, jobs=jobs, overwrite=overwrite)
    assert "failed" not in done and assert_whole_or_missing(world) == UNITS
    assert len(list(world.repos.glob("*.before-*"))) == (len(UNITS) if overwrite else 0)


def test_progress_and_memory(world: BackupHome) -> None:
    """A line for each phase and how far it is; however many units there are, the files of one are in memory, and few directories open."""
    params = {key: option.get("default") for key, option in repoman_restore.SPEC["argument_spec"].items()}
    params |= {"registry_path": str(world.registry), "user": None, "all": True, "jobs": 1}
    most: list[tuple[int, int]] = []
    lines: list[str] = []

    def report(message: Any) -> None:
        lines.append(message.line() if isinstance(message, RestoreProgress) else message)
        if isinstance(message, RestoreProgress):
            items = sum(isinstance(thing, Item) for thing in gc.get_objects())
            most.append((items, len(os.listdir("/proc/self/fd"))))

    with ExitStack() as stack:
        target = Target(str(world.backup), world.state.name)
        result = SeveralRestore(load_context(params), target, RestoreOptions.from_params(params), stack, report, False).run()
    assert result["summary"]["restored"] == len(UNITS) and len(most) == 2 * len(UNITS)
    assert max(items for items, _fds in most) <= FILES + 8
    assert max(fds for _items, fds in most) - min(fds for _items, fds in most) <= 1
    assert [lines[number] for number in (0, 1, 6, 7, 8, 13)] == [
        "comparing 6 directories with the backup",
        "restore: 1 of 6 compared",
        "restore: 6 of 6 compared",
        "restoring 6 directories: 3600 files, 35.3 kB",
        "restore: 1 of 6 restored, 600 files, 5.9 kB",
        "restore: 6 of 6 restored, 3600 files, 35.3 kB",
    ]
