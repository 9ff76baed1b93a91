# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands in an object's place and is none, and files that a git repository lost: damage, named, and mended by what the hint says."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from backup_fixture import BackupHome, git

pytestmark = pytest.mark.engine


def objects_of(unit: Path, name: str) -> Path:
    """Return the file of an object."""
    object_name = git(unit, "rev-parse", name).strip()
    return unit / ".git/objects" / object_name[:2] / object_name[2:]


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with one repository that is backed up."""
    unit = empty_world.root / "repos/a"
    unit.mkdir(parents=True)
    git(unit, "init", "-q", "-b", "main")
    for number in range(3):
        (unit / f"file{number}").write_text(f"{number}\n" * 300)
        git(unit, "add", "-A")
        git(unit, "commit", "-q", "-m", str(number))
    git(unit, "branch", "other", "HEAD~1")
    git(unit, "worktree", "add", "-q", "-b", "side", "w")
    (unit / "w/.git").write_text("gitdir: ../.git/worktrees/w\n")
    return empty_world


def fsck(place: Path) -> int:
    """Let git check a repository."""
    return subprocess.run(["git", "-C", str(place), "fsck", "--full"], capture_output=True, check=False, timeout=60).returncode


def refs(place: Path) -> str:
    """Let git list the references."""
    return git(place, "for-each-ref", "--format=%(refname) %(objectname)")


def line_of(result: dict) -> dict:
    """Return what a run says of the unit."""
    return next(each for each in result["units"] if each["name"] == "a")


def replaced(path: Path, kind: str) -> None:
    """Put something else in the place of a file or directory."""
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    if kind == "directory":
        path.mkdir()
        (path / "x").write_text("x")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/nowhere")
    elif kind == "file":
        path.write_text("x")


def is_kept_and_named(world: BackupHome, name: str) -> list[str]:
    """See that two runs name the damage, and that the mirror is as sound as before and has all references; return the hints."""
    unit, mirror = world.root / "repos/a", world.root / "backup/a"
    before = refs(mirror)
    (unit / "written-since").write_text("precious")
    for _turn in range(2):
        result = world.sync()
        line = line_of(result)
        assert (line["action"], result["exit_code"]) == ("failed", 1), line
        assert name in line["msg"]
        assert str(world.root / "state") not in line["msg"]
        assert (fsck(mirror), refs(mirror)) == (0, before)
        assert (mirror / "written-since").read_text() == "precious"
    verified = line_of(world.sync(verify=True))
    assert verified["action"] == "differs", verified
    return [str(each) for each in line["hints"]]


def is_mended(world: BackupHome, hints: list[str]) -> None:
    """Do what the hints say, and see that all is well."""
    unit = world.root / "repos/a"
    for hint in hints:
        words = shlex.split(hint, comments=True)
        if words[:2] == ["repoman", "restore"]:
            paths = [words[number + 1] for number, each in enumerate(words) if each == "--path"]
            world.restore(words[2], objects="--objects" in words, **({"paths": paths, "overwrite": True} if paths else {}))
        elif words[0] == "rm":
            subprocess.run(words, check=True)
    assert fsck(unit) == 0
    while (line := line_of(world.sync()))["action"] == "synced":
        pass
    assert line["action"] == "unchanged", line
    assert line_of(world.sync(verify=True))["action"] == "same"


@pytest.mark.parametrize("kind", ["directory", "pipe", "link"])
@pytest.mark.parametrize("packed", [False, True])
def test_what_stands_in_the_place_of_an_object(world: BackupHome, kind: str, packed: bool) -> None:
    """The mirror keeps the object, and restore puts it back."""
    unit = world.root / "repos/a"
    if packed:
        git(unit, "gc", "-q")
    world.init()
    place = next((unit / ".git/objects/pack").glob("*.pack")) if packed else objects_of(unit, "HEAD:file1")
    replaced(place, kind)
    is_mended(world, is_kept_and_named(world, str(place.relative_to(unit))))


@pytest.mark.parametrize("kind", ["file", "pipe", "link"])
def test_what_stands_in_the_place_of_a_directory_of_objects(world: BackupHome, kind: str) -> None:
    """The mirror keeps the objects in it, and restore puts them back."""
    unit = world.root / "repos/a"
    world.init()
    place = objects_of(unit, "HEAD:file1").parent
    replaced(place, kind)
    is_mended(world, is_kept_and_named(world, str(place.relative_to(unit))))


def test_a_directory_with_an_objects_name_at_the_first_copy(world: BackupHome) -> None:
    """It is no object, although git's check of connections takes it for one."""
    unit = world.root / "repos/a"
    place = objects_of(unit, "HEAD:file1")
    replaced(place, "directory")
    result = world.init()
    assert result["exit_code"] == 1
    assert place.name[-38:] in line_of(result)["msg"]
    assert (world.root / "backup/a/file1").read_bytes() == (unit / "file1").read_bytes()


