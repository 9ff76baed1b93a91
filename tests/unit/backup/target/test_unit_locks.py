# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Locks of units: one that takes long keeps nobody from the others; two runs at once leave what one after the other would."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import HISTORY, RunLocks, unit_locked
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.records import read_records
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from backup_fixture import BackupHome, actions, git

MANY = 6000
"""Files of a unit whose first copy takes some seconds."""

pytestmark = pytest.mark.disk  # while a first copy takes its time


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with two repositories that are backed up."""
    world = empty_world
    world.git("isurus")
    world.write("plain/file")
    world.project("isurus")
    world.init()
    return world


def found(world: BackupHome) -> Target:
    """Return the world's target."""
    return Target(str(world.backup), world.state.name)


@contextmanager
def another_run(run: Callable[[], object]) -> Iterator[int]:
    """Let a process do something meanwhile; at the end it is waited for, and must have done it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.setpgid(0, 0)
            run()
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    with suppress(OSError):
        os.setpgid(child, child)
    try:
        yield child
    except BaseException:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise
    assert os.waitpid(child, 0)[1] == 0


def family(process: int) -> list[int]:
    """Return a process and all that it has started, and these in turn."""
    found = [process]
    for each in found:
        with suppress(FileNotFoundError):
            for task in Path(f"/proc/{each}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


@contextmanager
def stopped(process: int) -> Iterator[None]:
    """Let a run stand still. Its children do the work, and they are a process group of their own."""
    processes = family(process)

    def send(number: signal.Signals) -> None:
        for each in processes:
            with suppress(ProcessLookupError):
                os.kill(each, number)

    send(signal.SIGSTOP)
    try:
        yield
    finally:
        send(signal.SIGCONT)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for something that another process does."""
    for _each in range(3000):
        if condition():
            return
        time.sleep(0.01)
    raise AssertionError("it never came")


def plant_many(world: BackupHome) -> None:
    """Make a unit whose first copy takes some seconds."""
    (world.repos / "many").mkdir()
    for number in range(MANY):
        (world.repos / f"many/{number}").write_text(f"{number}")


def is_copying(world: BackupHome) -> bool:
    """Tell whether the first copy of that unit is under way."""
    new = world.ours("work/new/many")
    return new.is_dir() and len(os.listdir(new)) > 10


