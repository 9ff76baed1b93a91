# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damage in git repositories of a source does not spread: the mirror stays as sound as it was, and has all that can be proven."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import MirrorResult
from damaging import DAMAGE, rewrite
from damaging import git_commit as commit
from mirroring import MirrorSandbox, git, git_problems

pytestmark = pytest.mark.engine


class Damaged:
    """A unit with a git repository in some place, and all kinds of files in its object store."""

    def __init__(self, base: Path, where: str) -> None:
        self.place = MirrorSandbox(base)
        self.unit = self.place.repos / "u"
        self.unit.mkdir()
        self.build(where)
        for number in range(2):
            commit(self.work, f"packed{number}")
        git(self.work, "-c", "pack.writeReverseIndex=true", "repack", "-q", "-a", "-d", "-b", check=False)
        git(self.work, "multi-pack-index", "write")
        git(self.work, "commit-graph", "write", "--reachable")
        for number in range(3):
            commit(self.work, f"loose{number}")
        git(self.work, "branch", "old", "HEAD~1")
        self.store = Path(git(self.work, "rev-parse", "--path-format=absolute", "--git-common-dir").strip())

    def build(self, where: str) -> None:
        """Make the repository."""
        self.work = self.unit
        if where == "sha256":
            git(self.unit, "init", "-q", "-b", "main", "--object-format=sha256")
            return
        if where == "nested":
            self.work = self.unit / "a b/c"
            self.work.mkdir(parents=True)
        git(self.work, "init", "-q", "-b", "main")
        if where == "submodule":
            commit(self.unit, "outer")
            mirroring.run("git", "init", "-q", "-b", "main", str(self.unit.parent.parent / "other"))
            commit(self.unit.parent.parent / "other", "inner")
            git(self.unit, "submodule", "add", "-q", str(self.unit.parent.parent / "other"), "sub")
            git(self.unit, "commit", "-q", "-m", "sub")
            self.work = self.unit / "sub"
        elif where == "worktree":
            commit(self.unit, "first")
            git(self.unit, "worktree", "add", "-q", "-b", "side", "tree")
            self.work = self.unit / "tree"
        elif where == "bare":
            commit(self.unit, "first")
            git(self.unit, "config", "core.bare", "true")
            for each in self.unit.iterdir():
                if each.name != ".git":
                    each.unlink()
            for each in list((self.unit / ".git").iterdir()):
                each.rename(self.unit / each.name)
            (self.unit / ".git").rmdir()
            git(self.unit, "worktree", "add", "-q", "-b", "side", str(self.unit.parent / "w"))
            self.work = self.unit.parent / "w"

    @property
    def mirror(self) -> Path:
        """The mirror of the repository's git directory."""
        return self.place.target / self.store.relative_to(self.place.repos)

    def sync(self) -> MirrorResult | None:
        """Run once, and return the outcome of the unit."""
        return self.place.sync().get("u")

    def loose_of(self, name: str, place: Path | None = None) -> Path:
        """Return the file of an object."""
        object_name = git(self.work, "rev-parse", name).strip()
        return (place or self.store) / "objects" / object_name[:2] / object_name[2:]

    def in_pack(self, suffix: str) -> Path:
        """Return a file of a pack."""
        return next((self.store / "objects/pack").glob(f"*.{suffix}"))


PLACES = ["top", "sha256", "nested", "submodule", "worktree", "bare"]


@pytest.fixture(params=PLACES)
def damaged(request: pytest.FixtureRequest, tmp_path: Path) -> Damaged:
    """Return a repository in each place."""
    return Damaged(tmp_path, request.param)


KINDS: dict[str, Callable[[Damaged], Path]] = {
    "blob": lambda it: it.loose_of("HEAD:loose1"),
    "tree": lambda it: it.loose_of("HEAD^{tree}"),
    "commit": lambda it: it.loose_of("HEAD"),
    "pack": lambda it: it.in_pack("pack"),
    "idx": lambda it: it.in_pack("idx"),
    "rev": lambda it: it.in_pack("rev"),
    "midx": lambda it: it.store / "objects/pack/multi-pack-index",
    "graph": lambda it: it.store / "objects/info/commit-graph",
}
BY = {**DAMAGE, "another object": lambda _data: b""}


