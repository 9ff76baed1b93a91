# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Scans that are made while Ansible starts: they save the run its own, and never cost a file."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup import staging
from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest import scan_units
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import ScanResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import early_scan
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext, TargetState
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.options import SyncOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import with_rules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units
from backup_fixture import BackupHome, actions, tmpfs


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Path]]:
    """Return a function that makes the directory of another command's scans."""
    numbers = iter(range(100))

    def make() -> Path:
        directory = tmp_path / f"early{next(numbers)}"
        directory.mkdir(mode=0o700)
        (directory / early_scan.RESULTS).touch()
        monkeypatch.setenv(early_scan.VARIABLE, str(directory))
        return directory

    return make


@pytest.fixture
def scans_nothing(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Any]:
    """Return a context in which a run that scans a unit itself fails for this unit."""

    @contextmanager
    def context() -> Iterator[None]:
        def fail(*_arguments: object) -> None:
            raise AssertionError("scanned again")

        with monkeypatch.context() as patch:
            patch.setattr(scan_units, "scan_unit", fail)
            yield

    return context


def scan(home: BackupHome, directory: Path) -> None:
    """Scan everything."""
    early_scan.scan(str(directory), str(home.registry))


def test_nothing_is_scanned_twice(empty_world: BackupHome, place: Callable[[], Path], scans_nothing: Callable[[], Any]) -> None:
    """A first copy, a run with nothing to do, and one with a change need no scan of their own."""
    home = empty_world
    home.git("project")
    home.write("plain/file")
    home.write("loose")
    for change, expected in ((home.write, "synced"), (None, "unchanged"), (home.write, "synced")):
        if change:
            for name in ("plain/file", "project/README", "loose"):
                change(name, f"changed {os.urandom(8).hex()}\n")
        scan(home, place())
        with scans_nothing():
            result = home.sync(init=not (home.backup / ".repoman").exists(), allow_local=not (home.backup / ".repoman").exists())
        assert set(actions(result).values()) == {expected}, result
        assert home.differences() == []
    assert not home.sync()["changed"]


def test_check_mode_predicts_from_them(empty_world: BackupHome, place: Callable[[], Path], scans_nothing: Callable[[], Any]) -> None:
    """The prediction is that of a run with scans of its own."""
    home = empty_world
    home.write("plain/file")
    home.init()
    home.write("plain/new")
    expected = home.sync(check=True)
    scan(home, place())
    with scans_nothing():
        predicted = home.sync(check=True)
    assert (actions(predicted), predicted["diff"]) == (actions(expected), expected["diff"])


@pytest.mark.parametrize("other", ["sync", "restore", "moved"])
def test_something_was_quicker(empty_world: BackupHome, place: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, other: str) -> None:
    """What another run has mirrored or restored since the scan, or what is in a new directory, is not taken for removed."""
    home = empty_world
    home.write("plain/file")
    home.write("plain/src/file")
    home.init()
    home.write("plain/one")
    if other == "restore":
        shutil.rmtree(home.repos / "plain/src")
    directory = place()
    scan(home, directory)
    monkeypatch.delenv(early_scan.VARIABLE)
    if other == "sync":
        home.write("plain/two")
        home.sync()
    elif other == "restore":
        home.restore("plain", paths=["src"])
    else:
        (home.repos / "plain").rename(home.root / "old")
        shutil.copytree(home.root / "old", home.repos / "plain")
        home.write("plain/two")
    monkeypatch.setenv(early_scan.VARIABLE, str(directory))
    assert home.sync()["changed"] == (other != "sync")
    assert home.differences() == []
    assert home.kept() == []


