# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What took the place of a file of a Mercurial repository is damage: the mirror keeps the file, and restore puts it back."""

from __future__ import annotations

import itertools
import os
import shlex
import shutil
from pathlib import Path

import mirroring
import pytest
from backup_fixture import BackupHome

pytestmark = pytest.mark.engine


def verify(place: Path) -> int:
    """Let hg verify a repository."""
    return mirroring.outcome_of("hg", "-R", str(place), "verify", "-q").returncode


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
@pytest.mark.parametrize("name", ["store/data/f.i", "store/00manifest.i", "store/00changelog.i", "dirstate"])
def test_what_takes_the_place_of_a_file(empty_world: BackupHome, name: str, kind: str) -> None:
    """Every run names it, all else arrives, and what the hint says mends it."""
    world = empty_world
    unit, mirror = world.root / "repos/a", world.root / "backup/a"
    unit.mkdir(parents=True)
    (unit / "f").write_text("x\n" * 300)
    for command in (["init"], ["add", "-q", "f"], ["commit", "-q", "-m", "1", "-u", "x"]):
        mirroring.run("hg", "--cwd", str(unit), *command)
    world.init()
    path = unit / ".hg" / name
    path.unlink()
    if kind == "directory":
        path.mkdir()
        (path / "x").write_text("x")
    elif kind == "link":
        path.symlink_to("/nowhere")
    else:
        os.mkfifo(path)
    (unit / "written-since").write_text("precious")
    for _turn in range(2):
        result = world.sync()
        (line,) = [each for each in result["units"] if each["name"] == "a"]
        assert (line["action"], result["exit_code"]) == ("failed", 1), line
        assert name in line["msg"]
        assert "scratch" not in line["msg"]
        assert any("repoman restore a --objects" in each for each in line["hints"])
        assert verify(mirror) == 0
        assert (mirror / "written-since").read_text() == "precious"
    world.restore("a", objects=True)
    assert verify(unit) == 0
    while world.sync()["units"][0]["action"] == "synced":
        pass
    assert world.sync(verify=True)["units"][0]["action"] == "same"


def share(world: BackupHome, *options: str) -> Path:
    """Make a repository, and a work tree that shares its store."""
    unit = world.root / "repos/a"
    unit.mkdir(parents=True)
    (unit / "f").write_text("x\n" * 300)
    for command in (["init"], ["add", "-q", "f"], ["commit", "-q", "-m", "1", "-u", "x"]):
        mirroring.run("hg", "--cwd", str(unit), *command)
    where = world.root / "repos/b"
    mirroring.run("hg", "--config", "extensions.share=", "share", "-q", *options, str(unit), str(where))
    return where


DAMAGES = {
    "emptied": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "never written": lambda path: (path.write_bytes(b""), os.truncate(path, 8192)),
    "removed": lambda path: path.unlink(),
    "a directory": lambda path: (path.unlink(), path.mkdir()),
    "a link": lambda path: (path.unlink(), path.symlink_to("/nowhere")),
    "a pipe": lambda path: (path.unlink(), os.mkfifo(path)),
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("requires", kind) for kind in DAMAGES),
        *(("sharedpath", kind) for kind in ("zeroed", "removed")),
        *(("dirstate", kind) for kind in ("emptied", "zeroed", "a link")),
    ],
)
def test_a_part_of_a_share_is_damaged(empty_world: BackupHome, name: str, kind: str) -> None:
    """Every run names it and fails, the mirror's share stays as it was, all else arrives, and what the hint says mends it."""
    world = empty_world
    unit = share(world)
    world.init()
    mirror = world.root / "backup/b/.hg"
    sound = {each.name: each.read_bytes() for each in mirror.iterdir() if each.is_file()}
    DAMAGES[kind](unit / ".hg" / name)
    (unit / "written-since").write_text("precious")
    for full in (False, True):
        result = world.sync(full=full)
        (line,) = [each for each in result["units"] if each["name"] == "b"]
        assert (line["action"], result["exit_code"]) == ("failed", 1), line
        assert str(unit / ".hg") in line["msg"]
        assert name in line["msg"]
        assert {each.name: each.read_bytes() for each in mirror.iterdir() if each.is_file()} == sound
        assert (world.root / "backup/b/written-since").read_text() == "precious"
    assert [each["action"] for each in world.sync(names=["b"], verify=True)["units"]] != ["same"]
    words = shlex.split(result["units"][1]["hints"][0])
    assert words[:3] == ["repoman", "restore", "b"]
    paths = [value for option, value in itertools.pairwise(words) if option == "--path"]
    world.restore("b", paths=paths, overwrite="--overwrite" in words)
    assert mirroring.run("hg", "--cwd", str(unit), "status") == "? written-since\n"
    assert verify(unit) == 0
    while any(each["action"] == "synced" for each in world.sync()["units"]):
        pass
    verified = world.sync(verify=True)["units"]
    assert {each["action"] for each in verified} == {"same"}, verified


def test_a_share_changes_as_hg_changes_it(empty_world: BackupHome) -> None:
    """Nothing checked out and a store of its own are no damage; hg links the files of that store to the other's, which is another unit."""
    world = empty_world
    unit = share(world, "--relative")
    world.init()
    for command in (["update", "-q", "null"], ["update", "-q", "tip"], ["--config", "extensions.share=", "unshare"]):
        mirroring.run("hg", "--cwd", str(unit), *command)
        result = world.sync()
        assert {each["action"] for each in result["units"]} <= {"synced", "unchanged"}, result
        assert not [each for each in world.differences() if " => a/.hg/" not in each]
    assert verify(world.root / "backup/b") == 0


def test_a_share_without_its_hg_stays_until_somebody_says_otherwise(empty_world: BackupHome) -> None:
    """A share was a repository in the mirror, and its files are still there."""
    world = empty_world
    unit = share(world)
    world.init()
    shutil.rmtree(unit / ".hg")
    result = world.sync()
    assert result["exit_code"] == 1
    assert (world.root / "backup/b/.hg/sharedpath").exists()
    world.sync(names=["b"], allow_shrink=True)
    assert not (world.root / "backup/b/.hg").exists()


def test_a_store_replaced_by_a_reference_to_another_is_lost(empty_world: BackupHome) -> None:
    """A repository of its own whose store is gone does not become a share by a file that says so."""
    world = empty_world
    share(world)
    world.init()
    shutil.rmtree(world.root / "repos/a/.hg/store")
    (world.root / "repos/a/.hg/sharedpath").write_text(str(world.root / "repos/b/.hg"))
    result = world.sync()
    assert result["exit_code"] == 1
    assert "a" in result["msg"]
    assert verify(world.root / "backup/a") == 0
    assert (world.root / "backup/a/.hg/store/00changelog.i").exists()