def no_change(_unit: Path) -> None:
    """Leave a repository as it was built."""


def pack_references(unit: Path) -> None:
    """Pack all references."""
    git(unit, "pack-refs", "--all")


LOST: dict[str, tuple[Callable[[Path], None], str, str, bytes | None]] = {
    "HEAD empty": (no_change, ".git/HEAD", "", b""),
    "HEAD garbage": (no_change, ".git/HEAD", "", b"\0" * 40),
    "HEAD a link": (no_change, ".git/HEAD", "link", None),
    "a reference empty": (no_change, ".git/refs/heads/other", "", b""),
    "references a file": (no_change, ".git/refs/heads", "file", None),
    "reflog": (no_change, ".git/logs/HEAD", "", b"nonsense\n"),
    "index": (no_change, ".git/index", "", b"DIRC"),
    "index a directory": (no_change, ".git/index", "directory", None),
    "config gone": (no_change, ".git/config", "gone", None),
    "config a pipe": (no_change, ".git/config", "pipe", None),
    "config empty": (no_change, ".git/config", "", b""),
    "config garbage": (no_change, ".git/config", "", b"[core\n\0"),
    "packed references gone": (pack_references, ".git/packed-refs", "gone", None),
    "packed references a link": (pack_references, ".git/packed-refs", "link", None),
    "packed references garbage": (pack_references, ".git/packed-refs", "", b"nonsense\n"),
    "worktree without HEAD": (no_change, ".git/worktrees/w/HEAD", "gone", None),
    "worktree without commondir": (no_change, ".git/worktrees/w/commondir", "gone", None),
    "worktree with a pipe": (no_change, ".git/worktrees/w/commondir", "pipe", None),
}


@pytest.mark.parametrize("kind", LOST)
def test_what_a_repository_lost(world: BackupHome, kind: str) -> None:
    """The mirror keeps a file that git needs; the hint names its path, and brings it back."""
    build, path, becomes, contents = LOST[kind]
    unit = world.root / "repos/a"
    build(unit)
    world.init()
    if contents is None:
        replaced(unit / path, becomes)
    else:
        (unit / path).write_bytes(contents)
    hints = is_kept_and_named(world, path)
    assert any(f"--path {path}" in each for each in hints), hints
    assert not any("0" * 40 in each for each in [*hints, line_of(world.sync())["msg"]])
    is_mended(world, hints)


@pytest.mark.parametrize("path", [".git/config", ".git/packed-refs"])
def test_what_was_removed_on_purpose(world: BackupHome, path: str) -> None:
    """Once somebody says so it goes from the mirror too."""
    unit, mirror = world.root / "repos/a", world.root / "backup/a"
    pack_references(unit)
    world.init()
    (unit / path).unlink()
    hints = is_kept_and_named(world, path)
    assert any("repoman sync a --allow-shrink" in each for each in hints)
    result = world.sync(names=["a"], allow_shrink=True)
    assert line_of(result)["action"] == "synced", line_of(result)
    assert not (mirror / path).exists()


@pytest.mark.parametrize("kind", ["commit-graph", "a chain of graphs", "multi-pack-index", "bitmap"])
def test_what_git_makes_anew(world: BackupHome, kind: str) -> None:
    """It is named, verify does not pass over it, and the hint removes it."""
    unit = world.root / "repos/a"
    git(unit, "repack", "-q", "-a", "-d", "-b")
    if kind == "multi-pack-index":
        git(unit, "multi-pack-index", "write")
    elif kind != "bitmap":
        git(unit, "commit-graph", "write", "--reachable", *(["--split"] if "chain" in kind else []))
    place = {
        "commit-graph": ".git/objects/info/commit-graph",
        "a chain of graphs": ".git/objects/info/commit-graphs/*.graph",
        "multi-pack-index": ".git/objects/pack/multi-pack-index",
        "bitmap": ".git/objects/pack/*.bitmap",
    }[kind]
    world.init()
    path = next(unit.glob(place))
    path.chmod(0o600)
    data = path.read_bytes()
    path.write_bytes(data[:80] + bytes([data[80] ^ 1]) + data[81:])
    hints = is_kept_and_named(world, str(path.relative_to(unit)))
    assert any(re.match("rm -rf /", each) for each in hints), hints
    is_mended(world, hints)
