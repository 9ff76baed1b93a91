# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Objects that are put back from a mirror: git accepts the source again, and nothing else of it has changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_restore import apply_repair, plan_repair
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.source_repair import RepairPlan
from damaging import DAMAGE, rewrite
from mirroring import git, git_problems

pytestmark = pytest.mark.engine


class Pair:
    """A repository, and a mirror of it that is whole."""

    def __init__(self, base: Path, algorithm: str, store: str) -> None:
        self.base, self.source, self.mirror = base, base / "source", base / "mirror"
        self.source.mkdir()
        self.store = store.encode()
        self.repository = self.source / store
        if store.endswith(".git"):
            self.repository = self.repository.parent
        mirroring.run("git", "init", "-q", f"--object-format={algorithm}", str(self.repository))
        for number in range(4):
            (self.repository / f"f{number}").write_text("".join(f"{number} {each}\n" for each in range(500)))
            git(self.repository, "add", ".")
            git(self.repository, "commit", "-q", "-m", f"{number}")
            if number == 1:
                git(self.repository, "repack", "-q", "-a", "-d")
        self.copy()

    def copy(self) -> None:
        """Make the mirror as the source is."""
        shutil.rmtree(self.mirror, ignore_errors=True)
        shutil.copytree(self.source, self.mirror, symlinks=True)

    @property
    def git_directory(self) -> Path:
        """The source's git directory."""
        return self.source / os.fsdecode(self.store)

    def loose(self, place: Path | None = None) -> list[Path]:
        """Return loose objects."""
        return sorted(((place or self.git_directory) / "objects").glob("??/*"))

    def packs(self, suffix: str) -> list[Path]:
        """Return packs, or their indexes."""
        return sorted((self.git_directory / "objects/pack").glob(f"*.{suffix}"))

    def plan(self) -> RepairPlan:
        """Plan."""
        return plan_repair(bytes(self.source), bytes(self.mirror), self.store)

    def mend(self) -> list[str]:
        """Put back, and return what was put back."""
        scratch = self.base / "scratch"
        scratch.mkdir(exist_ok=True)
        done = apply_repair(bytes(self.source), bytes(self.mirror), self.plan(), bytes(self.base / "saved"), str(scratch))
        paths = [os.fsdecode(each.path) for each in done]
        assert not list(scratch.iterdir())
        return paths


PLACES = [("sha1", ".git"), ("sha256", ".git"), ("sha1", "a/b/.git"), ("sha1", "a/.git")]


