# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Backups under attack: names that change their kind, links put in the way, runs that end half-way, files that look unchanged."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import mirror_units as mirror_engine
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg import exchange
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import directory_restore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import host_lock
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.history import version_names
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.host_lock import HostLock
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError, RunInterruptedError
from backup_fixture import BackupHome, actions, differences, git, seen
from mirroring import MirrorSandbox, hg

pytestmark = pytest.mark.engine


@pytest.fixture
def world(empty_world: BackupHome) -> BackupHome:
    """A home with two directories and a loose file, backed up."""
    world = empty_world
    world.write("plain/src/main.c")
    world.write("other/file")
    world.write("notes.txt")
    world.init()
    return world


def commit(tool: str, repository: Path) -> None:
    """Commit all that is in a repository."""
    if tool == "hg":
        hg(repository, "commit", "-q", "-A", "-m", "all")
    else:
        mirroring.git(repository, "add", "-A")
        mirroring.git(repository, "commit", "-q", "-m", "all")


# ---- names -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["link", "file"])
def test_a_loose_thing_does_not_push_a_mirror_away(world: BackupHome, kind: str) -> None:
    """A project that was moved and left a link, or a file, behind: its mirror stays until it is said that it may go."""
    (world.repos / "plain").rename(world.root / "elsewhere")
    if kind == "link":
        (world.repos / "plain").symlink_to(world.root / "elsewhere")
    else:
        (world.repos / "plain").write_text("a file")
    world.write("more.txt")
    for full in (False, True):
        result = world.sync(full=full)
        assert actions(result)["plain"] == "failed"
        assert (world.backup / "plain/src/main.c").read_text() == "text\n"
        assert not (world.backup / "plain").is_symlink()
    assert actions(result)["(loose files)"] == "failed"
    assert "plain" in next(line["msg"] for line in result["units"] if line["name"] == "(loose files)")
    assert actions(world.sync(names=["plain"], allow_shrink=True)) == {"plain": "retired"}
    assert actions(world.sync())["(loose files)"] == "synced"
    assert world.differences() == []


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_directory_that_takes_the_place_of_a_loose_file_is_mirrored_at_once(world: BackupHome, jobs: int) -> None:
    """The unit's new mirror is not taken for the loose file that is gone."""
    (world.repos / "notes.txt").unlink()
    world.write("notes.txt/file", "now a directory")
    for _turn in range(2):
        assert "failed" not in world.sync(jobs=jobs)
        assert (world.backup / "notes.txt/file").read_text() == "now a directory"
    assert "text\n" in [path.read_text() for path in world.kept()]


def test_a_mirror_that_was_removed_is_made_again(world: BackupHome) -> None:
    """A mirror that somebody removed from the target is not up to date."""
    shutil.rmtree(world.backup / "plain")
    assert actions(world.sync(check=True))["plain"] == "synced"
    assert actions(world.sync())["plain"] == "synced"
    assert world.differences() == []


def test_what_lay_in_an_adopted_place_stays(empty_world: BackupHome) -> None:
    """Files that were on the target before it was adopted are not taken for mirrors of loose files."""
    world = empty_world
    world.write("plain/file")
    world.write("notes.txt")
    world.write("old.txt")
    (world.backup / "photos.zip").write_text("precious")
    world.init()
    for full in (False, True):
        (world.repos / "old.txt").unlink(missing_ok=True)
        assert "failed" not in world.sync(full=full)
        assert (world.backup / "photos.zip").read_text() == "precious"
        assert not (world.backup / "old.txt").exists()


def test_what_somebody_put_into_a_mirror_is_kept(world: BackupHome) -> None:
    """A file in a mirror that no manifest knows is kept when the source gets one of that name."""
    (world.backup / "plain/src/new.c").write_text("by hand")
    world.write("plain/src/new.c", "from the source")
    world.sync()
    assert [path.read_text() for path in world.kept()] == ["by hand"]


