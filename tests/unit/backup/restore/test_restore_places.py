# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore to odd places and of odd things: mount points, other file systems, odd names, modes, attributes, holes and times."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup import staging
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host import hung_mounts
from backup_fixture import BackupHome, differences, git, seen, tmpfs, without_times
from hung import hung_mount

from repoman.cli.parser import parse
from repoman.cli.variables import restore_variables

pytestmark = [pytest.mark.engine, pytest.mark.disk]  # what file systems have is the matter

NOBODY = 65534
ANYONE = 0xFFFFFFFF
ACCESS_LIST = struct.pack("<I", 2) + b"".join(
    struct.pack("<HHI", *entry) for entry in ((1, 7, ANYONE), (2, 5, NOBODY), (4, 5, ANYONE), (16, 7, ANYONE), (32, 1, ANYONE))
)
"""``u::rwx,u:nobody:r-x,g::r-x,m::rwx,o::--x``, as the kernel takes it."""
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)
"""``cap_net_raw+ep``."""
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs other users")


@pytest.fixture
def mounted(empty_world: BackupHome) -> Iterator[BackupHome]:
    """A home with a repository that is a mount point, and one that is not."""
    with ExitStack() as stack:
        stack.enter_context(tmpfs(empty_world.repos / "big"))
        empty_world.git("big")
        empty_world.write("big/src/f")
        empty_world.write("small/f")
        empty_world.init()
        yield empty_world


def saved_inside(directory: Path) -> list[Path]:
    """Return what restores saved in a directory."""
    return sorted(directory.glob(".repoman.before-*"))


def same_as_mirror(world: BackupHome, name: str) -> list[str]:
    """Return how a repository differs from its mirror, but for what restores saved in it."""
    return differences(world.backup / name, world.repos / name, "--omit-dir-times", "--exclude=/.repoman.before-*")


def test_a_mount_point_is_restored_in_place(mounted: BackupHome) -> None:
    """It stays mounted, nothing is made beside it, what is replaced and what the backup has not is saved in it; once more is no work."""
    big = mounted.repos / "big"
    mounted.write("big/src/f", "mine\n")
    mounted.write("big/extra/mine", "mine\n")
    (big / "README").unlink()
    with pytest.raises(ConflictError, match="big exists"):
        mounted.restore("big")
    predicted = mounted.restore("big", check=True, overwrite=True)
    assert saved_inside(big) == []
    done = mounted.restore("big", overwrite=True)
    assert without_times(predicted["diff"]) == without_times(done["diff"])
    assert without_times(predicted["steps"]) == without_times(done["steps"])
    (saved,) = saved_inside(big)
    assert done["restored"]["saved"] == str(saved)
    assert not done["restored"]["has_container"]
    assert [path.read_text() for path in (saved / "src/f", saved / "extra/mine")] == ["mine\n", "mine\n"]
    assert os.path.ismount(big)
    assert same_as_mirror(mounted, "big") == []
    assert git(big, "fsck", "--full") == ""
    assert sorted(os.listdir(mounted.repos)) == ["big", "small"]
    assert any("is inside the repository" in warning for warning in done["warnings"])
    assert not mounted.restore("big", overwrite=True)["changed"]
    assert "failed" not in mounted.sync()
    assert not mounted.restore("big", overwrite=True)["changed"]
    mounted.write("big/src/f", "again\n")
    mounted.restore("big", overwrite=True)
    assert len(saved_inside(big)) == 2
    assert sorted(path.read_text() for path in big.glob(".repoman.before-*/src/f")) == ["again\n", "mine\n"]


def test_an_empty_mount_point(mounted: BackupHome) -> None:
    """After the disk was replaced its new file system, with its own lost+found, is filled; nothing is saved."""
    big = mounted.repos / "big"
    for path in big.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    (big / "lost+found").mkdir(mode=0o700)
    done = mounted.restore("big")
    assert done["restored"]["saved"] == ""
    assert same_as_mirror(mounted, "big") in ([], ["*deleting   lost+found/"])
    assert (big / "lost+found").is_dir()
    assert big.stat().st_mtime_ns == (mounted.backup / "big").stat().st_mtime_ns
    assert not mounted.restore("big")["changed"]


