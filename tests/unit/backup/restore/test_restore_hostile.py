# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore while somebody exchanges directories for links, and restores that are killed: nothing outside changes, nothing is left."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup import staging
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files import renaming
from backup_fixture import BackupHome, differences, seen, tmpfs

pytestmark = pytest.mark.engine

NOBODY = 65534
CHANGES = {"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.symlink", "os.utime", "os.chmod", "ctypes.dlsym"}


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with a plain directory that is backed up."""
    world = empty_world
    for number in range(12):
        world.write(f"plain/src/file{number}", f"{number}\n" * 100)
    (world.repos / "plain/closed").mkdir()
    world.write("plain/closed/file")
    (world.repos / "plain/closed").chmod(0o555)
    (world.repos / "plain/link").symlink_to("/etc/passwd")
    world.write("other/file")
    world.init()
    return world


@contextmanager
def exchanging(one: Path, other: Path, pause: float) -> Iterator[None]:
    """Exchange two names again and again in another process."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            for turn in itertools.count():
                renaming.exchange_names(renaming.AT_FDCWD, os.fsencode(one), renaming.AT_FDCWD, os.fsencode(other))
                time.sleep(pause * (turn % 5) / 4)
        os._exit(0)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def left_behind(root: Path) -> list[str]:
    """Return the staging directories below a directory."""
    return [str(path) for path in root.rglob(".repoman-restore-*")]


@pytest.mark.parametrize(
    "params",
    [
        {"to": "repos/plain/a/b/restored", "overwrite": True},
        {"to": "repos/plain/a/b/deep/er/restored", "overwrite": True},
        {"to": "repos/plain/a/b/restored", "paths": ["src/file1", "closed", "link"], "overwrite": True},
        {"to": "repos/plain/a/restored", "overwrite": True},
    ],
)
@pytest.mark.parametrize("pause", [0.0, 0.02])
def test_a_parent_that_is_exchanged_for_a_link_leads_nowhere(world: BackupHome, params: dict[str, Any], pause: float) -> None:
    """Whatever is exchanged below a repository during restores: nothing outside is written, made or given another mode or time."""
    outside = world.root / "outside"
    for name in ("b/deep/er", "b/restored", "restored/src", "restored/closed"):
        (outside / name).mkdir(parents=True)
        (outside / name).chmod(0o555 if "closed" in name else 0o751)
    (outside / "b/restored/precious").write_text("precious\n")
    for name in ("a/b/deep/er", "a/b/restored/src"):
        (world.repos / "plain" / name).mkdir(parents=True)
    (world.repos / "plain/aside").symlink_to(outside)
    before = seen(outside)
    to = str(world.root / str(params["to"]))
    outcomes = set()
    with exchanging(world.repos / "plain/a", world.repos / "plain/aside", pause):
        for _turn in range(12):
            try:
                world.restore("plain", **params | {"to": to})
                outcomes.add("restored")
            except RepomanError as error:
                outcomes.add(type(error).__name__)
    assert seen(outside) == before
    assert left_behind(world.root) == []
    assert outcomes & {"restored", "ConflictError"}


def test_a_part_inside_the_destination_that_is_exchanged_leads_nowhere(world: BackupHome) -> None:
    """The same for directories of the repository that paths are restored in."""
    outside = world.root / "outside"
    (outside / "file").mkdir(parents=True, mode=0o700)
    (outside / "file0").write_text("precious\n")
    (world.repos / "plain/aside").symlink_to(outside)
    before = seen(outside)
    with exchanging(world.repos / "plain/src", world.repos / "plain/aside", 0.005):
        for turn in range(25):
            with suppress(OSError):
                (world.repos / "plain/src/file0").write_text(f"{turn}") if not (world.repos / "plain/src").is_symlink() else None
            with suppress(RepomanError):
                world.restore("plain", paths=["src/file0", "src/new/file" if turn % 5 == 4 else "src/file3"], overwrite=True)
            if outside.joinpath("file0").read_text() != "precious\n":  # this test's own write went through the link
                outside.joinpath("file0").write_text("precious\n")
                os.utime(outside / "file0", ns=(before["file0"][2], before["file0"][2]))  # type: ignore[arg-type]
    assert seen(outside) == before
    assert left_behind(world.root) == []


@pytest.mark.parametrize("where", ["plain/way/to", "plain/way", "link/to"])
def test_links_on_the_way(world: BackupHome, where: str) -> None:
    """A link inside a repository is not followed, wherever it leads; one of the user's own on the way to it is."""
    elsewhere = world.root / "elsewhere"
    elsewhere.mkdir()
    (world.repos / "plain/way").symlink_to(elsewhere)
    (world.repos / "link").symlink_to(elsewhere)
    if where.startswith("plain"):
        with pytest.raises(ConflictError, match=r"no directory|not a directory"):
            world.restore("other", to=str(world.repos / where), overwrite=True)
        assert os.listdir(elsewhere) == []
    else:
        assert world.restore("other", to=str(world.repos / where))["restored"]["to"] == str(elsewhere / "to")
    (elsewhere / "back").symlink_to(world.repos / "plain/way")
    with pytest.raises(ConflictError, match="not a directory"):
        world.restore("other", to=str(elsewhere / "back/x"))
    (elsewhere / "loop").symlink_to(elsewhere / "loop")
    with pytest.raises(ConflictError, match="not a directory"):
        world.restore("other", to=str(elsewhere / "loop/x"))
    (elsewhere / "home").symlink_to("../elsewhere/../elsewhere")
    world.restore("other", to=str(elsewhere / "home/new"))
    assert (elsewhere / "new/file").exists()
    (elsewhere / "bk").symlink_to(world.backup)
    with pytest.raises(ConflictError, match="inside the backup"):
        world.restore("other", to=str(elsewhere / "bk/x/y"))