# ---- links in the way --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", ["git", "hg"])
@pytest.mark.parametrize("begun", [False, True])
def test_a_mirrored_link_does_not_lead_out_of_the_target(tmp_path: Path, begun: bool, tool: str) -> None:
    """A link in the mirror that was a link in the source is replaced, not followed, when a repository takes its place."""
    place = MirrorSandbox(tmp_path)
    outside = tmp_path / "outside"
    outside.mkdir()
    mirroring.run(tool, "init", str(outside))
    (outside / "mine").write_text("mine")
    commit(tool, outside)
    unit = place.repos / "work"
    unit.mkdir()
    (unit / "file").write_text("x")
    (unit / "sub").symlink_to(outside)
    if begun:
        begun_at = place.target / ".repoman/work/new/work"
        begun_at.mkdir(parents=True)
        (begun_at / "sub").symlink_to(outside)
    else:
        place.settled()
    before = seen(outside)
    (unit / "sub").unlink()
    mirroring.run(tool, "init", str(unit / "sub"))
    (unit / "sub/evil").write_text("evil")
    commit(tool, unit / "sub")
    place.settled()
    assert seen(outside) == before


def test_a_new_mercurial_repository_in_a_new_directory(tmp_path: Path) -> None:
    """A repository deep in directories that the mirror does not have yet."""
    place = MirrorSandbox(tmp_path)
    (place.repos / "work").mkdir()
    (place.repos / "work/file").write_text("x")
    place.settled()
    inner = place.repos / "work/some/where/inner"
    inner.mkdir(parents=True)
    mirroring.run("hg", "init", str(inner))
    (inner / "file").write_text("x")
    hg(inner, "commit", "-q", "-A", "-m", "x")
    place.settled()
    assert mirroring.hg_problems(place.target / "work/some/where/inner") == ""


def test_files_of_mercurial_that_are_one_on_a_far_target(tmp_path: Path) -> None:
    """Files with several names stay one, and break nothing, when many threads copy them."""
    place = MirrorSandbox(tmp_path, is_remote=True, jobs=2)
    work = place.repos / "work"
    mirroring.run("hg", "init", str(work))
    (work / "file").write_text("x")
    hg(work, "commit", "-q", "-A", "-m", "x")
    (work / ".hg/more").mkdir()
    for number in range(60):
        one = work / f".hg/more/{number}a"
        one.write_text(f"{number}")
        os.link(one, work / f".hg/more/{number}b")
    place.settled()


@pytest.mark.parametrize("swapped_at", [2, 3])
def test_a_directory_swapped_for_a_link_while_it_is_scanned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, swapped_at: int) -> None:
    """What a link leads to that took the place of a directory during the scan is not looked at."""
    secret = tmp_path / "secret"
    (secret / "names").mkdir(parents=True)
    (secret / "deep").mkdir()
    (secret / "deep/more").write_text("more")
    (secret / "link").symlink_to("somewhere secret")
    unit = tmp_path / "unit"
    (unit / "sub/deep").mkdir(parents=True)
    real = os.scandir

    def swapping(path: Any) -> Any:
        listed.append(path)
        if len(listed) == swapped_at:
            os.rename(unit / "sub", tmp_path / "away")
            os.symlink(secret, unit / "sub")
        return real(path)

    listed: list[Any] = []
    monkeypatch.setattr(os, "scandir", swapping)
    found = {entry.path for entry in scan_in_memory(Unit("unit", str(unit))).entries()}
    monkeypatch.undo()
    assert (unit / "sub").is_symlink()
    assert not {path for path in found if b"names" in path or b"link" in path or b"more" in path}


