# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Restore of several repositories and of everything: a failure of one does not stop the others."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import unit_locked
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import get_account
from backup_fixture import BackupHome, actions, differences, git, seen

ODD = ["-rf", b"caf\xe9".decode(errors="surrogateescape"), "two\nlines", "with 'quotes'"]
"""Names of directories that are hard to handle."""


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with every kind of unit, backed up."""
    world = empty_world
    world.project("shark", repo='"isurus"')
    world.git("isurus")
    world.hg("hammer")
    world.write("plain/src/main.c").parent.parent.joinpath("link").symlink_to("/etc/passwd")
    os.link(world.repos / "plain/src/main.c", world.repos / "plain/again")
    for name in ODD:
        world.write(f"{name}/file")
    world.write("notes.txt")
    (world.repos / "shortcut").symlink_to("isurus")
    world.init()
    return world


def empty(world: BackupHome) -> None:
    """Delete all repositories, as a new host has none."""
    shutil.rmtree(world.repos)
    world.repos.mkdir()


def outcome(result: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what became of one unit."""
    (unit,) = [unit for unit in result["units"] if unit["name"] == name]
    return unit


def leftovers(world: BackupHome) -> list[Path]:
    """Return what unfinished restores have left."""
    return [path for path in world.root.rglob(".repoman-restore-*") if world.backup not in path.parents]


@pytest.mark.parametrize("jobs", [1, 8])
def test_everything_comes_back(world: BackupHome, tmp_path: Path, jobs: int) -> None:
    """On a new host, also ``repos_root`` is missing; a second run copies nothing, and a check predicts the run."""
    subprocess.run(["cp", "-a", str(world.repos), str(tmp_path / "original")], check=True)
    (tmp_path / "original").chmod(0o700)  # what has to be created above a repository is private
    shutil.rmtree(world.repos)
    predicted = world.restore(all=True, check=True, jobs=jobs)
    assert not world.repos.exists()
    done = world.restore(all=True, jobs=jobs)
    assert differences(world.repos, tmp_path / "original") == []
    for result in (predicted, done):
        result["summary"].pop("seconds")
    assert predicted == done
    names = ["(loose files)", "-rf", "caf\\xe9", "hammer", "isurus", "plain", "two\\nlines", "with 'quotes'"]
    assert actions(done) == dict.fromkeys(names, "restored")
    assert done["summary"] == {"restored": 8, "files": sum(unit["files"] for unit in done["units"]), "bytes": done["summary"]["bytes"]}
    assert outcome(done, "isurus")["has_container"] and not outcome(done, "hammer")["has_container"]
    assert git(world.repos / "isurus", "fsck", "--full", "--strict") == ""
    subprocess.run(["hg", "verify", "-q"], cwd=world.repos / "hammer", check=True, env={**os.environ, "HGRCPATH": ""})
    before = seen(world.repos)
    again = world.restore(all=True, jobs=jobs)
    assert not again["changed"] and set(actions(again).values()) == {"same"}
    assert actions(world.restore(all=True, check=True)) == actions(again)
    assert seen(world.repos) == before