def run_killed(at: int, action: Callable[[], object]) -> bool:
    """Call something in a process that is killed at its so manieth change of a file; tell whether it was."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            seen_changes = 0

            def count(event: str, arguments: tuple[Any, ...]) -> None:
                nonlocal seen_changes
                if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
                    seen_changes += 1
                    if seen_changes == at:
                        os.kill(os.getpid(), signal.SIGKILL)

            sys.addaudithook(count)
            action()
            os._exit(0)
        os._exit(1)
    _child, status = os.waitpid(child, 0)
    return status != 0


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("params", [{}, {"paths": ["src", "closed", "link"]}])
def test_killed_at_any_change(world: BackupHome, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any], exchanges: bool) -> None:
    """Killed at each change: what was there is there or saved, the next restore finishes, and nothing else is left."""
    if not exchanges:
        monkeypatch.setattr(renaming, "_UNSUPPORTED", (*renaming._UNSUPPORTED, 0))
        real = renaming._renameat2

        def without_exchange(one_fd: int, one: bytes, other_fd: int, other: bytes, flags: int) -> object:
            return flags != 2 and real(one_fd, one, other_fd, other, flags)

        monkeypatch.setattr(renaming, "_renameat2", without_exchange)
    at, step = 1, int(os.environ.get("REPOMAN_KILL_STEP", "7"))
    plain = world.repos / "plain"
    while True:
        for path in world.repos.glob("*before*"):
            shutil.rmtree(path)
        plain.chmod(0o755)
        (plain / "src/file0").write_text(f"precious {at}\n")
        (plain / "link").unlink()
        (plain / "link").mkdir()
        (plain / "link/mine").write_text(f"precious {at}\n")
        was_killed = run_killed(at, lambda: world.restore("plain", overwrite=True, **params))
        texts = [path.read_text() for path in world.repos.rglob("file0")]
        assert f"precious {at}\n" in texts, at
        if exchanges or (plain / "src/file0").exists():  # where names cannot be exchanged there is a moment without
            assert (plain / "src/file0").read_text() in {f"precious {at}\n", "0\n" * 100}, at
        world.restore("plain", overwrite=True, **params)
        assert differences(world.backup / "plain", plain, "--omit-dir-times") == [], at
        assert left_behind(world.root) == [], at
        saved = [path.read_text() for path in world.repos.glob("plain.before-*/src/file0")]
        assert f"precious {at}\n" in saved, at
        if not was_killed:
            break
        at += step
    assert at > 3 * step


def test_a_staging_directory_in_use_is_not_swept(world: BackupHome) -> None:
    """What a running restore fills is left alone by another; what a killed one left is removed, and what it replaced is saved."""
    fd = os.open(world.repos, os.O_RDONLY)
    running = staging.Staging(fd, b"plain")
    killed = staging.Staging(fd, b"plain")
    os.mkdir(b"inner", dir_fd=killed.fd)
    os.symlink(b"/etc", b"inner/link", dir_fd=killed.fd)
    os.close(killed.fd)
    exchanged = staging.Staging(fd, b"other")
    os.close(exchanged.fd)
    os.rename(world.repos / os.fsdecode(exchanged.name), world.repos / "new")
    (world.repos / "other").rename(world.repos / os.fsdecode(exchanged.name))
    (world.repos / "plain/src/file0").write_text("mine\n")
    result = world.restore("plain", overwrite=True)
    assert running.in_place()
    assert not killed.in_place()
    (saved,) = world.repos.glob("other.before-*")
    assert (saved / "file").read_text() == "text\n"
    assert any(str(saved) in warning for warning in result["warnings"])
    running.end(b"never")
    os.close(fd)
    assert left_behind(world.root) == []


def test_modes_that_forbid_it_stay_as_they_are(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """An ordinary user's restore opens closed directories to itself only through what it holds: a link in their place changes nothing."""
    world = BackupHome(short_dir)
    outside = short_dir / "outside"
    outside.mkdir()
    for path in [short_dir, *short_dir.iterdir()] if os.geteuid() == 0 else ():
        os.chown(path, NOBODY, NOBODY)

    def work() -> None:
        world.write("plain/closed/file")
        world.write("plain/file")
        (world.repos / "plain/closed").chmod(0o555)
        world.init()
        (outside / "target").mkdir(mode=0o555)
        (outside / "target").chmod(0o555)
        (world.repos / "plain/aside").symlink_to(outside / "target")
        before = seen(outside)
        (world.repos / "plain/closed").chmod(0o755)
        with exchanging(world.repos / "plain/closed", world.repos / "plain/aside", 0.002):
            for turn in range(25):
                with suppress(RepomanError):
                    world.restore("plain", paths=["closed"] if turn % 2 else ["closed/file"], overwrite=True)
        assert seen(outside) == before
        assert left_behind(world.root) == []
        for path in world.root.rglob("closed"):
            if not path.is_symlink():
                path.chmod(0o755)

    assert unprivileged(work) == "None"


