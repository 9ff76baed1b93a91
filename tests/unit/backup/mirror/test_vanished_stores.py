# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What was a repository in the mirror stays one until somebody says otherwise."""

from __future__ import annotations

import itertools
import shlex
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.backup_fixture import BackupHome, actions, git

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.engine


@pytest.fixture
def world(tmp_path: Path) -> BackupHome:
    """A home without a backup yet."""
    return BackupHome(tmp_path)


def line_of(result: dict[str, Any], name: str = "a") -> dict[str, Any]:
    """Return what is said of one unit."""
    return next(each for each in result["units"] if each["name"] == name)


def fsck(where: Path) -> None:
    """Let git check a repository whole."""
    git(where, "fsck", "--full", "--strict")


def hg_verify(where: Path) -> None:
    """Let hg check a repository."""
    subprocess.run(["hg", "-q", "verify"], cwd=where, check=True, capture_output=True)


def obey(world: BackupHome, hint: str) -> None:
    """Do what a hint says, as the shell would read it."""
    words = shlex.split(hint, comments=True)
    assert words[:2] == ["repoman", "restore"]
    paths = [value for option, value in itertools.pairwise(words) if option == "--path"]
    world.restore(words[2], paths=paths, overwrite="--overwrite" in words)


def turn_into(path: Path, what: str) -> None:
    """Put something else where a file or directory was."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
    if what == "file":
        path.write_text("something else\n")
    elif what == "link":
        path.symlink_to("/nonexistent")
    elif what == "directory":
        path.mkdir()
        (path / "inner").write_text("something else\n")


GIT_LOSSES = [
    (part, what)
    for part in (".git/HEAD", ".git/objects", ".git/refs", ".git")
    for what in ("nothing", "file", "link", "directory")
    if what != "directory" or part in (".git/HEAD", ".git")
    if (part, what) != (".git/HEAD", "file") and (part, what) != (".git/HEAD", "link")
]


@pytest.mark.parametrize(("part", "what"), GIT_LOSSES)
def test_a_part_of_a_git_repository_vanishes(world: BackupHome, part: str, what: str) -> None:
    """The mirror stays a repository, all else arrives, the run fails each time, and the hint brings the part back."""
    repository = world.git("a")
    world.init()
    turn_into(repository / part, what)
    world.write("a/later", "new\n")
    for _turn in range(2):
        result = world.sync()
        line = line_of(result)
        assert line["action"] == "failed"
        assert result["exit_code"] == 1
        assert str(repository / ".git") in line["msg"]
        fsck(world.backup / "a")
        assert (world.backup / "a" / "later").read_text() == "new\n"
    assert line_of(world.sync(full=True))["action"] == "failed"
    fsck(world.backup / "a")
    obey(world, line["hints"][0])
    fsck(repository)
    assert actions(world.sync())["a"] in {"synced", "unchanged"}
    assert actions(world.sync(verify=True))["a"] == "same"


@pytest.mark.parametrize("what", ["nothing", "file", "link"])
@pytest.mark.parametrize("part", [".hg/store", ".hg/requires", ".hg"])
def test_a_part_of_a_mercurial_repository_vanishes(world: BackupHome, part: str, what: str) -> None:
    """The same of ``.hg``."""
    if part == ".hg/requires" and what == "file":
        pytest.skip("a file with other contents is still a file")
    repository = world.hg("a")
    world.init()
    turn_into(repository / part, what)
    world.write("a/later", "new\n")
    line = line_of(world.sync())
    assert line["action"] == "failed"
    hg_verify(world.backup / "a")
    assert (world.backup / "a" / "later").exists()
    obey(world, line["hints"][0])
    hg_verify(repository)
    assert actions(world.sync())["a"] in {"synced", "unchanged"}


@pytest.mark.parametrize("part", ["HEAD", "objects", "refs"])
def test_a_part_of_a_bare_repository_vanishes(world: BackupHome, part: str) -> None:
    """A unit that is a bare repository; what else is in it is mirrored."""
    world.git("s")
    git(world.repos, "clone", "-q", "--bare", "s", "m.git")
    world.init()
    turn_into(world.repos / "m.git" / part, "nothing")
    world.write("m.git/hooks/post-receive", "#!/bin/sh\n")
    (world.repos / "m.git" / "description").unlink()
    line = line_of(world.sync(), "m.git")
    assert line["action"] == "failed"
    fsck(world.backup / "m.git")
    assert (world.backup / "m.git/hooks/post-receive").exists()
    obey(world, line["hints"][0])
    fsck(world.repos / "m.git")


def test_it_goes_when_somebody_says_so(world: BackupHome) -> None:
    """``--allow-shrink`` with the name: what was the repository is in the history."""
    repository = world.git("a")
    world.init()
    shutil.rmtree(repository / ".git")
    assert line_of(world.sync())["action"] == "failed"
    assert line_of(world.sync(allow_shrink=True))["action"] == "failed", "a unit must be named"
    assert actions(world.sync(names=["a"], allow_shrink=True))["a"] == "synced"
    assert not (world.backup / "a/.git").exists()
    assert any(path.name == "HEAD" for path in world.kept())
    assert not world.differences()
    assert actions(world.sync())["a"] == "unchanged"


def test_a_clone_inside_a_work_tree_goes_with_its_directory(world: BackupHome) -> None:
    """A build's dependencies come and go; the run says which repository went."""
    repository = world.git("a")
    world.git("a/vendor/x")
    world.hg("a/vendor/y")
    world.init()
    shutil.rmtree(repository / "vendor")
    line = line_of(world.sync())
    assert line["action"] == "synced"
    assert any("vendor/x" in note for note in line["notes"])
    assert any("vendor/y" in note for note in line["notes"])
    assert not world.differences()


