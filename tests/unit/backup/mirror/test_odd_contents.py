# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Contents that lie about their size, modes that are dangerous, names that are too long, targets that cannot have a file."""

from __future__ import annotations

import fcntl
import os
import resource
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import contents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.history_store import tree_sizes, unused_name
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import MirrorResult
from mirroring import MirrorSandbox

pytestmark = pytest.mark.disk  # what file systems have is the matter

NOBODY = 65534
TERA = 1 << 40


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """Sources with one unit, and an empty target."""
    place = MirrorSandbox(tmp_path)
    (place.repos / "work").mkdir()
    return place


def synced(outcome: MirrorResult) -> MirrorResult:
    """See that a unit was mirrored."""
    assert outcome.error is None, outcome.error.message
    assert outcome.state == "synced"
    return outcome


def temporaries(place: MirrorSandbox) -> list[str]:
    """Return what is left in the directory for files that are not whole yet."""
    return [each for each in os.listdir(place.target / ".repoman/work") if each != "new"]


# ---- sizes that lie --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1000, contents.BLOCK + 7, 3 * contents.CHUNK])
@pytest.mark.parametrize("sparse", [False, True])
def test_a_file_that_grows_is_copied_up_to_the_size_it_had(tmp_path: Path, size: int, sparse: bool) -> None:
    """What is appended after the file was looked at is neither copied nor compared."""
    path = tmp_path / "source"
    path.write_bytes(os.urandom(size))
    if sparse:
        os.truncate(path, size + (1 << 20))
    source = os.open(path, os.O_RDONLY)
    status = os.fstat(source)
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"later" * 1_000_000)
    out = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT)
    written = contents.transfer(source, out, status, None, lambda: None)
    assert written >= size
    assert (tmp_path / "copy").read_bytes() == before
    assert contents.equal(source, out, status.st_size)
    assert not contents.equal(source, out, status.st_size + 1)
    os.close(source)
    os.close(out)


def test_a_file_that_shrinks_while_it_is_copied(tmp_path: Path) -> None:
    """A copy ends where the file ends now, and is not the same as what was looked at."""
    path = tmp_path / "source"
    path.write_bytes(b"x" * (20 << 20))
    source = os.open(path, os.O_RDONLY)
    status = os.fstat(source)
    os.truncate(path, 5)
    out = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT)
    assert contents.transfer(source, out, status, None, lambda: None) == 5
    assert not contents.equal(source, out, status.st_size)
    os.close(source)
    os.close(out)


GROWER = """
import os, sys, time
out = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND)
print("ready", flush=True)
chunk = b"grows" * 20000
until = time.monotonic() + 60
while time.monotonic() < until and os.fstat(out).st_size < 2 << 30:
    os.write(out, chunk)
"""