# ---- files that look unchanged -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["week", "full", "killed", "first"])
def test_rewritten_with_the_same_size_and_time_before_everything_is_compared(world: BackupHome, how: str) -> None:
    """A comparison with the mirror sees what the last manifest would have seen: contents that changed under the same size and time."""
    file = world.repos / "plain/src/main.c"
    status = file.stat()
    if how == "first":  # the first copy was interrupted after this file
        begun = world.ours("work") / "new"
        begun.mkdir(parents=True, exist_ok=True)
        (world.backup / "plain").rename(begun / "plain")
        stamps = json.loads(world.ours("stamps.json").read_text())
        del stamps["units"]["plain"]
        world.ours("stamps.json").write_text(json.dumps(stamps))
    file.write_text("TEXT\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    manifests = world.state / "manifests"
    if how == "killed":
        for each in list(manifests.iterdir()):
            each.rename(f"{each}.last")
    if how == "week":
        stamps = json.loads(world.ours("stamps.json").read_text())
        for stamp in stamps["units"].values():
            stamp["full"] -= 8 * 24 * 3600
        world.ours("stamps.json").write_text(json.dumps(stamps))
    world.sync(full=how == "full")
    assert (world.backup / "plain/src/main.c").read_text() == "TEXT\n"
    assert not [each for each in os.listdir(manifests) if each.endswith(".last")]


# ---- what is kept, and restored ------------------------------------------------------------------------------------------------------

KILLED_WHEN_PROVING = """
import os, signal, sys
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.verified_build import VerifiedBuild
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import run as sync
from backup_fixture import BackupHome

class World(BackupHome):
    def __init__(self, root):
        from pathlib import Path
        self.root, self.user = Path(root), None
        self.repos, self.backup, self.log = self.root / "repos", self.root / "backup", self.root / "log"
        self.registry = self.root / "repoman.toml"

VerifiedBuild.verify_changes = lambda *_arguments, **_more: os.killpg(0, signal.SIGKILL)
World(sys.argv[1]).sync()
"""


def test_a_killed_run_keeps_nothing_that_is_new(world: BackupHome) -> None:
    """What a killed run had built of a Mercurial repository is not what it replaced: an earlier state comes back as it was."""
    repository = world.hg("hammer")
    world.sync()
    original = world.root / "original"
    subprocess.run(["cp", "-a", str(repository), str(original)], check=True)
    world.write("hammer/README", "changed\n")
    hg(repository, "commit", "-m", "second", "-u", "Me")
    subprocess.run(
        [sys.executable, "-c", KILLED_WHEN_PROVING, str(world.root)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        start_new_session=True,
    )
    assert [path for path in world.kept() if "hammer" in path.parts] == []
    assert "failed" not in world.sync()
    assert world.differences() == []
    times = sorted(os.listdir(world.ours("created")))
    world.restore("hammer", **{"from": times[-2], "to": str(world.root / "again")})
    assert [line for line in differences(original, world.root / "again") if not line.startswith(".d")] == []


def test_what_came_up_during_a_run_is_not_in_an_earlier_state(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch made between scan and copy is in the mirror, but not in the state before that run."""
    repository = world.git("work")
    world.sync()
    world.write("work/README", "second\n")
    git(repository, "commit", "-q", "-am", "second")
    real = mirror_engine.mirror_units

    def late(*arguments: Any) -> Any:
        git(repository, "branch", "late")
        return real(*arguments)

    monkeypatch.setattr(mirror_engine, "mirror_units", late)
    assert "failed" not in world.sync()
    assert (world.backup / "work/.git/refs/heads/late").exists()
    times = sorted(os.listdir(world.ours("created")))
    world.restore("work", **{"from": times[-1], "to": str(world.root / "again")})
    assert git(world.root / "again", "branch", "--format=%(refname:short)") == "main\n"
    assert git(world.root / "again", "fsck", "--full", "--strict") == ""


def test_git_that_packs_its_objects_has_not_shrunk(world: BackupHome) -> None:
    """Many loose objects that became a pack are no loss; a directory that lost its files is one."""
    repository = world.git("work")
    for number in range(150):
        world.write(f"work/file{number % 5}", f"{number}\n")
        git(repository, "hash-object", "-w", f"file{number % 5}")
        if number % 30 == 0:
            git(repository, "add", ".")
            git(repository, "commit", "-q", "-m", f"{number}")
    world.sync()
    git(repository, "gc", "-q", "--prune=now")
    assert actions(world.sync())["work"] == "synced"
    assert world.differences() == []


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_restore_that_is_interrupted_when_names_change_places_discards_nothing(
    world: BackupHome, monkeypatch: pytest.MonkeyPatch, exchanges: bool
) -> None:
    """Interrupted just after the old directory has become the saved one: it is there."""
    world.write("plain/src/main.c", "precious\n")
    real = directory_restore.exchange_names

    def interrupted(*names: Any) -> bool:
        if exchanges:
            real(*names)
            raise RunInterruptedError("interrupted.")
        monkeypatch.setattr(directory_restore, "rename_new", moved)
        return False

    def moved(one_fd: int, one: bytes, other_fd: int, other: bytes) -> None:
        monkeypatch.setattr(directory_restore, "rename_new", rename_new)
        rename_new(one_fd, one, other_fd, other)
        raise RunInterruptedError("interrupted.")

    rename_new = directory_restore.rename_new
    monkeypatch.setattr(directory_restore, "exchange_names", interrupted)
    with pytest.raises(RunInterruptedError):
        world.restore("plain", overwrite=True)
    found = {path.parent.parent.name: path.read_text() for path in world.repos.rglob("main.c")}
    assert "precious\n" in found.values()
    assert "plain" in found
    assert not [name for name in os.listdir(world.repos) if name.startswith(".repoman")]


def test_a_stamp_is_void_while_its_mirror_is_written(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a mirror is touched its stamp on the target is void, so that no older manifest is ever taken for it."""
    real = mirror_engine.mirror_units

    def stamps() -> dict[str, Any]:
        return dict(json.loads(world.ours("stamps.json").read_text())["units"])

    def looking(*arguments: Any) -> Any:
        assert stamps()["plain"]["digest"] == ""
        assert stamps()["other"]["digest"]
        return real(*arguments)

    monkeypatch.setattr(mirror_engine, "mirror_units", looking)
    world.write("plain/src/main.c", "changed\n")
    assert "failed" not in world.sync()
    assert stamps()["plain"]["digest"]


@pytest.mark.parametrize("minutes", [0, 20])
def test_what_a_power_cut_took_is_made_again(world: BackupHome, minutes: int) -> None:
    """MirrorRecords of a run just before the machine went down are not trusted: what they stand for may not have reached the disk."""
    stamps = json.loads(world.ours("stamps.json").read_text())
    for stamp in stamps["units"].values():
        stamp["time"] -= minutes * 60
    world.ours("stamps.json").write_text(json.dumps(stamps))
    assert not world.sync()["changed"]
    stamps = json.loads(world.ours("stamps.json").read_text())
    assert {("session" in stamp) for stamp in stamps["units"].values()} == {minutes == 0}
    for stamp in stamps["units"].values():
        if "session" in stamp:
            stamp["session"] = "before the machine went down"
    world.ours("stamps.json").write_text(json.dumps(stamps))
    (world.backup / "plain/src/main.c").write_text("")
    result = world.sync()
    assert actions(result)["plain"] == ("unchanged" if minutes else "synced")
    assert (world.backup / "plain/src/main.c").read_text() == ("" if minutes else "text\n")
    assert not world.sync()["changed"]


def test_repositories_behind_a_link(empty_world: BackupHome, tmp_path: Path) -> None:
    """``repos_root`` may be a link to another disk: all is backed up, loose files too."""
    world = empty_world
    world.write("plain/file")
    world.write("notes.txt")
    world.repos.rename(tmp_path / "disk")
    world.repos.symlink_to(tmp_path / "disk")
    assert "failed" not in world.init()
    assert (world.backup / "notes.txt").read_text() == "text\n"
    assert not world.sync()["changed"]
    world.write("notes.txt", "more")
    assert "failed" not in world.sync()
    assert (world.backup / "notes.txt").read_text() == "more"


def test_our_own_name_in_the_source(world: BackupHome) -> None:
    """A file called as repoman's directory on the target is refused; the rest goes on."""
    world.write(".repoman", "a file")
    world.write("plain/more")
    result = world.sync()
    assert actions(result) == {"(loose files)": "failed", "other": "unchanged", "plain": "synced"}
    assert world.ours("mirror.toml").exists()


def test_a_target_without_hard_links_is_locked_all_the_same(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without hard links the lock is still made by one only, and what is replaced is kept."""

    def refused(*_arguments: Any, **_more: Any) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    monkeypatch.setattr(os, "link", refused)
    old = (world.repos / "plain/src/main.c").stat()
    rename = os.rename

    def never_without(source: Any, *arguments: Any, **more: Any) -> None:
        assert source != b"main.c", "the mirror is without the file for a moment"
        rename(source, *arguments, **more)

    monkeypatch.setattr(os, "rename", never_without)
    world.write("plain/src/main.c", "changed\n")
    assert "failed" not in world.sync()
    assert [path.read_text() for path in world.kept()] == ["text\n"]
    assert world.differences() == []
    (kept,) = world.kept()
    assert kept.stat().st_mtime_ns == old.st_mtime_ns
    found = Target(str(world.backup), "")
    with HostLock(found).locked(), pytest.raises(ConflictError, match="working there"), HostLock(found).locked():
        pass


def test_a_copy_in_the_history_is_complete(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a target without hard links fills up during the copy, the history has no part of the file, and the next run stores all of it."""

    def refused(*_arguments: Any, **_more: Any) -> None:
        raise OSError(errno.EPERM, "no hard links here")

    def full(out: int, *_arguments: Any) -> int:
        os.write(out, b"te")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "link", refused)
    world.write("plain/src/main.c", "changed\n")
    with monkeypatch.context() as patch:
        patch.setattr(os, "sendfile", full)
        assert actions(world.sync())["plain"] == "failed"
    assert world.kept() == []
    assert "failed" not in world.sync()
    assert [path.read_text() for path in world.kept()] == ["text\n"]


@pytest.mark.parametrize("moment", ["exchange_names", "remove_tree"])
def test_killed_at_the_exchange_the_history_has_what_was_replaced(world: BackupHome, monkeypatch: pytest.MonkeyPatch, moment: str) -> None:
    """After the next run, the Mercurial repository from before the killed run can be restored, and the work directory is empty."""
    world.hg("hg")
    assert "failed" not in world.sync()
    before = {path.relative_to(world.backup / "hg"): path.read_bytes() for path in (world.backup / "hg").rglob("*") if path.is_file()}
    world.write("hg/more")
    commit("hg", world.repos / "hg")
    hg(world.repos / "hg", "bookmark", "mine")
    with monkeypatch.context() as patch:
        patch.setattr(exchange, moment, lambda *_arguments: os.kill(os.getpid(), signal.SIGKILL))
        with suppress(RepomanError):
            assert world.sync()["failed"]
    killed_version = version_names(Target(str(world.backup), ""))[-1]
    (world.ours("created") / ".20200101T000000Z.new").touch()
    assert "failed" not in world.sync()
    assert not list(world.ours("created").glob(".*"))
    assert world.differences() == [] and os.listdir(world.ours("work")) == ["new"]
    place = world.root / "earlier"
    world.restore("hg", **{"from": killed_version, "to": str(place)})
    assert {path.relative_to(place): path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


def test_of_two_that_find_a_stale_lock_one_takes_it(world: BackupHome, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lock that another run has taken over meanwhile is not thrown away as the stale one it was."""
    found = Target(str(world.backup), "")
    stale = {**HostLock(found).describe_process(), "boot": "another"}
    world.ours("lock").write_text(json.dumps(stale))
    real, other = host_lock.check_stale, json.dumps({**HostLock(found).describe_process(), "host": "elsewhere"})

    def overtaken(path: Path, mine: dict[str, Any]) -> Any:
        seen = real(path, mine)
        path.unlink()
        path.write_text(other)
        monkeypatch.setattr(host_lock, "check_stale", real)
        return seen

    monkeypatch.setattr(host_lock, "check_stale", overtaken)
    with pytest.raises(ConflictError, match="working there"), HostLock(found).locked():
        pass
    assert world.ours("lock").read_text() == other


WITHOUT_CHOWN = """
import sys
from pathlib import Path
import mirroring
place = mirroring.MirrorSandbox(Path(sys.argv[1]))
outcomes = place.sync()
assert {each.state for each in outcomes.values()} <= {"synced", "up to date"}, [each.error for each in outcomes.values()]
assert ["the target cannot store owners"] == [note for each in outcomes.values() for note in each.notes], outcomes
assert not [each for each in place.sync().values() if each.files], "again"
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is squashed")
def test_root_that_may_give_nothing_away(tmp_path: Path) -> None:
    """Where root may not change owners, as on a server that squashes it, that is said and all else is done."""
    place = MirrorSandbox(tmp_path)
    (place.repos / "work").mkdir()
    (place.repos / "work/file").write_text("x")
    (place.repos / "work/link").symlink_to("file")
    os.chown(place.repos / "work/file", 1234, 1234)
    os.chown(place.repos / "work/link", 1234, 1234, follow_symlinks=False)
    done = subprocess.run(
        ["setpriv", "--inh-caps=-chown", "--bounding-set=-chown", sys.executable, "-c", WITHOUT_CHOWN, str(tmp_path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert (place.target / "work/file").read_text() == "x"
