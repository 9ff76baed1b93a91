# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""git reads packs whatever they are called, and ``git maintenance`` writes some that do not begin with ``pack-``; damage reaches none in a mirror."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_restore import apply_repair, plan_repair
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.source_repair import RepairPlan
from damaging import DAMAGE, git_commit, rewrite
from mirroring import MirrorSandbox, git, git_problems, run

pytestmark = pytest.mark.engine

NAMES = ["loose-", "maintained", "odd name", ".hidden", ".", "", "pack"]
UNKNOWN_FORMAT = "[extensions]\n\tsomethingnew = true\n"


class Packed:
    """A repository with a single pack, whose name does not begin as usual, and its mirror.

    :param name: of the pack; ``maintained``: the one that git gives it.
    """

    def __init__(self, base: Path, name: str) -> None:
        self.place = MirrorSandbox(base)
        self.unit = self.place.repos / "u"
        run("git", "init", "-q", "-b", "main", str(self.unit))
        for number in range(3):
            git_commit(self.unit, f"f{number}")
        self.packs = self.unit / ".git/objects/pack"
        if name == "maintained":
            for _turn in range(2):  # the second one removes the loose objects
                git(self.unit, "maintenance", "run", "--task=loose-objects")
        else:
            git(self.unit, "repack", "-q", "-a", "-d")
            for each in list(self.packs.iterdir()):
                each.rename(self.packs / (each.name.replace("pack-", name) if name == "loose-" else f"{name}{each.suffix}"))
        assert not list(self.unit.glob(".git/objects/??/*"))
        assert not list(self.packs.glob("pack-*.pack"))
        self.pack, self.index = (next(self.packs.glob(f"*.{suffix}")) for suffix in ("pack", "idx"))
        self.contents = {each: each.read_bytes() for each in (self.pack, self.index)}

    def assert_guarded(self, *named: Path) -> None:
        """See that two runs report the damage, and that the mirror keeps the pack and its index."""
        for _turn in range(2):
            outcome = self.place.sync()["u"]
            assert outcome.error is not None
            assert outcome.error.exit_code == 1
            for path in named:
                assert str(path.relative_to(self.unit)) in "\n".join(outcome.damaged)
            for path, contents in self.contents.items():
                assert self.in_mirror(path).read_bytes() == contents

    def in_mirror(self, path: Path) -> Path:
        """Return a path's place in the mirror."""
        return self.place.target / path.relative_to(self.place.repos)


@pytest.mark.parametrize("how", ["a bit", "empty", "cut off"])
@pytest.mark.parametrize("name", NAMES)
def test_damaged(tmp_path: Path, name: str, how: str) -> None:
    """A damaged pack or index never replaces the mirror's, and a repair brings the mirror's back."""
    it = Packed(tmp_path, name)
    it.place.settled()
    for path in (it.pack, it.index):
        rewrite(path, DAMAGE[how])
        it.assert_guarded(path)
        assert git_problems(it.in_mirror(it.unit)) == ""
        mirror, scratch = it.place.target / "u", tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        plan = plan_repair(bytes(it.unit), bytes(mirror), b".git")
        repairs = list(apply_repair(bytes(it.unit), bytes(mirror), plan, bytes(tmp_path / "saved"), str(scratch)))
        assert str(path.relative_to(it.unit)) in [os.fsdecode(each.path) for each in repairs]
        it.place.settled()


@pytest.mark.parametrize("kind", ["fifo", "directory", "link", "dangling link"])
@pytest.mark.parametrize("name", NAMES)
def test_something_else_at_its_path(tmp_path: Path, name: str, kind: str) -> None:
    """The mirror keeps the pack, and the index."""
    it = Packed(tmp_path, name)
    it.place.settled()
    for path in (it.pack, it.index):
        _replace(path, kind, tmp_path / "outside")
        it.assert_guarded(path)
        assert git_problems(it.in_mirror(it.unit)) == ""
        path.rmdir() if kind == "directory" else path.unlink()
        path.write_bytes(it.contents[path])
        it.place.settled()