def test_sync_finishes_restores_that_were_killed(world: BackupHome) -> None:
    """What a killed restore left among the repositories, or in one that is a mount point, is gone before it can be backed up."""
    with tmpfs(world.repos / "big"):
        world.write("big/file")
        for directory in (world.repos, world.repos / "big"):
            fd = os.open(directory, os.O_RDONLY)
            os.close(staging.Staging(fd, b"plain").fd)
            os.close(fd)
        fd = os.open(world.repos, os.O_RDONLY)
        exchanged = staging.Staging(fd, b"other")
        os.close(exchanged.fd)
        os.close(fd)
        os.rename(world.repos / os.fsdecode(exchanged.name), world.root / "new")
        (world.repos / "other").rename(world.repos / os.fsdecode(exchanged.name))
        (world.root / "new").rename(world.repos / "other")
        world.write("other/file")
        assert len(left_behind(world.repos)) == 3
        assert world.sync(check=True)
        assert len(left_behind(world.repos)) == 3
        result = world.sync()
        assert "failed" not in result
        assert left_behind(world.root) == []
        (saved,) = world.repos.glob("other.before-*")
        assert any(str(saved) in warning for warning in result["warnings"])
        assert (world.backup / saved.name / "file").exists()


def test_what_was_saved_in_a_mount_point_may_be_deleted(world: BackupHome) -> None:
    """What a restore saved in a mount point is no loss to the shrink guard."""
    with tmpfs(world.repos / "big", "size=50m"):
        for number in range(150):
            world.write(f"big/d/file{number}")
        world.sync()
        for number in range(150):
            world.write(f"big/d/file{number}", "mine\n")
        world.write("big/few")
        world.restore("big", overwrite=True)
        shutil.rmtree(world.repos / "big/d")
        world.write("big/d/one")
        world.sync(allow_shrink=True, names=["big"])
        (saved,) = (world.repos / "big").glob(".repoman.before-*")
        assert (world.backup / "big" / saved.name / "d/file149").exists()
        shutil.rmtree(saved)
        result = world.sync()
        assert "failed" not in result
        assert not (world.backup / "big" / saved.name).exists()


@pytest.mark.parametrize("params", [{}, {"paths": ["src", "closed", "link"]}])
def test_interrupted_at_any_change(world: BackupHome, params: dict[str, Any]) -> None:
    """Interrupted at a change of a file: everything is the old or the new, what was there is there or saved, and nothing else is left."""
    at = 1
    while True:
        for path in world.repos.glob("*before*"):
            shutil.rmtree(path)
        (world.repos / "plain/src/file0").write_text(f"precious {at}\n")
        finished = run_interrupted(at, lambda: world.restore("plain", overwrite=True, **params))
        texts = [path.read_text() for path in world.repos.rglob("file0")]
        assert f"precious {at}\n" in texts, at
        assert (world.repos / "plain/src/file0").read_text() in {f"precious {at}\n", "0\n" * 100}, at
        assert left_behind(world.root) == [], at
        if finished:
            break
        at += int(os.environ.get("REPOMAN_INT_STEP", "9"))
    assert at > 10


def run_interrupted(at: int, action: Callable[[], object]) -> bool:
    """Call something in a process that is asked to end at its so manieth change of a file; tell whether it came to its end."""
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            parent, seen_changes = os.getpid(), 0

            def count(event: str, arguments: tuple[Any, ...]) -> None:
                nonlocal seen_changes
                if event in CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & os.O_CREAT):
                    seen_changes += 1
                    if seen_changes == at and os.getpid() != parent:
                        os.kill(parent, signal.SIGINT)
                        time.sleep(0.2)

            sys.addaudithook(count)
            action()
            os._exit(0)
        os._exit(1)
    _child, status = os.waitpid(child, 0)
    return status == 0


def test_two_restores_at_once(world: BackupHome) -> None:
    """Of two restores of one name at the same time each restores or is refused; what was there is saved, and nothing is left."""
    (world.repos / "plain/src/file0").write_text("precious\n")
    for state in ("with locks", "without"):
        if state == "without":
            shutil.rmtree(world.log)
        children = []
        for _number in range(4):
            child = os.fork()
            if child == 0:
                with suppress(BaseException):
                    world.restore("plain", overwrite=True)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)
        assert differences(world.backup / "plain", world.repos / "plain", "--omit-dir-times") == [], state
        assert "precious\n" in [path.read_text() for path in world.repos.rglob("file0")], state
        assert left_behind(world.root) == [], state
