# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup's place: its mark, its guards, its lock; a target that hangs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import inspect_target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.host_lock import HostLock, LockHolder
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RunLocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import initialize
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import BackupRoots, Target, remove_directory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.probe import check_writable
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.records import (
    MirrorRecord,
    MirrorRecords,
    read_records,
    write_records,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import check_mirror, list_directories, list_mirrors
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from backup_fixture import tmpfs

pytestmark = pytest.mark.disk  # what file systems have is the matter

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=timezone.utc)


@pytest.fixture
def place(tmp_path: Path, me: Account) -> BackupRoots:
    """A place with one repository and a directory for the backup, unmarked."""
    (tmp_path / "repos/isurus").mkdir(parents=True)
    (tmp_path / "backup").mkdir()
    return BackupRoots(str(tmp_path / "backup"), str(tmp_path / "repos"), "/etc/registry.toml", me, "here")


@pytest.fixture
def initialized_target(place: BackupRoots) -> Target:
    """The place's backup, adopted."""
    found, fresh = inspect_target(place, init=True, allow_local=True)
    assert fresh
    initialize(place, found)
    return found


def refused(place: BackupRoots, **options: bool) -> ConflictError:
    """Return the refusal of a place; nothing may have been written."""
    before = sorted(Path(place.backup_root).rglob("*")) if os.path.isdir(place.backup_root) else []
    with pytest.raises(ConflictError) as caught:
        inspect_target(place, **options)
    assert caught.value.hints
    assert (sorted(Path(place.backup_root).rglob("*")) if os.path.isdir(place.backup_root) else []) == before
    return caught.value


def test_a_place_without_a_mark_is_refused(place: BackupRoots) -> None:
    """A place without a mark is refused."""
    error = refused(place)
    assert "no mark" in error.message
    assert any("repoman sync --init" in hint for hint in error.hints)


def test_a_place_that_does_not_exist_is_refused(place: BackupRoots) -> None:
    """A place that does not exist is refused."""
    os.rmdir(place.backup_root)
    assert "no such directory" in refused(place).message


def test_an_adopted_place_is_known_again(place: BackupRoots, initialized_target: Target) -> None:
    """An adopted place is known again."""
    assert inspect_target(place) == (initialized_target, False)
    assert inspect_target(place, init=True) == (initialized_target, False)


def test_adopting_leaves_what_is_there(place: BackupRoots) -> None:
    """Adopting leaves what is there."""
    Path(place.backup_root, "old").write_text("mine")
    initialize(place, inspect_target(place, init=True, allow_local=True)[0])
    assert Path(place.backup_root, "old").read_text() == "mine"
    assert Path(place.backup_root, ".repoman").stat().st_mode & 0o777 == 0o700


def test_the_file_system_of_the_repositories_is_refused(place: BackupRoots) -> None:
    """The file system of the repositories is refused."""
    error = refused(place, init=True)
    assert "same file system" in error.message
    assert any("--allow-local" in hint for hint in error.hints)


def test_another_file_system_is_taken_and_so_is_a_directory_in_it(place: BackupRoots) -> None:
    """Another file system is taken and so is a directory in it."""
    with tmpfs(Path(place.backup_root)):
        inside = BackupRoots(f"{place.backup_root}/mine/backup", place.repos_root, "", place.owner, "here")
        assert inspect_target(place, init=True)[1]
        found, _fresh = inspect_target(inside, init=True)
        initialize(inside, found)
        assert inspect_target(inside) == (found, False)
    assert refused(place)


@pytest.mark.parametrize(("key", "value"), [("host", "elsewhere"), ("user", "bob")])
def test_the_mark_of_another_is_refused(place: BackupRoots, initialized_target: Target, key: str, value: str) -> None:
    """The mark of another is refused."""
    mark = initialized_target.internal_path("mirror.toml")
    lines = [f'{key} = "{value}"' if line.startswith(f"{key} =") else line for line in mark.read_text().splitlines()]
    mark.write_text("\n".join(lines))
    owner = {"host": "here", "user": place.owner.name} | {key: value}
    error = refused(place, init=True, allow_local=True)
    assert f"is the backup of {owner['user']} on {owner['host']}, and this is {place.owner.name} on here" in error.message
    assert error.hints[0].startswith("repoman sync --take-over   # ")
    assert inspect_target(place, take_over=True) == (initialized_target, False)