def test_a_file_that_grows_all_the_while_does_not_fill_the_target(place: MirrorSandbox) -> None:
    """A run ends although a program appends faster than it copies, and the mirror has a beginning of the file."""
    path = place.repos / "work/log"
    path.write_bytes(b"grows" * 20000)
    with subprocess.Popen([sys.executable, "-c", GROWER, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            outcome = synced(place.sync()["work"])
        finally:
            process.kill()
    mirrored = place.target / "work/log"
    assert mirrored.stat().st_size <= path.stat().st_size
    assert outcome.bytes == mirrored.stat().st_size
    # On a busy machine the program may not have written anything during the copy.
    assert not outcome.settled or outcome.bytes == 100_000
    with path.open("rb") as one, mirrored.open("rb") as other:
        while chunk := other.read(1 << 20):
            assert chunk == one.read(len(chunk))
    place.settled()


def test_a_hole_of_terabytes_costs_its_data(place: MirrorSandbox) -> None:
    """A sparse file of 8 TB is copied, compared, replaced and kept by its data alone, and counts with its data."""
    path = place.repos / "work/hole"
    with path.open("wb") as file:
        os.truncate(path, 8 * TERA)
        for at in (0, 3 * TERA + 5, 8 * TERA - 4):
            file.seek(at)
            file.write(b"data")
    assert synced(place.sync()["work"]).bytes < 1 << 20

    def same() -> bool:
        one, other = (os.open(each / "work/hole", os.O_RDONLY) for each in (place.repos, place.target))
        try:
            assert os.fstat(one).st_size == os.fstat(other).st_size == 8 * TERA
            return all(os.pread(one, 4, at) == os.pread(other, 4, at) != b"" for at in (0, TERA, 3 * TERA + 5, 8 * TERA - 4))
        finally:
            os.close(one)
            os.close(other)

    assert same()
    assert (place.target / "work/hole").stat().st_blocks < 1000
    os.utime(path)
    assert synced(place.sync()["work"]).bytes == 0
    assert "work" not in place.sync()
    assert place.sync(full=True)["work"].state == "up to date"
    with path.open("r+b") as file:
        file.seek(3 * TERA + 5)
        file.write(b"more")
    outcome = synced(place.sync()["work"])
    assert outcome.bytes < 1 << 20
    assert outcome.kept_bytes < 1 << 20
    assert same()
    path.unlink()
    assert synced(place.sync()["work"]).kept_bytes < 1 << 20
    assert sum(tree_sizes(bytes(place.target / ".repoman/kept"))) < 1 << 20


def test_many_small_extents(place: MirrorSandbox) -> None:
    """Ten thousand small pieces of data in a large file, in other places on the second run."""
    path = place.repos / "work/pieces"
    with path.open("wb") as file:
        for number in range(10_000):
            file.seek(number << 26)
            file.write(b"%d" % number)
    synced(place.sync()["work"])
    os.utime(path)
    assert synced(place.sync()["work"]).bytes == 0
    with path.open("r+b") as file:
        file.seek(9_999 << 26)
        file.write(b"other")
    synced(place.sync()["work"])
    source, mirrored = os.open(path, os.O_RDONLY), os.open(place.target / "work/pieces", os.O_RDONLY)
    assert contents.equal(source, mirrored, os.fstat(source).st_size)
    assert all(os.pread(mirrored, 4, number << 26).startswith(b"%d" % number) for number in range(0, 9_999, 700))
    os.close(source)
    os.close(mirrored)


# ---- errors that name their place ------------------------------------------------------------------------------------------------


@contextmanager
def limited(size: int) -> Iterator[None]:
    """Let files have no more than so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("hole", [True, False])
def test_a_file_that_is_too_large_for_the_target_fails_alone(place: MirrorSandbox, first: bool, hole: bool) -> None:
    """It is named, all else is mirrored, and no part of it is left."""
    work = place.repos / "work"
    (work / "small").write_text("small")
    if not first:
        place.settled()
        (work / "small").write_text("changed")
    if hole:
        (work / "large").touch()
        os.truncate(work / "large", TERA)
    else:
        (work / "large").write_bytes(b"x" * 3_000_000)
    with limited(1 << 20):
        outcome = place.sync()["work"]
    assert outcome.state == "failed"
    assert outcome.error is not None
    assert str(place.target / "work/large").rpartition("/target/")[2] in outcome.error.message or "large" in outcome.error.message
    assert "File too large" in outcome.error.message
    assert "Everything else in work was mirrored" in outcome.error.message
    assert (place.target / "work/small").read_text() == (work / "small").read_text()
    assert not (place.target / "work/large").exists()
    assert temporaries(place) == []
    if not hole:
        place.settled()


def test_a_source_that_cannot_be_read_is_named_as_such(tmp_path: Path) -> None:
    """An error of the disk under the source is not taken for one of the target, whatever call tells it."""
    broken = os.open("/proc/self/mem", os.O_RDONLY)  # its first page cannot be read
    out = os.open(tmp_path / "copy", os.O_RDWR | os.O_CREAT)
    for call in (
        lambda: contents._transfer_range(broken, out, 0, 4096, None, lambda: None),
        lambda: contents._send(broken, out, 4096, lambda: None),
    ):
        with pytest.raises(contents.SourceReadError):
            call()
    os.ftruncate(out, 4096)
    with pytest.raises(contents.SourceReadError):
        contents.equal(broken, out, 4096)
    source = os.open(tmp_path / "source", os.O_RDWR | os.O_CREAT)
    os.ftruncate(source, 4096)
    assert contents.equal(source, out, 4096)
    for each in (broken, out, source):
        os.close(each)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_full_target_is_named(place: MirrorSandbox, first: bool) -> None:
    """The error names the file of the mirror that could not be written, and nothing is left of it."""
    mirroring.run("mount", "-t", "tmpfs", "-o", "size=1M", "tmpfs", str(place.target))
    try:
        if not first:
            (place.repos / "work/small").write_text("small")
            synced(place.sync()["work"])
        (place.repos / "work/large").write_bytes(os.urandom(3 << 20))
        outcome = place.sync()["work"]
        assert outcome.state == "failed"
        assert outcome.error is not None
        assert "No space left on device" in outcome.error.message
        assert "work/large" in outcome.error.message
        assert str(place.target) in outcome.error.message
        assert temporaries(place) == []
        assert sum(tree_sizes(bytes(place.target))) < 4096
    finally:
        mirroring.run("umount", str(place.target))


# ---- modes -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0, 0o022, 0o077])
def test_what_is_kept_is_ours_alone(place: MirrorSandbox, umask: int) -> None:
    """Directories of repoman's own have no bits for others, under whatever umask a run starts."""
    before = os.umask(umask)
    try:
        work = place.repos / "work"
        (work / "a/b").mkdir(parents=True)
        os.chmod(work, 0o755)
        for name in ("a/b/file", "file"):
            (work / name).write_text("one")
        place.settled()
        for name in ("a/b/file", "file"):
            (work / name).write_text("two, longer")
        place.settled()
    finally:
        os.umask(before)
    directories = [place.target / ".repoman" / each for each in ("kept", "work")]
    directories += [path for path in place.kept().rglob("*") if path.is_dir()]
    assert place.kept() / "work/a/b" in directories
    assert {str(path): oct(stat.S_IMODE(path.stat().st_mode) & 0o077) for path in directories if path.stat().st_mode & 0o077} == {}


def test_a_directory_that_was_open_to_others_is_closed(place: MirrorSandbox) -> None:
    """What an earlier version made with a wrong mode is put right by the next run."""
    place.settled()
    history = place.target / ".repoman/kept"
    history.mkdir(exist_ok=True)
    history.chmod(0o755)
    place.sync()
    assert stat.S_IMODE(history.stat().st_mode) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes files of others")
def test_no_set_user_id_file_of_a_wrong_owner(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """Where the owner cannot be kept, the bits are left out; that is noted, and is no difference on a full comparison."""
    place = MirrorSandbox(short_dir)
    for each in (short_dir, place.repos, place.target, place.state):
        os.chown(each, NOBODY, NOBODY)
    (place.repos / "work").mkdir()
    files = {
        "other": (1000, 1000, 0o6755),
        "group": (NOBODY, 1000, 0o2755),
        "mine": (NOBODY, NOBODY, 0o6755),
        "plain": (1000, 1000, 0o755),
    }
    for name, (uid, gid, mode) in files.items():
        path = place.repos / "work" / name
        path.write_text(name)
        os.chown(path, uid, gid)
        path.chmod(mode)
    os.chown(place.repos / "work", NOBODY, NOBODY)

    def copy() -> str:
        outcome = synced(place.sync()["work"])
        assert any("set-user-ID" in note for note in outcome.notes)
        modes = {each: oct(stat.S_IMODE((place.target / "work" / each).stat().st_mode)) for each in files}
        assert modes == {"other": "0o755", "group": "0o755", "mine": "0o6755", "plain": "0o755"}
        assert "work" not in place.sync()
        assert [plan.total for plan in place.plans(place.options(full=True)) if plan.unit.name == "work"] == [0]
        return "fine"

    assert unprivileged(copy) == "fine"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_root_keeps_every_bit(place: MirrorSandbox) -> None:
    """Root keeps owners, so the bits stay, on files and directories."""
    for name, mode in (("setuid", 0o4755), ("setgid", 0o2711), ("sticky", 0o1644)):
        path = place.repos / "work" / name
        path.write_text(name)
        os.chown(path, 1000, 1001)
        path.chmod(mode)
    for name, mode in (("shared", 0o2775), ("tmp", 0o1777)):
        path = place.repos / "work" / name
        path.mkdir()
        os.chown(path, 1000, 1001)
        path.chmod(mode)
    assert not place.settled()["work"].notes


# ---- names -----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        b"-rf",
        b"--delete",
        b"\xff\xfe",
        b"new\nline",
        b"\x1b[31m",
        b"n" * 233,
        b"n" * 250,
        b"n" * 255,
        "é".encode() * 127,
        b"\xff" * 255,
        b"~",
        b".~1~",
    ],
)
def test_odd_names(place: MirrorSandbox, name: bytes) -> None:
    """As a file, a directory, a link and a hard link: mirrored, replaced twice, removed, and kept each time."""
    work = bytes(place.repos / "work")
    os.makedirs(os.path.join(work, b"dir", name))

    def write(text: bytes) -> None:
        for parent in (work, os.path.join(work, b"dir", name)):
            with open(os.path.join(parent, name), "wb") as file:
                file.write(text)

    write(b"one")
    os.makedirs(os.path.join(work, b"links"))
    os.symlink(name, os.path.join(work, b"links", name))
    os.makedirs(os.path.join(work, b"hard"))
    os.link(os.path.join(work, name), os.path.join(work, b"hard", name))
    place.settled()
    write(b"two, longer")
    place.settled()
    history = os.path.join(bytes(place.kept()), b"work", name)
    with open(history, "rb") as file:
        assert file.read() == b"one"
    os.unlink(os.path.join(work, name))
    os.mkdir(os.path.join(work, name))
    place.settled()
    os.rmdir(os.path.join(work, name))
    place.settled()
    assert temporaries(place) == []


def test_two_things_of_one_long_name_are_kept(tmp_path: Path) -> None:
    """A name that is as long as can be gets a number although it has to be cut for it."""
    path = bytes(tmp_path) + b"/" + b"n" * 255
    Path(os.fsdecode(path)).touch()
    free = unused_name(path)
    assert len(os.path.basename(free)) <= 255
    Path(os.fsdecode(free)).touch()
    assert unused_name(path) not in {path, free}


def test_a_path_near_the_limit_is_mirrored(place: MirrorSandbox) -> None:
    """3,400 bytes of directories, and a long name in the last: mirrored, changed and kept."""
    path = place.repos / "work"
    while len(str(path)) - len(str(place.repos / "work")) < 3100:
        path /= "d" * 99
    subprocess.run(["mkdir", "-p", str(path)], check=True)
    (path / ("f" * 200)).write_text("one")
    place.settled()
    (path / ("f" * 200)).write_text("two, longer")
    place.settled()
    assert [each.read_text() for each in place.kept().rglob("f*") if each.is_file()] == ["one"]


# ---- files that change their kind ------------------------------------------------------------------------------------------------


def test_a_file_under_a_lease_is_waited_for(place: MirrorSandbox) -> None:
    """A program that has a lease on a file, and gives it up when it is asked to: the file is mirrored."""
    path = place.repos / "work/leased"
    path.write_text("text")
    holder = """
import fcntl, os, signal, sys, time
file = os.open(sys.argv[1], os.O_RDWR)
def give(*_):
    time.sleep(0.3)
    fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
signal.signal(signal.SIGIO, give)
fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_WRLCK)
print("ready", flush=True)
while True:
    time.sleep(1)
"""
    with subprocess.Popen([sys.executable, "-c", holder, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            synced(place.sync()["work"])
        finally:
            process.kill()
    assert (place.target / "work/leased").read_text() == "text"


def test_a_locked_file_is_mirrored(place: MirrorSandbox) -> None:
    """Locks of other programs do not hold a run up."""
    path = place.repos / "work/locked"
    path.write_text("text")
    with path.open("r+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        fcntl.lockf(file, fcntl.LOCK_EX)
        place.settled()