def damage(it: Damaged, kind: str, how: str) -> Path:
    """Damage one file."""
    path = KINDS[kind](it)
    if how == "another object":
        other = it.in_pack("idx") if kind == "pack" else it.in_pack("pack") if kind == "idx" else it.loose_of("HEAD:loose0")
        data = other.read_bytes()
        rewrite(path, lambda _data: data)
    elif how == "sed":
        mirroring.run("sed", "-i", "s/^/x/", str(path))
    else:
        rewrite(path, DAMAGE[how])
    return path


@pytest.mark.parametrize("how", ["a bit", "empty", "zeros at the end", "another object", "sed"])
@pytest.mark.parametrize("kind", KINDS)
def test_later_damage_does_not_reach_the_mirror(tmp_path: Path, kind: str, how: str) -> None:
    """What the mirror has sound stays, the damaged file is named, all else is mirrored, and a mended source is mirrored again."""
    it = Damaged(tmp_path, "top")
    it.place.settled()
    path = KINDS[kind](it)
    sound = path.read_bytes()
    damage(it, kind, how)
    (it.unit / "new").write_text("new")
    outcome = it.sync()
    check_damaged(it, outcome, path)
    inner = path.relative_to(it.store)
    assert (it.mirror / inner).read_bytes() == sound
    assert (it.place.target / "u/new").read_text() == "new"
    assert (it.mirror / "refs/heads/main").read_bytes() == (it.store / "refs/heads/main").read_bytes()
    check_damaged(it, it.sync(), path)  # as long as it lasts
    rewrite(path, lambda _data: sound)
    it.place.settled()


def check_damaged(it: Damaged, outcome: MirrorResult | None, path: Path) -> None:
    """See that the unit failed because of a file, and that its mirror is sound."""
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.state == "failed"
    assert outcome.error.exit_code == 1
    assert str(path.relative_to(it.unit)) in outcome.error.message
    assert any(str(path.relative_to(it.unit)) in each for each in outcome.damaged)
    assert outcome.error.message.startswith("u: ")
    assert git_problems(it.mirror) == ""


@pytest.mark.parametrize("kind", ["blob", "commit", "pack", "idx"])
def test_every_place(damaged: Damaged, kind: str) -> None:
    """Repositories of every kind and place are all the same."""
    damaged.place.settled()
    path = damage(damaged, kind, "a bit")
    check_damaged(damaged, damaged.sync(), path)
    assert (damaged.mirror / path.relative_to(damaged.store)).read_bytes() != path.read_bytes()


@pytest.mark.parametrize("how", ["a bit", "empty", "cut off"])
@pytest.mark.parametrize("kind", ["blob", "tree", "commit", "pack", "idx", "rev", "midx", "graph"])
def test_damage_at_the_first_copy(tmp_path: Path, kind: str, how: str) -> None:
    """A damaged repository is mirrored as it is, named by every run, and a mended one replaces it."""
    it = Damaged(tmp_path, "top")
    path = KINDS[kind](it)
    sound = path.read_bytes()
    damage(it, kind, how)
    for _turn in range(2):
        outcome = it.sync()
        assert outcome is not None
        assert outcome.error is not None
        assert outcome.error.exit_code == 1
        assert str(path.relative_to(it.unit)) in outcome.error.message
    assert (it.mirror / "refs/heads/main").read_bytes() == (it.store / "refs/heads/main").read_bytes()
    if kind not in {"midx", "graph"}:
        assert (it.mirror / path.relative_to(it.store)).read_bytes() == path.read_bytes()
    rewrite(path, lambda _data: sound)
    it.place.settled()
    assert git_problems(it.mirror) == ""