def line(result: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the line of a unit."""
    return next(each for each in result["units"] if each["name"] == name)


# ---- one unit is held ----------------------------------------------------------------------------------------------------------


def test_a_unit_that_is_worked_on_keeps_nobody_from_the_others(world: BackupHome, me: Account) -> None:
    """The others are mirrored and noted; the one that is worked on is busy, which says since when, and is exit 4; later it is made up for."""
    world.write("isurus/new")
    world.write("plain/new")
    with unit_locked(found(world), world.state, me, "plain"):
        since = json.loads((world.state / "units.lock").read_text())["plain"]
        result = world.sync()
        assert actions(result) == {"isurus": "synced", "plain": "busy"}
        assert line(result, "plain")["msg"] == f"another run has been working on plain since {since}."
        assert result["failed"] and result["exit_code"] == 4 and result["summary"]["busy"] == 1
        assert line(world.sync(verify=True), "plain")["action"] == "busy"
        assert line(world.sync(verify=True), "isurus")["action"] == "same"
        assert actions(world.sync(names=["isurus"])) == {"isurus": "unchanged"}
        assert not (world.backup / "plain/new").exists()
    assert actions(world.sync()) == {"isurus": "unchanged", "plain": "synced"}
    assert world.differences() == []


def test_a_worse_failure_counts_more_than_a_busy_unit(world: BackupHome, me: Account) -> None:
    """What fails beside a busy unit is told with it."""
    world.write("isurus/x")
    with unit_locked(found(world), world.state, me, "plain"):
        result = world.sync(names=["isurus", "plain"])
    assert "msg" not in line(result, "isurus")
    assert result["msg"] == line(result, "plain")["msg"]


def test_where_all_units_are_worked_on_the_run_is_refused(world: BackupHome, me: Account) -> None:
    """A run that could do nothing is refused with exit 4; named alone, a unit says so itself."""
    with unit_locked(found(world), world.state, me, "plain"):
        with pytest.raises(ConflictError, match="another run has been working on plain since 20"):
            world.sync(names=["plain"])
        with unit_locked(found(world), world.state, me, "isurus"), pytest.raises(ConflictError, match="another run works on"):
            world.sync()
        assert actions(world.sync(check=True)) == {"isurus": "unchanged", "plain": "unchanged"}


def test_a_restore_waits_for_its_own_unit_only(world: BackupHome, me: Account, tmp_path: Path) -> None:
    """While one unit is worked on, others are restored; that one is not, as its mirror may be half-way."""
    with unit_locked(found(world), world.state, me, "plain"):
        world.restore("isurus", to=str(tmp_path / "isurus"))
        with pytest.raises(ConflictError, match="another run has been working on plain"):
            world.restore("plain", to=str(tmp_path / "plain"))
    assert git(tmp_path / "isurus", "fsck", "--full") == ""
    assert not (tmp_path / "plain").exists()


def test_units_called_as_shared_things_are_units(world: BackupHome, me: Account) -> None:
    """A directory may be called as what runs share; its lock is its own."""
    for name in ("metadata", "history", "restores", "lock"):
        world.write(f"{name}/file")
    assert set(actions(world.sync()).values()) == {"synced", "unchanged"}
    with unit_locked(found(world), world.state, me, "metadata"):
        assert actions(world.sync())["history"] == "unchanged"


def test_what_a_reader_needs_does_not_expire(world: BackupHome, me: Account) -> None:
    """While another run reads the history nothing of it goes; the next run makes up for it."""
    old = world.ours("kept") / "20260105T000000Z/plain/old"
    old.parent.mkdir(parents=True)
    old.write_text("old")
    with RunLocks(found(world), world.state, me) as locks, locks.shared(HISTORY):
        assert world.sync()["expired"] == []
        assert old.exists()
    assert world.sync()["expired"] == ["20260105T000000Z"]
    assert not old.exists()


def test_what_another_restore_fills_is_not_swept_away(world: BackupHome) -> None:
    """A directory that a restore of another unit is filling is left alone; one of a killed restore goes."""
    staging = world.repos / ".repoman-restore-of-another"
    staging.mkdir()
    held = os.open(staging, os.O_RDONLY)
    fcntl.flock(held, fcntl.LOCK_EX)
    for left in (True, False):
        (world.repos / "plain/file").unlink()
        world.restore("plain", paths=["file"])
        assert (world.repos / "plain/file").exists()
        assert staging.exists() == left
        if left:
            os.close(held)


# ---- the locks themselves ------------------------------------------------------------------------------------------------------


def test_locks_go_with_their_run(world: BackupHome, me: Account) -> None:
    """A unit is free once it is let go, and all are once the run ends, whatever children still have the files open."""
    with RunLocks(found(world), world.state, me) as one, RunLocks(found(world), world.state, me) as other:
        assert one.try_lock(["a", "b\udcff\n"]) == {}
        assert set(other.try_lock(["a", "b\udcff\n", "c"])) == {"a", "b\udcff\n"}
        assert not other.is_free("a") and one.is_free("a")
        one.unlock("a")
        assert other.is_free("a") and other.try_lock(["a"]) == {}
        child = os.fork()
        if child == 0:
            signal.pause()
        one.__exit__()
        assert other.try_lock(["b\udcff\n"]) == {}
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        one.__init__(found(world), world.state, me)  # type: ignore[misc]


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"plain": 1}'])
def test_garbage_in_the_lock_file_matters_to_nobody(world: BackupHome, me: Account, text: str) -> None:
    """Since when a unit is worked on may not be known; that it is, is."""
    with unit_locked(found(world), world.state, me, "plain"):
        (world.state / "units.lock").write_text(text)
        assert line(world.sync(), "plain")["msg"].startswith("another run has been working on plain")


def test_a_directory_of_a_run_goes_with_it_or_with_the_next(world: BackupHome, me: Account, tmp_path: Path) -> None:
    """A run's own directory is there as long as it is; what a killed run left goes with the next, what a live one has does not."""
    tmp_path /= "work"
    (tmp_path / "dead/deep").mkdir(parents=True)
    (tmp_path / "stays").mkdir()
    with RunLocks(found(world), world.state, me) as one, one.private_directory(tmp_path, keep=("stays",)) as own:
        assert sorted(os.listdir(tmp_path)) == sorted(["stays", os.path.basename(own)])
        with RunLocks(found(world), world.state, me) as other, other.private_directory(tmp_path, keep=("stays",)):
            assert os.path.isdir(own) and len(os.listdir(tmp_path)) == 3
    assert os.listdir(tmp_path) == ["stays"]


def announcement(world: BackupHome, me: Account) -> dict[str, Any]:
    """Return what a run of this host says on the target."""
    with RunLocks(found(world), world.state, me) as locks:
        locks.acquire_host_lock()
        said: dict[str, Any] = json.loads(world.ours("lock").read_text())
    assert not world.ours("lock").exists()
    return said


def test_runs_of_one_host_join_and_the_last_takes_the_sign_away(world: BackupHome, me: Account) -> None:
    """The target says that this host works there until its last run ends, in whatever order they end."""
    for first in (0, 1):
        runs = [RunLocks(found(world), world.state, me) for _each in range(2)]
        for run in runs:
            run.acquire_host_lock()
        runs.pop(first).__exit__()
        assert world.ours("lock").exists()
        runs.pop().__exit__()
        assert not world.ours("lock").exists()


@pytest.mark.parametrize("change", [{"host": "elsewhere"}, {"machine": "another"}, {"state": "/elsewhere"}])
def test_another_host_is_kept_out(world: BackupHome, me: Account, change: dict[str, str]) -> None:
    """A run of another host, or of this one with another state directory, works alone."""
    text = json.dumps(announcement(world, me) | {"pid": os.getpid()} | change)
    world.ours("lock").write_text(text)
    with pytest.raises(ConflictError, match="working there"):
        world.sync()
    assert world.ours("lock").read_text() == text
    world.ours("lock").unlink()
    assert not world.sync()["changed"]


@pytest.mark.parametrize("harm", ["huge", "pipe", "directory", "deep", "numbers"])
def test_a_lock_on_the_target_that_is_none_is_a_sentence(world: BackupHome, harm: str) -> None:
    """Whatever a broken or hostile server has in place of the lock: a refusal in one sentence, at once."""
    lock = world.ours("lock")
    if harm == "huge":
        lock.touch()
        os.truncate(lock, 1 << 40)
    elif harm == "pipe":
        os.mkfifo(lock)
    elif harm == "directory":
        lock.mkdir()
    else:
        lock.write_text("[" * 60_000 if harm == "deep" else '{"machine": 1, "host": 1e999, "pid": "' + "9" * 5000 + '"}')
    with pytest.raises(ConflictError, match="an unknown run is working there"):
        world.sync()


@pytest.mark.parametrize(
    "harm", ["huge", "pipe", "directory", "[" * 100_000, '{"units": {"plain": {"digest": "zz", "full": 1e999}}, "run": NaN}']
)
def test_stamps_that_are_none_cost_a_comparison(world: BackupHome, harm: str) -> None:
    """Whatever is in place of the stamps: everything is compared, and they are written anew; a directory is named."""
    stamps = world.ours("stamps.json")
    stamps.unlink()
    if harm == "huge":
        stamps.touch()
        os.truncate(stamps, 1 << 40)
    elif harm == "pipe":
        os.mkfifo(stamps)
    elif harm == "directory":
        stamps.mkdir()
    else:
        stamps.write_text(harm)
    world.write("plain/new")
    if harm == "directory":
        with pytest.raises(Exception, match=r"cannot write .*stamps\.json: Is a directory"):
            world.sync()
        stamps.rmdir()
    assert actions(world.sync())["plain"] == "synced"
    assert world.differences() == []
    assert not world.sync()["changed"]


# ---- real runs -----------------------------------------------------------------------------------------------------------------


def test_while_a_long_run_goes_on_others_are_backed_up_and_restored(world: BackupHome, tmp_path: Path) -> None:
    """Beside a first copy that takes long: a sync of all, a restore, and in the end everything is there, stamped and in order."""
    plant_many(world)
    world.write("isurus/new")

    def long_run() -> None:
        result = world.sync(names=["many"])
        assert actions(result) == {"many": "synced"}, result

    with another_run(long_run) as child:
        wait_until(lambda: is_copying(world))
        with stopped(child):
            world.write("plain/file", "1")
            result = world.sync()
            assert actions(result) == {"isurus": "synced", "many": "busy", "plain": "synced"}
            world.write("plain/file", "2")
            assert actions(world.sync(names=["plain"])) == {"plain": "synced"}
            world.restore("isurus", to=str(tmp_path / "isurus"))
            (first, second) = (each["time"] for each in world.sync(list_versions="plain")["kept"])
            world.restore("plain", to=str(tmp_path / "plain"), **{"from": second})
            assert is_copying(world)
            assert world.ours("lock").exists()
    assert (tmp_path / "plain/file").read_text() == "1"
    assert first < second
    assert not world.ours("lock").exists()
    assert os.listdir(world.ours("work")) == ["new"]
    assert world.differences() == []
    assert not world.sync()["changed"]
    assert set(json.loads(world.ours("stamps.json").read_text())["units"]) == {"isurus", "many", "plain"}
    assert git(world.backup / "isurus", "fsck", "--full") == ""


def test_a_killed_run_leaves_no_lock(world: BackupHome) -> None:
    """After a run is killed in the middle of its work the next goes on with the same unit at once."""
    plant_many(world)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            world.sync()
        os._exit(0)
    os.close(writing)
    wait_until(lambda: is_copying(world))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.read(reading, 1)
    os.close(reading)
    assert world.ours("lock").exists()
    assert actions(world.sync())["many"] == "synced"
    assert world.differences() == []
    assert not world.ours("lock").exists()
    assert os.listdir(world.ours("work")) == ["new"]
    assert not os.listdir(world.state / "scratch")


def test_a_process_that_is_killed_is_the_failure_of_its_unit(world: BackupHome) -> None:
    """A kernel without memory kills one process: its unit fails and says so, the others are mirrored, the next run makes up for it."""
    plant_many(world)
    world.write("isurus/new")
    world.write("plain/new")
    with another_run(lambda: _without_many(world)):
        wait_until(lambda: is_copying(world))
        copy = str(world.ours("work/new/many"))
        workers = [int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit() and _holds(path, copy)]
        assert workers
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
    assert actions(world.sync())["many"] == "synced"
    assert world.differences() == []


def _holds(process: Path, directory: str) -> bool:
    """Tell whether a process has a directory open. The whole path counts: the tests beside this one have a unit of the same name."""
    with suppress(OSError):
        return any(os.readlink(each) == directory for each in (process / "fd").iterdir())
    return False


def _without_many(world: BackupHome) -> None:
    """Run once, in which one unit fails alone."""
    result = world.sync()
    assert actions(result) == {"isurus": "synced", "many": "failed", "plain": "synced"}
    assert "many: the process that mirrored it was killed" in line(result, "many")["msg"]
    assert result["exit_code"] == 1


def test_two_runs_at_once_share_the_work(world: BackupHome) -> None:
    """Two runs that begin together end well, whoever gets which unit; nothing is lost of either's stamps and states."""
    for turn in range(4):
        for name in ("isurus", "plain"):
            world.write(f"{name}/file", f"{turn}")
        with another_run(lambda: _joined(world)):
            _joined(world)
        assert actions(world.sync()) == {"isurus": "unchanged", "plain": "unchanged"}
        assert world.differences() == []
    names = [each["time"] for each in world.sync(list_versions="plain")["kept"]]
    assert len(names) >= 3
    assert read_records(found(world)).units.keys() == {"isurus", "plain"}


def _joined(world: BackupHome) -> None:
    """Run once; that all units are taken already is no error here."""
    with suppress(ConflictError):
        world.sync()
