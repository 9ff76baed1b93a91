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
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs import borrowed_objects
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.borrowed_objects import BorrowedError, OutsideError
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import ConfinedTree
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.state import read_state
from backup_fixture import BackupHome, git

if TYPE_CHECKING:
    from collections.abc import Callable
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


def named(objects: bytes, lines: list[bytes], root: bytes) -> list[bytes]:
    """Return the paths of the object directories that a list names."""
    with borrowed_objects.hold_borrowed(objects, lines, root) as held:
        return held.named


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
        "try:\n with hold_borrowed(root + b'/a/.git/objects', [line], root): pass\nexcept OutsideError: print('refused')"
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
        named(root + b"/a/.git/objects", [root + b"/lender/.git/objects"], root)


def test_rings_and_rows(world: BackupHome) -> None:
    """Circles end; a row that is longer than git follows is refused, as are too many places."""
    root = os.fsencode(world.repos)
    for number in range(9):
        (world.repos / f"o{number}/info").mkdir(parents=True)
        (world.repos / f"o{number}/info/alternates").write_text(f"../o{number + 1}\n")
    with pytest.raises(BorrowedError):
        named(root + b"/x", [b"../o0"], root)
    assert named(root + b"/x", [b"../o5"], root) == [root + b"/o5"]
    (world.repos / "o8/info/alternates").write_text("../o5\n../o8\n.\n")
    assert named(root + b"/x", [b"../o5"], root) == [root + b"/o5"]
    with pytest.raises(BorrowedError):
        named(root + b"/x", [b"../o5"] * 101, root)
    (world.repos / "ring").symlink_to("ring")
    with pytest.raises(BorrowedError):
        named(root + b"/x", [b"../ring"], root)


def test_quoted_paths() -> None:
    """As git reads them."""
    lines = b'# comment\n\n"a\\tb\\"c\\\\"\n"\\303\\251"\nplain\n"unfinished\n'
    assert borrowed_objects.parse_alternates(lines) == [b'a\tb"c\\', "é".encode(), b"plain", b'"unfinished']


def test_a_root_that_is_reached_through_a_link(world: BackupHome) -> None:
    """Paths are inside whether they name the link or what it leads to; a neighbour whose name begins alike is outside."""
    (world.root / "alias").symlink_to(world.repos)
    alias, real = (os.fsencode(world.root / name) for name in ("alias", "repos"))
    for prefix in (alias, real):
        assert named(alias + b"/a", [prefix + b"/lender/.git/objects"], alias)
    with pytest.raises(OutsideError):
        named(real + b"/a", [real + b"-other/objects"], real)


