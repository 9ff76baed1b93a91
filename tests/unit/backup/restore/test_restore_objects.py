# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that are put back into a repository from its mirror, by the command that the run's hint says."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, RepomanError, UsageError
from backup_fixture import BackupHome, actions, git, seen, without_times

from repoman.cli.parser import parse
from repoman.cli.variables import restore_variables


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with repositories alone, below a directory, and inside each other, that are backed up."""
    world = empty_world
    for name in ("isurus", "sharks/galeus", "sharks/mako", "isurus/vendor/lib"):
        world.git(name)
        for number in range(3):
            world.write(f"{name}/f{number}", f"{name} {number}\n" * 20)
            git(world.repos / name, "add", ".")
            git(world.repos / name, "commit", "-q", "-m", f"{number}")
    world.project("galeus", repo='"sharks/galeus"')
    world.write("plain/file")
    world.init()
    return world


def objects(repository: Path) -> list[Path]:
    """Return the loose objects of a repository."""
    return sorted(repository.glob(".git/objects/??/*"))


def damage(path: Path, data: bytes = b"") -> None:
    """Replace a file's contents in place."""
    path.chmod(0o644)
    path.write_bytes(data)


def fsck(repository: Path) -> int:
    """Return what git says of a repository."""
    command = ["git", "-c", "safe.directory=*", "fsck", "--full"]
    return subprocess.run(command, cwd=repository, check=False, capture_output=True).returncode


def without_objects(root: Path) -> dict[str, tuple[object, ...]]:
    """Return everything of a tree but object files and the directories they are in."""
    return {path: each for path, each in seen(root).items() if "/objects" not in path}


def test_the_hint_mends_it(world: BackupHome) -> None:
    """After damage the run's hint, pasted, puts sound objects back, and touches nothing else; the next run has nothing to say."""
    repository = world.repos / "isurus"
    first, second, third = objects(repository)[:3]
    damage(first)
    damage(second, b"x" * 30)
    result = world.sync()
    third.unlink()
    assert result["exit_code"] == 1
    hints = [hint for line in result["units"] for hint in line.get("hints", ()) if "--objects" in hint]
    before = without_objects(world.repos)
    words = subprocess.run(
        ["bash", "-c", f"repoman() {{ printf '%s\\0' \"$@\"; }}; {hints[0].rpartition('hint: ')[2]}"], check=True, capture_output=True
    ).stdout.split(b"\0")[:-1]
    verb, options = parse([os.fsdecode(word) for word in words])
    assert verb.words == "restore"
    given = restore_variables(options)
    predicted = world.restore(given["repoman_restore_name"], objects=given["repoman_restore_objects"], check=True)
    assert fsck(repository) != 0
    done = world.restore(given["repoman_restore_name"], objects=given["repoman_restore_objects"])
    assert without_times(predicted["diff"]) == without_times(done["diff"])
    assert sorted(done["restored"]["objects"]) == sorted(os.path.relpath(path, repository) for path in (first, second, third))
    (step,) = done["steps"]
    assert step == f"restore 3 objects in isurus, saving 2 damaged files in {done['restored']['saved']}"
    saved = Path(done["restored"]["saved"])
    assert saved.is_relative_to(world.state)
    assert (saved / os.path.relpath(second, repository)).read_bytes() == b"x" * 30
    assert fsck(repository) == 0
    assert without_objects(world.repos) == before
    assert not world.restore("isurus", objects=True)["changed"]
    assert "failed" not in world.sync()
    assert world.sync(verify=True).get("exit_code", 0) == 0


@pytest.mark.parametrize("name", ["galeus", "sharks"])
def test_projects_below_a_directory(world: BackupHome, name: str) -> None:
    """A project's name mends it alone; the directory's name mends all that is in it."""
    for repository in ("galeus", "mako"):
        damage(objects(world.repos / "sharks" / repository)[0])
    done = world.restore(name, objects=True)
    assert fsck(world.repos / "sharks/galeus") == 0
    assert (fsck(world.repos / "sharks/mako") == 0) == (name == "sharks")
    assert len(done["restored"]["objects"]) == (2 if name == "sharks" else 1)


def test_packs_and_nested_repositories(world: BackupHome) -> None:
    """A pack that is cut, its missing index, and objects of a repository inside another come back."""
    git(world.repos / "isurus", "repack", "-q", "-a", "-d")
    world.sync()
    (pack,) = world.repos.glob("isurus/.git/objects/pack/*.pack")
    damage(pack, pack.read_bytes()[:-30])
    pack.with_suffix(".idx").unlink()
    damage(objects(world.repos / "isurus/vendor/lib")[1])
    world.restore("isurus", objects=True)
    assert fsck(world.repos / "isurus") == fsck(world.repos / "isurus/vendor/lib") == 0