def test_one_failure_stops_no_other(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """Each kind of failure is that of its unit, with hints for it; the worst exit code is that of the run."""
    world = BackupHome(short_dir)
    for path in [short_dir, *short_dir.iterdir()]:
        if os.geteuid() == 0:
            os.chown(path, 65534, 65534)

    def work() -> None:
        for name in ("changed", "damaged", "file", "locked", "one", "two", "-odd"):
            world.write(f"{name}/sub/file")
        world.init()
        empty(world)
        world.write("changed/sub/file", "mine\n")
        (world.backup / "damaged/sub").chmod(0)
        world.write("file", "in the way\n")
        (world.repos / "link").symlink_to("/")
        predicted = world.restore(all=True, check=True)
        with unit_locked(Target(str(world.backup), world.state.name), world.state, get_account(None), "locked"):
            done = world.restore(all=True)
        assert actions(predicted) == actions(done) | {"locked": "restored"}
        assert actions(done) == {
            "-odd": "restored",
            "changed": "failed",
            "damaged": "failed",
            "file": "failed",
            "locked": "busy",
            "one": "restored",
            "two": "restored",
        }
        assert done["changed"] and done["failed"] and done["exit_code"] == 4
        assert done["msg"] == "4 of 7 were not restored: changed, damaged, file and 1 more."
        assert [done["summary"][key] for key in ("restored", "failed", "busy", "files")] == [3, 3, 1, 3]
        codes = {name: outcome(done, name)["exit_code"] for name in ("changed", "damaged", "file", "locked")}
        assert codes == {"changed": 4, "damaged": 1, "file": 4, "locked": 4}
        assert outcome(done, "changed")["hints"][1] == "to replace it (it is saved first): repoman restore changed --overwrite"
        assert outcome(done, "damaged")["msg"].startswith(f"{world.backup}/damaged/sub in the backup cannot be read: Permission denied")
        assert outcome(done, "changed")["msg"] == f"{world.repos}/changed exists; it was not restored."
        assert outcome(done, "locked")["msg"].startswith("another run has been working on locked")
        assert (world.repos / "changed/sub/file").read_text() == "mine\n" and not (world.repos / "damaged").exists()
        assert [step for step in done["steps"] if "two" in step] == [f"restore two to {world.repos}/two (1 file)"]
        assert leftovers(world) == []
        (world.backup / "damaged/sub").chmod(0o700)
        again = world.restore(all=True, overwrite=True)
        assert {name: action for name, action in actions(again).items() if action != "same"} == {
            "changed": "restored",
            "damaged": "restored",
            "file": "failed",
            "locked": "restored",
        }
        saved = Path(outcome(again, "changed")["saved"])
        assert (saved / "sub/file").read_text() == "mine\n"
        assert f"save the existing files as {saved}" in again["steps"]

    assert unprivileged(work) == "None"


def test_everything_as_it_was_at_a_time(world: BackupHome) -> None:
    """With a time, also what is only in the history comes back, and what did not exist yet is left out."""
    world.write("gone/file")
    world.sync()
    world.write("plain/src/main.c", "second\n")
    world.write("new/file")
    shutil.rmtree(world.repos / "gone")
    (world.repos / "notes.txt").unlink()
    world.sync(allow_shrink=True, names=["gone"])
    world.sync(allow_shrink=True, names=["new", "plain", "(loose files)"])
    first = min(os.listdir(world.ours("kept")))
    empty(world)
    options = {"all": True, "from": first}
    predicted = world.restore(check=True, **options)
    done = world.restore(**options)
    assert actions(done) == actions(predicted)
    assert actions(done)["gone"] == "restored" and "new" not in actions(done)
    assert (world.repos / "plain/src/main.c").read_text() == "text\n" and (world.repos / "notes.txt").exists()
    with pytest.raises(NotFoundError, match="there is no backup as of 2001-01-01"):
        world.restore(**options | {"from": "2001-01-01"})
    assert "gone" not in actions(world.restore(all=True, overwrite=True))


def test_several_in_another_place(world: BackupHome) -> None:
    """Each is below the directory as it was below ``repos_root``; what one failure leaves is nothing."""
    world.project("inner", repo='"deep/inner"')
    world.write("deep/inner/file")
    world.write("deep/other/file")
    world.sync()
    before = seen(world.repos)
    to = world.root / "x/y"
    done = world.restore(names=["shark", "inner", "nosuch", "isurus", "deep/inner"], to=str(to))
    assert actions(done) == {"shark": "restored", "inner": "restored", "nosuch": "failed", "deep/inner": "failed"}
    assert done["exit_code"] == 3 and "nosuch" in outcome(done, "nosuch")["msg"]
    assert sorted(os.listdir(to)) == ["deep", "isurus"] and os.listdir(to / "deep") == ["inner"]
    assert world.restore(all=True, to=str(to))["summary"]["same"] == 1
    (to / "isurus/README").write_text("mine\n")
    hints = outcome(world.restore(names=["shark", "plain"], to=str(to)), "shark")["hints"]
    assert hints[1] == f"to replace it (it is saved first): repoman restore shark --to {to}/isurus --overwrite"
    assert differences(world.repos / "hammer", to / "hammer") == [] == differences(world.repos / "plain", to / "plain")
    assert seen(world.repos) == before
    shutil.rmtree(world.root / "x")
    assert world.restore(names=["nosuch"], to=str(to))["exit_code"] == 3
    assert not (world.root / "x").exists()


def test_projects_in_one_directory(world: BackupHome) -> None:
    """Two repositories of one unit are both restored; a directory that includes another one is restored once."""
    for name in ("one", "two"):
        world.project(name, repo=f'"deep/{name}"')
        world.write(f"deep/{name}/file", f"{name}\n")
    world.write("deep/other")
    world.sync()
    for name in ("one", "two"):
        (world.repos / f"deep/{name}/file").write_text("mine\n")
    done = world.restore(names=["one", "two"], overwrite=True)
    assert actions(done) == {"one": "restored", "two": "restored"}
    assert [(Path(outcome(done, name)["saved"]) / "file").read_text() for name in ("one", "two")] == ["mine\n"] * 2
    shutil.rmtree(world.repos / "deep")
    done = world.restore(names=["one", "two", "one"])
    assert actions(done) == {"one": "restored", "two": "restored"}
    assert sorted(os.listdir(world.repos / "deep")) == ["one", "two"]
    assert actions(world.restore(names=["one", "deep"], overwrite=True)) == {"deep": "restored"}
    assert (world.repos / "deep/other").exists()


def test_what_is_left_out(world: BackupHome) -> None:
    """A directory that is a backup itself is left out, and named; so is what mkfs and repoman made."""
    world.sync()
    (world.backup / "other/.repoman").mkdir(parents=True)
    (world.backup / "other/.repoman/mirror.toml").touch()
    if os.geteuid() == 0:
        (world.backup / "lost+found").mkdir()
    empty(world)
    done = world.restore(all=True)
    assert not {"other", ".repoman"} & {*os.listdir(world.repos)}
    assert done["warnings"] == ["other is a backup itself, so it was left out. To restore from it, make it [defaults].backup_root."]
    with pytest.raises(ConflictError, match="is a backup itself, and not a mirror"):
        world.restore("other")


def test_mirror_of_a_directory_with_a_backup(world: BackupHome) -> None:
    """It has a marker, but the target has a record of it: it is restored like any other."""
    world.write("other/.repoman/mirror.toml")
    world.sync()
    empty(world)
    done = world.restore(all=True)
    assert (world.repos / "other/.repoman/mirror.toml").exists() and "warnings" not in done
    shutil.rmtree(world.repos / "other")
    assert world.restore("other")["changed"]


def test_objects_of_several(world: BackupHome) -> None:
    """Objects come back in each repository that has lost some; what has no repository is not named, unless it was asked for."""
    path = sorted((world.repos / "isurus/.git/objects").glob("??/*"))[0]
    content = path.read_bytes()
    path.unlink()
    shutil.rmtree(world.repos / "hammer")
    predicted = world.restore(all=True, objects=True, check=True)
    done = world.restore(all=True, objects=True)
    assert actions(done) == actions(predicted) == {"hammer": "failed", "isurus": "restored"}
    assert path.read_bytes() == content and len(outcome(done, "isurus")["objects"]) == 1
    assert "repoman restore hammer" in outcome(done, "hammer")["hints"][0]
    assert actions(world.restore(names=["shark", "plain"], objects=True)) == {"shark": "same", "plain": "failed"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, "restore needs name, names or all"),
        ({"names": []}, "restore needs name, names or all"),
        ({"name": "a", "all": True}, "name cannot be combined with all"),
        ({"names": ["a"], "all": True}, "names cannot be combined with all"),
        ({"names": ["a", "b"], "paths": ["x"]}, "paths are those of one repository, so they cannot be combined with names"),
        ({"all": True, "objects": True, "to": "x"}, "objects cannot be combined with to"),
        ({"all": True, "jobs": -1}, "jobs is -1, but must be 0 or more"),
    ],
)
def test_wrong_options(world: BackupHome, params: dict[str, Any], message: str) -> None:
    """Options that exclude each other are refused."""
    with pytest.raises(UsageError, match=message):
        world.restore(**params)
