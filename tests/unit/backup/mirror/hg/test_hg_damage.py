# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damage in a Mercurial repository never reaches its mirror: ``hg verify`` accepts the mirror after every run."""

from __future__ import annotations

import os
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg import compare, revlog
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import Revision, RevlogIndex
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import CHANGELOG
from damaging import Damage, cut, fill, flip, noise, remove
from damaging import hg_commit as commit
from damaging import hg_log as log
from mirroring import MirrorSandbox, hg, hg_problems

pytestmark = pytest.mark.engine

STORE = Path(".hg/store")


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """Return an empty place."""
    return MirrorSandbox(tmp_path)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make a repository once; ``big`` has its data in a file of its own, the other logs have it in their indexes."""
    where = tmp_path_factory.mktemp("template") / "work"
    mirroring.run("hg", "init", str(where))
    for number in range(6):
        commit(where, number)
    hg(where, "bookmark", "-r", "1", "here")
    hg(where, "phase", "--public", "-r", "0")
    return where


@pytest.fixture
def source(place: MirrorSandbox, template: Path) -> Path:
    """Return a repository in a place."""
    shutil.copytree(template, place.repos / "work", symlinks=True)
    return place.repos / "work"


@pytest.fixture
def mirrored(place: MirrorSandbox, source: Path) -> list[str]:
    """Mirror the repository, and return its changesets."""
    place.settled()
    return log(source)


DAMAGES: dict[str, tuple[str, Damage]] = {
    "bit in old data": ("data/big", flip(".hg/store/data/big.d", 70_000)),
    "bit in new data": ("data/big", flip(".hg/store/data/big.d", -100)),
    "bit in an old entry": ("data/big", flip(".hg/store/data/big.i", 64 + 40)),
    "bit in the offset of an entry": ("data/big", flip(".hg/store/data/big.i", 64 + 5)),
    "bit in an inline log": ("data/text", flip(".hg/store/data/text.i", 64 + 64 + 10)),
    "bit at the end of an inline log": ("data/text", flip(".hg/store/data/text.i", -5)),
    "bit in the manifest": ("00manifest.i", flip(".hg/store/00manifest.i", 64 + 30)),
    "bit in the changelog": ("00changelog.i", flip(".hg/store/00changelog.i", 64 + 30)),
    "data cut short": ("data/big", cut(".hg/store/data/big.d", 65_000)),
    "index cut between entries": ("data/big", cut(".hg/store/data/big.i", 128)),
    "index cut within an entry": ("data/big", cut(".hg/store/data/big.i", -30)),
    "empty index": ("data/text", cut(".hg/store/data/text.i", 0)),
    "empty data": ("data/big", cut(".hg/store/data/big.d", 0)),
    "empty manifest": ("manifest", cut(".hg/store/00manifest.i", 0)),
    "empty changelog": ("00changelog.i", cut(".hg/store/00changelog.i", 0)),
    "changelog cut short": ("00changelog.i", cut(".hg/store/00changelog.i", -90)),
    "log removed": ("data/text", remove(".hg/store/data/text.i")),
    "data removed": ("data/big", remove(".hg/store/data/big.d")),
    "manifest removed": ("manifest", remove(".hg/store/00manifest.i")),
    "changelog removed": ("00changelog.i", remove(".hg/store/00changelog.i")),
    "zeros for a log": ("data/text", fill(".hg/store/data/text.i", bytes(900))),
    "zeros for the changelog": ("00changelog.i", fill(".hg/store/00changelog.i", bytes(900))),
    "text for a log": ("data/text", fill(".hg/store/data/text.i", b"#!/bin/sh\necho this is no log\n" * 9)),
    "dirstate cut short": ("dirstate", cut(".hg/dirstate", 70)),
    "empty dirstate": ("dirstate", cut(".hg/dirstate", 0)),
    "bit in the dirstate's parent": ("dirstate", flip(".hg/dirstate", 3)),
    "zeros for bookmarks": ("bookmarks", fill(".hg/bookmarks", bytes(60))),
    "bookmarks cut short": ("bookmarks", cut(".hg/bookmarks", 20)),
    "zeros for phases": ("phaseroots", fill(".hg/store/phaseroots", bytes(44))),
    "phases cut short": ("phaseroots", cut(".hg/store/phaseroots", 20)),
    "fncache cut short": ("fncache", cut(".hg/store/fncache", -3)),
    "empty fncache": ("fncache", cut(".hg/store/fncache", 0)),
    "empty requires": ("requires", cut(".hg/requires", 0)),
    "zeros for requires": ("requires", fill(".hg/requires", bytes(40))),
}


def failed(place: MirrorSandbox, names: str) -> str:
    """Run once; see that the repository's damage is told and all else mirrored; return the message."""
    outcome = place.sync()["work"]
    assert outcome.state == "failed"
    assert outcome.error is not None
    message = outcome.error.message
    assert "is damaged" in message
    assert names in message, message
    assert str(place.repos / "work") in message
    assert "Everything else in work was mirrored." in message
    return message


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_later(place: MirrorSandbox, source: Path, mirrored: list[str], kind: str) -> None:
    """The mirror is sound and has all that it had; new files of the work tree arrive; once the source is whole again both are the same."""
    names, damage = DAMAGES[kind]
    original = {each: each.read_bytes() for each in (source / ".hg").rglob("*") if each.is_file()}
    (source / "new").write_text("new")
    damage(source)
    failed(place, names)
    assert hg_problems(place.target / "work") == ""
    assert log(place.target / "work") == mirrored
    assert (place.target / "work/new").read_text() == "new"
    failed(place, names)
    for each, data in original.items():
        each.write_bytes(data)
    place.settled()
    assert hg_problems(place.target / "work") == ""
    assert not place.sync()


