# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where a repository borrows objects from: outside repos_root nothing is looked at, inside it is proven with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import borrowed_objects
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import BorrowedError, OutsideError
from backup_fixture import BackupHome, git

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def world(tmp_path: Path) -> BackupHome:
    """A home with a repository ``lender``, and one outside with a name that must not be told."""
    found = BackupHome(tmp_path)
    found.git("lender")
    git(found.repos, "clone", "-q", "--bare", "lender", str(tmp_path / "outside"))
    (tmp_path / "outside/objects/ab").mkdir(exist_ok=True)
    os.mkfifo(tmp_path / "outside/objects/ab/secret-name")
    return found


def line_of(result: dict[str, Any], name: str = "a") -> dict[str, Any]:
    """Return what is said of one unit."""
    return next(each for each in result["units"] if each["name"] == name)


def borrow(world: BackupHome, line: str) -> Path:
    """Make a repository ``a`` that borrows from somewhere."""
    git(world.repos, "clone", "-q", "--shared", "lender", "a")
    (world.repos / "a/.git/objects/info/alternates").write_text(line + "\n")
    return world.repos / "a"


OUTSIDE = [
    "{root}/outside/objects",
    '"{root}/outside/objects"',
    "../../../../outside/objects",
    "/",
    "{root}/repos/../outside/objects",
    "link",
    "{root}/repos/a/up/outside/objects",
]


@pytest.mark.parametrize("line", OUTSIDE)
def test_outside(world: BackupHome, line: str) -> None:
    """Its own files are mirrored, a note says it once, the exit is 0, and no name from there is told."""
    text = line.format(root=world.root)
    repository = borrow(world, text)
    (repository / ".git/objects/link").symlink_to(world.root / "outside/objects")
    (repository / "up").symlink_to(world.root)
    said = line_of(world.init())
    assert said["action"] == "synced", said
    (note,) = said["notes"]
    assert "borrows objects from outside repos_root, which is not backed up" in note
    assert "secret-name" not in str(said)
    assert not world.differences()
    world.write("a/.git/refs/heads/other", git(world.repos / "lender", "rev-parse", "HEAD"))
    said = line_of(world.sync())
    assert (said["action"], said["notes"]) == ("synced", [])
    assert not world.differences()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_nothing_outside_is_looked_at(world: BackupHome) -> None:
    """The system's own calls, as strace sees them."""
    program = (
        "import sys; from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import *\n"
        "root, line = map(str.encode, sys.argv[1:])\n"
        "try: check_borrowed(root + b'/a/.git/objects', [line], root)\nexcept OutsideError: print('refused')"
    )
    command = ["strace", "-f", "-e", "trace=%file", "-o", str(world.root / "trace"), sys.executable, "-c", program]
    borrow(world, ".")
    (world.repos / "a/.git/objects/link").symlink_to(world.root / "outside/objects")
    for line in (f"{world.root}/outside/objects", "link", "../../../../outside/objects"):
        done = subprocess.run([*command, str(world.repos), line], check=True, capture_output=True, text=True)
        assert done.stdout == "refused\n"
        calls = [each for each in (world.root / "trace").read_text().splitlines() if "execve" not in each]
        assert not [each for each in calls if f'"{world.root}/outside' in each]


@pytest.mark.parametrize(
    "line", ["{root}/repos/lender/.git/objects", '"{root}/repos/l\\145nder/.git/objects"', "../../../lender/.git/objects", "link"]
)
def test_inside(world: BackupHome, line: str) -> None:
    """Objects of a neighbour are proven with; damage is damage."""
    repository = borrow(world, line.format(root=world.root))
    (repository / ".git/objects/link").symlink_to(world.repos / "lender/.git/objects")
    said = line_of(world.init())
    assert (said["action"], said["notes"]) == ("synced", [])
    (repository / ".git/refs/heads/broken").write_text("1" * 40 + "\n")
    assert line_of(world.sync())["action"] == "failed"


@pytest.mark.parametrize("plant", ["pipe", "link", "directory link"])
def test_odd_things_where_objects_are_borrowed(world: BackupHome, plant: str) -> None:
    """git is not let near them: it would wait for a pipe and follow a link."""
    borrow(world, f"{world.repos}/lender/.git/objects")
    objects = world.repos / "lender/.git/objects"
    if plant == "pipe":
        os.mkfifo(objects / "pack/pack-1.pack")
    elif plant == "link":
        (objects / "pack/pack-1.pack").symlink_to(world.root / "outside/HEAD")
    else:
        (objects / "ff").symlink_to(world.root / "outside/objects")
    root = os.fsencode(world.repos)
    with pytest.raises(BorrowedError):
        borrowed_objects.check_borrowed(root + b"/a/.git/objects", [root + b"/lender/.git/objects"], root)


def test_rings_and_rows(world: BackupHome) -> None:
    """Circles end; a row that is longer than git follows is refused, as are too many places."""
    root = os.fsencode(world.repos)
    for number in range(9):
        (world.repos / f"o{number}/info").mkdir(parents=True)
        (world.repos / f"o{number}/info/alternates").write_text(f"../o{number + 1}\n")
    with pytest.raises(BorrowedError):
        borrowed_objects.check_borrowed(root + b"/x", [b"../o0"], root)
    assert borrowed_objects.check_borrowed(root + b"/x", [b"../o5"], root) == [root + b"/o5"]
    (world.repos / "o8/info/alternates").write_text("../o5\n../o8\n.\n")
    assert borrowed_objects.check_borrowed(root + b"/x", [b"../o5"], root) == [root + b"/o5"]
    with pytest.raises(BorrowedError):
        borrowed_objects.check_borrowed(root + b"/x", [b"../o5"] * 101, root)
    (world.repos / "ring").symlink_to("ring")
    with pytest.raises(BorrowedError):
        borrowed_objects.check_borrowed(root + b"/x", [b"../ring"], root)


def test_quoted_paths() -> None:
    """As git reads them."""
    lines = b'# comment\n\n"a\\tb\\"c\\\\"\n"\\303\\251"\nplain\n"unfinished\n'
    assert borrowed_objects.parse_alternates(lines) == [b'a\tb"c\\', "é".encode(), b"plain", b'"unfinished']


def test_a_root_that_is_reached_through_a_link(world: BackupHome) -> None:
    """Paths are inside whether they name the link or what it leads to; a neighbour whose name begins alike is outside."""
    (world.root / "alias").symlink_to(world.repos)
    alias, real = (os.fsencode(world.root / name) for name in ("alias", "repos"))
    for prefix in (alias, real):
        assert borrowed_objects.check_borrowed(alias + b"/a", [prefix + b"/lender/.git/objects"], alias)
    with pytest.raises(OutsideError):
        borrowed_objects.check_borrowed(real + b"/a", [real + b"-other/objects"], real)
