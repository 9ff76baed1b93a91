# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damage in Mercurial repositories that are not whole by themselves or lie in each other, and damage while somebody commits."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import mirroring
import pytest
from backup_fixture import BackupHome
from damaging import Damage, cut, flip, noise, remove, writing

pytestmark = pytest.mark.engine

NARROW = ("--config", "extensions.narrow=")
SHARE = ("--config", "extensions.share=")
TREES = ("--config", "experimental.treemanifest=1")


@dataclass(frozen=True)
class Kind:
    """A kind of repository.

    :param broken: the repositories that can be damaged, below the unit, each with where its damage is.
    :param options: with which hg reads it.
    """

    broken: dict[str, dict[str, Damage]]
    options: tuple[str, ...] = ()

    def build(self, unit: Path, program: str) -> None:
        """Make a repository with files in two directories, and three changesets."""
        if self is KINDS["narrow"]:
            base = unit.parent.parent / "served"
            _changesets(base, program)
            mirroring.run(program, *NARROW, "clone", "-q", "--narrow", "--include", "inner", str(base), str(unit / "it"))
            return
        _changesets(unit / "it", program, *(TREES if self is KINDS["trees"] else ()))
        if self is KINDS["share"]:
            for name, options in (("relative", ["--relative"]), ("absolute", [])):
                mirroring.run(program, *SHARE, "share", "-q", *options, str(unit / "it"), str(unit / name))
        if self is KINDS["subrepo"]:
            _changesets(unit / "it/sub", program)
            (unit / "it/.hgsub").write_text("sub = sub\n")
            mirroring.run(program, "commit", "-q", "-A", "-m", "sub", cwd=unit / "it")


def _changesets(where: Path, program: str, *options: str) -> None:
    mirroring.run(program, "init", *options, str(where))
    for each in ("inner", "outer"):
        (where / each).mkdir()
    for number in range(3):
        for each in ("inner", "outer"):
            (where / each / "big").write_bytes(noise(number, 150_000))
            (where / each / "text").write_text(f"{each} {number}\n" * 50)
        mirroring.run(program, *options, "commit", "-q", "-A", "-m", f"{number}", cwd=where)


STORE: dict[str, Damage] = {
    "inner/big": flip(".hg/store/data/inner/big.d", 70_000),
    "inner/text": cut(".hg/store/data/inner/text.i", -7),
    "00manifest": flip(".hg/store/00manifest.i", 64 + 30),
    "00changelog": remove(".hg/store/00changelog.i"),
}
KINDS = {
    "narrow": Kind({"it": STORE}, NARROW),
    "share": Kind({"it": STORE}, SHARE),
    "subrepo": Kind({"it": STORE, "it/sub": STORE}),
    "trees": Kind({"it": STORE | {"meta/inner/00manifest": flip(".hg/store/meta/inner/00manifest.i", 64 + 20)}}),
}


def verified(program: str, where: Path, options: tuple[str, ...]) -> str:
    """Let hg prove a copy of a repository, and return its changesets; what it shares stays where it is."""
    copy = where.with_name(f"{where.name}.copy")
    shutil.copytree(where, copy, symlinks=True)
    try:
        mirroring.run(program, *options, "-R", str(copy), "verify")
        return mirroring.run(program, *options, "-R", str(copy), "log", "-r", "all()", "-T", "{node}\n")
    finally:
        shutil.rmtree(copy)


def contents(top: Path) -> dict[str, bytes]:
    """Return the files of a tree; what hg writes by looking at it is left out."""
    return {
        str(each.relative_to(top)): each.read_bytes()
        for each in sorted(top.rglob("*"))
        if each.is_file() and "cache" not in each.parts and "wcache" not in each.parts
    }


@pytest.fixture(params=["hg", "newest"])
def program(request: pytest.FixtureRequest) -> str:
    """The hg of this machine, and the newest."""
    return "hg" if request.param == "hg" else str(request.getfixturevalue("newest_hg"))


@pytest.mark.parametrize("kind", KINDS)
def test_damage_stays_where_it_is_and_is_mended(empty_world: BackupHome, program: str, kind: str) -> None:
    """The mirror is as sound as before, the run names repository and file, all else arrives, and the hint brings the file back."""
    world, unit, this = empty_world, empty_world.repos / "unit", KINDS[kind]
    unit.mkdir()
    this.build(unit, program)
    world.init()
    assert world.differences() == []
    for path, damages in this.broken.items():
        before = verified(program, world.backup / "unit" / path, this.options)
        for number, (names, damage) in enumerate(list(damages.items())[:: 1 if program == "hg" and path == "it" else 2]):
            original = contents(unit / path)
            mirrored = contents(world.backup / "unit" / path)
            damage(unit / path)
            world.write("unit/new", f"{path} {number}")
            result = world.sync()
            (line,) = [each for each in result["units"] if each["name"] == "unit"]
            assert result["exit_code"] == 1, line
            assert str(unit / path) in line["msg"]
            assert names in line["msg"], line["msg"]
            assert contents(world.backup / "unit" / path) == mirrored
            assert verified(program, world.backup / "unit" / path, this.options) == before
            assert (world.backup / "unit/new").read_text() == f"{path} {number}"
            assert any(each.startswith("repoman restore unit --objects") for each in line["hints"]), line["hints"]
            world.restore("unit", objects=True)
            assert contents(unit / path) == original
            verified(program, unit / path, this.options)
            world.sync()
            assert world.differences() == []


WRITER = r"""
set -u
cd "$1"
count=0
while [ ! -e "$3" ]; do
    count=$((count + 1))
    echo "$count" >>text
    echo "$count" >"new$count"
    hg --noninteractive commit -q -A -m "$count"
done 2>/dev/null
"""


@pytest.mark.parametrize("file", ["big.d", "text.i"])
def test_damage_while_somebody_commits(empty_world: BackupHome, file: str) -> None:
    """No run brings the damage, or less than there was; what is committed meanwhile arrives with the mirror's own, sound, beginning."""
    world, repository = empty_world, empty_world.repos / "unit"
    mirroring.run("hg", "init", str(repository))
    for number in range(3):
        (repository / "big").write_bytes(noise(number, 150_000))
        (repository / "text").write_bytes(noise(number, 150_000).hex().encode())
        mirroring.run("hg", "commit", "-q", "-A", "-m", f"{number}", cwd=repository)
    world.init()
    before = verified("hg", world.backup / "unit", ())
    damaged = repository / ".hg/store/data" / (file if (repository / ".hg/store/data" / file).stat().st_size > 70_000 else "text.d")
    flip(str(damaged.relative_to(repository)), 70_000)(repository)
    messages = []
    with writing(WRITER, repository, brutal=False, stop=world.root / "stop"):
        for _run in range(4):
            messages.append(world.sync()["units"][0]["msg"])
            assert f"{repository} is damaged" in messages[-1]
            assert damaged.stem in messages[-1]
            found = verified("hg", world.backup / "unit", ())
            assert found.startswith(before), messages
            before = found
    result = world.sync()
    assert result["exit_code"] == 1
    assert f"{repository} is damaged" in result["units"][0]["msg"]
    assert damaged.stem in result["units"][0]["msg"]
    assert verified("hg", world.backup / "unit", ()) == mirroring.hg(repository, "log", "-r", "all()", "-T", "{node}\n"), messages
    world.restore("unit", objects=True)
    assert mirroring.hg_problems(repository) == ""
    world.sync()
    assert world.differences() == []
