# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Damaged settings in a backup: links never lead out of it, and one odd file blocks nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from settings_home import OVERRIDE, SettingsHome, settings_of

LARGE = 17 << 20


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SettingsHome:
    """A home that is backed up."""
    monkeypatch.setenv("HOME", str(tmp_path))
    world = SettingsHome(tmp_path)
    world.init()
    return world


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Return a directory outside the backup, with names that the settings have, too."""
    directory = tmp_path / "precious"
    for name in ("isurus.toml", "other.toml", ".thing.new", "repoman.toml", "owner.json", "repos.d/isurus.toml", "profiles.d/llm.yml"):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(f"precious {name}\n")
    return directory


def contents(directory: Path) -> dict[str, str]:
    """Return the files in a directory."""
    return {str(path.relative_to(directory)): path.read_text() for path in directory.rglob("*") if path.is_file()}


def remove(path: Path) -> None:
    """Remove a file or directory."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)


def make_large(path: Path) -> None:
    """Make a sparse file that is larger than all limits."""
    with path.open("w") as file:
        file.truncate(LARGE)


def make_full_directory(path: Path) -> None:
    """Make a directory with a file in it."""
    path.mkdir()
    (path / "x").write_text("mine\n")


def make_link(path: Path) -> None:
    """Make a link to a file that exists."""
    path.symlink_to("/etc/passwd")


ODD = [os.mkfifo, make_full_directory, make_link, make_large]


def sync_alike(world: SettingsHome, *, full: bool = False) -> None:
    """Check that check mode foretells the run, which repairs the settings, and that the next one changes nothing."""
    predicted, done, again = world.sync(check=True, full=full), world.sync(full=full), world.sync(full=full)
    assert "failed" not in predicted and "failed" not in done and "failed" not in again
    keys = ("action", "created", "changed", "removed", "files", "first")
    assert {key: settings_of(predicted).get(key) for key in keys} == {key: settings_of(done).get(key) for key in keys}
    assert settings_of(done)["action"] == "synced" and not again["changed"]
    assert settings_of(world.sync(verify=True))["action"] == "same"
    assert not [path for path in world.stored.rglob("*") if path.is_symlink() or not (path.is_file() or path.is_dir())]
    assert {name: text for name, text in world.files().items() if "/" in name} == {
        name: text for name, text in world.here().items() if "/" in name
    }


@pytest.mark.parametrize("name", ["", "repos.d"])
@pytest.mark.parametrize("is_changed", [False, True])
def test_a_link_instead_of_a_directory_is_replaced(world: SettingsHome, precious: Path, name: str, is_changed: bool) -> None:
    """Nothing behind it is read, overwritten or removed."""
    before = contents(precious)
    path = world.stored / name
    remove(path)
    path.symlink_to(precious)
    if is_changed:
        (world.overrides / "isurus.toml").write_text("# changed\n")
    sync_alike(world, full=True)
    assert contents(precious) == before


def test_a_link_in_the_backup_is_not_restored(world: SettingsHome, precious: Path) -> None:
    """Files behind a link instead of a directory are not settings; the link is named."""
    here = world.here()
    remove(world.stored / "repos.d")
    (world.stored / "repos.d").symlink_to(precious)
    done = world.restore_settings()
    assert world.here() == here and [text for text in done["warnings"] if f"{world.stored}/repos.d" in text]
    assert [text for text in world.sync(verify=True)["settings"]["differences"] if text == "repos.d/isurus.toml is not in the backup"]
    remove(world.stored)
    world.stored.symlink_to(precious)
    with pytest.raises(RepomanError, match="has no settings"):
        world.restore_settings()
    assert world.here() == here


@pytest.mark.parametrize("make", ODD)
def test_an_odd_owner_is_no_owner(world: SettingsHome, make: Callable[[Path], None]) -> None:
    """A restore warns and goes on, a run replaces it."""
    owner = world.stored / "owner.json"
    owner.unlink()
    make(owner)
    (world.overrides / "isurus.toml").write_text("# changed\n")
    for check in (True, False):
        done = world.restore_settings(check=check)
        assert done["changed"] and [text for text in done["warnings"] if f"{owner} cannot be read" in text]
    assert (world.overrides / "isurus.toml").read_text() == OVERRIDE
    sync_alike(world)
    assert world.owner()["files"].keys() == world.here().keys()


