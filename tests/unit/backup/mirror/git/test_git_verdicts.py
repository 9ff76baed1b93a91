# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Sound, damaged, cannot be proven here; and what only looks like a repository is data of the one around it."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import formats as git_formats

from tests.backup_fixture import GIT, BackupHome, actions, git

pytestmark = pytest.mark.engine

BROKEN = "1" * 40


@pytest.fixture
def world(tmp_path: Path) -> BackupHome:
    """A home without a backup yet."""
    return BackupHome(tmp_path)


def line_of(result: dict[str, Any], name: str = "a") -> dict[str, Any]:
    """Return what is said of one unit."""
    return next(each for each in result["units"] if each["name"] == name)


def settle(world: BackupHome, name: str = "a") -> dict[str, Any]:
    """Sync and see that everything arrived; a second run has nothing to do and nothing to say."""
    line = line_of(world.sync())
    assert line["action"] in {"synced", "unchanged"}, line
    assert not world.differences()
    again = line_of(world.sync(), name)
    assert again["action"] == "unchanged", again
    assert not again.get("notes")
    return line


def new_git(program: Path, where: Path, *arguments: str) -> str:
    """Run the newest git."""
    done = subprocess.run([program, *arguments], cwd=where, check=True, capture_output=True, env={**os.environ, **GIT})
    return done.stdout.decode()


# ---- cannot be proven here


CONFIGS = {
    "reftable": "[core]\n\trepositoryformatversion = 1\n[extensions]\n\trefStorage = reftable\n",
    "unknown extension": "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tfrom-the-future = yes\n",
    "unknown extension, oddly written": '[CORE] RepositoryFormatVersion=1\n[Extensions]fromthefuture="ye\\"s" ; indeed\n',
    "unknown version": "[core]\n\trepositoryformatversion = 99\n",
    "unknown hash": "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectformat = sha3\n",
    "not a configuration": "[core]\n\trepositoryformatversion = 1\n[extensions\n\tx = y\n",
    "unknown place of submodules": "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tsubmodulePathConfig = true\n\tx-y = z\n",
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS.keys())
def test_a_format_that_the_hosts_git_does_not_know(world: BackupHome, config: str) -> None:
    """Mirrored byte for byte, said once, exit 0; also when it changes and when references are what git here cannot read."""
    if "reftable" in config and not git_formats.unknown_format(config.encode()):
        pytest.skip("the git of this machine knows reftable")
    repository = world.git("a")
    (repository / ".git/config").write_text(config)
    world.init()
    assert not world.differences()
    world.write("a/.git/refs/heads/new", BROKEN + "\n")
    world.write("a/.git/reftable/0x1-0x1-a.ref", "REFT")
    world.write("a/.git/reftable/tables.list", "0x1-0x1-a.ref\n")
    settle(world)
    world.write("a/.git/reftable/tables.list", "0x1-0x2-b.ref\n")
    (repository / ".git/reftable/0x1-0x1-a.ref").rename(repository / ".git/reftable/0x1-0x2-b.ref")
    settle(world)
    shutil.rmtree(repository)
    world.restore("a")
    assert not world.differences()


def test_it_is_said_once_for_each_repository(world: BackupHome) -> None:
    """The first run says it; a changed repository is no news."""
    for name in ("a", "a/vendor/x"):
        (world.git(name) / ".git/config").write_text(CONFIGS["unknown extension"])
    notes = line_of(world.init())["notes"]
    assert len(notes) == 2
    assert all("could not be verified" in note and "from-the-future" in note for note in notes)
    world.write("a/.git/refs/heads/new", BROKEN)
    assert not line_of(world.sync())["notes"]


def test_a_configuration_that_nobody_needs_to_read(world: BackupHome) -> None:
    """An error in another section does not matter to what is mirrored: objects and references are proven all the same."""
    repository = world.git("a")
    (repository / ".git/config").write_text("[core]\n\tbare = false\n[alias\n")
    assert not line_of(world.init())["notes"]
    settle(world)


@pytest.mark.parametrize(
    "extension", ["noop", "relativeWorktrees", "worktreeConfig", "preciousObjects", "refStorage = files", "objectFormat = sha1"]
)
def test_extensions_that_change_nothing_are_proven(world: BackupHome, extension: str) -> None:
    """Damage in such a repository is damage, however old the host's git is."""
    repository = world.git("a")
    name, _equals, value = extension.partition(" = ")
    (repository / ".git/config").write_text(f"[core]\n\trepositoryformatversion = 1\n[extensions]\n\t{name} = {value or 'true'}\n")
    assert not line_of(world.init())["notes"]
    world.write("a/.git/refs/heads/broken", BROKEN + "\n")
    assert line_of(world.sync())["action"] == "failed"