@pytest.fixture(params=PLACES, ids=[" ".join(each) for each in PLACES])
def pair(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    """Return a repository and its mirror, in several formats and places."""
    return Pair(tmp_path, *request.param)


def one_loose(pair: Pair) -> Path:
    """Return one object."""
    return pair.loose()[1]


WHERE: dict[str, Callable[[Pair], Path]] = {
    "loose": one_loose,
    "pack": lambda pair: pair.packs("pack")[0],
    "idx": lambda pair: pair.packs("idx")[0],
}


@pytest.mark.parametrize("how", DAMAGE)
@pytest.mark.parametrize("where", WHERE)
def test_damaged_files_are_put_back(pair: Pair, where: str, how: str) -> None:
    """The sound file is put back as it was, and the damaged one is saved."""
    place = WHERE[where](pair)
    rewrite(place, DAMAGE[how])
    damaged = place.read_bytes()
    assert git_problems(pair.repository)
    inner = place.relative_to(pair.source)
    assert pair.mend() == [str(inner)]
    assert git_problems(pair.repository) == ""
    assert place.read_bytes() == (pair.mirror / inner).read_bytes()
    assert place.stat().st_mode & 0o777 == 0o444
    assert (pair.base / "saved" / inner).read_bytes() == damaged
    assert mirroring.run("rsync", "-an", "-c", "-i", "--delete", "--no-times", f"{pair.mirror}/", f"{pair.source}/") == ""
    assert pair.mend() == []


@pytest.mark.parametrize("where", [*WHERE, "all loose", "pack and idx", "everything"])
def test_missing_files_are_put_back(pair: Pair, where: str) -> None:
    """What is gone comes back, also with its directory; a dry look changes nothing."""
    missing = {
        "all loose": pair.loose(),
        "pack and idx": [*pair.packs("pack"), *pair.packs("idx")],
        "everything": [*pair.loose(), *pair.packs("pack"), *pair.packs("idx")],
    }.get(where) or [WHERE[where](pair)]
    for each in missing:
        each.unlink()
        if not list(each.parent.iterdir()):
            each.parent.rmdir()
    assert sorted(os.fsdecode(each.path) for each in pair.plan().repairs) == sorted(str(each.relative_to(pair.source)) for each in missing)
    assert git_problems(pair.repository)
    assert sorted(pair.mend()) == sorted(str(each.relative_to(pair.source)) for each in missing)
    assert git_problems(pair.repository) == ""
    assert not (pair.base / "saved").exists()
    assert pair.mend() == []


def test_what_the_mirror_has_in_a_pack(pair: Pair) -> None:
    """A damaged loose object that the mirror has only in a pack is taken out of it."""
    place = one_loose(pair)
    git(pair.mirror / pair.repository.relative_to(pair.source), "repack", "-q", "-a", "-d")
    rewrite(place, DAMAGE["a bit"])
    assert pair.mend() == [str(place.relative_to(pair.source))]
    assert git_problems(pair.repository) == ""
    place.unlink()
    assert pair.mend() == [str(place.relative_to(pair.source))]
    assert git_problems(pair.repository) == ""
    assert pair.mend() == []


def test_many_objects_come_in_the_mirrors_pack(pair: Pair) -> None:
    """Where much is missing that the mirror has in a pack, the pack is put there as a whole."""
    for number in range(60):
        (pair.repository / f"g{number}").write_text(f"g{number}")
    git(pair.repository, "add", ".")
    git(pair.repository, "commit", "-q", "-m", "many")
    pair.copy()
    git(pair.mirror / pair.repository.relative_to(pair.source), "repack", "-q", "-a", "-d")
    for each in pair.loose():
        each.unlink()
    assert git_problems(pair.repository)
    assert {os.path.splitext(each)[1] for each in pair.mend()} == {".pack", ".idx"}
    assert git_problems(pair.repository) == ""
    assert pair.mend() == []


def test_what_the_source_has_otherwise_is_not_put_back(pair: Pair) -> None:
    """A source that has packed its objects lacks none."""
    git(pair.repository, "repack", "-q", "-a", "-d")
    assert pair.plan().repairs == []
    pair.copy()
    git(pair.repository, "unpack-objects", "-q", check=False)
    assert pair.plan().repairs == []


def test_what_nobody_has_is_told(pair: Pair) -> None:
    """Damage that the mirror cannot mend is left, and named."""
    (pair.repository / "new").write_text("new")
    git(pair.repository, "add", "new")
    place = next(each for each in pair.loose() if not (pair.mirror / each.relative_to(pair.source)).exists())
    rewrite(place, DAMAGE["empty"])
    plan = pair.plan()
    assert plan.repairs == []
    assert plan.unrepairable == [(bytes(place.relative_to(pair.source)), "it is empty")]


def test_a_damaged_mirror_mends_nothing(pair: Pair) -> None:
    """What is damaged in the mirror too is not put back."""
    place = one_loose(pair)
    rewrite(place, DAMAGE["a bit"])
    rewrite(pair.mirror / place.relative_to(pair.source), DAMAGE["cut off"])
    plan = pair.plan()
    assert plan.repairs == []
    assert [each for each, _reason in plan.unrepairable] == [bytes(place.relative_to(pair.source))]


@pytest.mark.parametrize("part", ["objects", "directory", "file"])
def test_no_link_is_followed(pair: Pair, tmp_path: Path, part: str) -> None:
    """A source that has links where objects belong does not lead out of it."""
    outside = tmp_path / "outside"
    place = one_loose(pair)
    victim = {"objects": pair.git_directory / "objects", "directory": place.parent, "file": place}[part]
    shutil.move(victim, outside)
    victim.symlink_to(outside)
    before = sorted((str(each), each.lstat().st_mtime_ns) for each in [outside, *outside.rglob("*")])
    if part in {"file", "directory"}:
        assert str(place.relative_to(pair.source)) in pair.mend()
        assert not victim.is_symlink()
        assert place.is_file()
        assert (tmp_path / "saved" / victim.relative_to(pair.source)).is_symlink()
    else:
        with pytest.raises(NotADirectoryError):
            pair.mend()
    assert sorted((str(each), each.lstat().st_mtime_ns) for each in [outside, *outside.rglob("*")]) == before


def test_an_interrupted_one_goes_on(pair: Pair) -> None:
    """What was put back before an interruption stays, and the next one does the rest."""
    for each in pair.loose():
        rewrite(each, DAMAGE["a bit"])
    plan = pair.plan()
    steps = apply_repair(bytes(pair.source), bytes(pair.mirror), plan, bytes(pair.base / "saved"), str(pair.base))
    next(steps)
    next(steps)
    steps.close()
    assert len(pair.plan().repairs) == len(plan.repairs) - 2
    pair.mend()
    assert git_problems(pair.repository) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_files_belong_to_the_repositorys_owner(pair: Pair) -> None:
    """What root puts back is the owner's."""
    place = one_loose(pair)
    shutil.rmtree(place.parent)
    for base, directories, files in os.walk(pair.source):
        for each in (base, *(os.path.join(base, name) for name in directories + files)):
            os.lchown(each, 12345, 12346)
    pair.mend()
    for each in (place, place.parent):
        assert (each.stat().st_uid, each.stat().st_gid) == (12345, 12346)
