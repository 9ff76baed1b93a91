# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What took the place of a file of a Mercurial repository is damage: the mirror keeps the file, and restore puts it back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from backup_fixture import BackupHome


def verify(place: Path) -> int:
    """Let hg verify a repository."""
    return subprocess.run(["hg", "-R", str(place), "verify", "-q"], capture_output=True, check=False, timeout=60).returncode


@pytest.mark.parametrize("kind", ["link", "directory", "pipe"])
@pytest.mark.parametrize("name", ["store/data/f.i", "store/00manifest.i", "store/00changelog.i", "dirstate"])
def test_what_takes_the_place_of_a_file(empty_world: BackupHome, name: str, kind: str) -> None:
    """Every run names it, all else arrives, and what the hint says mends it."""
    world = empty_world
    unit, mirror = world.root / "repos/a", world.root / "backup/a"
    unit.mkdir(parents=True)
    (unit / "f").write_text("x\n" * 300)
    for command in (["init"], ["add", "-q", "f"], ["commit", "-q", "-m", "1", "-u", "x"]):
        subprocess.run(["hg", "--cwd", str(unit), *command], check=True)
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
