# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What goes wrong in a run: the right place is named, the right exit code is given, and nothing stops that need not."""

from __future__ import annotations

import errno
import json
import os
import pickle
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import format_exception
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import write_errors
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import run as sync_module
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from backup_fixture import BackupHome, actions, git, tmpfs

MB = 1 << 20


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with two repositories that are not backed up yet."""
    empty_world.git("isurus")
    empty_world.write("plain/file")
    return empty_world


def line(result: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the line of a unit."""
    return next(each for each in result["units"] if each["name"] == name)


def fill(directory: Path, leave: int = 0) -> None:
    """Fill a file system but for some bytes."""
    space = os.statvfs(directory)
    with suppress(OSError), open(directory / "filler", "wb") as file:
        file.write(bytes(max(0, space.f_bavail * space.f_frsize - leave)))


@contextmanager
def read_only(path: Path) -> Iterator[None]:
    """Let a file system be read-only for a while."""
    subprocess.run(["mount", "-o", "remount,ro", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", "remount,rw", str(path)], check=True)


def is_made_up_for(world: BackupHome) -> None:
    """With room again the next run compares everything, is clean, and the one after it has nothing to do."""
    assert set(actions(world.sync()).values()) <= {"synced", "unchanged"}
    assert world.differences() == []
    assert git(world.backup / "isurus", "fsck", "--full") == ""
    result = world.sync()
    assert not result["changed"] and not result["warnings"]


# ---- places that are full or cannot be written ---------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("harm", ["full", "read-only", "file", "nearly full"])
def test_a_log_directory_that_takes_nothing_stops_nothing(world: BackupHome, first: bool, harm: str) -> None:
    """The mirrors are made all the same; warnings name the directory, never the target; then all is made up for."""
    with tmpfs(world.log, "size=4m"):
        if not first:
            world.init()
            world.write("isurus/new")
            world.write("plain/file", "changed")
        with harmed(world.log, harm):
            result = world.sync(**({"init": True, "allow_local": True} if first else {}))
            assert set(actions(result).values()) == {"synced"}, result
            assert world.differences() == []
            said = " ".join(result["warnings"])
            assert str(world.log) in said
            assert str(world.backup) not in said
            world.write("plain/file", "once more")
            assert actions(world.sync())["plain"] == "synced"
        is_made_up_for(world)


@contextmanager
def harmed(log: Path, harm: str) -> Iterator[None]:
    """Let a directory take nothing for a while."""
    if harm == "read-only":
        with read_only(log):
            yield
        return
    if harm == "file":
        with suppress(FileNotFoundError):
            shutil.rmtree(log / "sync")
        (log / "sync").write_text("in the way")
        yield
        (log / "sync").unlink()
        return
    fill(log, leave=0 if harm == "full" else 64 << 10)
    yield
    (log / "filler").unlink()


def test_a_log_that_fills_in_the_middle_is_a_warning(world: BackupHome) -> None:
    """With room for some of what is known, and no more: mirrors are right, and what cannot be noted is compared again."""
    for number in range(3000):
        world.write(f"plain/{number}", "x")
    with tmpfs(world.log, "size=4m"):
        world.init()
        for number in range(3000):
            world.write(f"plain/{number}", "yy")
        fill(world.log, leave=512 << 10)
        for _turn in range(2):
            result = world.sync()
            assert "target" not in " ".join(result["warnings"])
            for each in result["units"]:
                assert each["action"] in ("synced", "unchanged") or str(world.log) in each["msg"], each
        (world.log / "filler").unlink()
        is_made_up_for(world)


def test_a_log_directory_that_is_removed_meanwhile_is_a_sentence(world: BackupHome) -> None:
    """A state directory that goes away between runs costs a comparison."""
    world.init()
    shutil.rmtree(world.log)
    world.write("plain/new")
    assert actions(world.sync())["plain"] == "synced"
    is_made_up_for(world)


def test_neither_a_log_directory_nor_a_temporary_one(world: BackupHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If nothing can be written locally the run ends with one sentence that names both, and the mirrors are as they were."""
    world.init()
    temporary = tmp_path / "temporary"
    with tmpfs(world.log, "size=1m"), tmpfs(temporary, "size=1m"):
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        fill(world.log)
        fill(temporary)
        world.write("plain/new")
        with pytest.raises(RepomanError) as caught:
            world.sync()
        assert str(world.log) in caught.value.message and str(temporary) in caught.value.message
        assert str(world.backup) not in " ".join([caught.value.message, *caught.value.hints])
        assert caught.value.exit_code == 1
        (temporary / "filler").unlink()
        assert actions(world.sync())["plain"] == "synced"


def test_a_full_temporary_directory_is_named_in_check_mode(world: BackupHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Check mode and verify use the temporary directory: it is what they name, not the target."""
    world.init()
    for number in range(60_000):
        (world.repos / f"plain/{'x' * 200}{number}").touch()
    temporary = tmp_path / "temporary"
    with tmpfs(temporary, "size=1m"):
        monkeypatch.setattr("tempfile.tempdir", str(temporary))
        result = world.sync(check=True)
        failed = line(result, "plain")
        assert failed["action"] == "failed" and failed["exit_code"] == 1
        assert f"cannot write {temporary}/" in failed["msg"] and "No space left" in failed["msg"]
        assert any(hint.startswith(f"df -h {temporary}/") for hint in failed["hints"])
        assert actions(result)["isurus"] == "unchanged"


def test_a_full_target_is_named_as_such(world: BackupHome) -> None:
    """A target that fills is the target, with the unit's name, and where to look."""
    with tmpfs(world.backup, "size=20m"):
        world.sync(init=True)
        world.write("plain/big", "x" * 30 * MB)
        failed = line(world.sync(), "plain")
        assert failed["msg"].startswith("plain: its mirror could not be written: No space left")
        assert failed["hints"] == [f"is there free space? df -h {world.backup}/plain"]
        assert failed["exit_code"] == 1


def test_a_log_is_never_the_reason_that_older_ones_stay(world: BackupHome) -> None:
    """Logs that a wrong clock dated to 2099 go first; the log of this run stays."""
    world.log.mkdir()
    for number in range(60):
        (world.log / f"sync-20990101T{number:06}Z-1.jsonl").touch()
    world.init()
    names = sorted(path.name for path in world.log.glob("sync-*.jsonl"))
    assert len(names) == 50
    assert not names[0].startswith("sync-2099")
    assert names[1] == "sync-20990101T000011Z-1.jsonl"


# ---- which place an error is about ---------------------------------------------------------------------------------------------

SOURCE, MIRROR, SCRATCH = "/home/me/repos/a", "/nfs/repos/a", "/home/me/log/sync/1/scratch/2"
PLACES = [
    (OSError(errno.ENOSPC, "No space left on device"), "a: its mirror could not be written: No space left on device.", MIRROR),
    (OSError(errno.EIO, "Input/output error", "x/y"), "a: its mirror could not be written: Input/output error (x/y).", MIRROR),
    (OSError(errno.EACCES, "Permission denied", f"{MIRROR}/x"), f"could not be written: Permission denied ({MIRROR}/x)", MIRROR),
    (
        OSError(errno.ENOSPC, "No space left on device", f"{SCRATCH}/proof.1"),
        f"cannot write to the state directory {SCRATCH}: No space",
        "df -h /",
    ),
    (OSError(errno.EROFS, "Read-only file system", f"{SCRATCH}/3"), f"cannot write to the state directory {SCRATCH}: Read-only", "df -h /"),
    (
        OSError(errno.EIO, "Input/output error", f"{SOURCE}/x y"),
        f"{SOURCE}/x y cannot be read: Input/output error.",
        f"ls -ld '{SOURCE}/x y'",
    ),
    (OSError(errno.EIO, "Input/output error", f"{SOURCE}b"), "its mirror could not be written", MIRROR),
    (OSError(errno.EXDEV, "Invalid cross-device link", f"{SOURCE}/x", None, f"{MIRROR}/x"), f"link ({MIRROR}/x)", MIRROR),
]


@pytest.mark.parametrize(("error", "message", "hint"), PLACES)
def test_an_error_names_its_place(error: OSError, message: str, hint: str) -> None:
    """Source, target, or local directory: the message says which, and the hint looks there."""
    found = write_errors.unit_error("a", SOURCE, MIRROR, SCRATCH, error)
    assert message in found.message
    assert any(hint in each for each in found.hints)
    assert found.exit_code == 1
    assert pickle.loads(pickle.dumps(found)).message == found.message  # noqa: S301


def test_an_error_that_names_no_file_is_that_of_the_place_that_is_full(tmp_path: Path) -> None:
    """Where a write names no file, the file system without space is meant."""
    with tmpfs(tmp_path / "scratch", "size=4m"), tmpfs(tmp_path / "target", "size=4m"):
        full = OSError(errno.ENOSPC, "No space left on device")
        fill(tmp_path / "scratch")
        found = write_errors.unit_error("a", SOURCE, str(tmp_path / "target/a"), str(tmp_path / "scratch"), full)
        assert f"state directory {tmp_path}/scratch" in found.message
        (tmp_path / "scratch/filler").unlink()
        fill(tmp_path / "target")
        found = write_errors.unit_error("a", SOURCE, str(tmp_path / "target/a"), str(tmp_path / "scratch"), full)
        assert found.message == "a: its mirror could not be written: No space left on device."


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (MemoryError(), "there is not enough memory"),
        (RecursionError("maximum recursion depth exceeded"), "it is nested too deep"),
        (ValueError("bad \udcff"), "ValueError: bad \\udcff"),
    ],
)
def test_what_nobody_foresaw_is_a_sentence(error: Exception, text: str) -> None:
    """An error without words gets some; bytes that are no text can be shown."""
    assert format_exception(error) == text


# ---- exit codes ----------------------------------------------------------------------------------------------------------------


def unreadable(world: BackupHome) -> dict[str, Any]:
    """A directory of a unit cannot be read."""
    secret = world.write("plain/secret/file").parent
    (world.root / "secret").mkdir()
    secret.chmod(0)
    try:
        return world.sync()
    finally:
        secret.chmod(0o755)


def without_registry(world: BackupHome) -> dict[str, Any]:
    """There is no registry."""
    world.registry.rename(world.root / "moved")
    return world.sync()


def without_source(world: BackupHome) -> dict[str, Any]:
    """The repositories are not there."""
    world.repos.rename(world.root / "moved")
    return world.sync()


def without_mark(world: BackupHome) -> dict[str, Any]:
    """The target is not ours."""
    world.ours("mirror.toml").unlink()
    return world.sync()


def emptied(world: BackupHome) -> dict[str, Any]:
    """A project was emptied."""
    (world.repos / "plain/file").unlink()
    return world.sync()


def gone(world: BackupHome) -> dict[str, Any]:
    """A project is gone."""
    shutil.rmtree(world.repos / "plain")
    return world.sync()


def huge_mark(world: BackupHome) -> dict[str, Any]:
    """The mark is a file of terabytes."""
    os.truncate(world.ours("mirror.toml"), 1 << 40)
    return world.sync()


EXITS: list[tuple[Callable[[BackupHome], dict[str, Any]], int, str]] = [
    (without_registry, 3, "there is no registry"),
    (lambda world: world.sync(names=["nobody"]), 3, "there is no project or directory called 'nobody'"),
    (lambda world: world.sync(list_versions="nobody"), 3, "there is no project or directory called 'nobody'"),
    (lambda world: world.restore("nobody"), 3, "there is no project or directory called 'nobody'"),
    (lambda world: world.restore("plain", paths=["nothing"], to="~/x"), 3, "'nothing' is not in this version of the backup"),
    (lambda world: world.sync(jobs=-1), 2, "jobs is -1"),
    (lambda world: world.restore("plain", **{"from": "yesterday"}), 2, "'yesterday' is not a valid time"),
    (without_source, 4, "cannot read repos_root"),
    (without_mark, 4, "is not a backup of repoman"),
    (huge_mark, 4, "cannot read the backup's mark"),
    (emptied, 4, "is empty, but its mirror is not"),
    (gone, 4, "is gone, but its mirror is still there"),
]


@pytest.mark.parametrize(("run", "code", "message"), EXITS)
def test_each_failure_has_its_exit_code(world: BackupHome, run: Callable[[BackupHome], dict[str, Any]], code: int, message: str) -> None:
    """2 wrong usage, 3 not known, 4 conflict; the sentence says which."""
    world.init()
    try:
        result = run(world)
    except RepomanError as error:
        result = error.as_result()
    assert result["failed"]
    assert (result["exit_code"], message in result["msg"]) == (code, True), result["msg"]
    assert result["hints"]


def test_what_cannot_be_read_is_exit_1_with_its_path(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """A directory, a file and a whole unit that this user may not read: exit 1, not 3, and the path."""
    world = BackupHome(short_dir)
    for path in [short_dir, *short_dir.rglob("*")] if os.geteuid() == 0 else ():
        os.chown(path, 65534, 65534)

    def work() -> str:
        world.write("plain/file")
        world.init()
        for path in (world.write("plain/secret/file").parent, world.write("plain/hidden"), world.write("closed/file").parent):
            mode = path.stat().st_mode
            path.chmod(0)
            result = world.sync()
            path.chmod(mode)
            assert result["exit_code"] == 1, result
            assert str(path) in result["msg"], result
        assert not world.sync().get("failed")
        return "fine"

    assert unprivileged(work) == "fine"


# ---- no guard puts old over new ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("run", [emptied, gone])
@pytest.mark.parametrize("name", ["plain", "-rf", "two words", "bro\udcffken"])
def test_hints_of_guards_never_overwrite(world: BackupHome, run: Callable[[BackupHome], dict[str, Any]], name: str) -> None:
    """No hint has --overwrite; those with commands name the unit, whatever it is called."""
    for number in range(150):
        world.write(f"{name}/{number}")
    world.init()
    newer = world.repos / name / "0"
    newer.write_text("newer than the backup")
    for number in range(1, 150):
        (world.repos / name / f"{number}").unlink()
    failed = next(each for each in world.sync()["units"] if each["action"] == "failed")
    assert failed["msg"].startswith("149 of 15")
    assert failed["hints"]
    assert not any("--overwrite" in hint for hint in failed["hints"])
    for hint in failed["hints"]:
        command = hint.partition(": repoman ")[2].replace("--to DIR", f"--to {world.root}/x").replace("--path PATH", "--path 7")
        words = json.loads(
            subprocess.run(
                ["bash", "-c", f"python3 -c 'import json, os, sys; print(json.dumps(sys.argv[1:]))' {command}"],
                check=True,
                capture_output=True,
                env={**os.environ, "PYTHONUTF8": "1"},
            ).stdout
        )
        assert name in words, hint
    world.restore(name, paths=["7"])
    assert newer.read_text() == "newer than the backup"
    assert run(world)["failed"]


def test_a_list_of_what_answers_is_whole(world: BackupHome) -> None:
    """A failure of the module has message, hints and exit code, also where one unit failed."""
    world.init()
    shutil.rmtree(world.repos / "plain")
    result = run_logic(sync_module.run, world.params(), False)
    assert result["failed"] and result["exit_code"] == 4
    assert not any("--overwrite" in hint for hint in result["hints"])


def test_an_error_of_the_system_names_its_file(tmp_path: Path) -> None:
    """What reaches a user from the operating system says which file, and where to look."""
    found = RepomanError.from_os_error(FileNotFoundError(errno.ENOENT, "No such file or directory", str(tmp_path / "a b/c")))
    assert found.message == f"{tmp_path}/a b/c: No such file or directory."
    assert found.hints == [f"check that file or directory, and the free space: df -h '{tmp_path}/a b'"]