@pytest.mark.parametrize("kind", ["blob", "tree", "commit"])
@pytest.mark.parametrize("how", ["a bit", "empty", "missing"])
def test_new_damaged_objects(damaged: Damaged, kind: str, how: str) -> None:
    """A commit that arrives damaged is not published; sound branches, and the work tree, are."""
    damaged.place.settled()
    branch = git(damaged.work, "symbolic-ref", "--short", "HEAD").strip()
    before = git(damaged.work, "rev-parse", "HEAD").strip()
    git(damaged.work, "checkout", "-q", "-b", "sound")
    commit(damaged.work, "sound")
    sound = git(damaged.work, "rev-parse", "HEAD").strip()
    git(damaged.work, "checkout", "-q", branch)
    commit(damaged.work, "broken")
    name = {"blob": "HEAD:broken", "tree": "HEAD^{tree}", "commit": "HEAD"}[kind]
    path = damaged.loose_of(name)
    data = path.read_bytes()
    if how == "missing":
        path.unlink()
    else:
        rewrite(path, DAMAGE[how])
    check_damaged(damaged, damaged.sync(), path)
    assert git(damaged.mirror, "rev-parse", f"refs/heads/{branch}").strip() == before
    assert git(damaged.mirror, "rev-parse", "refs/heads/sound").strip() == sound
    if damaged.unit in damaged.work.parents or damaged.unit == damaged.work:
        assert (damaged.place.target / damaged.work.relative_to(damaged.place.repos) / "broken").exists()
    check_damaged(damaged, damaged.sync(), path)
    if how == "missing":
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        path.chmod(0o444)
    else:
        rewrite(path, lambda _data: data)
    damaged.place.settled()


@pytest.mark.parametrize("kind", ["blob", "tree", "commit", "pack"])
def test_objects_that_the_source_lost(damaged: Damaged, kind: str) -> None:
    """What the source has no more and needs stays in the mirror, and new commits are published."""
    damaged.place.settled()
    path = KINDS[kind](damaged)
    git(damaged.work, "branch", "also")
    path.unlink()
    outcome = damaged.sync()
    assert outcome is not None
    assert outcome.error is not None
    assert outcome.error.exit_code == 1
    assert "it is missing" in outcome.error.message
    assert "--objects" in outcome.error.hints[0]
    assert git_problems(damaged.mirror) == ""
    assert (damaged.mirror / path.relative_to(damaged.store)).exists()
    assert git(damaged.mirror, "rev-parse", "also") == git(damaged.work, "rev-parse", "also")


def flip_in_pack(pack: Path, work: Path, name: str, at: int) -> None:
    """Change a bit of an object in a pack.

    :param at: bytes after the object's beginning.
    """
    listed = git(work, "verify-pack", "-v", str(pack.with_suffix(".idx")))
    (offset,) = (int(line.split()[4]) + at for line in listed.splitlines() if line.startswith(name))
    rewrite(pack, lambda data: data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])


def test_a_damaged_new_pack(damaged: Damaged) -> None:
    """A pack that arrives damaged is not copied, and no object of the mirror goes; what is damaged in it the mirror has, so all moves on."""
    damaged.place.settled()
    old = git(damaged.work, "rev-parse", "HEAD").strip()
    commit(damaged.work, "more")
    tip = git(damaged.work, "rev-parse", "HEAD").strip()
    assert tip not in git(damaged.mirror, "rev-parse", "--all").split()
    git(damaged.work, "repack", "-q", "-a", "-d", "-f", "--depth=0")  # nothing else is made of the old commit
    path = damaged.in_pack("pack")
    data = path.read_bytes()
    flip_in_pack(path, damaged.work, old, 20)
    check_damaged(damaged, damaged.sync(), path)
    assert tip in git(damaged.mirror, "rev-parse", "--all").split()
    assert not (damaged.mirror / path.relative_to(damaged.store)).exists()
    rewrite(path, lambda _data: data)
    damaged.place.settled()