def test_a_mount_point_that_cannot_be_restored_is_as_it_was(mounted: BackupHome) -> None:
    """No space on it: one sentence that names it, everything as before, nothing left."""
    big = mounted.repos / "big"
    mounted.write("big/src/f", "mine\n")
    (big / "README").unlink()
    with open(big / "fill", "wb") as file, pytest.raises(OSError):
        while True:
            file.write(b"x" * (1 << 20))
    for path in (mounted.backup / "big/big1", mounted.backup / "big/big2"):
        path.write_bytes(b"y" * (1 << 21))
    before = seen(big)
    with pytest.raises(RepomanError, match=r"repos/big has 0 B free, but the restore needs 4.2 MB; nothing was restored") as caught:
        mounted.restore("big", overwrite=True)
    assert any("df -h" in hint and str(big) in hint for hint in caught.value.hints)
    after = seen(big)
    assert {path: each for path, each in after.items() if path != "."} == {path: each for path, each in before.items() if path != "."}


def test_paths_across_file_systems(mounted: BackupHome) -> None:
    """A path in a mount inside a repository is restored there; the whole repository goes around a mount that the backup has nothing of."""
    small = mounted.repos / "small"
    with tmpfs(small / "mnt"):
        (mounted.backup / "small/mnt/sub").mkdir(parents=True)
        (mounted.backup / "small/mnt/sub/f").write_text("text\n")
        mounted.write("small/mnt/sub/f", "mine\n")
        done = mounted.restore("small", paths=["mnt/sub/f", "f"], overwrite=True)
        (saved,) = saved_inside(small / "mnt")
        assert done["restored"]["saved"] == str(saved)
        assert (saved / "sub/f").read_text() == "mine\n"
        assert (small / "mnt/sub/f").read_text() == "text\n"
        mounted.write("small/f", "mine\n")
        mounted.write("small/mnt/sub/f", "mine\n")
        done = mounted.restore("small", overwrite=True)
        assert os.path.ismount(small / "mnt")
        assert (small / "mnt/sub/f").read_text() == (small / "f").read_text() == "text\n"
        assert len(done["restored"]["saved"].split(", ")) == 2
        shutil.rmtree(mounted.backup / "small/mnt/sub")
        mounted.write("small/mnt/sub/f", "mine\n")
        mounted.write("small/f", "mine\n")
        done = mounted.restore("small", overwrite=True)
        assert (small / "mnt/sub/f").read_text() == "mine\n"
        assert (small / "f").read_text() == "text\n"
        assert any("small/mnt is a separate file system" in warning for warning in done["warnings"])