def test_nothing_to_do(world: BackupHome) -> None:
    """A sound repository is left as it is, and nothing is made anywhere."""
    before = seen(world.root)
    done = world.restore("isurus", objects=True)
    assert not done["changed"]
    assert done["steps"] == []
    assert {path for path in seen(world.root) if path not in before} <= {f"log/sync/{world.state.name}/lock"}


def test_what_neither_has(world: BackupHome) -> None:
    """What is damaged in both is named, exit 1; all else is put back."""
    repository = world.repos / "isurus"
    one, other = objects(repository)[:2]
    damage(one)
    damage(other)
    damage(world.backup / "isurus" / one.relative_to(repository))
    with pytest.raises(RepomanError, match="neither it nor its mirror has sound") as caught:
        world.restore("isurus", objects=True)
    assert caught.value.exit_code == 1
    assert str(one.relative_to(repository)) in caught.value.message
    assert "1 object put back" in caught.value.message
    assert other.stat().st_size > 0
    assert not world.restore("isurus", objects=False, check=True, overwrite=True)["restored"].get("objects")


def test_what_is_no_repository(world: BackupHome) -> None:
    """A plain directory, a repository that is gone, one without its .git, and a name that is not known: a sentence, and the way on."""
    with pytest.raises(NotFoundError, match="no repository in the backup of plain"):
        world.restore("plain", objects=True)
    with pytest.raises(NotFoundError):
        world.restore("nowhere", objects=True)
    shutil.rmtree(world.repos / "sharks/mako/.git")
    done = world.restore("sharks", objects=True)
    assert "repoman restore sharks --path sharks" not in done["warnings"][0]
    assert "repoman restore sharks --path mako/.git --overwrite" in done["warnings"][0]
    world.restore("sharks", paths=["mako/.git"], overwrite=True)
    assert fsck(world.repos / "sharks/mako") == 0
    shutil.rmtree(world.repos / "isurus")
    with pytest.raises(ConflictError, match="no repository to restore objects to") as caught:
        world.restore("isurus", objects=True)
    assert any(hint.endswith("repoman restore isurus") for hint in caught.value.hints)
    (world.repos / "isurus").symlink_to(world.root)
    with pytest.raises(ConflictError):
        world.restore("isurus", objects=True)


@pytest.mark.parametrize("other", [{"to": "/x"}, {"from": "2026-01-01"}, {"paths": ["README"]}, {"overwrite": True}])
def test_options_that_exclude_each_other(world: BackupHome, other: dict[str, object]) -> None:
    """Objects are put back where they were: nothing else goes with it, in the module and in the command."""
    with pytest.raises(UsageError):
        world.restore("isurus", objects=True, **other)
    ((key, value),) = other.items()
    typed = {"to": ["--to", "/x"], "from": ["--from", str(value)], "paths": ["--path", "README"], "overwrite": ["--overwrite"]}[key]
    _verb, options = parse(["restore", "isurus", "--objects", *typed])
    with pytest.raises(Exception, match="cannot be combined with") as caught:
        restore_variables(options)
    assert getattr(caught.value, "exit_code", None) == 2


def test_a_source_that_cannot_be_written(world: BackupHome) -> None:
    """What is in the way is named; what was put back before stays, and the command goes on."""
    repository = world.repos / "isurus"
    damage(objects(repository)[0])
    missing = objects(repository)[-1]
    missing.unlink()
    directory = missing.parent
    shutil.rmtree(directory)
    directory.write_text("in the way")
    saved = world.state / "damaged"
    saved.write_text("in the way")
    with pytest.raises(RepomanError) as caught:
        world.restore("isurus", objects=True)
    assert caught.value.exit_code in (1, 4)
    assert "Traceback" not in caught.value.message
    saved.unlink()
    world.restore("isurus", objects=True)
    assert fsck(repository) == 0
    assert set(actions(world.sync()).values()) <= {"synced", "unchanged"}


def test_objects_that_cannot_be_read(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """The repository is named, and the hint finds what is in the way."""
    world = BackupHome(short_dir)
    world.git("isurus")
    for path in [short_dir, *short_dir.rglob("*")]:
        os.chown(path, 65534, 65534, follow_symlinks=False)

    def first() -> None:
        world.init()

    assert unprivileged(first) == "None"
    directory = objects(world.repos / "isurus")[0].parent
    directory.chmod(0)

    def work() -> None:
        with pytest.raises(RepomanError) as caught:
            world.restore("isurus", objects=True)
        message, hint = caught.value.message, caught.value.hints[0]
        assert message.startswith(f"{world.repos}/isurus/.git cannot be read: Permission denied")
        found = subprocess.run(["sh", "-c", hint], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False, text=True).stdout
        assert found.splitlines() == [str(directory)]

    assert unprivileged(work) == "None"