@pytest.mark.parametrize("format_", ["top", "sha256"])
def test_sound_objects_of_a_damaged_new_pack(tmp_path: Path, format_: str) -> None:
    """What is whole through sound objects of a pack that is not copied is mirrored; a reference whose history is not stays."""
    it = Damaged(tmp_path, format_)
    it.place.settled()
    git(it.work, "checkout", "-q", "-b", "lost")
    (it.work / "lost").write_bytes(os.urandom(5000))
    git(it.work, "add", "lost")
    git(it.work, "commit", "-q", "-m", "lost")
    name = git(it.work, "rev-parse", "HEAD:lost").strip()
    git(it.work, "checkout", "-q", "main")
    commit(it.work, "more")
    tip = git(it.work, "rev-parse", "main")
    git(it.work, "repack", "-q", "-a", "-d", "-f")
    path = it.in_pack("pack")
    data = path.read_bytes()
    flip_in_pack(path, it.work, name, 1000)
    for _turn in range(2):
        check_damaged(it, it.sync(), path)
        assert git(it.mirror, "rev-parse", "main") == tip
        assert git(it.mirror, "branch", "--list", "lost") == ""
        assert git_problems(it.mirror) == ""
        assert not (it.mirror / path.relative_to(it.store)).exists()
    rewrite(path, lambda _data: data)
    it.place.settled()
    assert git(it.mirror, "rev-parse", "lost") == git(it.work, "rev-parse", "lost")


@pytest.mark.parametrize("line", ["/", "../../../../..", "../" * 300, "missing\n" * 2000])
def test_a_damaged_new_pack_beside_bad_alternates(tmp_path: Path, line: str) -> None:
    """A repository of which nothing can be taken leaves the rest of its unit alone."""
    damaged = Damaged(tmp_path, "top")
    damaged.place.settled()
    commit(damaged.work, "more")
    git(damaged.work, "repack", "-q", "-a", "-d")
    path = damaged.in_pack("pack")
    rewrite(path, DAMAGE["a bit"])
    (damaged.store / "objects/info").mkdir(exist_ok=True)
    (damaged.store / "objects/info/alternates").write_text(line + "\n")
    (damaged.unit / "plain").write_text("plain\n")
    outcome = damaged.sync()
    assert outcome.state == "failed"
    assert (damaged.place.target / "u/plain").read_text() == "plain\n"
    assert git_problems(damaged.mirror) == ""


@pytest.mark.parametrize("format_", ["top", "sha256"])
@pytest.mark.parametrize("how", ["a bit", "empty", "cut off"])
def test_a_damaged_index_of_a_new_pack(tmp_path: Path, format_: str, how: str) -> None:
    """The mirror gets an index made from the pack, so that all of the history is there."""
    damaged = Damaged(tmp_path, format_)
    damaged.place.settled()
    commit(damaged.work, "more")
    git(damaged.work, "repack", "-q", "-a", "-d")
    (damaged.store / "objects/pack/multi-pack-index").unlink(missing_ok=True)
    path = damaged.in_pack("idx")
    data = path.read_bytes()
    rewrite(path, DAMAGE[how])
    for _turn in range(2):
        check_damaged(damaged, damaged.sync(), path)
        assert (damaged.mirror / path.relative_to(damaged.store)).read_bytes() == data
        assert (damaged.mirror / "refs/heads/main").read_bytes() == (damaged.store / "refs/heads/main").read_bytes()
    rewrite(path, lambda _data: data)
    damaged.place.settled()


def test_damage_in_a_partial_clone(tmp_path: Path) -> None:
    """What was left out on purpose is not missing: only the reference whose own object is damaged stays behind, and all others move on."""
    up, place = tmp_path / "up", MirrorSandbox(tmp_path)
    git(tmp_path, "init", "-q", "-b", "main", str(up))
    git(up, "config", "uploadpack.allowFilter", "true")
    for number in range(3):
        (up / "f").write_text(f"{number}\n")
        git(up, "add", "f")
        git(up, "commit", "-q", "-m", "up")
    work, mirror = place.repos / "u", place.target / "u"
    git(tmp_path, "clone", "-q", "--filter=blob:none", f"file://{up}", str(work))
    place.settled()
    remote = git(mirror, "rev-parse", "refs/remotes/origin/main")
    git(work, "checkout", "-q", "-b", "bad")
    commit(work, "bad")
    tree = git(work, "rev-parse", "bad^{tree}").strip()
    git(work, "checkout", "-q", "main")
    commit(work, "more")
    rewrite(work / ".git/objects" / tree[:2] / tree[2:], lambda _data: b"")
    for _turn in range(2):
        message = str(place.sync()["u"].error)
        assert tree in message
        assert git(mirror, "rev-parse", "main") == git(work, "rev-parse", "main")
        assert git(mirror, "rev-parse", "refs/remotes/origin/main") == remote
        assert git(mirror, "branch", "--list", "bad") == ""


