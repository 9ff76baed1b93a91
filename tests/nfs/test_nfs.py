# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sync and restore over a real NFS mount: ``make test-nfs`` runs these inside ``scripts/nfs-lab``."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import UnitResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import run as sync
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from backup_fixture import BackupHome, differences, git

MOUNT, EXPORTED = (Path(os.environ.get(f"NFS_LAB_{name}", "/nonexistent")) for name in ("MOUNT", "EXPORT"))
SMALL = Path(os.environ.get("NFS_LAB_SMALL", "/nonexistent"))
UNITS = 10
CALLS_AT_MOST = 60
"""Of an unchanged run, however many files there are."""

pytestmark = pytest.mark.skipif("NFS_LAB_MOUNT" not in os.environ, reason="needs an NFS server to cut off: run 'make test-nfs'")


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackupHome]:
    """A home whose backup is on NFS; nothing is backed up yet."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "alice")
    world = BackupHome(tmp_path)
    world.backup.rmdir()
    place(world, MOUNT)
    for number in range(UNITS):
        for file in range(20):
            world.write(f"unit{number}/src/{file}", f"{number} {file}\n")
    world.git("isurus")
    yield world
    for mount in (MOUNT, SMALL):
        shutil.rmtree(mount / "backup", ignore_errors=True)


def place(world: BackupHome, mount: Path) -> None:
    """Let the backup be on that mount."""
    (mount / "backup").mkdir()
    world.backup.unlink(missing_ok=True)
    world.backup.symlink_to(mount / "backup")


def calls() -> int:
    """Return how many calls the client has made to the server."""
    text = Path("/proc/self/mountstats").read_text(encoding="ascii").partition(f"mounted on {MOUNT} ")[2].partition("\ndevice ")[0]
    return sum(int(number) for number in re.findall(r"^\s+[A-Z_0-9]+: (\d+) \d+ \d+ \d+ \d+", text, re.MULTILINE))


def cut() -> None:
    """Let nothing through any more."""
    subprocess.run(["nfs-lab-server", "dead"], check=True)


def mend() -> None:
    """Let all through again."""
    subprocess.run(["nfs-lab-server", "alive"], check=True)


def sync_when_free(world: BackupHome) -> None:
    """Back up, once what the last run left hanging has ended."""
    while True:
        try:
            world.sync(probe_timeout=120)
            return
        except ConflictError as error:
            assert "another run" in error.message
            time.sleep(0.5)


def test_a_full_and_an_unchanged_run(world: BackupHome) -> None:
    """Adopted without being told that it is local; complete; and hardly any call where nothing changed."""
    with pytest.raises(ConflictError, match="no mark"):
        world.sync()
    world.sync(init=True)
    assert world.differences() == []
    assert git(EXPORTED / "backup/isurus", "fsck", "--full") == ""
    before = calls()
    assert not world.sync()["changed"]
    needed = calls() - before
    assert 0 < needed <= CALLS_AT_MOST, needed
    world.write("unit3/src/3", "changed\n")
    world.sync()
    assert world.differences() == []
    assert [path.read_text() for path in world.kept()] == ["3 3\n"]


def test_restore(world: BackupHome) -> None:
    """What was deleted comes back."""
    world.sync(init=True)
    shutil.rmtree(world.repos / "isurus")
    assert world.sync()["exit_code"] == 4
    world.restore("isurus")
    assert differences(world.backup / "isurus", world.repos / "isurus") == []
    assert git(world.repos / "isurus", "fsck", "--full") == ""


def test_everything_comes_back(world: BackupHome) -> None:
    """Home and state are gone: settings and all repositories come back from the mount alone, and the backup goes on without a copy."""
    overrides = world.registry.parent / "repos.d"
    overrides.mkdir()
    (overrides / "isurus.toml").write_text("backup = true\n")
    world.project("isurus")
    registry = world.registry.read_text()
    world.sync(init=True)
    before = shutil.copytree(world.repos, world.repos.parent / "before", symlinks=True)
    for directory in (world.repos, overrides, world.registry.parent / "state"):
        shutil.rmtree(directory, ignore_errors=True)
    world.registry.write_text(f'[repoman]\nschema = 3\n[defaults]\nbackup_root = "{world.backup}"\nrepos_root = "{world.repos}"\n')
    assert world.restore(settings=True)["changed"] and world.registry.read_text() == registry
    result = world.restore(all=True)
    assert {unit["action"] for unit in result["units"]} == {"restored"} and len(result["units"]) == UNITS + 1
    assert [line for line in differences(before, world.repos) if not line.endswith(" ./")] == []  # the directory itself is private
    assert git(world.repos / "isurus", "fsck", "--full") == ""
    assert not world.restore(all=True)["changed"]
    assert world.sync()["summary"]["bytes"] == 0


def test_not_mounted(world: BackupHome) -> None:
    """Not mounted, the target is refused, and nothing is written to the mount point."""
    world.sync(init=True)
    subprocess.run(["umount", MOUNT], check=True)
    try:
        (MOUNT / "backup").mkdir()
        with pytest.raises(ConflictError, match="no mark"):
            world.sync()
        assert not list((MOUNT / "backup").iterdir())
        (MOUNT / "backup").rmdir()
    finally:
        subprocess.run(["mount.nfs", "127.0.0.1:/repos", MOUNT, "-o", "vers=4.2,sec=sys,hard"], check=True)
    assert not world.sync()["changed"]


def test_a_full_server(world: BackupHome) -> None:
    """Full, old mirrors stay as they are; with space again all is well."""
    place(world, SMALL)
    world.sync(init=True)
    world.write("unit1/src/1", "x" * 30_000_000)
    result = world.sync()
    assert [line["name"] for line in result["units"] if line["action"] == "failed"] == ["unit1"]
    assert (world.backup / "unit1/src/1").read_text() == "1 1\n"
    assert git(world.backup / "isurus", "fsck", "--full") == ""
    world.write("unit1/src/1", "small again\n")
    world.sync()
    assert world.differences() == []


def test_a_dead_server(world: BackupHome) -> None:
    """Dead before the run, it is given up on in seconds."""
    world.sync(init=True)
    world.write("unit1/src/1", "changed\n")
    cut()
    try:
        begun = time.monotonic()
        for run in (world.sync, lambda **more: world.restore("unit2", **more)):
            with pytest.raises(RepomanError, match="does not answer"):
                run(probe_timeout=2.0)
        assert time.monotonic() - begun < 60
    finally:
        mend()
    sync_when_free(world)
    assert world.differences() == []


def test_a_server_that_dies_during_the_run(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dead in the middle of the run, it is given up on; what was done counts, and the next run goes on."""
    world.sync(init=True)
    for number in range(UNITS):
        for file in range(20):
            world.write(f"unit{number}/src/{file}", f"{number} {file} changed\n" * 500)
    told: list[str] = []

    def unit(_display: object, result: UnitResult) -> None:
        if not told:
            cut()
        told.append(result.action)

    with monkeypatch.context() as patch:
        patch.setattr(sync.ProgressDisplay, "unit_finished", unit)
        try:
            with pytest.raises(RepomanError, match="does not answer"):
                world.sync(idle_timeout=5.0)
        finally:
            mend()
    assert len(told) < UNITS
    sync_when_free(world)
    assert world.differences() == []
    assert git(world.backup / "isurus", "fsck", "--full") == ""