@pytest.fixture
def exchange(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Exchange a directory for a link to the one outside, after the look at it and before git is given it, and back after git is done."""

    def at(directory: Path) -> None:
        was = directory.with_name("was")

        def there() -> None:
            directory.rename(was)
            directory.symlink_to(world.root / "outside/objects")

        def back() -> None:
            directory.unlink()
            was.rename(directory)

        around_git(monkeypatch, there, back)

    return at


def around_git(monkeypatch: pytest.MonkeyPatch, before: Callable[[], object], after: Callable[[], object]) -> None:
    """Do something each time between the look at object directories and git, and after git."""
    link, look = borrowed_objects.HeldObjects.link_into, borrowed_objects.HeldObjects.recheck

    def late(self: borrowed_objects.HeldObjects, base: bytes) -> dict[bytes, bytes]:
        before()
        return link(self, base)

    def done(self: borrowed_objects.HeldObjects) -> None:
        after()
        look(self)

    monkeypatch.setattr(borrowed_objects.HeldObjects, "link_into", late)
    monkeypatch.setattr(borrowed_objects.HeldObjects, "recheck", done)


def commit_outside(world: BackupHome) -> str:
    """Make a commit that only the repository outside has."""
    outside = world.root / "outside"
    tree = git(outside, "rev-parse", "HEAD^{tree}").strip()
    shutil.rmtree(outside / "objects/ab")
    secret = git(outside, "-c", "user.name=x", "-c", "user.email=x@x", "commit-tree", "-m", "secret-subject", tree).strip()
    (world.repos / "lender/.git/objects" / secret[:2]).mkdir(exist_ok=True)
    return secret


@pytest.mark.parametrize("part", ["", "pack", "alternates"])
@pytest.mark.parametrize("program", ["git", "newest"])
def test_a_directory_is_exchanged_after_the_look(
    world: BackupHome,
    exchange: Callable[[Path], None],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    program: str,
    part: str,
) -> None:
    """What only the place outside has stays missing: git reads what was looked at."""
    if program == "newest":
        monkeypatch.setenv("PATH", f"{request.getfixturevalue('newest_git').parent}:{os.environ['PATH']}")
    secret = commit_outside(world)
    repository = borrow(world, f"{world.repos}/lender/.git/objects")
    assert line_of(world.init())["action"] == "synced"
    before = git(world.backup / "a", "for-each-ref")
    objects = world.repos / "lender/.git/objects"
    if part == "pack":
        git(world.root / "outside", "update-ref", "refs/heads/kept", secret)
        git(world.root / "outside", "repack", "-q", "-a", "-d")
        git(world.repos / "lender", "repack", "-q", "-a", "-d")
        shutil.copytree(world.root / "outside/objects/pack", world.root / "outside/objects", dirs_exist_ok=True)
        exchange(objects / "pack")
    elif part == "alternates":
        alternates = objects / "info/alternates"
        around_git(monkeypatch, lambda: alternates.write_text(f"{world.root}/outside/objects\n"), alternates.unlink)
    else:
        exchange(objects)
    (repository / ".git/refs/heads/other").write_text(f"{secret}\n")
    result = world.sync(names=["a"])
    said = line_of(result)
    assert (said["action"], result.get("exit_code")) == ("failed", 1), said
    assert "secret-subject" not in str(result) and str(world.root / "outside") not in str(said), said
    assert git(world.backup / "a", "for-each-ref") == before


@pytest.mark.parametrize("part", ["objects", "lender/.git/objects"])
def test_status_reads_what_was_looked_at(world: BackupHome, exchange: Callable[[Path], None], me: Account, part: str) -> None:
    """The look of ``status`` holds the directories, its own and others, in the same way."""
    secret = commit_outside(world)
    repository = borrow(world, f"{world.repos}/lender/.git/objects")
    runner = CommandRunner(me)
    tree = ConfinedTree(str(world.repos))
    (repository / ".git/objects" / secret[:2]).mkdir()
    sound = read_state(str(repository), tree, runner)
    assert (sound.problem, bool(sound.commit)) == ("", True)
    exchange(repository / ".git/objects" if part == "objects" else world.repos / part)
    assert read_state(str(repository), tree, runner) == sound
    branch = repository / ".git" / git(repository, "symbolic-ref", "HEAD").strip()
    branch.write_text(f"{secret}\n")
    found = read_state(str(repository), tree, runner)
    assert found.problem
    assert "secret-subject" not in str(found)


def test_a_link_in_the_place_of_a_file_is_found_afterwards(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """git may have followed it, so that what it said counts for nothing."""
    repository = borrow(world, f"{world.repos}/lender/.git/objects")
    assert line_of(world.init())["action"] == "synced"
    (loose,) = list((world.repos / "lender/.git/objects").glob("[0-9a-f][0-9a-f]/*"))[:1]
    whole = borrowed_objects.HeldObjects.link_into

    def late(self: borrowed_objects.HeldObjects, base: bytes) -> dict[bytes, bytes]:
        if not loose.is_symlink():
            loose.rename(world.root / "elsewhere")
            loose.symlink_to(world.root / "elsewhere")
        return whole(self, base)

    monkeypatch.setattr(borrowed_objects.HeldObjects, "link_into", late)
    git(repository, "branch", "other")
    said = line_of(world.sync(names=["a"]))
    assert said["action"] == "failed"
    assert "neither a file nor a directory" in said["msg"], said