GARBAGE = {"empty": b"", "zeros": bytes(41), "text": b"hello\n", "half a name": b"0123456789abcdef\n"}


@pytest.mark.parametrize("garbage", GARBAGE)
@pytest.mark.parametrize("name", ["refs/heads/old", "refs/tags/light", "HEAD"])
@pytest.mark.parametrize("packed", [False, True])
def test_broken_references(tmp_path: Path, name: str, garbage: str, packed: bool) -> None:
    """A reference without a name of an object stays as the mirror has it; others move on."""
    it = Damaged(tmp_path, "top")
    git(it.work, "tag", "light", "HEAD~1")
    if packed:
        git(it.work, "pack-refs", "--all")
    it.place.settled()
    before = git(it.mirror, "rev-parse", name)
    commit(it.work, "further")
    (it.store / name).write_bytes(GARBAGE[garbage])
    check_damaged(it, it.sync(), it.store / name)
    assert git(it.mirror, "rev-parse", name) == (before if name != "HEAD" else (it.store / "refs/heads/main").read_text())
    assert (it.mirror / "refs/heads/main").read_bytes() == (it.store / "refs/heads/main").read_bytes()
    check_damaged(it, it.sync(), it.store / name)
    (it.store / name).write_text("ref: refs/heads/main\n" if name == "HEAD" else before)
    it.place.settled()


