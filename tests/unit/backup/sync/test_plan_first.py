# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sync plans before it changes anything: a run that cannot be planned leaves the target as it was, and check mode is the same plan."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup import staging
from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import waves as sync_waves
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.planner import UnitPlanner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.selection import Selected
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import initialize
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError
from backup_fixture import BackupHome, actions, seen, tmpfs

OLD = "20200101T000000Z"
NOBODY = 65534


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with two directories, not backed up yet."""
    world = empty_world
    world.write("plain/src/main.c")
    world.write("other/file")
    return world


def age(world: BackupHome, name: str = OLD) -> Path:
    """Put an expired version into the history."""
    file = world.ours("kept") / name / "plain/old"
    file.parent.mkdir(parents=True)
    file.write_text("old\n")
    return file


def lose(world: BackupHome, *names: str) -> None:
    """Empty directories, as a file system that is not mounted any more does."""
    for name in names:
        shutil.rmtree(world.repos / name)
        (world.repos / name).mkdir()


def leave_killed_restore(world: BackupHome, name: str) -> None:
    """Leave what a restore leaves that is killed after it has exchanged a directory, and one that is killed before."""
    fd = os.open(world.repos, os.O_RDONLY)
    for _number in range(2):
        directory = staging.Staging(fd, os.fsencode(name))
        os.close(directory.fd)
    os.close(fd)
    restored = world.repos / os.fsdecode(directory.name)
    restored.rename(world.root / "restored")
    (world.repos / name).rename(restored)
    (world.root / "restored").rename(world.repos / name)
    world.write(f"{name}/file")


@pytest.mark.parametrize("deep", [False, True])
def test_a_wrong_name_initializes_nothing(world: BackupHome, deep: bool) -> None:
    """With ``init`` too, a name that does not exist leaves no marker, no directory and no local state."""
    if deep:
        world.registry.write_text(world.registry.read_text().replace('/backup"', '/backup/deep/er"'))
    before, everything = seen(world.backup), set(world.root.rglob("*"))
    with pytest.raises(NotFoundError, match="no project or directory called 'plian'"):
        world.sync(names=["plian"], init=True, allow_local=True)
    assert seen(world.backup) == before
    assert set(world.root.rglob("*")) == everything


def test_a_refused_run_expires_nothing(world: BackupHome) -> None:
    """Where the guard refuses all units, nothing of the target changes, and check mode predicts just that; where one is left, all goes on."""
    world.init()
    old = age(world)
    lose(world, "plain", "other")
    before = seen(world.backup)
    for names in ([], ["plain"]):
        predicted = world.sync(check=True, names=names)
        done = world.sync(names=names)
        assert set(actions(done).values()) == {"failed"}
        for result in (predicted, done):
            assert (result["steps"], result["expired"], result["changed"]) == ([], [], False)
        assert seen(world.backup) == before
    assert len(list(world.log.glob("*.jsonl"))) == 3
    world.write("other/file")
    assert world.sync()["expired"] == [OLD]
    assert not old.exists()


def test_a_refused_unit_alone_initializes_nothing(world: BackupHome) -> None:
    """A directory that lost its marker, and would lose its mirrors too, stays as it is."""
    world.init()
    world.ours("mirror.toml").unlink()
    lose(world, "plain", "other")
    before = seen(world.backup)
    result = world.init()
    assert set(actions(result).values()) == {"failed"}
    assert result["steps"] == []
    assert seen(world.backup) == before
    assert len(list((world.log / "sync").iterdir())) == 1


def test_what_cannot_be_written_is_left_alone(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """Where the target may not be written, nothing expires and no directory is made; check mode says the same."""
    world = BackupHome(short_dir)
    for path in [short_dir, *short_dir.rglob("*")] if os.geteuid() == 0 else ():
        os.chown(path, NOBODY, NOBODY)

    def refused(closed: Path, **params: Any) -> None:
        closed.chmod(0o555)
        before = seen(world.backup)
        for check in (True, False):
            with pytest.raises(RepomanError, match=r"cannot write to .*: Permission denied; the mirrors are as they were"):
                world.sync(check, **params)
        assert seen(world.backup) == before
        closed.chmod(0o755)

    def work() -> None:
        world.write("plain/file")
        refused(world.backup, init=True, allow_local=True)
        world.init()
        age(world)
        refused(world.ours(""))

    assert unprivileged(work) == "None"


@pytest.mark.parametrize("deep", [False, True])
def test_a_target_that_proves_full_is_left_as_it_was(world: BackupHome, deep: bool) -> None:
    """What only writing shows undoes the initialization: neither the marker nor a directory stays."""
    if deep:
        world.registry.write_text(world.registry.read_text().replace('/backup"', '/backup/deep/er"'))
    with tmpfs(world.backup, "size=8m"):
        (world.backup / "full").write_bytes(bytes(6 << 20))
        before = set(world.backup.rglob("*"))
        with pytest.raises(RepomanError, match="no space left"):
            world.sync(init=True)
        assert set(world.backup.rglob("*")) == before
        (world.backup / "full").unlink()
        assert world.sync(init=True)["changed"]


def test_check_and_run_are_one_plan(world: BackupHome) -> None:
    """Check, apply, again, check: all kinds of steps at once, each predicted as it is done, and then none."""
    world.init()
    world.ours("mirror.toml").unlink()
    shutil.rmtree(world.repos / "plain")
    world.write("plain/new")
    leave_killed_restore(world, "other")
    for name in (OLD, "20200102T000000Z"):
        age(world, name)
    before = seen(world.root)
    predicted = world.sync(check=True, init=True, allow_local=True)
    assert seen(world.root) == before
    done = world.init()
    assert done["steps"] == predicted["steps"]
    assert [step.split()[0] for step in done["steps"]].count("rename") == 1
    assert f"make {world.backup} the backup of {world.repos}" in done["steps"]
    assert done["expired"] == predicted["expired"] == [OLD, "20200102T000000Z"]
    (saved,) = world.repos.glob("other.before-*")
    assert [name.split(".")[0] for name in actions(predicted)] == ["other", "other", "plain"]
    assert actions(done)[saved.name] == "synced"
    assert list(actions(predicted).values()) == list(actions(done).values())
    assert not list(world.repos.glob(".repoman-restore-*"))
    assert world.differences() == []
    for check in (False, True):
        result = world.sync(check)
        assert (result["changed"], result["steps"], result["expired"], result["diff"]) == (False, [], [], [])


def after_planning(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen once the units of a run are being planned."""
    plan = UnitPlanner.plan

    def and_then(planner: UnitPlanner, selected: Sequence[Selected]) -> Any:
        waves = plan(planner, selected)
        happens()
        return waves

    monkeypatch.setattr(UnitPlanner, "plan", and_then)


