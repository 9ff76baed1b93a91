# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository in the data of another one, such as that of the patches of mq in ``.hg/patches``."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
from backup_fixture import BackupHome
from mirroring import hg, hg_problems, run

PATCHES = ".hg/patches"
pytestmark = pytest.mark.engine


@pytest.fixture(params=["links", "no links"])
def world(empty_world: BackupHome, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> BackupHome:
    """A backup of a repository that has another one inside, on a target with and without hard links."""
    outer = empty_world.hg("outer")
    empty_world.write("beside.txt")
    run("hg", "init", str(outer / PATCHES))
    _commit(outer / PATCHES, "first")
    empty_world.init()

    def refused(*_arguments: Any, **_more: Any) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    if request.param == "no links":
        monkeypatch.setattr(os, "link", refused)
    return empty_world


def _commit(repository: Path, text: str) -> None:
    (repository / "series").write_text(text)
    hg(repository, "commit", "-q", "-A", "-u", "Me", "-m", text)


def _differences(world: BackupHome) -> list[str]:
    """Return how mirrors and sources differ, except for hard links, which a target without them lacks."""
    return [line for line in world.differences() if not line.startswith("h")]


def _synced(world: BackupHome) -> None:
    """Back up; both mirrors are sound and the same as their sources."""
    result = world.sync()
    assert [unit["action"] for unit in result["units"] if unit["name"] == "outer"] == ["synced"], result
    assert _differences(world) == []
    for inner in (".", PATCHES):
        assert hg_problems(world.backup / "outer" / inner) == ""
    assert not world.sync()["changed"]


def test_both_change(world: BackupHome) -> None:
    """What was before the run can be restored: the former files of both, and no others."""
    source, before, restored = world.repos / "outer", world.root / "before", world.root / "restored"
    run("cp", "-a", str(source), str(before))
    for repository in (source, source / PATCHES):
        _commit(repository, "more")
    _synced(world)
    (version,) = {path.relative_to(world.ours("kept")).parts[0] for path in world.kept()}
    result = world.restore("outer", **{"from": version[:16], "to": str(restored)})
    assert "failed" not in result, result
    lines = run("rsync", "-aHnci", "--delete", f"{before}/", f"{restored}/").splitlines()
    assert [line for line in lines if not line.startswith((".", "h"))] == []


def test_the_inner_one_is_gone(world: BackupHome) -> None:
    """Its mirror gets into the history."""
    run("rm", "-rf", str(world.repos / "outer" / PATCHES / ".hg"))
    assert "failed" not in world.sync(names=["outer"], allow_shrink=True)
    assert _differences(world) == [] and not (world.backup / "outer" / PATCHES / ".hg").exists()
    assert [path for path in world.kept() if str(path).endswith(f"{PATCHES}/.hg/store/00changelog.i")]
    assert not world.sync()["changed"]


def test_the_inner_one_is_lost(world: BackupHome) -> None:
    """No run changes either mirror until the repository is restored; everything else is mirrored."""
    source, mirror = world.repos / "outer", world.backup / "outer"
    before = run("rsync", "-aHni", f"{mirror}/.hg/", str(world.root / "nothing"))
    run("rm", "-rf", str(source / PATCHES / ".hg"))
    for number in range(3):
        _commit(source, f"more {number}")
        world.write(f"outer/file{number}")
        (line,) = (unit for unit in world.sync()["units"] if unit["name"] == "outer")
        assert (
            line["action"] == "failed" and f"{PATCHES}/.hg is gone. The mirror keeps {source}/.hg, {source}/{PATCHES}/.hg as" in line["msg"]
        )
        assert (mirror / f"file{number}").exists()
        assert run("rsync", "-aHni", f"{mirror}/.hg/", str(world.root / "nothing")) == before
    assert "failed" not in world.restore("outer", paths=[f"{PATCHES}/.hg"])
    _synced(world)
    assert hg(mirror, "log", "-r", "tip", "-T", "{desc}") == "more 2"