@pytest.mark.parametrize("first", [True, False])
def test_a_change_after_the_scan(empty_world: BackupHome, place: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, first: bool) -> None:
    """It is backed up by this run or the next one, also if size and time are as before."""
    home = empty_world
    home.git("project")
    file = home.write("plain/file", "one\n")
    if not first:
        home.init()
    scan(home, place())
    status = file.stat()
    file.write_text("two\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    home.git("project2")
    (home.repos / "project/README").unlink()
    assert "failed" not in home.sync(init=first, allow_local=first)
    monkeypatch.delenv(early_scan.VARIABLE)
    home.sync()
    assert home.differences() == []
    assert (home.backup / "plain/file").read_text() == "two\n"
    assert not home.sync()["changed"]


def test_other_rules(empty_world: BackupHome, place: Callable[[], Path]) -> None:
    """A scan by other rules than those of the run does not count, nor one of a unit that the run leaves out."""
    home = empty_world
    home.write("plain/file")
    home.write("plain/cache/file")
    home.write("left/file")
    scan(home, place())
    home.registry.write_text(home.registry.read_text() + 'exclude = ["cache"]\n')
    home.project("left", backup="false")
    assert actions(home.init()) == {"plain": "synced"}
    assert sorted(path.name for path in (home.backup / "plain").iterdir()) == ["file"]


def test_a_killed_restore_is_finished_first(empty_world: BackupHome, place: Callable[[], Path]) -> None:
    """Scans from before that have its files, which are gone when the run copies."""
    home = empty_world
    with tmpfs(home.repos / "plain"):
        home.write("plain/file")
        home.init()
        fd = os.open(home.repos / "plain", os.O_RDONLY)
        left = staging.Staging(fd, b"file")
        os.close(left.fd)
        os.close(fd)
        directory = place()
        scan(home, directory)
        assert left.name in b"".join(path.read_bytes() for path in directory.glob("*.manifest"))
        assert "failed" not in home.sync()
        assert not (home.repos / "plain" / os.fsdecode(left.name)).exists()
        assert home.differences() == []
        assert home.kept() == []
        assert not home.sync()["changed"]


@contextmanager
def stuck_at(name: str, home: BackupHome, directory: Path) -> Iterator[tuple[int, Callable[[], object]]]:
    """Let a process scan everything, and stop it at a unit; yield its process ID, and a function that lets it go on."""
    arrived, arrive = os.pipe()
    waiting, go_on = os.pipe()
    child = os.fork()
    if not child:
        os.close(go_on)
        real = early_scan.scan_unit

        def wait(unit: Unit, *more: Any) -> ScanResult:
            if unit.name == name:
                os.write(arrive, b"x")
                os.read(waiting, 1)
            return real(unit, *more)

        early_scan.scan_unit = wait  # type: ignore[assignment]
        results = os.open(directory / early_scan.RESULTS, os.O_RDWR)
        fcntl.flock(results, fcntl.LOCK_EX)
        try:
            scan(home, directory)
        finally:
            os._exit(0)
    os.read(arrived, 1)
    try:
        yield child, lambda: os.write(go_on, b"x")
    finally:
        os.waitpid(child, 0)
        for fd in (arrived, arrive, waiting, go_on):
            os.close(fd)


@pytest.mark.parametrize("is_killed", [False, True])
def test_one_unit_is_still_being_scanned(empty_world: BackupHome, place: Callable[[], Path], is_killed: bool) -> None:
    """The run waits for that one, scans the others, and if that process is killed, that one, too."""
    home = empty_world
    for name in ("a", "b", "c", "d"):
        home.write(f"{name}/file", name)
    directory = place()
    with stuck_at("b", home, directory) as (process, go_on):

        def end() -> None:
            if is_killed:
                os.kill(process, signal.SIGKILL)
            go_on()

        timer = threading.Timer(0.3, end)
        timer.start()
        result = home.init()
        timer.join()
    assert list(actions(result)) == ["a", "b", "c", "d"]
    assert set(actions(result).values()) == {"synced"}
    assert home.differences() == []
    assert (directory / early_scan.STOP).exists()
    assert len(list(directory.glob("*.manifest"))) == 0  # each one was used, and c was not begun


@pytest.mark.parametrize("harm", ["cut", "garbage", "missing", "open to others", "stopped before", "late"])
def test_results_that_cannot_be_used(
    empty_world: BackupHome, place: Callable[[], Path], monkeypatch: pytest.MonkeyPatch, harm: str
) -> None:
    """The run scans what is missing."""
    home = empty_world
    for name in ("a", "b"):
        home.write(f"{name}/file", name)
    directory = place()
    scan(home, directory)
    results = directory / early_scan.RESULTS
    if harm == "late":
        monkeypatch.setattr(early_scan, "MAX_AGE", 0.0)
    elif harm == "cut":
        os.truncate(results, results.stat().st_size - 7)
    elif harm == "garbage":
        results.write_bytes(b"\x07\0\0\0garbage" * 3)
    elif harm == "missing":
        results.unlink()
    elif harm == "open to others":
        directory.chmod(0o770)
    else:
        (directory / early_scan.STOP).touch()
    stopped = (directory / early_scan.STOP).exists()
    scans = early_scan.EarlyScans.stopped()
    used = [unit.name for unit in list_units(str(home.repos)) if scans.get(with_rules_of(home, unit), "", "/nonexistent")]
    assert used == (["a"] if harm == "cut" else [])
    if not stopped:
        (directory / early_scan.STOP).unlink(missing_ok=True)
    assert set(actions(home.init()).values()) == {"synced"}
    assert home.differences() == []
    assert not home.sync()["changed"]


def with_rules_of(home: BackupHome, unit: Unit) -> Unit:
    """Return a unit with the rules that a run gives it."""
    context = load_context({"user": None, "registry_path": str(home.registry)})
    return with_rules([unit], context, context.roots.backup_root)[0]


def test_the_run_counts_from_the_first_scan(empty_world: BackupHome, place: Callable[[], Path]) -> None:
    """What the engine takes for scanned since the run began has been scanned since then."""
    home = empty_world
    home.write("plain/file")
    scan(home, place())
    scans = early_scan.EarlyScans.stopped()
    assert scans.started is not None
    context = load_context({"user": None, "registry_path": str(home.registry)})
    options = SyncOptions.from_params(home.params())
    state = TargetState(Target(str(home.backup), ""), is_new=True, is_remote=False)
    run = SyncContext(context, options, True, datetime.now(timezone.utc), state, home.root, early=scans)
    assert run.mirror_settings(str(home.root)).started_ns <= scans.started * 1e9