def test_a_file_that_is_a_mount_point(empty_world: BackupHome, tmp_path: Path) -> None:
    """A single file that is bound into a repository is in the backup; a restore goes around it, and says why."""
    world = empty_world
    world.write("a/f", "mounted\n")
    world.write("a/g")
    (tmp_path / "elsewhere").write_text("mounted\n")
    if subprocess.run(["mount", "--bind", tmp_path / "elsewhere", world.repos / "a/f"], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount")
    try:
        world.init()
        assert (world.backup / "a/f").read_text() == "mounted\n"
        world.write("a/g", "mine\n")
        warnings = world.restore("a", overwrite=True)["warnings"]
        assert any("a/f is a mount point and cannot be replaced" in each for each in warnings)
        assert not any("not in the backup" in each for each in warnings)
        assert (world.repos / "a/g").read_text() == "text\n"
    finally:
        subprocess.run(["umount", world.repos / "a/f"], check=True)


def test_other_file_systems_and_mounts_as_destination(mounted: BackupHome) -> None:
    """The destination lies on another file system, is a mount point, or repos_root is one."""
    with tmpfs(mounted.root / "usb"):
        mounted.restore("small", to=str(mounted.root / "usb/new"))
        assert differences(mounted.backup / "small", mounted.root / "usb/new") == []
        shutil.rmtree(mounted.root / "usb/new")
        mounted.restore("small", to=str(mounted.root / "usb"))
        assert os.listdir(mounted.root / "usb") == ["f"]
        (mounted.root / "usb/f").write_text("mine\n")
        mounted.restore("small", to=str(mounted.root / "usb"), paths=["f"], overwrite=True)
        assert len(saved_inside(mounted.root / "usb")) == 1


def test_repos_root_is_a_mount_point(empty_world: BackupHome) -> None:
    """Its repositories are exchanged as everywhere; its loose files are saved in it, in a directory that the backup knows as saved."""
    world = empty_world
    with tmpfs(world.repos):
        world.write("plain/f")
        world.write("notes.txt")
        world.init()
        world.write("plain/f", "mine\n")
        world.restore("plain", overwrite=True)
        assert len(list(world.repos.glob("plain.before-*"))) == 1
        world.write("notes.txt", "mine\n")
        done = world.restore("(loose files)", overwrite=True)
        (saved,) = world.repos.glob("loose-files.before-*")
        assert (saved / "notes.txt").read_text() == "mine\n"
        assert done["restored"]["saved"] == str(saved)
        assert (world.repos / "notes.txt").read_text() == "text\n"
        assert not [name for name in os.listdir(world.repos) if name.startswith(".repoman")]


@needs_root
def test_a_bind_mount_of_the_same_file_system(empty_world: BackupHome) -> None:
    """A repository that is bind-mounted is a mount point too, though its device is its parent's."""
    world = empty_world
    world.write("bound/f")
    elsewhere = world.root / "elsewhere"
    elsewhere.mkdir()
    if subprocess.run(["mount", "--bind", elsewhere, world.repos / "bound"], check=False, capture_output=True).returncode:
        pytest.skip("needs to mount")
    try:
        world.write("bound/g")
        world.init()
        world.write("bound/g", "mine\n")
        world.restore("bound", overwrite=True)
        assert (elsewhere / "g").read_text() == "text\n"
        assert len(saved_inside(elsewhere)) == 1
        assert sorted(os.listdir(world.repos)) == ["bound"]
    finally:
        subprocess.run(["umount", world.repos / "bound"], check=True)


@pytest.mark.parametrize("there", [False, True])
def test_an_empty_directory_and_a_parent_that_takes_nothing(
    short_dir: Path, unprivileged: Callable[[Callable[[], object]], str], there: bool
) -> None:
    """An empty directory is filled, in place if nothing can be made beside it; without it the error names the destination."""
    world = BackupHome(short_dir)
    for path in [short_dir, *short_dir.iterdir()] if os.geteuid() == 0 else ():
        os.chown(path, NOBODY, NOBODY)

    def work() -> None:
        world.write("plain/f")
        world.write("plain/d/f")
        world.init()
        closed = short_dir / "closed"
        (closed / "plain").mkdir(parents=True)
        if not there:
            (closed / "plain").rmdir()
        closed.chmod(0o555)
        if there:
            world.restore("plain", to=str(closed / "plain"))
            assert differences(world.backup / "plain", closed / "plain") == []
            (closed / "plain/f").write_text("mine\n")
            world.restore("plain", to=str(closed / "plain"), overwrite=True)
            assert [path.read_text() for path in closed.glob("plain/.repoman.before-*/f")] == ["mine\n"]
        else:
            with pytest.raises(RepomanError, match=r"closed/plain cannot be written: Permission denied; nothing was restored"):
                world.restore("plain", to=str(closed / "plain"))
            with pytest.raises(RepomanError, match=r"closed/a/b cannot be written: Permission denied"):
                world.restore("plain", to=str(closed / "a/b"))
        closed.chmod(0o755)
        empty = short_dir / "empty"
        empty.mkdir()
        world.restore("plain", to=str(empty))
        assert differences(world.backup / "plain", empty) == []

    assert unprivileged(work) == "None"


@needs_root
def test_what_only_another_user_can_read(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """A directory of root's in a container does not stop the restore of the rest: it is saved as it is, and named. As a path it is refused."""
    world = BackupHome(short_dir)
    for path in [short_dir, *short_dir.iterdir()]:
        os.chown(path, NOBODY, NOBODY)

    def first() -> None:
        world.write("plain/f")
        world.init()

    assert unprivileged(first) == "None"
    foreign = world.repos / "plain/data"
    foreign.mkdir(mode=0o700)
    (foreign / "secret").write_text("root's\n")

    def work() -> None:
        world.write("plain/f", "mine\n")
        done = world.restore("plain", overwrite=True)
        saved = Path(done["restored"]["saved"])
        assert (saved / "f").read_text() == "mine\n"
        assert (saved / "data").is_dir()
        assert not (world.repos / "plain/data").exists()
        (warning,) = done["warnings"]
        assert str(world.repos / "plain/data") in warning
        assert f"sudo mv {saved / 'data'} {world.repos / 'plain/data'}" in warning

    assert unprivileged(work) == "None"
    (saved,) = world.repos.glob("plain.before-*")
    assert (saved / "data/secret").read_text() == "root's\n"
    os.rename(saved / "data", world.repos / "plain/f.d")
    mirror = world.backup / "plain/f.d"
    mirror.write_text("a file in the backup\n")
    os.chown(mirror, NOBODY, NOBODY)

    def refused() -> None:
        world.write("plain/f", "mine\n")
        before = seen(world.repos / "plain/f")
        with pytest.raises(ConflictError, match=r"plain/f\.d belongs to another user, and you cannot move it") as caught:
            world.restore("plain", paths=["f", "f.d"], overwrite=True)
        assert seen(world.repos / "plain/f") == before
        assert any("sudo mv" in hint for hint in caught.value.hints)

    assert unprivileged(refused) == "None"


def attributes(path: Path) -> dict[str, bytes]:
    """Return a file's extended attributes, access lists and capabilities."""
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def full_mirror(world: BackupHome) -> Path:
    """Return a mirror that has everything that a file system has."""
    world.write("plain/f")
    world.init()
    mirror = world.backup / "plain"
    for number, seconds in enumerate((-(10**9), 0, 2**31, 2**33, 12345)):
        (mirror / f"time{number}").write_text("x")
        os.utime(mirror / f"time{number}", ns=(seconds * 10**9 + 123456789, seconds * 10**9 + 987654321))
    (mirror / "set").write_text("x")
    os.chown(mirror / "set", NOBODY, NOBODY)
    (mirror / "set").chmod(0o6755)
    with open(mirror / "hole", "wb") as file:
        file.truncate(1 << 43)
        file.seek(1 << 42)
        file.write(b"data")
    (mirror / "dir").mkdir()
    (mirror / "dir").chmod(0o3775)
    for name in ("f", "dir"):
        os.setxattr(mirror / name, "user.note", b"a note")
        os.setxattr(mirror / name, "system.posix_acl_access", ACCESS_LIST)
    os.setxattr(mirror / "dir", "system.posix_acl_default", ACCESS_LIST)
    (mirror / "ping").write_text("x")
    os.setxattr(mirror / "ping", "security.capability", CAPABILITY)
    (mirror / "ping").chmod(0o555)
    os.mknod(mirror / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(mirror / "pipe", 0o640)
    with socket.socket(socket.AF_UNIX) as bound:
        here = os.open(mirror, os.O_RDONLY)
        bound.bind(f"/proc/self/fd/{here}/socket")
        os.close(here)
    (mirror / "link").symlink_to("nowhere")
    for name in ("f", "pipe", "link", "null"):
        os.link(mirror / name, mirror / f"dir/{name}2", follow_symlinks=False)
    os.utime(mirror / "link", ns=(10**18 + 1, 10**18 + 2), follow_symlinks=False)
    (mirror / "dir/closed").mkdir(mode=0o500)
    return mirror


@needs_root
def test_everything_a_mirror_has_comes_back(empty_world: BackupHome) -> None:
    """Attributes, access lists, capabilities, hard links of every kind, holes, set-id bits, devices and odd times; rsync finds no difference."""
    world, mirror = empty_world, full_mirror(empty_world)
    shutil.rmtree(world.repos / "plain")
    done = world.restore("plain")
    there = world.repos / "plain"
    assert "warnings" not in done
    assert done["restored"]["bytes"] < 1 << 24
    lines = subprocess.run(
        ["rsync", "-aHAXnci", "--delete", "--exclude=hole", f"{mirror}/", f"{there}/"], check=True, capture_output=True, text=True
    ).stdout
    assert lines == ""
    for name in ("f", "dir", "ping"):
        assert attributes(there / name) == attributes(mirror / name)
        assert attributes(there / name)
    for path in (mirror, *mirror.rglob("*")):
        one, other = path.lstat(), (there / path.relative_to(mirror)).lstat()
        assert (one.st_mode, one.st_uid, one.st_gid, one.st_mtime_ns, one.st_nlink, one.st_rdev, one.st_size) == (
            other.st_mode,
            other.st_uid,
            other.st_gid,
            other.st_mtime_ns,
            other.st_nlink,
            other.st_rdev,
            other.st_size,
        ), path
    hole = there / "hole"
    assert hole.stat().st_blocks * 512 < 1 << 20
    with open(hole, "rb") as file:
        assert os.pread(file.fileno(), 8, (1 << 42) - 2) == b"\0\0data\0\0"
    assert not world.restore("plain")["changed"]
    os.removexattr(there / "f", "user.note")
    assert world.restore("plain", overwrite=True)["changed"]
    assert attributes(there / "f") == attributes(mirror / "f")
    with open(there / "time0", "r+b") as file:  # rotten: same size, same time
        file.write(b"y")
    os.utime(there / "time0", ns=((mirror / "time0").stat().st_atime_ns, (mirror / "time0").stat().st_mtime_ns))
    assert world.restore("plain", paths=["time0"], overwrite=True)["changed"]
    assert (there / "time0").read_text() == "x"


@needs_root
def test_what_this_user_may_not_set_is_one_note(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """Owners, capabilities and devices that an ordinary user cannot make: a note each; set-id bits go with the owner."""
    world = BackupHome(short_dir)
    for path in [short_dir, *short_dir.iterdir()]:
        os.chown(path, NOBODY, NOBODY)

    def first() -> None:
        world.write("plain/f")
        world.init()

    assert unprivileged(first) == "None"
    mirror = world.backup / "plain"
    for number in range(3):
        (mirror / f"set{number}").write_text("x")
        (mirror / f"set{number}").chmod(0o6755)
        (mirror / f"cap{number}").write_text("x")
        os.setxattr(mirror / f"cap{number}", "security.capability", CAPABILITY)
    os.mknod(mirror / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))

    def work() -> None:
        done = world.restore("plain", to=str(short_dir / "to"))
        assert sorted(os.listdir(short_dir / "to")) == ["cap0", "cap1", "cap2", "f", "set0", "set1", "set2"]
        assert (short_dir / "to/set0").stat().st_mode & 0o7777 == 0o755
        assert len(done["warnings"]) == 3
        assert any("null" in warning for warning in done["warnings"])

    assert unprivileged(work) == "None"


@pytest.mark.parametrize("name", ["n" * 255, "é" * 120, "-x", "a\nb", os.fsdecode(b"\xff" * 250), "two words", "%s", "b" * 233])
def test_names(empty_world: BackupHome, name: str) -> None:
    """Whatever a directory is called, it is restored, over what is there too; the name of what is saved is cut where it must be."""
    world = empty_world
    world.write(f"{name}/file")
    world.init()
    world.write(f"{name}/file", "mine\n")
    with pytest.raises(ConflictError, match="exists"):
        world.restore(name)
    world.restore(name, overwrite=True)
    (saved,) = (each for each in os.listdir(world.repos) if ".before-" in each)
    assert (world.repos / saved / "file").read_text() == "mine\n"
    assert (world.repos / name / "file").read_text() == "text\n"
    assert len(os.fsencode(saved)) <= 255
    assert saved.startswith(name[:200] if name.isascii() else name[:5])
    assert "failed" not in world.sync()
    shutil.rmtree(world.repos / name)
    world.restore(name, paths=["file"])
    assert (world.repos / name / "file").exists()


def test_paths_that_are_too_long_to_be_named(empty_world: BackupHome) -> None:
    """Paths longer than the kernel takes at once, and thousands of directories in each other, come back."""
    world = empty_world
    world.write("plain/f")
    world.init()
    for root in (world.backup / "plain",):
        fd = os.open(root, os.O_RDONLY)
        for depth in range(1200):
            name = "d" * (200 if depth < 40 else 1)
            os.mkdir(name, dir_fd=fd)
            inner = os.open(name, os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = inner
        os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=fd))
        os.close(fd)
    result = world.restore("plain", overwrite=True)
    assert result["restored"]["files"] == 2
    assert not world.restore("plain")["changed"]
    done = world.restore("plain", to=str(world.root / "to"), paths=["/".join(["d" * 200] * 30)])
    assert done["restored"]["files"] == 1
    for path in (world.repos / "plain", world.root / "to", world.backup / "plain", *world.repos.glob("*.before-*")):
        subprocess.run(["rm", "-rf", path], check=True)


def test_no_log_directory_is_needed(empty_world: BackupHome) -> None:
    """A log directory that is full, read-only, or a file stops no restore."""
    world = empty_world
    world.write("plain/f")
    world.init()
    shutil.rmtree(world.repos / "plain")
    shutil.rmtree(world.log)
    world.log.write_text("in the way")
    world.restore("plain")
    assert (world.repos / "plain/f").exists()
    world.log.unlink()
    with tmpfs(world.log):
        (world.log / "sync").mkdir()
        ident = next(line.split('"')[1] for line in world.ours("mirror.toml").read_text().splitlines() if line.startswith("id"))
        (world.log / "sync" / ident).mkdir()
        subprocess.run(["mount", "-o", "remount,ro", world.log], check=True)
        shutil.rmtree(world.repos / "plain")
        world.restore("plain")
        assert (world.repos / "plain/f").exists()


def test_a_full_destination(empty_world: BackupHome) -> None:
    """No space at the destination: one sentence that names it, nothing left, what is there as it was."""
    world = empty_world
    world.write("plain/f", "x" * (3 << 20))
    world.init()
    with tmpfs(world.root / "small", "size=1m"):
        for to in ("small/to", "small/a/b/to", "small"):
            with pytest.raises(RepomanError, match=r"small has 1.0 MB free, but the restore needs 3.1 MB; nothing was restored") as caught:
                world.restore("plain", to=str(world.root / to))
            assert any(hint.startswith("df -h") and "small" in hint for hint in caught.value.hints)
            assert os.listdir(world.root / "small") == []


@pytest.mark.parametrize(
    ("name", "size", "expected"), [(b"abc", 2, b"ab"), ("éé".encode(), 3, "é".encode()), (b"\xff\xc3\xa9", 2, b"\xff\xc3")]
)
def test_names_are_cut_between_characters(name: bytes, size: int, expected: bytes) -> None:
    """A name that is UTF-8 stays so when it is cut."""
    assert staging.shortened(name, size) == expected


@pytest.mark.parametrize("name", ["-x", "--to", "a\nb", os.fsdecode(b"odd\xff"), "two words", "it's"])
def test_hints_can_be_pasted(empty_world: BackupHome, name: str) -> None:
    """The command of a hint, read by a shell and by the command, means the name it was made for, whatever it is called."""
    world = empty_world
    world.write(f"{name}/-f")
    world.init()
    world.write(f"{name}/-f", "mine\n")
    with pytest.raises(ConflictError) as caught:
        world.restore(name, paths=["-f"])
    hint = next(hint for hint in caught.value.hints if hint.endswith("--overwrite") or "--overwrite " in hint).partition(": ")[2]
    script = f"repoman() {{ printf '%s\\0' \"$@\"; }}; {hint}"
    words = subprocess.run(["bash", "-c", script], check=True, capture_output=True).stdout.split(b"\0")[:-1]
    _verb, options = parse([os.fsdecode(word) for word in words])
    given = restore_variables(options)
    assert given["repoman_restore_paths"] == ["-f"]
    world.restore(given["repoman_restore_name"], paths=given["repoman_restore_paths"], overwrite=given["repoman_restore_overwrite"])
    assert (world.repos / name / "-f").read_text() == "text\n"


@pytest.mark.parametrize("to", [".", "repos", "home", "link"])
def test_what_holds_everything_is_not_replaced(empty_world: BackupHome, to: str) -> None:
    """A destination that holds the backup, all repositories or the home is not exchanged for one repository, however it is named."""
    world = empty_world
    world.write("plain/f")
    world.init()
    (world.root / "link").symlink_to(world.root / "repos")
    (world.root / "home").symlink_to(world.root.parent)
    before = sorted(os.listdir(world.root.parent)), sorted(os.listdir(world.root)), sorted(os.listdir(world.repos))
    with pytest.raises(ConflictError):
        world.restore("plain", to=str(world.root / to), overwrite=True)
    with pytest.raises(ConflictError):
        world.restore("plain", to=str(world.root / to / "."), overwrite=True)
    assert before == (sorted(os.listdir(world.root.parent)), sorted(os.listdir(world.root)), sorted(os.listdir(world.repos)))
    with pytest.raises(ConflictError, match="holds") as caught:
        world.restore("plain", to=str(world.root), overwrite=True)
    assert caught.value.hints[0].endswith(f"repoman restore plain --to {world.root}/plain")
    world.restore("plain", to=str(world.root / "plain"), overwrite=True)


@pytest.mark.parametrize("more", [{}, {"paths": ["f"]}])
def test_the_root_directory_is_no_destination(empty_world: BackupHome, more: dict[str, list[str]]) -> None:
    """It is refused before anything is made in it, however it is spelled."""
    empty_world.write("plain/f")
    empty_world.init()
    before = sorted(os.listdir("/"))
    for to in ("/", "//", "/tmp/.."):
        with pytest.raises(ConflictError, match=r"^/+ is the root directory"):
            empty_world.restore("plain", to=to, overwrite=True, **more)
    assert sorted(os.listdir("/")) == before


def test_another_repository_that_does_not_answer(empty_world: BackupHome) -> None:
    """It takes no part in a restore: of a directory that is gone, or in place. As the destination it is named."""
    for name in ("far", "near"):
        empty_world.write(f"{name}/file")
        empty_world.project(name)
    empty_world.init()
    far = empty_world.repos / "far"
    with hung_mount(far, limit=20) as gave_up:
        hung_mounts._served_mounts.cache_clear()
        shutil.rmtree(empty_world.repos / "near")
        for _time in range(2):
            assert empty_world.restore("near", overwrite=True)["changed"]
            assert (empty_world.repos / "near/file").read_text() == "text\n"
            empty_world.write("near/file", "mine\n")
        for params in ({"name": "far"}, {"name": "near", "to": str(far / "here")}):
            with pytest.raises(RepomanError, match=f"the file system mounted at {far} does not answer"):
                empty_world.restore(**params)
        assert not gave_up.is_set()
    hung_mounts._served_mounts.cache_clear()