def test_a_target_that_goes_away_meanwhile_is_not_written(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A target that is unmounted while the sources are scanned: nothing is written to the bare mount point."""
    with tmpfs(world.backup):
        world.sync(init=True)
        world.write("plain/new")
        with monkeypatch.context() as patch:
            after_planning(patch, lambda: subprocess.run(["umount", "--lazy", str(world.backup)], check=True))
            with pytest.raises(ConflictError, match="is not a backup of repoman"):
                world.sync()
        assert not list(world.backup.iterdir())
        subprocess.run(["mount", "-t", "tmpfs", "repoman-test", str(world.backup)], check=True)  # for the end of the block


@pytest.mark.parametrize("init", [False, True])
def test_a_target_that_becomes_another_meanwhile_is_not_written(world: BackupHome, monkeypatch: pytest.MonkeyPatch, init: bool) -> None:
    """Another marker than the one the plan was made for, or one where there was none, is refused."""
    if not init:
        world.init()
        age(world)
    roots = load_context(world.params()).roots
    with monkeypatch.context() as patch:
        after_planning(patch, lambda: initialize(roots, Target(str(world.backup), "0" * 16)))
        with pytest.raises(ConflictError, match="became another backup while the run was planned"):
            world.sync(**({"init": True, "allow_local": True} if init else {}))
    assert not (world.backup / "plain").exists() or not init
    assert init or (world.ours("kept") / OLD).exists()


def test_records_that_change_meanwhile_stop_the_run(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another machine did to a mirror after the plan was made is not overwritten: that plan is no good any more."""
    world.init()
    world.write("plain/src/main.c", "changed\n")
    stamps = world.ours("stamps.json")
    data = json.loads(stamps.read_text())
    data["units"]["plain"]["digest"] = "00" * 32

    with monkeypatch.context() as patch:
        after_planning(patch, lambda: stamps.write_text(json.dumps(data)))
        with pytest.raises(ConflictError, match="has just started to work"):
            world.sync()
    assert (world.backup / "plain/src/main.c").read_text() == "text\n"
    assert not world.ours("lock").exists()
    assert actions(world.sync())["plain"] == "synced"


def test_a_plan_for_a_lesser_target_is_made_again(world: BackupHome) -> None:
    """Planned with what an earlier mount could keep, a unit is planned again once the target shows that it can keep more."""
    world.init()
    mirrored = world.backup / "plain/src/main.c"
    mirrored.chmod(0o600)
    traits = world.ours("traits.json")
    traits.write_text(json.dumps(json.loads(traits.read_text()) | {"mount": "other", "modes": False}))
    assert actions(world.sync(full=True))["plain"] == "synced"
    assert mirrored.stat().st_mode == (world.repos / "plain/src/main.c").stat().st_mode
    assert not world.sync(full=True)["changed"]


def test_a_refused_wave_comes_first(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Units that come one at a time, some of them refused: the result is that of one wave."""
    monkeypatch.setattr(sync_waves, "WAVE_SECONDS", 0.0001)
    world.init()
    age(world)
    lose(world, "other")
    world.write(".repoman/file")
    world.write("plain/new")
    predicted = world.sync(check=True)
    done = world.sync()
    assert actions(done) == actions(predicted) == {".repoman": "failed", "other": "failed", "plain": "synced"}
    assert done["steps"] == predicted["steps"] != []
    assert (world.backup / "plain/new").exists()


def test_no_version_expires_before_an_earlier_one(world: BackupHome) -> None:
    """A version that cannot be removed keeps the later ones, which it is incomplete without; the next run removes all."""
    world.init()
    later = age(world, "20200102T000000Z")
    (world.ours("kept") / OLD).mkdir()
    with tmpfs(world.ours("kept") / OLD, "size=1m"):
        with pytest.raises(RepomanError, match="busy"):
            world.sync()
        assert later.exists()
    assert world.sync()["expired"] == [OLD, "20200102T000000Z"]
    assert not later.exists()