@pytest.mark.parametrize("kind", [each for each in DAMAGES if "short" not in each or "dirstate" not in each])
def test_damage_with_new_changesets(place: MirrorSandbox, source: Path, mirrored: list[str], kind: str) -> None:
    """Damage that comes together with new changesets: the mirror is sound, and has at least what it had."""
    names, damage = DAMAGES[kind]
    commit(source, 9)
    original = {each: each.read_bytes() for each in (source / ".hg").rglob("*") if each.is_file()}
    damage(source)
    failed(place, names)
    assert hg_problems(place.target / "work") == ""
    assert log(place.target / "work")[: len(mirrored)] == mirrored
    for each, data in original.items():
        each.write_bytes(data)
    place.settled()
    assert len(log(place.target / "work")) == len(mirrored) + 1


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_at_first(place: MirrorSandbox, source: Path, kind: str) -> None:
    """A repository that is damaged before it is first copied: it is told, all else is mirrored, and healing makes the mirror whole."""
    names, damage = DAMAGES[kind]
    original = {each: each.read_bytes() for each in (source / ".hg").rglob("*") if each.is_file()}
    damage(source)
    if kind in {"empty dirstate", "empty fncache"}:  # nothing tells that there was more
        place.sync()
    else:
        failed(place, names.replace("data/big", "data/big"))
    assert (place.target / "work/big").read_bytes() == noise(5, 60_000)
    for each, data in original.items():
        each.write_bytes(data)
    place.settled()
    assert hg_problems(place.target / "work") == ""
    assert len(log(place.target / "work")) == 6


@pytest.mark.parametrize("path", ["00changelog.i", "00manifest.i", "data/text.i", "data/big.i", "data/big.d"])
def test_logs_with_terabytes_of_hole(place: MirrorSandbox, source: Path, mirrored: list[str], path: str) -> None:
    """A log that is made terabytes long is damage; neither its hole nor a reader's loop over empty entries costs anything."""
    os.truncate(source / STORE / path, 2 << 40)
    failed(place, path.removesuffix(".d").removesuffix(".i"))
    assert hg_problems(place.target / "work") == ""
    assert log(place.target / "work") == mirrored
    assert sum(each.stat().st_blocks for each in place.target.rglob("*")) < 4096


MIB = 1 << 20
TIB = 1 << 40


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        pytest.param({0: b"a", 2 * TIB: b""}, {0: b"a", 2 * TIB: b""}, 2 * TIB, id="a hole at the end"),
        pytest.param({TIB: b"abc"}, {TIB: b"abd"}, TIB + 2, id="a hole before data"),
        pytest.param({0: b"a", TIB: b""}, {0: b"a", 2 * TIB: b""}, TIB, id="holes of two lengths"),
        pytest.param({0: b"a", 3 * MIB: b"", 5 * MIB: b"x"}, {0: b"a", 5 * MIB: b"x", 6 * MIB: b""}, 5 * MIB + 1, id="data, then a hole"),
        pytest.param({2 * MIB: bytes(MIB), 8 * MIB: b"x"}, {8 * MIB: b"x"}, 8 * MIB + 1, id="zeros, and a hole"),
        pytest.param({0: b"a", 3 * MIB + 7: b"x", TIB: b""}, {0: b"a", TIB: b""}, 3 * MIB + 7, id="data, and a hole"),
        pytest.param({TIB: b""}, {}, 0, id="a hole, and nothing"),
    ],
)
def test_common_length_of_files_with_holes(tmp_path: Path, one: dict[int, bytes], other: dict[int, bytes], same: int) -> None:
    """A hole counts as the zeros that it reads as, and is not read."""
    for name, parts in (("one", one), ("other", other)):
        with (tmp_path / name).open("wb") as file:
            for at, data in parts.items():
                file.truncate(at)
                file.seek(at)
                file.write(data)
    paths = os.fsencode(tmp_path / "one"), os.fsencode(tmp_path / "other")
    assert revlog.common_length(*paths) == revlog.common_length(*paths[::-1]) == same