@pytest.mark.parametrize("text", ["format = 2\n", "format = 1\n", "", "no toml", "\0"])
def test_a_mark_that_is_not_ours_is_refused(place: BackupRoots, initialized_target: Target, text: str) -> None:
    """A mark that is not ours is refused."""
    initialized_target.internal_path("mirror.toml").write_text(text)
    refused(place, init=True, allow_local=True)


def test_backup_inside_repos_and_repos_inside_backup_are_refused(tmp_path: Path, place: BackupRoots) -> None:
    """Backup inside repos and repos inside backup are refused."""
    (tmp_path / "link").symlink_to(place.repos_root)
    for backup, repos in (
        (f"{place.repos_root}/backup", place.repos_root),
        (place.repos_root, place.repos_root),
        (f"{tmp_path}/link/backup", place.repos_root),
        (str(tmp_path), place.repos_root),
    ):
        error = refused(BackupRoots(backup, repos, "", place.owner, "here"), init=True, allow_local=True)
        assert "inside" in error.message
    with pytest.raises(ConflictError, match="inside"):
        inspect_target(BackupRoots("/", place.repos_root, "", place.owner, "here"), init=True, allow_local=True)


def test_a_place_inside_or_around_another_backup_is_refused(place: BackupRoots, initialized_target: Target) -> None:
    """Whoever the other one belongs to, and however deep the new one is in it; what has its marker already is used as before."""
    for inside in ("mine", "deep/er"):
        error = refused(replace(place, backup_root=f"{place.backup_root}/{inside}"), init=True, allow_local=True)
        assert f"lies inside {initialized_target.root}, which is a backup itself" in error.message
    Path(place.backup_root).rename(f"{place.backup_root}.aside")
    os.mkdir(place.backup_root)
    Path(f"{place.backup_root}.aside").rename(f"{place.backup_root}/nas")
    assert "contains another backup, nas;" in refused(place, init=True, allow_local=True).message
    inner = replace(place, backup_root=f"{place.backup_root}/nas")
    assert inspect_target(inner)[0].ident == initialized_target.ident
    outer = Target(place.backup_root, "00")
    os.mkdir(outer.mirror("isurus"))
    assert list_mirrors(outer) == ["isurus"] and list_directories(outer) == ["isurus", "nas"]
    with pytest.raises(ConflictError, match="is a backup itself"):
        check_mirror(outer, "nas")


def test_a_missing_or_empty_source_is_refused(place: BackupRoots, initialized_target: Target) -> None:
    """A missing or empty source is refused."""
    os.rmdir(f"{place.repos_root}/isurus")
    assert "empty" in refused(place).message
    os.rmdir(place.repos_root)
    assert "cannot read repos_root" in refused(place).message


def test_a_read_only_place_is_refused(place: BackupRoots) -> None:
    """A read only place is refused."""
    with tmpfs(Path(place.backup_root)):
        found = inspect_target(place, init=True)[0]
        initialize(place, found)
        check_writable(place, found)
        subprocess.run(["mount", "-o", "remount,ro", place.backup_root], check=True)
        with pytest.raises(RepomanError, match="Read-only file system") as caught:
            check_writable(place, found)
        assert caught.value.exit_code == 1
        assert caught.value.hints


def test_a_full_place_is_refused(place: BackupRoots) -> None:
    """A full place is refused."""
    with tmpfs(Path(place.backup_root), "size=8m"):
        found = inspect_target(place, init=True)[0]
        initialize(place, found)
        Path(place.backup_root, "big").write_bytes(bytes(6 * 1024 * 1024))
        with pytest.raises(RepomanError, match="no space left"):
            check_writable(place, found)
    assert not list(Path(place.backup_root).iterdir())


def test_a_second_run_is_refused_and_a_third_is_not(tmp_path: Path, initialized_target: Target, me: Account) -> None:
    """A second run is refused, and a third, after it, is not."""
    state = tmp_path / "state"
    state.mkdir()
    with open(state / "lock", "w", encoding="utf-8") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(ConflictError, match="another run"):
            RunLocks(initialized_target, state, me)
    with RunLocks(initialized_target, state, me), RunLocks(initialized_target, state, me):
        pass


def test_what_fails_under_the_lock_is_not_the_locks(tmp_path: Path, initialized_target: Target, me: Account) -> None:
    """A process that cannot be made, while the lock is held, is not told as another run's work."""
    with pytest.raises(BlockingIOError, match="temporarily"), RunLocks(initialized_target, tmp_path / "state", me):
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def test_a_run_is_announced_on_the_target(initialized_target: Target) -> None:
    """A run is announced on the target, and that goes with it."""
    with HostLock(initialized_target).locked():
        assert json.loads(initialized_target.internal_path("lock").read_text())["pid"] == os.getpid()
    assert not list(initialized_target.internal_path().glob("lock*"))