def test_a_clone_inside_a_work_tree_that_loses_its_git_is_damage(world: BackupHome) -> None:
    """Its files are still there, so it is no removal of a dependency."""
    repository = world.git("a")
    world.git("a/vendor/x")
    world.init()
    shutil.rmtree(repository / "vendor/x/.git")
    line = line_of(world.sync())
    assert line["action"] == "failed"
    fsck(world.backup / "a/vendor/x")
    obey(world, line["hints"][0])
    fsck(repository / "vendor/x")


@pytest.mark.parametrize("gone", ["group/x", "group"])
def test_a_project_in_a_group_stays(world: BackupHome, gone: str) -> None:
    """A directory that only groups repositories: one that is gone is lost, with its work tree, and the hint brings it back."""
    world.git("a/group/x")
    world.git("a/other")
    world.write("a/group/README")
    world.init()
    shutil.rmtree(world.repos / "a" / gone)
    world.write("a/other/new")
    line = line_of(world.sync())
    assert line["action"] == "failed"
    fsck(world.backup / "a/group/x")
    assert (world.backup / "a/group/x/README").exists()
    assert (world.backup / "a/other/new").exists()
    assert (world.backup / "a/group/README").exists() == (gone == "group/x")
    obey(world, line["hints"][0])
    fsck(world.repos / "a/group/x")
    assert line_of(world.sync())["action"] in {"synced", "unchanged"}


def test_a_moved_repository_is_not_lost(world: BackupHome) -> None:
    """Renaming the directory of a project, or of its group, is a change like any other."""
    world.git("a/group/x")
    world.git("a/y")
    world.init()
    (world.repos / "a/group").rename(world.repos / "a/renamed")
    line = line_of(world.sync())
    assert line["action"] == "synced", line
    fsck(world.backup / "a/renamed/x")
    assert not world.differences()