def test_a_machine_without_git(world: BackupHome, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing can be proven, and everything is mirrored."""
    world.git("a")
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in ("rsync", "hg"):
        if program := shutil.which(name):
            (tools / name).symlink_to(program)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tools))
        line = line_of(world.init())
    assert line["action"] == "synced"
    assert any("git is not installed" in note for note in line["notes"])
    assert not world.differences()


NEWEST = {
    "reftable": ("--ref-format=reftable",),
    "bare reftable": ("--bare", "--ref-format=reftable"),
    "reftable and sha256": ("--ref-format=reftable", "--object-format=sha256"),
    "sha256": ("--object-format=sha256",),
    "files": ("--ref-format=files",),
}


@pytest.mark.parametrize("options", NEWEST.values(), ids=NEWEST.keys())
def test_repositories_of_the_newest_git(world: BackupHome, newest_git: Path, options: tuple[str, ...]) -> None:
    """Byte for byte, through changes, packing and compaction; the newest git finds the mirror sound."""
    repository = world.repos / "a"
    new_git(newest_git, world.repos, "init", "-q", "-b", "main", *options, "a")
    source = repository
    if "--bare" in options:
        source = world.root / "clone"
        new_git(newest_git, world.root, "clone", "-q", str(repository), "clone")
    for turn in range(3):
        (source / f"f{turn}").write_text(str(turn))
        new_git(newest_git, source, "add", "-A")
        new_git(newest_git, source, "commit", "-q", "-m", str(turn))
        if source != repository:
            new_git(newest_git, source, "push", "-q", "origin", "HEAD")
        if turn == 0:
            world.init()
        if turn == 2:
            new_git(newest_git, repository, "gc", "-q")
        settle(world)
        new_git(newest_git, world.backup / "a", "fsck", "--full", "--strict")
        assert new_git(newest_git, world.backup / "a", "for-each-ref") == new_git(newest_git, repository, "for-each-ref")


def test_an_index_without_a_hash(world: BackupHome, newest_git: Path) -> None:
    """``feature.manyFiles`` of a newer git leaves zeros where git wants the index's hash: an older one calls that corrupt."""
    repository = world.git("a")
    git(repository, "config", "feature.manyFiles", "true")
    new_git(newest_git, repository, "update-index", "--force-write-index")
    world.write("a/more")
    new_git(newest_git, repository, "add", "-A")
    assert (repository / ".git/index").read_bytes().endswith(bytes(20))
    assert not line_of(world.init())["notes"]
    new_git(newest_git, repository, "commit", "-q", "-m", "more")
    settle(world)


# ---- fixtures


def fixture_at(world: BackupHome, path: str, *, tracked: bool, sound: bool = False) -> Path:
    """Make a work tree with a directory in it that looks like a repository."""
    repository = world.repos / "a"
    if not repository.exists():
        world.git("a")
    git(repository, "init", "-q", "--bare", path)
    if sound:
        git(repository, "push", "-q", str(repository / path), "main")
    else:
        world.write(f"a/{path}/refs/heads/main", BROKEN + "\n")
    if tracked:
        git(repository, "add", "-f", "-A")
        git(repository, "commit", "-q", "-m", "fixture")
    return repository / path


@pytest.mark.parametrize("path", ["t/bad.git", "t/x/.gitted", "bad", "t/.git-fixture"])
@pytest.mark.parametrize("tracked", [True, False])
def test_a_fixture_is_data(world: BackupHome, path: str, tracked: bool) -> None:
    """Whatever becomes of it, its bytes arrive, nothing fails, and at most one run says something."""
    fixture = fixture_at(world, path, tracked=tracked)
    notes = line_of(world.init())["notes"]
    assert len(notes) == (0 if tracked else 1)
    for change in ("2" * 40, "no reference", ""):
        (fixture / "refs/heads/main").write_text(change)
        (fixture / "objects/odd").write_text(change)
        (fixture / "refs/heads/a.lock").write_text("tracked or not") if tracked else None
        settle(world)
    world.sync(full=True)
    assert not world.differences()
    shutil.rmtree(world.repos / "a")
    world.restore("a")
    assert not world.differences()


@pytest.mark.parametrize("tracked", [True, False])
def test_a_fixture_with_damaged_objects_is_data(world: BackupHome, tracked: bool) -> None:
    """Also where only the contents of an object are wrong, from the first run on or later."""
    fixture = fixture_at(world, "t/bad.git", tracked=False, sound=True)
    objects = sorted(each for each in (fixture / "objects").rglob("*") if each.is_file())
    objects[0].chmod(0o644)
    objects[0].write_bytes(b"")
    if tracked:
        git(world.repos / "a", "add", "-A")
        git(world.repos / "a", "commit", "-q", "-m", "fixture")
    line = line_of(world.init())
    assert line["action"] == "synced", line
    settle(world)
    for each in objects[1:]:
        each.chmod(0o644)
        each.write_bytes(b"rotten")
    settle(world)


def test_a_fixture_of_a_mercurial_work_tree(world: BackupHome) -> None:
    """The same where hg tracks it."""
    repository = world.hg("a")
    mirroring.run("git", "init", "-q", "--bare", str(repository / "t/bad.git"))
    world.write("a/t/bad.git/refs/heads/main", BROKEN + "\n")
    world.write("a/t/bad.git/refs/heads/x.lock", BROKEN + "\n")
    mirroring.hg(repository, "add", "t")
    mirroring.hg(repository, "commit", "-m", "fixture")
    assert not line_of(world.init())["notes"]
    settle(world)
    world.write("a/t/bad.git/refs/heads/main", "2" * 40)
    settle(world)


def test_a_fixture_in_a_linked_work_tree_and_in_a_submodule(world: BackupHome) -> None:
    """Their index is elsewhere: what their ``.git`` file names is asked."""
    fixture_at(world, "t/bad.git", tracked=True)
    git(world.repos / "a", "worktree", "add", "-q", "linked")
    git(world.repos / "a", "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(world.repos / "a"), "sub")
    assert not line_of(world.init())["notes"]
    for place in ("linked", "sub"):
        assert (world.repos / "a" / place / "t/bad.git/HEAD").exists()
        world.write(f"a/{place}/t/bad.git/refs/heads/main", "2" * 40)
        settle(world)


def test_a_broken_clone_in_a_work_tree_is_damage(world: BackupHome) -> None:
    """Its git directory is called ``.git``: somebody works there."""
    world.git("a")
    world.git("a/vendor/x")
    world.init()
    world.write("a/vendor/x/.git/refs/heads/broken", BROKEN + "\n")
    line = line_of(world.sync())
    assert line["action"] == "failed"
    assert "vendor/x/.git" in line["msg"]


def test_a_repository_that_rots_in_a_work_tree_is_damage(world: BackupHome) -> None:
    """Nobody tracks it, and its mirror is sound: it is one that is deployed to, or the like."""
    deploy = fixture_at(world, "deploy.git", tracked=False, sound=True)
    assert not line_of(world.init())["notes"]
    (deploy / "refs/heads/main").write_text(BROKEN + "\n")
    line = line_of(world.sync())
    assert line["action"] == "failed"
    assert "deploy.git" in line["msg"]
    git(world.backup / "a/deploy.git", "fsck", "--full", "--strict")


def test_a_broken_repository_that_is_a_unit_is_damage(world: BackupHome) -> None:
    """It lies in no work tree."""
    git(world.repos, "init", "-q", "--bare", "m.git")
    world.write("m.git/refs/heads/main", BROKEN + "\n")
    assert line_of(world.init(), "m.git")["action"] == "failed"


def test_a_broken_repository_beside_a_work_tree_is_damage(world: BackupHome) -> None:
    """A group of projects is no work tree."""
    world.git("a/project")
    git(world.repos, "init", "-q", "--bare", "a/m.git")
    world.write("a/m.git/refs/heads/main", BROKEN + "\n")
    assert line_of(world.init())["action"] == "failed"


def test_an_index_that_is_split_is_asked(world: BackupHome) -> None:
    """Most of its entries are in another file."""
    fixture = fixture_at(world, "t/bad.git", tracked=True)
    git(world.repos / "a", "update-index", "--split-index")
    world.write("a/unrelated")
    git(world.repos / "a", "add", "unrelated")
    assert not line_of(world.init())["notes"]
    (fixture / "refs/heads/x.lock").touch()
    settle(world)


def test_fixtures_of_every_verdict_in_one_project(world: BackupHome) -> None:
    """Nothing of one keeps others from arriving."""
    for number in range(5):
        fixture_at(world, f"t/{number}.git", tracked=number % 2 == 0, sound=number > 2)
    assert actions(world.init())["a"] == "synced"
    settle(world)