def test_a_full_target_is_named(tmp_path: Path) -> None:
    """A file that cannot be written is in the error, although the system does not say which it was."""
    with tmpfs(tmp_path / "small", "size=64k"):
        target = Target(str(tmp_path / "small"), "x")
        target.internal_path().mkdir()
        with (tmp_path / "small/filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
            while True:
                filler.write(bytes(4096))
        with pytest.raises(OSError, match="No space left") as caught:
            HostLock(target).acquire()
        message = RepomanError.from_os_error(caught.value).message
        assert message.startswith(f"{tmp_path}/small/.repoman/lock.") and message.endswith(": No space left on device.")
        assert list(target.internal_path().iterdir()) == []


def announcement(initialized_target: Target) -> dict[str, object]:
    """Return what this process announces."""
    with HostLock(initialized_target).locked():
        its: dict[str, object] = json.loads(initialized_target.internal_path("lock").read_text())
    return its


def test_the_announcement_of_a_dead_process_of_this_host_is_taken_over(initialized_target: Target) -> None:
    """The announcement of a dead process of this host is taken over."""
    with subprocess.Popen([sys.executable, "-c", "pass"]) as process:
        process.wait()
    its = announcement(initialized_target)
    for change in ({"pid": process.pid}, {"boot": "an earlier one"}, {"started": "1"}):
        initialized_target.internal_path("lock").write_text(json.dumps(its | change))
        with HostLock(initialized_target).locked():
            assert json.loads(initialized_target.internal_path("lock").read_text()) != its | change


@pytest.mark.parametrize("change", [{}, {"host": "elsewhere", "boot": "its"}, {"machine": "another", "pid": 1}])
def test_an_announcement_that_may_be_true_is_left(initialized_target: Target, change: dict[str, object]) -> None:
    """An announcement that may be true is left, and the run refused."""
    its = announcement(initialized_target) | change
    initialized_target.internal_path("lock").write_text(json.dumps(its))
    with pytest.raises(ConflictError, match="working there") as caught, HostLock(initialized_target).locked():
        pass
    assert caught.value.hints == [f"if you are sure that it is not: rm {initialized_target.internal_path('lock')}"]
    assert LockHolder().error(Path("/my backup/lock")).hints == ["if you are sure that it is not: rm '/my backup/lock'"]
    assert json.loads(initialized_target.internal_path("lock").read_text()) == its


def test_an_announcement_that_cannot_be_read_is_left(initialized_target: Target) -> None:
    """An announcement that cannot be read is left, and the run refused."""
    initialized_target.internal_path("lock").write_text("")
    with pytest.raises(ConflictError, match="an unknown run"), HostLock(initialized_target).locked():
        pass


def test_what_expired_is_removed_whatever_its_modes(tmp_path: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """What expired is removed whatever its modes."""
    place = Path(tempfile.mkdtemp(prefix="repoman-test-", dir="/var/tmp"))
    place.chmod(0o777)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("stays")

    def work() -> str:
        (place / "kept/locked/deep").mkdir(parents=True)
        (place / "kept/locked/deep/file").write_text("goes")
        (place / "kept/link").symlink_to(outside)
        (place / "kept/locked/deep").chmod(0o500)
        (place / "kept/locked").chmod(0)
        remove_directory(place / "kept")
        return str(os.listdir(place))

    try:
        assert unprivileged(work) == "[]"
    finally:
        place.rmdir()
    assert (outside / "file").read_text() == "stays"


def test_they_come_back(initialized_target: Target, me: Account) -> None:
    """They come back."""
    stamps = MirrorRecords({"a\udcff\n": MirrorRecord("digest", 12.5), "b": MirrorRecord("", 0.0)}, 99.0)
    write_records(initialized_target, stamps, me)
    assert read_records(initialized_target) == stamps


@pytest.mark.parametrize("text", ["", "[]", '{"units": {"a": 1}, "run": 1}', '{"units": []}', '{"units": {}, "run": "soon"}'])
def test_what_cannot_be_read_is_nothing(initialized_target: Target, text: str) -> None:
    """What cannot be read is nothing."""
    initialized_target.internal_path("stamps.json").write_text(text)
    assert read_records(initialized_target) == MirrorRecords({})
