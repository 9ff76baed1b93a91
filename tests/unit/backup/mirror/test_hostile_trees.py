# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees that a hostile writer changes while they are read: nothing from outside gets into a mirror, and nothing holds a run up."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import BLOCK_HEADER, sort_key
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import DEEPEST, MAX_OPEN, walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import TooDeepError, UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.mirror_units import mirror_units
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.work_directories import prepare_directories
from mirroring import MirrorSandbox, number_of

pytestmark = pytest.mark.engine

OUTSIDE = "of-the-host-alone"
LONG = int(os.environ.get("REPOMAN_RACES", "0"))
SECONDS = 10 if LONG else 1

SWAPPER = """
import ctypes, os, sys, time
rename = ctypes.CDLL(None, use_errno=True).renameat2
pairs = [(one.encode(), other.encode()) for one, other in zip(sys.argv[2::2], sys.argv[3::2])]
pause = float(sys.argv[1])
print("ready", flush=True)
while True:
    for one, other in pairs:
        rename(-100, one, -100, other, 2)
    time.sleep(pause)
"""


@pytest.fixture
def deep_path(tmp_path: Path) -> Iterator[Path]:
    """A directory for trees that are too deep for Python to remove."""
    yield tmp_path
    subprocess.run(["rm", "-rf", "--", *map(str, tmp_path.iterdir())], check=True)


