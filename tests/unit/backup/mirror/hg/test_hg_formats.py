# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mercurial repositories of every format are mirrored; those that this host's hg does not know, too, with a note."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

import mirroring
import pytest
from mirroring import MirrorSandbox

pytestmark = pytest.mark.engine

UNSTABLE = "enable-unstable-format-and-corrupt-my-data"
SLOW = [
    part for each in ("dirstate-v2", "fileindex", "revlog.persistent-nodemap") for part in ("--config", f"storage.{each}.slow-path=allow")
]
FORMATS = {
    "zstd": ["format.revlog-compression=zstd"],
    "none": ["format.revlog-compression=none"],
    "zlib": ["format.revlog-compression=zlib"],
    "trees": ["experimental.treemanifest=1"],
    "dirstate 2": ["format.use-dirstate-v2=1"],
    "node map": ["format.use-persistent-nodemap=1"],
    "changelog 2": [f"format.exp-use-changelog-v2={UNSTABLE}"],
    "revlog 2": [f"experimental.revlogv2={UNSTABLE}"],
    "archived phase": ["format.exp-archived-phase=yes"],
    "delta information": ["format.use-delta-info-flags=1"],
    "file index": ["format.use-fileindex-v1=1"],
    "no list of files": ["format.usefncache=no"],
    "no general delta": ["format.usegeneraldelta=no", "format.sparse-revlog=no"],
    "not shared safely": ["format.use-share-safe=0"],
    "lfs": ["extensions.lfs=", "lfs.track=size('>10KB')", "lfs.usercache=/nonexistent/lfs"],
    "largefiles": ["extensions.largefiles=", "largefiles.minsize=0.01"],
    "bookmarks in the store": ["format.bookmarks-in-store=yes"],
}
NOT_HERE = {"delta information", "file index"}
"""What Mercurial 6.3 does not know."""


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_of_the_newest(tmp_path: Path, newest_hg: Path, kind: str) -> None:
    """A container's hg makes it, and commits between runs; the mirror is, byte for byte, the source."""
    place = MirrorSandbox(tmp_path)
    work = place.repos / "work"
    options = [*SLOW, *(part for each in FORMATS[kind] for part in ("--config", each.replace("/nonexistent", str(tmp_path))))]
    options += ["--config", f"largefiles.usercache={tmp_path}/large"]
    mirroring.run(str(newest_hg), "init", str(work), *options)
    (work / "Sub").mkdir()
    for number in range(2):
        (work / "Sub/text").write_text(f"{number}\n")
        (work / "big").write_bytes(bytes([number]) * 20_000)
        mirroring.run(str(newest_hg), *options, "commit", "-q", "-A", "-m", str(number), cwd=work)
        outcome = place.settled()["work"]
        if kind in NOT_HERE:
            assert any("could not be verified" in each for each in outcome.notes)
    mirroring.run(str(newest_hg), *options, "verify", cwd=place.target / "work")
    assert not place.sync()


def test_an_unknown_requirement_is_no_damage(tmp_path: Path) -> None:
    """Nor is what looks like an option, or like a module of somebody else's."""
    place = MirrorSandbox(tmp_path)
    work = place.repos / "work"
    mirroring.run("hg", "init", str(work))
    (work / "file").write_text("x")
    mirroring.hg(work, "commit", "-q", "-A", "-m", "x")
    with (work / ".hg/requires").open("a") as file:
        file.write("of-tomorrow\nextensions.evil=/tmp/evil.py\n")
    outcome = place.settled()["work"]
    assert any("could not be verified" in each for each in outcome.notes)
    assert not place.sync()


def test_clones_that_share_files(tmp_path: Path) -> None:
    """Their files are one in the mirror as well; a comparison of everything finds nothing to do, and nothing is kept."""
    place = MirrorSandbox(tmp_path)
    unit = place.repos / "unit"
    unit.mkdir()
    mirroring.run("hg", "init", str(unit / "one"))
    for number in range(3):
        (unit / "one" / f"file{number}").write_text(f"{number}")
        mirroring.hg(unit / "one", "commit", "-q", "-A", "-m", f"{number}")
    mirroring.run("hg", "clone", "-q", str(unit / "one"), str(unit / "two"))
    place.settled()
    for _turn in range(2):
        place.settled(full=True)
        assert not place.kept().exists()
    log = ".hg/store/data/file0.i"
    assert (unit / "one" / log).stat().st_ino == (unit / "two" / log).stat().st_ino
    mirror = place.target / "unit"
    assert (mirror / "one" / log).stat().st_ino == (mirror / "two" / log).stat().st_ino


def test_files_that_stay_the_same_make_no_version(tmp_path: Path) -> None:
    """Files whose inode changed, as after a restore, are linked again, and links are made again: the history has nothing of either."""
    place = MirrorSandbox(tmp_path)
    work = place.repos / "work"
    mirroring.run("hg", "init", str(work))
    (work / "file").write_text("x")
    mirroring.hg(work, "commit", "-q", "-A", "-m", "x")
    (work / ".hg/link").symlink_to("nowhere")
    place.settled()
    log = work / ".hg/store/00changelog.i"
    log.chmod(0o600)
    log.chmod(0o644)
    assert "work" in place.sync()
    assert not list(place.kept().glob("*"))
    (work / ".hg/link").unlink()
    (work / ".hg/link").symlink_to("elsewhere")
    place.sync()
    assert [os.readlink(path) for path in place.kept().rglob("*") if path.name == "link"] == ["nowhere"]


def test_the_history_has_links_and_directories_as_they_were(tmp_path: Path) -> None:
    """A link to a directory is stored when it changes, and directories that vanish keep their modes, whatever the umask."""
    place = MirrorSandbox(tmp_path)
    work, elsewhere = place.repos / "work", tmp_path / "elsewhere"
    mirroring.run("hg", "init", str(work))
    elsewhere.mkdir()
    (work / ".hg/patches").symlink_to(elsewhere)
    (work / ".hg/same").symlink_to(elsewhere)
    (work / ".hg/strip-backup/inner").mkdir(parents=True)
    (work / ".hg/strip-backup/inner/bundle").write_text("bundle")
    (work / ".hg/strip-backup").chmod(0o750)
    (work / ".hg/strip-backup/inner").chmod(0o2755)
    place.settled()
    (work / ".hg/patches").unlink()
    (work / ".hg/patches").symlink_to("nowhere")
    shutil.rmtree(work / ".hg/strip-backup")
    place.sync()
    (kept,) = place.kept().rglob(".hg")
    assert os.readlink(kept / "patches") == str(elsewhere) and not os.path.lexists(kept / "same")
    assert (kept / "strip-backup/inner/bundle").read_text() == "bundle"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (kept / "strip-backup", kept / "strip-backup/inner")}
    assert modes == {"strip-backup": 0o750, "inner": 0o2755}
    assert stat.S_IMODE(kept.stat().st_mode) == stat.S_IMODE((work / ".hg").stat().st_mode)