def test_damage_in_the_middle_of_a_first_copy(place: MirrorSandbox, source: Path) -> None:
    """A damaged history that was never mirrored is mirrored as it is, as most of it can be read; later changesets follow, as do repairs."""
    index = (source / ".hg/store/data/big.i").read_bytes()
    (offset,) = struct.unpack(">Q", index[64 * 4 : 64 * 4 + 8])
    damage = flip(".hg/store/data/big.d", (offset >> 16) + 500)
    damage(source)
    failed(place, "data/big.i revision 4")
    assert log(place.target / "work") == log(source)
    assert hg(place.target / "work", "cat", "-r", "5", "text") == hg(source, "cat", "-r", "5", "text")
    (source / "text").write_text("another text\n")
    hg(source, "commit", "-q", "-m", "later", "-u", "me", "text")
    failed(place, "data/big.i revision 4")
    assert log(place.target / "work") == log(source)
    assert hg(place.target / "work", "cat", "-r", "tip", "text") == "another text\n"
    damage(source)
    place.settled()
    assert hg_problems(place.target / "work") == ""


def test_more_damage_after_a_damaged_first_copy(place: MirrorSandbox, source: Path) -> None:
    """What the mirror has sound stays, although other parts of it were damaged from the beginning."""
    flip(".hg/store/data/big.d", 70_000)(source)
    failed(place, "data/big")
    flip(".hg/store/data/text.i", 64 + 64 + 10)(source)
    failed(place, "data/")
    assert hg(place.target / "work", "cat", "-r", "1", "text")


@pytest.mark.usefixtures("mirrored")
def test_new_changesets_before_the_damage(place: MirrorSandbox, source: Path) -> None:
    """Of changesets that came after the last run those before the damaged one are mirrored."""
    for number in (7, 8, 9):
        commit(source, number)
    flip(".hg/store/data/big.d", -100)(source)
    message = failed(place, "data/big.i revision 8")
    assert "changesets before number 8" in message
    assert hg_problems(place.target / "work", dirstate=False) == ""  # number 9 is checked out
    assert log(place.target / "work") == log(source)[:8]


@pytest.mark.parametrize("path", [".hg/store/00changelog.i", ".hg/requires", ".hg/bookmarks", ".hg/store/data/big.i"])
@pytest.mark.usefixtures("mirrored")
def test_sizes_lie(place: MirrorSandbox, source: Path, path: str) -> None:
    """A file that was made long without being written is the repository's failure, with its path and size, and is not read."""
    os.truncate(source / path, 2 << 30)
    message = failed(place, path.removeprefix(".hg/"))
    assert str(2 << 30) in message
    assert hg_problems(place.target / "work") == ""


def test_a_log_that_lost_more_than_is_looked_for(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many of the revisions that may be lost are read, and then all of history is checked."""
    monkeypatch.setattr(compare, "MAX_MISSING", 2)
    read: list[int] = []
    revisions = RevlogIndex.revisions

    def counted(log: RevlogIndex, first: int = 0) -> Iterator[Revision]:
        for each in revisions(log, first):
            if log.path.startswith(bytes(source)) and log.path.endswith(b"big.i"):
                read.append(each.number)
            yield each

    build = tmp_path / "build"
    shutil.copytree(source / ".hg", build, symlinks=True)
    (build / "store/data/big.i").write_bytes((build / "store/data/big.i").read_bytes()[:64])
    entries = {entry.path: entry for entry in scan_in_memory(Unit("build", str(build))).entries()}
    comparison = compare.Comparison(bytes(build), entries, bytes(source / ".hg"), entries, {CHANGELOG}, is_proven=True)
    assert comparison.changed_revlogs[b"store/data/big.i"][0].count == 1
    monkeypatch.setattr(RevlogIndex, "revisions", counted)
    assert comparison.problems() == []
    assert len(read) < 5
    assert comparison.job().since == -1


def test_what_takes_a_files_place_has_nothing_in_common_with_it(tmp_path: Path) -> None:
    """A link, a directory or a pipe that a container put there meanwhile is no error of the run."""
    for name in ("file", "other"):
        (tmp_path / name).write_bytes(b"same" + name.encode())
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "directory").mkdir()
    os.mkfifo(tmp_path / "pipe")
    directory = bytes(tmp_path)
    assert revlog.common_length(directory + b"/file", directory + b"/other") == 4
    for name in (b"link", b"directory", b"pipe", b"gone", b"file/below"):
        assert revlog.common_length(directory + b"/" + name, directory + b"/file") == 0
        assert revlog.common_length(directory + b"/file", directory + b"/" + name) == 0