@pytest.mark.parametrize("text", ["", "[]", "[" * 100_000, "\udcff", '{"format": 1}'], ids=range(5))
def test_a_damaged_owner_is_no_owner(world: SettingsHome, text: str) -> None:
    """It need not be JSON, or text."""
    (world.stored / "owner.json").write_bytes(text.encode(errors="surrogateescape"))
    (world.overrides / "isurus.toml").unlink()
    assert [warning for warning in world.restore_settings()["warnings"] if "owner.json" in warning]
    sync_alike(world)


def test_a_newer_owner_is_refused(world: SettingsHome) -> None:
    """Only a format that a later version wrote stops a restore."""
    (world.stored / "owner.json").write_text(json.dumps(world.owner() | {"format": 2}))
    with pytest.raises(ConflictError, match="is of format '2'"):
        world.restore_settings()


@pytest.mark.parametrize("make", ODD)
@pytest.mark.parametrize("name", ["repoman.toml", "repos.d/isurus.toml"])
def test_an_odd_file_is_left_out_of_a_restore_and_replaced_by_a_run(world: SettingsHome, make: Callable[[Path], None], name: str) -> None:
    """The other files are restored; a replaced file or directory is in the history."""
    path = world.stored / name
    path.unlink()
    make(path)
    registry = world.registry.read_text()
    expected = (world.templates / "llm.yml").read_text()
    (world.templates / "llm.yml").write_text("# changed\n")
    for check in (True, False):
        done = world.restore_settings(check=check)
        assert len([step for step in done["steps"] if step.startswith("replace")]) == 1
        assert len([text for text in done["warnings"] if f"{path} in the backup cannot be read" in text]) == 1
    assert (world.templates / "llm.yml").read_text() == expected and (world.overrides / "isurus.toml").read_text() == OVERRIDE
    assert world.registry.read_text() == registry
    for check in (True, False):
        assert [text for text in world.restore_settings(check=check)["warnings"] if str(path) in text]
    (world.templates / "llm.yml").write_text("# changed again\n")
    sync_alike(world)
    kept = world.backup / ".repoman/kept" / world.versions()[-1] / "(settings)" / name
    assert (kept.is_dir(), kept.is_file()) == (make is make_full_directory, make is make_large)


def test_backup_of_odd_files_alone_is_an_error(world: SettingsHome) -> None:
    """If no file can be read, the error names one."""
    for path in world.stored.rglob("*.*ml"):
        path.unlink()
        os.mkfifo(path)
    with pytest.raises(RepomanError, match="in the backup cannot be read"):
        world.restore_settings()


@pytest.mark.parametrize("make", [os.mkfifo, make_large, Path.touch])
@pytest.mark.parametrize("name", ["", "repos.d"])
def test_a_file_instead_of_a_directory_is_replaced(world: SettingsHome, make: Callable[[Path], None], name: str) -> None:
    """The other directory is restored; a run makes a directory again."""
    path = world.stored / name
    remove(path)
    make(path)
    if name:
        (world.templates / "llm.yml").write_text("# changed\n")
        for check in (True, False):
            done = world.restore_settings(check=check)
            assert done["changed"] and len([text for text in done["warnings"] if f"{path} in the backup cannot be read" in text]) == 1
        (world.templates / "llm.yml").write_text("# changed\n")
    sync_alike(world)


def test_directories_with_the_names_of_temporary_files_are_moved_away(world: SettingsHome) -> None:
    """They would stop each write of that file."""
    make_full_directory(world.stored / "repos.d/.isurus.toml.new")
    make_full_directory(world.stored / ".owner.json.new")
    (world.overrides / "isurus.toml").write_text("# changed\n")
    sync_alike(world)
