# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damaged and missing files of a Mercurial repository are put back from the mirror, and nothing else is touched."""

from __future__ import annotations

import os
from pathlib import Path

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.file_restore import HgRepairPlan, apply_repair, plan_repair
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from damaging import cut, fill, flip, remove
from damaging import hg_commit as commit
from damaging import hg_log as log
from mirroring import MirrorSandbox, hg, hg_problems

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository and its mirror once."""
    place = MirrorSandbox(tmp_path_factory.mktemp("template"))
    where = place.repos / "work"
    mirroring.run("hg", "init", str(where))
    for number in range(5):
        commit(where, number)
    place.settled()
    return place.repos.parent


@pytest.fixture
def both(template: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Return a repository and its mirror."""
    mirroring.run("cp", "-a", str(template / "repos"), str(template / "target"), str(tmp_path))
    return tmp_path / "repos/work", tmp_path / "target/work"


def plan(source: Path, mirror: Path, scratch: Path) -> HgRepairPlan:
    """Plan the mending of a repository."""
    scratch.mkdir(exist_ok=True)
    return plan_repair(bytes(source), bytes(mirror), b".hg", str(scratch))


def contents(where: Path) -> dict[Path, bytes]:
    """Return all files of a tree."""
    return {each.relative_to(where): each.read_bytes() for each in where.rglob("*") if each.is_file() and not each.is_symlink()}


DAMAGES = {
    "bit in data": flip(".hg/store/data/big.d", 70_000),
    "bit in an entry": flip(".hg/store/data/big.i", 64 + 40),
    "bit in an inline log": flip(".hg/store/data/text.i", -5),
    "bit in the changelog": flip(".hg/store/00changelog.i", 64 + 30),
    "bit in the manifest": flip(".hg/store/00manifest.i", 64 + 30),
    "data cut short": cut(".hg/store/data/big.d", 65_000),
    "empty index": cut(".hg/store/data/text.i", 0),
    "changelog cut short": cut(".hg/store/00changelog.i", -90),
    "changelog removed": remove(".hg/store/00changelog.i"),
    "log removed": remove(".hg/store/data/text.i"),
    "data removed": remove(".hg/store/data/big.d"),
    "zeros for phases": fill(".hg/store/phaseroots", bytes(40)),
}


@pytest.mark.parametrize("kind", DAMAGES)
def test_mend(both: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    """The plan changes nothing; afterwards the source is what it was, and what was replaced is saved."""
    source, mirror = both
    original = contents(source)
    DAMAGES[kind](source)
    damaged = contents(source)
    mirrored = contents(mirror)
    repair_plan = plan(source, mirror, tmp_path / "scratch")
    assert repair_plan.repairs
    assert not repair_plan.unrepairable
    assert contents(source) == damaged
    done = list(apply_repair(bytes(source), repair_plan, bytes(tmp_path / "saved")))
    assert done == repair_plan.repairs
    assert contents(source) == original
    assert hg_problems(source) == ""
    assert not any(each.is_symlink() for each in (source / ".hg/wlock", source / ".hg/store/lock"))
    saved = contents(tmp_path / "saved") if (tmp_path / "saved").exists() else {}
    assert saved == {each: data for each, data in damaged.items() if data != original[each]}
    assert contents(mirror) == mirrored
    assert not plan(source, mirror, tmp_path / "scratch").repairs


@pytest.mark.parametrize("kind", ["bit in data", "bit in an inline log", "bit in the manifest", "bit in an entry"])
def test_newer_revisions_stay(both: tuple[Path, Path], tmp_path: Path, kind: str) -> None:
    """What was committed after the last run is still there, also in the log that is mended."""
    source, mirror = both
    size = (source / ".hg/store/data/text.i").stat().st_size
    commit(source, 7)
    nodes, original = log(source), contents(source)
    (flip(".hg/store/data/text.i", size - 5) if kind == "bit in an inline log" else DAMAGES[kind])(source)
    repair_plan = plan(source, mirror, tmp_path / "scratch")
    assert not repair_plan.unrepairable
    list(apply_repair(bytes(source), repair_plan, bytes(tmp_path / "saved")))
    assert hg_problems(source) == ""
    assert log(source) == nodes
    assert contents(source) == original


def test_a_sound_source_is_left_alone(both: tuple[Path, Path], tmp_path: Path) -> None:
    """Also one that has less than its mirror, on purpose."""
    source, mirror = both
    hg(source, "--config", "extensions.strip=", "strip", "-q", "--no-backup", "-r", "3")
    repair_plan = plan(source, mirror, tmp_path / "scratch")
    assert not repair_plan.repairs
    assert not repair_plan.unrepairable


def test_what_the_mirror_has_not_is_named(both: tuple[Path, Path], tmp_path: Path) -> None:
    """Damage in a revision that was never mirrored stays; what else is damaged is mended."""
    source, mirror = both
    commit(source, 7)
    flip(".hg/store/data/big.d", -100)(source)
    remove(".hg/store/data/sub/_upper0.i")(source)
    repair_plan = plan(source, mirror, tmp_path / "scratch")
    assert [each.path for each in repair_plan.repairs] == [b".hg/store/data/sub/_upper0.i"]
    assert {path for path, _reason in repair_plan.unrepairable} == {b".hg/store/data/big.i"}
    list(apply_repair(bytes(source), repair_plan, bytes(tmp_path / "saved")))
    assert (source / ".hg/store/data/sub/_upper0.i").read_bytes() == (mirror / ".hg/store/data/sub/_upper0.i").read_bytes()


def test_a_lock_is_respected(both: tuple[Path, Path], tmp_path: Path) -> None:
    """While somebody writes, or changed something since the plan was made, nothing is put there."""
    source, mirror = both
    DAMAGES["log removed"](source)
    repair_plan = plan(source, mirror, tmp_path / "scratch")
    (source / ".hg/store/lock").symlink_to("host:1")
    with pytest.raises(ConflictError, match=r"store/lock exists"):
        list(apply_repair(bytes(source), repair_plan, bytes(tmp_path / "saved")))
    assert not (source / ".hg/wlock").is_symlink()
    (source / ".hg/store/lock").unlink()
    (source / ".hg/store/data/text.i").write_bytes(b"mine")
    with pytest.raises(ConflictError, match="changed during the repair"):
        list(apply_repair(bytes(source), repair_plan, bytes(tmp_path / "saved")))
    assert (source / ".hg/store/data/text.i").read_bytes() == b"mine"


def test_links_lead_nowhere(both: tuple[Path, Path], tmp_path: Path) -> None:
    """A directory of the store that became a link after the plan was made is not followed."""
    source, mirror = both
    DAMAGES["log removed"](source)
    repair_plan = plan(source, mirror, tmp_path / "scratch")
    outside = tmp_path / "outside"
    os.rename(source / ".hg/store/data", outside)
    (source / ".hg/store/data").symlink_to(outside)
    before = contents(outside)
    with pytest.raises((ConflictError, OSError)):
        list(apply_repair(bytes(source), repair_plan, bytes(tmp_path / "saved")))
    assert contents(outside) == before