@pytest.mark.parametrize("how", ["empty", "zeros", "a line", "cut off"])
def test_broken_packed_references(tmp_path: Path, how: str) -> None:
    """References of a damaged list stay as the mirror has them."""
    it = Damaged(tmp_path, "top")
    for number in range(5):
        git(it.work, "tag", f"t{number}", "HEAD~1")
    git(it.work, "pack-refs", "--all")
    it.place.settled()
    before = git(it.mirror, "show-ref")
    path = it.store / "packed-refs"
    data = path.read_bytes()
    path.write_bytes(
        {
            "empty": b"",
            "zeros": data[:100] + bytes(len(data) - 100),
            "a line": data.replace(b" refs/tags/t3", b"\0refs/tags/t3"),
            "cut off": data[: len(data) // 2],
        }[how]
    )
    check_damaged(it, it.sync(), path)
    assert git(it.mirror, "show-ref") == before
    path.write_bytes(data)
    it.place.settled()


@pytest.mark.parametrize("how", ["a bit", "cut off", "empty", "something else"])
def test_a_broken_index(damaged: Damaged, how: str) -> None:
    """The mirror keeps the index it has."""
    damaged.place.settled()
    path = Path(git(damaged.work, "rev-parse", "--path-format=absolute", "--git-path", "index").strip())
    sound = path.read_bytes()
    commit(damaged.work, "further")
    path.write_bytes(DAMAGE[how](sound))
    check_damaged(damaged, damaged.sync(), path)
    assert (damaged.mirror / path.relative_to(damaged.store)).read_bytes() == sound
    assert git(damaged.mirror, "rev-parse", "refs/heads/old") == git(damaged.work, "rev-parse", "refs/heads/old")
    assert git(damaged.mirror, "rev-list", "--all") == git(damaged.work, "rev-list", "--all")


@pytest.mark.parametrize("first", [False, True])
def test_broken_reflogs(tmp_path: Path, first: bool) -> None:
    """Reflogs are published without their broken lines."""
    it = Damaged(tmp_path, "top")
    if not first:
        it.place.settled()
        commit(it.work, "further")
    path = it.store / "logs/HEAD"
    good = path.read_bytes()
    path.write_bytes(good + bytes(300))
    check_damaged(it, it.sync(), path)
    assert (it.mirror / "logs/HEAD").read_bytes() == good
    assert git(it.mirror, "rev-list", "--all") == git(it.work, "rev-list", "--all")
    path.write_bytes(b"1" * 40 + b" garbage\n" + good)
    check_damaged(it, it.sync(), path)
    assert (it.mirror / "logs/HEAD").read_bytes() == good
    path.write_bytes(good)
    it.place.settled()


def test_reflog_lines_of_lost_objects(tmp_path: Path) -> None:
    """Lines that name what is gone are left out; the branch is mirrored."""
    it = Damaged(tmp_path, "top")
    it.place.settled()
    commit(it.work, "lost")
    place = it.loose_of("HEAD")
    git(it.work, "reset", "-q", "--hard", "HEAD~1")
    commit(it.work, "kept")
    place.unlink()
    outcome = it.sync()
    assert outcome is not None
    assert outcome.error is not None
    assert git_problems(it.mirror) == ""
    assert (it.mirror / "refs/heads/main").read_bytes() == (it.store / "refs/heads/main").read_bytes()
    assert len(git(it.mirror, "reflog", "main").splitlines()) >= 3


def test_thousands_of_references(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many damaged and many sound references take a handful of processes."""
    it = Damaged(tmp_path, "top")
    it.place.settled()
    base = git(it.work, "rev-parse", "HEAD").strip()
    commit(it.work, "damaged")
    name = git(it.work, "rev-parse", "HEAD").strip()
    with (it.store / "packed-refs").open("w") as file:
        file.write("# pack-refs with: peeled fully-peeled sorted \n")
        for number in range(3000):
            file.write(f"{name if number % 2 else base} refs/tags/t{number:05}\n")
    rewrite(it.loose_of("HEAD:damaged"), DAMAGE["a bit"])
    trace = tmp_path / "trace"
    bin_ = tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(f'#!/bin/sh\necho "$1" >>{trace}\nexec {shutil.which("git")} "$@"\n')
    (bin_ / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    outcome = it.sync()
    monkeypatch.undo()
    assert outcome is not None
    assert outcome.error is not None
    assert len(trace.read_text().splitlines()) < 12
    tags = git(it.mirror, "tag", "-l").split()
    assert len(tags) == 1500
    assert git_problems(it.mirror) == ""


def test_a_mirror_that_is_damaged_gets_the_sound_object(tmp_path: Path) -> None:
    """What does not match its name in the mirror is replaced by what does."""
    it = Damaged(tmp_path, "top")
    path = it.loose_of("HEAD:loose1")
    sound = path.read_bytes()
    rewrite(path, DAMAGE["a bit"])
    it.sync()
    assert git_problems(it.mirror)
    rewrite(path, DAMAGE["empty"])
    it.sync()
    rewrite(path, lambda _data: sound)
    it.place.settled()
    assert git_problems(it.mirror) == ""


@pytest.mark.parametrize("kind", ["blob", "commit", "pack", "idx"])
def test_a_far_target(tmp_path: Path, kind: str) -> None:
    """Where each operation on the target takes long, the proof does not rely on the source's damaged file."""
    it = Damaged(tmp_path, "top")
    it.place.settings["is_remote"] = True
    it.place.settled()
    path = damage(it, kind, "empty")
    (it.unit / "further").write_text("x")
    check_damaged(it, it.sync(), path)
    assert (it.place.target / "u/further").exists()


def test_borrowed_objects(tmp_path: Path) -> None:
    """A clone in the same unit that borrows objects is as sound as the repository it borrows from."""
    it = Damaged(tmp_path, "nested")
    mirroring.run("git", "clone", "-q", "--shared", str(it.work), str(it.unit / "clone"))
    commit(it.unit / "clone", "own")
    it.place.settled()
    path = damage(it, "blob", "a bit")
    own = git(it.unit / "clone", "rev-parse", "HEAD:own").strip()
    other = it.unit / "clone/.git/objects" / own[:2] / own[2:]
    rewrite(other, DAMAGE["empty"])
    outcome = it.sync()
    check_damaged(it, outcome, path)
    assert outcome is not None
    assert any(str(other.relative_to(it.unit)) in each for each in outcome.damaged)
    assert (it.place.target / "u/clone/.git/objects" / own[:2] / own[2:]).stat().st_size
