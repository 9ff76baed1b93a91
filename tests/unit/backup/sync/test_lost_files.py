# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files directly in ``repos_root``, and saved directories, that a host has lost, or never had."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from backup_fixture import BackupHome

LOOSE = "(loose files)"
SAVED = "shark.before-20261124T120000Z"


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackupHome:
    """A home with two directories, a saved one and two files, backed up."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "alice")
    world = BackupHome(tmp_path)
    for path in ("shark/file", "whale/file", f"{SAVED}/file", "notes.txt", "todo.txt"):
        world.write(path)
    world.sync(init=True, allow_local=True)
    return world


def remove_files(world: BackupHome) -> None:
    """Remove the files directly in ``repos_root``."""
    for name in ("notes.txt", "todo.txt"):
        (world.repos / name).unlink()


def outcome(result: dict[str, Any], name: str) -> dict[str, Any]:
    """Return the result of a unit."""
    (unit,) = (unit for unit in result["units"] if unit["name"] == name)
    return dict(unit)


def is_refused(world: BackupHome) -> None:
    """Check that runs change no mirror of a loose file, and that the hints do what they say."""
    for check in (True, False):
        unit = outcome(world.sync(check=check), LOOSE)
        assert (unit["action"], unit["exit_code"]) == ("failed", 4) and "their mirrors are still there" in unit["msg"]
    assert unit["hints"][0] == "to get them back: repoman restore '(loose files)'"
    assert "if you deleted them on purpose: repoman sync '(loose files)' --allow-shrink" in unit["hints"][1]
    assert (world.backup / "notes.txt").exists()


def test_lost_with_repositories(world: BackupHome) -> None:
    """If repositories are missing, too, as after an interrupted restore, the mirrors stay; a restore of everything brings all back."""
    remove_files(world)
    shutil.rmtree(world.repos / "whale")
    is_refused(world)
    world.restore(all=True)
    assert (world.repos / "notes.txt").exists() and (world.repos / "whale/file").exists()
    assert world.sync()["summary"]["bytes"] == 0 and not world.sync()["changed"]


def test_deleted_alone(world: BackupHome) -> None:
    """Files that are deleted while all directories are there were deleted on purpose."""
    remove_files(world)
    assert outcome(world.sync(), LOOSE)["action"] == "synced"
    assert not (world.backup / "notes.txt").exists() and len(world.kept()) == 2


@pytest.mark.parametrize("allow", [True, False])
def test_never_on_this_host(world: BackupHome, allow: bool) -> None:
    """A host without a record of them may never have had them: they are refused, until it has them or is told to give them up."""
    shutil.rmtree(world.registry.parent / "state", ignore_errors=True)
    for state in world.registry.parent.rglob("manifests"):
        shutil.rmtree(state)
    remove_files(world)
    is_refused(world)
    if allow:
        world.sync(names=[LOOSE], allow_shrink=True)
        assert not (world.backup / "notes.txt").exists()
    else:
        world.restore(LOOSE)
    assert not world.sync()["changed"] and {unit["action"] for unit in world.sync(verify=True)["units"]} == {"same"}


def test_saved_directories(world: BackupHome) -> None:
    """What a restore had saved is retired when it is deleted, but only on the host that had it."""
    manifests = [path for path in world.registry.parent.rglob("manifests") if path.is_dir()]
    assert manifests
    shutil.rmtree(world.repos / SAVED)
    aside = manifests[0].rename(manifests[0].with_name("aside"))
    manifests[0].mkdir()
    unit = outcome(world.sync(), SAVED)
    assert (unit["action"], unit["exit_code"]) == ("failed", 4) and (world.backup / SAVED).exists()
    shutil.rmtree(manifests[0])
    aside.rename(manifests[0])
    assert outcome(world.sync(), SAVED)["action"] == "retired"