def with_submodule(world: BackupHome) -> Path:
    """Make a repository with a submodule ``deps/sub``."""
    world.git("s")
    repository = world.git("a")
    git(repository, "-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(world.repos / "s"), "deps/sub")
    git(repository, "commit", "-q", "-m", "submodule")
    return repository


def test_a_submodules_repository_that_is_still_needed_is_lost(world: BackupHome) -> None:
    """The work tree's ``.git`` file points at it."""
    repository = with_submodule(world)
    world.init()
    shutil.rmtree(repository / ".git/modules")
    line = line_of(world.sync())
    assert line["action"] == "failed"
    fsck(world.backup / "a/.git/modules/deps/sub")
    obey(world, line["hints"][0])
    fsck(repository / "deps/sub")
    assert line_of(world.sync())["action"] in {"synced", "unchanged"}


def test_a_submodule_that_is_removed_is_removed(world: BackupHome) -> None:
    """``git rm`` and removing its repository are what git's documentation says to do."""
    repository = with_submodule(world)
    world.init()
    git(repository, "rm", "-q", "-f", "deps/sub")
    shutil.rmtree(repository / ".git/modules/deps")
    git(repository, "commit", "-q", "-m", "without")
    assert line_of(world.sync())["action"] == "synced"
    assert not world.differences()


def test_absorbed_git_directory(world: BackupHome) -> None:
    """git itself moves ``.git`` of a clone into the repository around it, and leaves a file that points there."""
    repository = world.git("a")
    world.git("a/sub")
    git(repository, "-c", "advice.addEmbeddedRepo=false", "add", "sub")
    (repository / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ./sub\n')
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "sub")
    world.init()
    git(repository, "submodule", "absorbgitdirs")
    assert (repository / "sub/.git").is_file()
    assert line_of(world.sync())["action"] == "synced"
    assert not world.differences()


def test_a_tracked_fixture_may_lose_anything(world: BackupHome) -> None:
    """A test's repository that is data of the one around it changes as files do."""
    repository = world.git("a")
    git(repository, "init", "-q", "--bare", "t/x.git")
    (repository / "t/x.git/refs/heads/.gitkeep").touch()
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", "fixture")
    world.init()
    (repository / "t/x.git/HEAD").unlink()
    assert line_of(world.sync())["action"] == "synced"
    assert not world.differences()


def test_a_repository_in_a_work_tree_that_nobody_tracks_is_lost(world: BackupHome) -> None:
    """Such as one that is deployed to."""
    repository = world.git("a")
    git(repository, "clone", "-q", "--bare", ".", "deploy.git")
    world.init()
    (repository / "deploy.git/HEAD").unlink()
    assert line_of(world.sync())["action"] == "failed"
    fsck(world.backup / "a/deploy.git")


def test_a_work_tree_that_is_emptied_with_its_repository(world: BackupHome) -> None:
    """An empty directory is refused as before, and goes when it is meant."""
    repository = world.git("a")
    world.init()
    for each in repository.iterdir():
        if each.is_dir():
            shutil.rmtree(each)
        else:
            each.unlink()
    line = line_of(world.sync())
    assert line["action"] == "failed"
    assert "is empty" in line["msg"]
    fsck(world.backup / "a")
    assert actions(world.sync(names=["a"], allow_shrink=True))["a"] == "synced"


def test_odd_names_in_hints(world: BackupHome) -> None:
    """The hint works whatever the names are."""
    repository = world.git("a")
    world.git("a/it's $x/\ny")
    world.init()
    shutil.rmtree(repository / "it's $x/\ny/.git/refs")
    line = line_of(world.sync())
    assert "\n" not in line["hints"][0]
    words = (
        subprocess.run(["bash", "-c", f"printf '%s\\0' {line['hints'][0]}"], check=True, capture_output=True).stdout.decode().split("\0")
    )
    assert words[:5] == ["repoman", "restore", "a", "--path", "it's $x/\ny/.git/refs"]


@pytest.mark.parametrize("what", ["all", "heads"])
def test_all_references_vanish(world: BackupHome, what: str) -> None:
    """A repository that has lost all its references keeps those of its mirror; the hint brings them back, and packing them is no loss."""
    repository = world.git("a")
    world.init()
    for path in (repository / ".git/refs").rglob("*"):
        if path.is_file():
            path.unlink()
    shutil.rmtree(repository / ".git/refs" / ("heads" if what == "heads" else ""))
    (repository / ".git/refs").mkdir(exist_ok=True)
    world.write("a/new", "arrives\n")
    result = world.sync()
    line = line_of(result)
    assert (result["exit_code"], line["action"]) == (1, "failed")
    assert f"{repository}/.git has lost all its references." in line["msg"]
    assert (world.backup / "a/new").read_text() == "arrives\n"
    fsck(world.backup / "a")
    assert git(world.backup / "a", "rev-parse", "main")
    assert actions(world.sync(verify=True))["a"] == "differs"
    obey(world, line["hints"][0])
    assert git(repository, "rev-parse", "main")
    git(repository, "pack-refs", "--all")
    assert actions(world.sync())["a"] == "synced"
    shutil.rmtree(repository / ".git/logs")
    (repository / ".git/packed-refs").unlink()
    assert line_of(world.sync())["action"] == "failed"
    assert actions(world.sync(names=["a"], allow_shrink=True))["a"] == "synced"


def test_git_deletes_the_last_branch(world: BackupHome) -> None:
    """Deleting the only branch is a change like any other."""
    repository = world.git("a")
    world.init()
    git(repository, "update-ref", "-d", "refs/heads/main")
    assert actions(world.sync())["a"] == "synced"
