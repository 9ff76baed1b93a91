# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""File systems inside units, units that are file systems, and mkfs's ``lost+found``: with real mounts."""

from __future__ import annotations

import ctypes
import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup import left_out as status_left_out
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotMountedError
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import mounts_below
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from backup_fixture import BackupHome, actions, git, tmpfs
from mirroring import git_problems, hg_problems

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

NOBODY = 65534
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount and to make root's directories")


@pytest.fixture
def world(tmp_path: Path) -> BackupHome:
    """A home with one unit."""
    found = BackupHome(tmp_path)
    found.write("big/file")
    return found


@contextmanager
def bind(source: Path, place: Path) -> Iterator[None]:
    """Mount a directory at another place."""
    source.mkdir(parents=True, exist_ok=True)
    place.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "--bind", str(source), str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs to bind a mount: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@contextmanager
def btrfs(place: Path) -> Iterator[None]:
    """Mount a btrfs of its own."""
    image = place.with_suffix(".img")
    with image.open("wb") as file:
        file.truncate(120 << 20)
    place.mkdir(exist_ok=True)
    for command in (["mkfs.btrfs", "-q", str(image)], ["mount", "-o", "loop", str(image), str(place)]):
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            pytest.skip("needs mkfs.btrfs")
        if done.returncode:
            pytest.skip(f"needs a btrfs: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
        image.unlink()


def names(world: BackupHome, unit: str = "big") -> set[str]:
    """Return what a mirror has."""
    return {str(path.relative_to(world.backup / unit)) for path in (world.backup / unit).rglob("*")}


def test_a_mount_is_left_out_and_named_in_each_run(world: BackupHome) -> None:
    """Every kind of run names it, not only the first."""
    with tmpfs(world.repos / "big/data"):
        world.write("big/data/precious")
        for result in (world.init(), world.sync(), world.sync(check=True), world.sync(full=True), world.sync(verify=True)):
            assert any(str(world.repos / "big/data") in each for each in result["warnings"]), result
        assert names(world) == {"file", "data"}
        assert actions(world.sync(verify=True)) == {"big": "same"}


@pytest.mark.parametrize("how", ["run", "defaults", "override"])
def test_a_mount_is_followed_where_that_is_asked_for(world: BackupHome, how: str) -> None:
    """With the repository that is on it."""
    world.project("big")
    if how == "defaults":
        world.registry.write_text(world.registry.read_text().replace("[defaults]\n", "[defaults]\nfollow_mounts = true\n"))
    elif how == "override":
        (world.root / "repos.d").mkdir()
        (world.root / "repos.d/big.toml").write_text("follow_mounts = true\n")
    with tmpfs(world.repos / "big/data"):
        world.git("big/data/inner")
        asked = {"follow_mounts": True} if how == "run" else {}
        result = world.sync(init=True, allow_local=True, **asked)
        assert result["warnings"] == []
        assert git_problems(world.backup / "big/data/inner") == ""
        assert actions(world.sync(**asked)) == {"big": "unchanged"}
        assert actions(world.sync(verify=True, **asked)) == {"big": "same"}


@needs_root
def test_status_names_what_is_left_out(world: BackupHome, me: Account) -> None:
    """Mounts as they are now, subvolumes and counts as the last run saw them; of projects, and of all there is."""

    def status() -> tuple[list[str], dict[str, dict[str, object]]]:
        return status_left_out.read(me, str(world.registry), registry.load(str(world.registry)))[:2]

    world.write("big/x.o")
    world.project("inner", repo='"big/inner"', exclude='["*.o"]', exclude_caches="true")
    world.project("big")
    world.write("big/inner/x.o")
    with tmpfs(world.repos / "big/data"), tmpfs(world.repos / "big/inner/data"):
        assert status()[0] == [str(world.repos / "big/data"), str(world.repos / "big/inner/data")]
        world.init()
        found = status()[1]
        assert found["inner"]["skipped_mounts"] == [str(world.repos / "big/inner/data")]
        assert found["big"]["exclude"] == ["*.o"]
        assert found["big"]["exclude_caches"] is True
        assert found["big"]["excluded"] == 1
        world.registry.write_text(world.registry.read_text().replace("[defaults]\n", "[defaults]\nfollow_mounts = true\n"))
        assert status()[0] == []
    assert status()[0] == []


@needs_root
def test_a_bind_mount_of_the_same_file_system_is_a_mount(world: BackupHome, tmp_path: Path) -> None:
    """Device numbers do not tell it apart."""
    with bind(tmp_path / "elsewhere", world.repos / "big/deep/data"):
        (tmp_path / "elsewhere/x").touch()
        result = world.init()
        assert any("big/deep/data" in each for each in result["warnings"])
        assert names(world) == {"file", "deep", "deep/data"}
        world.sync(follow_mounts=True)
        assert names(world) == {"file", "deep", "deep/data", "deep/data/x"}


@needs_root
def test_the_owner_of_what_is_left_out_is_not_missed(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """A mount belongs to root as a rule: that its empty directory in the mirror does not is no news; of a followed one it is."""
    world = BackupHome(short_dir)
    for path in [short_dir, *short_dir.iterdir()]:
        os.chown(path, NOBODY, NOBODY)
    assert "Traceback" not in unprivileged(lambda: world.write("big/file"))
    (world.repos / "big/data").mkdir()
    os.chown(world.repos / "big/data", NOBODY, NOBODY)
    with tmpfs(world.repos / "big/data"):
        world.write("big/data/x")
        assert "owners that are not yours" not in unprivileged(world.init)
        assert "owners that are not yours" in unprivileged(lambda: world.sync(follow_mounts=True))


@needs_root
def test_what_the_mirror_held_below_a_mount_stays(world: BackupHome) -> None:
    """What is hidden below a mount is not taken for removed."""
    world.git("big/data/inner")
    world.write("big/data/x")
    world.init()
    before = names(world)
    with tmpfs(world.repos / "big/data"):
        for full in (False, True):
            world.write("big/file", f"{full}\n")
            assert actions(world.sync(full=full)) == {"big": "synced"}
            assert names(world) == before
        assert git_problems(world.backup / "big/data/inner") == ""
        world.sync(names=["big"], allow_shrink=True)
        assert names(world) == {"file", "data"}


@needs_root
def test_a_followed_mount_that_is_absent_keeps_its_mirror(world: BackupHome) -> None:
    """An unmounted disk looks like an empty directory."""
    with tmpfs(world.repos / "big/data"):
        for number in range(5):
            world.write(f"big/data/{number}")
        world.sync(init=True, allow_local=True, follow_mounts=True)
    before = names(world)
    assert "data/4" in before
    for _again in range(2):
        result = world.sync(follow_mounts=True)
        assert any("is it mounted?" in each for each in result["warnings"])
        assert names(world) == before
    assert world.kept() == []
    world.sync(follow_mounts=True, allow_shrink=True, names=["big"])
    assert names(world) == {"file", "data"}
    assert len(world.kept()) == 5
    assert world.sync(follow_mounts=True)["warnings"] == []


@needs_root
def test_a_mount_that_was_followed_once_keeps_its_mirror(world: BackupHome) -> None:
    """It was followed for one run; then it is left out, then it is gone: no run without ``allow_shrink`` takes that for a removal."""
    with tmpfs(world.repos / "big/data"):
        world.write("big/data/x")
        world.sync(init=True, allow_local=True, follow_mounts=True)
        before = names(world)
        assert "data/x" in before
        for _again in range(2):
            world.sync()
            assert names(world) == before
    for full in (False, True):
        assert any("is it mounted?" in each for each in world.sync(full=full)["warnings"])
        assert names(world) == before
    with tmpfs(world.repos / "big/data"):
        world.sync(names=["big"], allow_shrink=True)
        assert names(world) == {"file", "data"}
    assert world.sync()["warnings"] == []


@contextmanager
def dead_fuse(place: Path, owner: int) -> Iterator[None]:
    """Mount a FUSE file system of ``owner`` whose server is gone, or would be: nobody else may even look at it."""
    place.mkdir(exist_ok=True)
    server = os.open("/dev/fuse", os.O_RDWR)
    libc = ctypes.CDLL(None, use_errno=True)
    options = f"fd={server},rootmode=40000,user_id={owner},group_id={owner}".encode()
    if libc.mount(b"dead", os.fsencode(place), b"fuse", 0, options):
        os.close(server)
        pytest.skip(f"needs FUSE: {os.strerror(ctypes.get_errno())}")
    if owner == os.geteuid():
        os.close(server)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        if owner != os.geteuid():
            os.close(server)


@needs_root
@pytest.mark.parametrize("owner", [65534, os.geteuid()], ids=["another user's", "without a server"])
def test_a_mount_that_cannot_be_looked_at_is_named_and_the_rest_mirrored(world: BackupHome, owner: int) -> None:
    """It is left out like any other mount; followed, it is the one thing that fails."""
    world.write("big/after", "1\n")
    with dead_fuse(world.repos / "big/data", owner):
        for number, full in enumerate((False, True, False)):
            world.write("big/file", f"{number}\n")
            result = world.sync(full=full) if number else world.init()
            assert actions(result) == {"big": "synced"}
            assert any(f"{world.repos}/big/data is another file system" in each for each in result["warnings"])
            assert (world.backup / "big/file").read_text() == f"{number}\n"
            assert names(world) == {"file", "after", "data"}
        assert actions(world.sync()) == {"big": "unchanged"}
        assert actions(world.sync(full=True)) == {"big": "unchanged"}
        assert actions(world.sync(verify=True)) == {"big": "same"}
        world.write("big/file", "followed\n")
        result = world.sync(follow_mounts=True)
        assert actions(result) == {"big": "failed"}
        assert f"{world.repos}/big/data" in str(result)
        assert (world.backup / "big/file").read_text() == "followed\n"
    world.write("big/data/x")
    world.sync()
    assert names(world) == {"file", "after", "data", "data/x"}


@needs_root
def test_a_followed_mount_that_returns_is_taken_up_again(world: BackupHome, tmp_path: Path) -> None:
    """Once it is back, what changed on it is mirrored."""
    (tmp_path / "disk").mkdir()
    with bind(tmp_path / "disk", world.repos / "big/data"):
        world.write("big/data/x", "1\n")
        world.sync(init=True, allow_local=True, follow_mounts=True)
    world.sync(follow_mounts=True)
    with bind(tmp_path / "disk", world.repos / "big/data"):
        world.write("big/data/y", "2\n")
        (world.repos / "big/data/x").unlink()
        assert world.sync(follow_mounts=True)["warnings"] == []
        assert names(world) == {"file", "data", "data/y"}


@needs_root
def test_kernel_file_systems_and_the_backup_itself_are_never_followed(world: BackupHome) -> None:
    """Neither has an end, or anybody's files."""
    proc = world.repos / "big/proc"
    proc.mkdir()
    if subprocess.run(["mount", "-t", "proc", "proc", str(proc)], check=False).returncode:
        pytest.skip("needs to mount proc")
    try:
        with bind(world.root, world.repos / "big/all"):
            result = world.sync(init=True, allow_local=True, follow_mounts=True)
            assert actions(result)["big"] == "synced"
            world.sync(follow_mounts=True)
            assert any("of type proc" in each for each in result["warnings"])
            assert not list((world.backup / "big/proc").iterdir())
            assert not list((world.backup / "big/all/backup").iterdir())
    finally:
        subprocess.run(["umount", "--lazy", str(proc)], check=True)


@needs_root
@pytest.mark.parametrize("part", ["objects", "lfs", "modules/deep"])
def test_a_mount_in_a_git_directory_is_part_of_the_repository(world: BackupHome, part: str, tmp_path: Path) -> None:
    """A repository is backed up whole, wherever its parts lie."""
    repository = world.git("a")
    inner = repository / ".git" / part
    (tmp_path / "elsewhere").mkdir()
    with tmpfs(tmp_path / "elsewhere"):
        if inner.exists():
            subprocess.run(["cp", "-a", f"{inner}/.", str(tmp_path / "elsewhere")], check=True)
        with bind(tmp_path / "elsewhere", inner):
            (inner / "more").write_text("x")
            for result in (world.init(), world.sync(full=True)):
                assert result["warnings"] == []
            assert git_problems(world.backup / "a") == ""
            assert (world.backup / "a/.git" / part / "more").exists()
            git(repository, "commit", "-q", "--allow-empty", "-m", "second")
            assert actions(world.sync())["a"] == "synced"
            assert git(world.backup / "a", "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")
            assert actions(world.sync(verify=True))["a"] == "same"


@needs_root
def test_a_mount_in_a_mercurial_repository_is_part_of_it(world: BackupHome, tmp_path: Path) -> None:
    """Its store may lie on another disk."""
    repository = world.hg("h")
    store = repository / ".hg/store"
    (tmp_path / "elsewhere").mkdir()
    with tmpfs(tmp_path / "elsewhere"):
        subprocess.run(["cp", "-a", f"{store}/.", str(tmp_path / "elsewhere")], check=True)
        with bind(tmp_path / "elsewhere", store):
            assert world.init()["warnings"] == []
            assert hg_problems(world.backup / "h") == ""
            assert (world.backup / "h/.hg/store/00changelog.i").exists()
            assert actions(world.sync())["h"] == "unchanged"
            assert actions(world.sync(verify=True))["h"] == "same"


@needs_root
def test_a_unit_that_is_a_mount_point_is_mirrored(world: BackupHome) -> None:
    """Its own file system is the unit's."""
    with tmpfs(world.repos / "disk"):
        world.git("disk")
        (world.repos / "disk/lost+found").mkdir(mode=0o700)
        result = world.init()
        assert result["warnings"] == []
        assert git_problems(world.backup / "disk") == ""
        assert not (world.backup / "disk/lost+found").exists()
        assert actions(world.sync(verify=True))["disk"] == "same"


@needs_root
def test_btrfs_subvolumes_are_named_or_followed(world: BackupHome) -> None:
    """They are other file systems although nothing is mounted."""
    with btrfs(world.root / "btrfs"):
        volume = world.root / "btrfs"
        with bind(volume, world.repos / "unit"):
            subprocess.run(["btrfs", "subvolume", "create", str(volume / "sub")], check=True, capture_output=True)
            world.write("unit/sub/x")
            result = world.init()
            assert any("unit/sub" in each for each in result["warnings"])
            assert names(world, "unit") == {"sub"}
            assert actions(world.sync(verify=True))["unit"] == "same"
            assert world.sync(follow_mounts=True)["warnings"] == []
            assert names(world, "unit") == {"sub", "sub/x"}


@needs_root
def test_mounts_are_found_by_any_name(tmp_path: Path) -> None:
    """The kernel escapes some bytes of them."""
    place = os.fsencode(tmp_path) + b"/a b\\\n\r\xff/c"
    os.makedirs(place)
    with tmpfs(Path(os.fsdecode(place))):
        assert mounts_below(os.fsencode(tmp_path)) == {b"a b\\\n\r\xff/c": "tmpfs"}
    assert mounts_below(os.fsencode(tmp_path)) == {}


@needs_root
@pytest.mark.parametrize("where", ["repos", "backup", "unit"])
def test_mkfs_lost_and_found_is_nobodys(world: BackupHome, where: str) -> None:
    """An ordinary user could not even read it."""
    place = {"repos": world.repos, "backup": world.backup, "unit": world.repos / "big"}[where]
    (place / "lost+found").mkdir(mode=0o700)
    for _again in range(2):
        result = world.init() if not (world.backup / ".repoman").exists() else world.sync()
        assert set(actions(result)) == {"big"}
        assert result["warnings"] == []
    assert not (world.backup / "big/lost+found").exists()
    assert actions(world.sync(verify=True)) == {"big": "same"}


@needs_root
def test_a_directory_of_that_name_elsewhere_or_of_somebody_is_data(world: BackupHome) -> None:
    """Only root's, and only at the root of a file system, is mkfs's."""
    world.write("big/deep/lost+found/x")
    for name in ("lost+found", "big/lost+found"):
        world.write(f"{name}/x")
        os.chown(world.repos / name, 1000, 1000)
    world.write("big/.Trash-1000/x")
    world.init()
    assert (world.backup / "lost+found/x").exists()
    assert {"deep/lost+found/x", "lost+found/x", ".Trash-1000/x"} <= names(world)


@needs_root
def test_repos_root_with_nothing_but_lost_and_found_is_empty(tmp_path: Path) -> None:
    """A disk that was made anew has nothing to back up."""
    world = BackupHome(tmp_path)
    (world.repos / "lost+found").mkdir()
    with pytest.raises(NotMountedError, match="is empty"):
        world.init()
    assert not (world.backup / ".repoman").exists()