@pytest.mark.parametrize("known", [True, False], ids=["known format", "unknown format"])
@pytest.mark.parametrize("kind", ["file", "fifo", "link", "dangling link"])
@pytest.mark.parametrize("name", NAMES)
def test_something_else_than_the_directory(tmp_path: Path, name: str, kind: str, known: bool) -> None:
    """The mirror keeps the directory, even if git cannot verify the repository."""
    it = Packed(tmp_path, name)
    if not known:
        config = it.unit / ".git/config"
        config.write_text(config.read_text().replace("repositoryformatversion = 0", "repositoryformatversion = 1") + UNKNOWN_FORMAT)
    outcome = it.place.sync()["u"]
    assert outcome.error is None
    _replace(it.packs, kind, tmp_path / "outside")
    it.assert_guarded()
    if known:
        assert git_problems(it.in_mirror(it.unit)) == ""


@pytest.mark.parametrize("index", ["lost", "a link"])
@pytest.mark.parametrize("prefix", ["pack-", "loose-"])
def test_a_pack_without_its_own_index(tmp_path: Path, prefix: str, index: str) -> None:
    """It stays guarded, even if its objects are also elsewhere."""
    it = Packed(tmp_path, "pack")
    pack = it.packs / f"{prefix}{'ab' * 20}.pack"
    shutil.copy(it.pack, pack)
    shutil.copy(it.index, pack.with_suffix(".idx"))
    if index == "a link":
        _replace(pack.with_suffix(".idx"), "link", tmp_path / "outside")
    it.place.settled()
    if index == "lost":
        pack.with_suffix(".idx").unlink()
        it.place.settled()
    sound = pack.read_bytes()
    rewrite(pack, DAMAGE["a bit"])
    for _turn in range(2):
        outcome = it.place.sync()["u"]
        assert str(pack.relative_to(it.unit)) in "\n".join(outcome.damaged)
        assert it.in_mirror(pack).read_bytes() == sound


def test_an_odd_name_that_looks_transient(tmp_path: Path) -> None:
    """A pack whose name without its suffix ends with ``.lock`` is restored like any other."""
    it = Packed(tmp_path, "x.lock")
    it.place.settled()
    rewrite(it.pack, DAMAGE["a bit"])
    it.assert_guarded(it.pack)
    plan = plan_repair(bytes(it.unit), bytes(it.in_mirror(it.unit)), b".git")
    assert str(it.pack.relative_to(it.unit)) in [os.fsdecode(each.path) for each in plan.repairs]


@pytest.mark.parametrize("algorithm", ["sha1", "sha256"])
def test_what_git_accepts(tmp_path: Path, algorithm: str) -> None:
    """Files that git does not read are like any others, and a name with a hash of other digits means nothing."""
    place = MirrorSandbox(tmp_path)
    unit = place.repos / "u"
    run("git", "init", "-q", "-b", "main", f"--object-format={algorithm}", str(unit))
    git_commit(unit, "f")
    git(unit, "-c", "pack.indexVersion=1", "repack", "-q", "-a", "-d")
    packs = unit / ".git/objects/pack"
    other = "ab" * (32 if algorithm == "sha1" else 20)
    for each in list(packs.iterdir()):
        each.rename(packs / f"import-{other}{each.suffix}")
    pack = next(packs.glob("*.pack"))
    shutil.copy(pack, packs / "copy.pack")
    for name in ("notes.pack", "x.idx", "y.rev", "z.bitmap", "..pack", "...idx", ".rev", "n.idx"):
        (packs / name).write_text("not an object")
    (packs / "n.pack").mkdir()
    git(unit, "fsck", "--full", "--strict")
    for _turn in range(2):
        place.settled()
        assert place.sync() == {}
        assert not place.differences()
        unfinished = [packs / ".tmp-1-pack-2.pack", packs / ".tmp-1-pack-2.idx"]
        for each in unfinished:
            each.write_text("not finished")
        assert plan_repair(bytes(unit), bytes(place.target / "u"), b".git") == RepairPlan(b".git")
        for each in unfinished:
            each.unlink()
        rewrite(packs / "copy.pack", lambda data: data[:-5])
        (packs / "notes.pack").unlink()
        (packs / "notes.pack").symlink_to("x.idx")
    assert git_problems(place.target / "u") == ""


def _replace(path: Path, kind: str, outside: Path) -> None:
    """Put something else at a path; a link leads to what was there."""
    if outside.is_dir():
        shutil.rmtree(outside)
    elif outside.exists():
        outside.unlink()
    shutil.move(path, outside)
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    elif kind == "file":
        path.write_text("x")
    else:
        path.symlink_to(outside if kind == "link" else "/nonexistent/outside")