@contextmanager
def swapped(*pairs: tuple[Path, Path], pause: float = 0.0) -> Iterator[None]:
    """Let a process exchange names for each other, all the time."""
    names = [str(each) for pair in pairs for each in pair]
    with subprocess.Popen([sys.executable, "-c", SWAPPER, str(pause), *names], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def outside_of(base: Path) -> Path:
    """Make a tree outside that looks like what it takes the place of, all of whose names, texts and link targets say that it is secret."""
    outside = base / "outside"
    for inner in ("", "a", "a/b", "a/b/c"):
        directory = outside / inner
        directory.mkdir()
        (directory / OUTSIDE).write_text(OUTSIDE)
        (directory / "file").write_text(OUTSIDE)
        (directory / "link").symlink_to(f"/{OUTSIDE}")
    return outside


def inside_of(unit: Path, depth: int = 3) -> None:
    """Make a harmless tree."""
    for inner in ("", "a", "a/b", "a/b/c")[: depth + 1]:
        directory = unit / inner
        directory.mkdir(exist_ok=True)
        (directory / "file").write_text("harmless")
        (directory / "link").symlink_to("harmless")


# ---- the scanner -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize(("start", "turned"), [(b"", "a"), (b"", "a/b"), (b"a/b", "a"), (b"a/b", "a/b"), (b"a", "a")])
def test_a_walk_never_leads_out(tmp_path: Path, start: bytes, turned: str, held: bool) -> None:
    """A directory that is exchanged for a link all the time, on the way to the start or below it: only what is in the tree is seen."""
    unit = tmp_path / "unit"
    unit.mkdir()
    inside_of(unit)
    outside = outside_of(tmp_path)
    link = unit / "evil"
    link.symlink_to(outside / turned)
    seen = missed = 0
    top = os.open(unit, os.O_PATH)
    with swapped((unit / turned, link)):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            try:
                blocks = b"".join(walk_blocks(top if held else bytes(unit), start))
            except (FileNotFoundError, NotADirectoryError):
                missed += 1
                continue
            seen += 1
            found = b"".join(entry.path + b" " + entry.link for entry in Manifest(blocks).entries() if entry.name != b"evil")
            assert OUTSIDE.encode() not in found.replace(bytes(outside), b"")
    os.close(top)
    assert seen


def test_a_unit_that_is_a_link_is_not_walked(tmp_path: Path) -> None:
    """A link in the place of a unit's own directory is not followed."""
    outside = outside_of(tmp_path)
    (tmp_path / "unit").symlink_to(outside)
    with pytest.raises(NotADirectoryError):
        list(walk_blocks(bytes(tmp_path / "unit")))
    scan = scan_unit(Unit("unit", str(tmp_path / "unit")), "", str(tmp_path / "manifest"))
    assert scan.error is not None
    assert scan.error.exit_code == 1
    assert str(tmp_path / "unit") in scan.error.message


def test_a_walk_holds_few_directories_open(deep_path: Path) -> None:
    """However deep a tree is and wherever it branches, a walk needs few descriptors, and finds all."""
    directory_fd = os.open(deep_path, os.O_PATH)
    count = 700
    for _number in range(count):
        os.mkdir(b"d", dir_fd=directory_fd)
        os.mkdir(b"e", dir_fd=directory_fd)
        os.mkdir(b"c", dir_fd=directory_fd)
        inner = os.open(b"d", os.O_PATH, dir_fd=directory_fd)
        os.close(directory_fd)
        directory_fd = inner
    os.close(directory_fd)
    most = len(os.listdir("/proc/self/fd"))
    before = most
    directories = []
    for block in walk_blocks(bytes(deep_path)):
        size, _more = BLOCK_HEADER.unpack_from(block)
        directories.append(block[BLOCK_HEADER.size : BLOCK_HEADER.size + size])
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert len(directories) == len(set(directories)) == 3 * count + 1
    assert directories == sorted(directories, key=sort_key)
    assert most - before <= MAX_OPEN + 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_lies_too_deep_is_named_in_short(deep_path: Path) -> None:
    """Five thousand directories in one another: what can be reached is walked, the rest is one short sentence."""
    directory_fd = os.open(deep_path, os.O_PATH)
    for _number in range(5000):
        os.mkdir(b"dd", dir_fd=directory_fd)
        inner = os.open(b"dd", os.O_PATH, dir_fd=directory_fd)
        os.close(directory_fd)
        directory_fd = inner
    os.close(directory_fd)
    unreadable: dict[bytes, UnreadableError] = {}
    manifest = Manifest(b"".join(walk_blocks(bytes(deep_path), unreadable=unreadable)))
    assert max(len(entry.path) for entry in manifest.entries()) <= DEEPEST + 512
    assert sum(1 for _entry in manifest.entries()) > 1000
    assert len(unreadable) == 1
    path, error = next(iter(unreadable.items()))
    assert isinstance(error, TooDeepError)
    assert path.startswith(b"dd/dd/dd")
    assert "too deep" in error.message
    assert str(deep_path) in error.message
    assert len(error.message) < 600
    assert error.exit_code == 1


# ---- whole runs ------------------------------------------------------------------------------------------------------------------


def leaked(place: MirrorSandbox, outside: Path) -> list[str]:
    """Return what of the outside is in the target, in the manifests, or in a name or link target of either."""
    paths = []
    secret = OUTSIDE.encode()
    for top in (bytes(place.target), bytes(place.state)):
        for base, directories, names in os.walk(top):
            for name in directories + names:
                path = os.path.join(base, name)
                if secret in name:
                    paths.append(os.fsdecode(path))
                elif os.path.islink(path):
                    if secret in os.readlink(path).replace(bytes(outside), b""):
                        paths.append(os.fsdecode(path))
                elif os.path.isfile(path):
                    with open(path, "rb") as file:
                        if secret in file.read().replace(bytes(outside), b""):
                            paths.append(os.fsdecode(path))
    return paths


@pytest.mark.parametrize("xattrs", [False, True])
@pytest.mark.parametrize("pause", [0.0, 0.003, 0.03])
@pytest.mark.parametrize("turned", ["a", "a/b", "deep/a"])
def test_a_run_never_leads_out(tmp_path: Path, turned: str, pause: float, xattrs: bool) -> None:
    """Scanned, planned, compared and copied while directories change places with links to a tree outside: nothing of that is anywhere."""
    place = MirrorSandbox(tmp_path, xattrs=xattrs)
    unit = place.repos / "work"
    unit.mkdir()
    inside_of(unit)
    (unit / "deep").mkdir()
    inside_of(unit / "deep")
    outside = outside_of(tmp_path)
    (unit / "evil").symlink_to(outside / turned.removeprefix("deep/"))
    messages = []
    with swapped((unit / turned, unit / "evil"), pause=pause):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            for number in range(20):
                (unit / f"deep/new{number}").write_text(str(time.monotonic()))
            for full in (False, True):
                for outcome in place.sync(full=full).values():
                    messages += [outcome.error.message, *outcome.error.hints] if outcome.error else []
                    messages += outcome.notes
    assert leaked(place, outside) == []
    assert [each for each in messages if OUTSIDE in each] == []
    (unit / "evil").unlink() if (unit / "evil").is_symlink() else shutil.rmtree(unit / "evil")
    place.settled()


def test_a_directory_that_was_away_for_a_moment(tmp_path: Path) -> None:
    """It is scanned, away while it is mirrored, and there again: the next run gives it its time and mode, although nothing of it changed."""
    place = MirrorSandbox(tmp_path)
    work = place.repos / "work"
    (work / "dir").mkdir(parents=True)
    (work / "dir").chmod(0o750)
    os.utime(work / "dir", ns=(1, 1_600_000_000_123_456_789))
    place.scratch.mkdir()
    options = place.options()
    prepare_directories(options)
    plans = place.plans(options)
    (work / "dir").rename(tmp_path / "away")
    for outcome in mirror_units(plans, options, Progress()):
        shutil.move(outcome.manifest, place.state / f"{number_of(outcome.unit)}.manifest")
    (tmp_path / "away").rename(work / "dir")
    place.settled()
    assert place.sync() == {}


@pytest.mark.parametrize("kind", ["pipe", "device", "socket", "directory", "link"])
def test_a_file_that_becomes_something_else(tmp_path: Path, kind: str) -> None:
    """A file changes places with a thing of another kind all the time: no run waits for it, and the mirror has either."""
    place = MirrorSandbox(tmp_path)
    unit = place.repos / "work"
    unit.mkdir()
    inside_of(unit)
    other = tmp_path / "other"
    if kind == "pipe":
        os.mkfifo(other)
    elif kind == "device":
        if os.geteuid():
            pytest.skip("only root makes devices")
        os.mknod(other, 0o600 | stat.S_IFCHR, os.makedev(1, 5))
    elif kind == "socket":
        os.mknod(other, 0o600 | stat.S_IFSOCK)
    elif kind == "directory":
        other.mkdir()
        (other / "in").write_text("in")
    else:
        other.symlink_to("/etc/passwd")
    with swapped((unit / "a/file", other)):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            (unit / "a/b/file").write_text(str(time.monotonic()))
            place.sync(full=True)
            place.sync()
    assert not any(b"root:" in path.read_bytes() for path in place.target.rglob("*") if path.is_file() and not path.is_symlink())
    place.settled()


def test_thousands_of_directories_in_one_another(deep_path: Path) -> None:
    """They cost seconds; what can be reached is mirrored, what cannot is named in a short sentence, and the next run does the same."""
    place = MirrorSandbox(deep_path)
    (place.repos / "work").mkdir()
    (place.repos / "work/file").write_text("file")
    directory_fd = os.open(place.repos / "work", os.O_PATH)
    for number in range(5000 if LONG else 2000):
        os.mkdir(b"d", dir_fd=directory_fd)
        os.close(os.open(b"f%d" % number, os.O_CREAT | os.O_WRONLY, dir_fd=directory_fd))
        inner = os.open(b"d", os.O_PATH, dir_fd=directory_fd)
        os.close(directory_fd)
        directory_fd = inner
    os.close(directory_fd)
    outcome = place.sync()["work"]
    assert outcome.state == "failed"
    assert outcome.error is not None
    assert "is nested too deep" in outcome.error.message
    assert "Everything else in work was mirrored" in outcome.error.message
    assert len(outcome.error.message) < 700
    assert (place.target / "work/file").exists()
    assert (place.target / "work" / "/".join(["d"] * 1000) / "f1000").exists()
    assert place.sync() == {}
    subprocess.run(["rm", "-rf", str(place.repos / "work/d")], check=True)
    assert place.sync()["work"].error is None
    assert not (place.target / "work/d").exists()


def test_a_directory_with_many_entries(tmp_path: Path) -> None:
    """Forty thousand: it is mirrored, and an unchanged one costs nothing."""
    place = MirrorSandbox(tmp_path)
    (place.repos / "work").mkdir()
    count = 40_000 if LONG else 10_000
    directory_fd = os.open(place.repos / "work", os.O_PATH)
    for number in range(count):
        os.close(os.open(b"%d" % number, os.O_CREAT | os.O_WRONLY, dir_fd=directory_fd))
    os.close(directory_fd)
    assert place.sync()["work"].error is None
    assert len(os.listdir(place.target / "work")) == count
    assert place.sync() == {}


@pytest.mark.skipif(not LONG, reason="takes a minute: make test-long")
def test_more_names_of_one_file_than_the_target_gives(tmp_path: Path) -> None:
    """Each name is there with the contents; once the limit of links is reached, the next begins a file of its own."""
    place = MirrorSandbox(tmp_path)
    (place.repos / "work").mkdir()
    first = place.repos / "work/0"
    first.write_text("text")
    try:
        for number in range(1, 65_000):
            os.link(first, place.repos / f"work/{number}")
    except OSError as error:
        if error.errno != errno.EMLINK:
            raise
    outcome = place.sync()["work"]
    assert outcome.error is None, outcome.error.message
    names = os.listdir(place.repos / "work")
    assert sorted(os.listdir(place.target / "work")) == sorted(names)
    assert len({os.stat(place.target / "work" / name).st_ino for name in names}) <= 2
    assert place.sync() == {}


@pytest.mark.parametrize(
    "name", [b"a b", b"it's", b"a\nb", b"e\x1b[31m", b"odd\xff", b"x\xe2\x80\xaey", b"$HOME", b"n" * 250 + b"/" + b"n" * 250]
)
def test_a_path_that_cannot_be_read_is_one_line_and_its_hint_can_be_pasted(tmp_path: Path, name: bytes) -> None:
    """Also one of any bytes, or one that is too long to be shown whole."""
    path = os.path.join(os.fsencode(tmp_path), name)
    os.makedirs(path)
    error = UnreadableError(path, PermissionError(13, "Permission denied"))
    assert error.message.isprintable()
    assert error.message.endswith("' cannot be read: Permission denied.")
    done = subprocess.run(["bash", "-c", error.hints[0].replace("ls -ld", "stat -c %i")], check=True, capture_output=True, text=True)
    assert int(done.stdout) == os.stat(path).st_ino
