# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``--verify`` says "differs" if they differ, and only then; nothing in a source holds it for ever."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.verify import verify
from backup_fixture import BackupHome, actions, git, tmpfs
from mirroring import ENVIRONMENT, MirrorSandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.disk  # what file systems have is the matter

OLD_COMMIT = "tree {tree}\nauthor A<a@x> 1 +0000\ncommitter A <a@x> 1 +0000\n\nm\n"


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """Sources and a target, with one unit."""
    sandbox = MirrorSandbox(tmp_path)
    (sandbox.repos / "unit/deep").mkdir(parents=True)
    (sandbox.repos / "unit/file").write_text("contents\n")
    (sandbox.repos / "unit/deep/other").write_text("other\n")
    (sandbox.repos / "unit/link").symlink_to("file")
    return sandbox


def unit(place: MirrorSandbox) -> Unit:
    """Return the unit."""
    return Unit("unit", str(place.repos / "unit"))


def lines(place: MirrorSandbox, **options: Any) -> list[str]:
    """Return what differs."""
    return verify(unit(place), place.options(**options)).differences


@contextmanager
def busy(work: Callable[[int], None]) -> Iterator[None]:
    """Do something again and again meanwhile."""
    ended = threading.Event()

    def loop() -> None:
        number = 0
        while not ended.is_set():
            number += 1
            with suppress(OSError):
                work(number)

    thread = threading.Thread(target=loop)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def rewrite(path: Path, text: str) -> None:
    """Give a file other contents of the same size and time."""
    before = path.stat()
    assert len(text) == before.st_size
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def exchange_for_pipe(path: Path) -> None:
    """Make a pipe of a file."""
    path.unlink()
    os.mkfifo(path)


CHANGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "contents": (lambda top: rewrite(top / "file", "CONTENTS\n"), ">fc........ file"),
    "contents and size": (lambda top: (top / "file").write_text("longer than before\n"), ">fcst...... file"),
    "mode": (lambda top: (top / "file").chmod(0o711), ".f...p..... file"),
    "time": (lambda top: os.utime(top / "file", (5, 5)), ".f..t...... file"),
    "time of a directory": (lambda top: os.utime(top / "deep", (5, 5)), ".d..t...... deep"),
    "link": (lambda top: ((top / "link").unlink(), (top / "link").symlink_to("elsewhere")), "cLc"),
    "more": (lambda top: (top / "more").touch(), "*deleting   more"),
    "less": (lambda top: (top / "deep/other").unlink(), ">f+++++++++ deep/other"),
    "another kind": (lambda top: ((top / "file").unlink(), (top / "file").mkdir()), "cf+++++++++ file"),
    "pipe": (lambda top: exchange_for_pipe(top / "file"), "cf+++++++++ file"),
    "a whole directory": (lambda top: shutil.rmtree(top / "deep"), "cd+++++++++ deep"),
    "one file instead of two": (lambda top: ((top / "hard").unlink(), shutil.copy2(top / "file", top / "hard")), "hf......... hard"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_each_kind_of_difference_is_named(place: MirrorSandbox, change: str) -> None:
    """The mirror was changed behind repoman's back; a line says how, as rsync would."""
    os.link(place.repos / "unit/file", place.repos / "unit/hard")
    place.settled()
    assert lines(place) == []
    work, line = CHANGES[change]
    work(place.target / "unit")
    assert any(each.startswith(line) for each in lines(place)), lines(place)


def test_extended_attributes_count_if_they_are_mirrored(place: MirrorSandbox) -> None:
    """They are compared only if a run mirrors them."""
    place.settled(xattrs=True)
    os.setxattr(place.target / "unit/file", "user.colour", b"blue")
    assert lines(place) == []
    assert lines(place, xattrs=True) == [".f........x file"]


def test_access_lists_count_if_they_are_mirrored(place: MirrorSandbox) -> None:
    """The same of access lists."""
    if (
        shutil.which("setfacl") is None
        or subprocess.run(["setfacl", "-m", "u:1:r", str(place.repos / "unit/file")], check=False).returncode
    ):
        pytest.skip("needs setfacl and a file system with access lists")
    place.settled(acls=True)
    assert lines(place, acls=True) == []
    subprocess.run(["setfacl", "-m", "u:2:r", str(place.target / "unit/file")], check=True)
    assert lines(place) == []
    assert lines(place, acls=True) == [".f.......a. file"]


def test_what_is_the_same_is_the_same(place: MirrorSandbox) -> None:
    """Pipes, sockets, links that are one, odd names, holes, times before 1970."""
    top = place.repos / "unit"
    os.mkfifo(top / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(top / "socket"))
    os.link(top / "link", top / "link2", follow_symlinks=False)
    os.link(top / "pipe", top / "pipe2")
    for name in (b"new\nline", b"caf\xe9", b"-rf", b"*"):
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_text("x")
    os.utime(top / "file", (-5, -5))
    with (top / "hole").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
        file.truncate(1 << 22)
    place.sync()
    assert lines(place) == []


TARGETS = {
    "whole seconds": ("mkfs.ext4 -q -I 128 {image}", "mount -o loop {image} {target}"),
    "exfat": ("mkfs.exfat {image}", "mount -t exfat-fuse -o loop {image} {target}"),
    "vfat": ("mkfs.vfat -F 32 {image}", "mount -o loop,umask=022 {image} {target}"),
}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to mount")
@pytest.mark.parametrize("kind", TARGETS)
def test_a_target_that_keeps_less_is_the_same(tmp_path: Path, kind: str) -> None:
    """Some keep times of one or two seconds, and some no modes, owners, links or pipes."""
    world = BackupHome(tmp_path)
    image = tmp_path / "image"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    for command in TARGETS[kind]:
        words = command.format(image=image, target=world.backup).split()
        if shutil.which(words[0]) is None or subprocess.run(words, capture_output=True, check=False).returncode:
            pytest.skip(f"cannot do: {command}")
    try:
        world.git("a")
        odd = world.write("a/odd")
        odd.chmod(0o751)
        os.utime(odd, ns=(0, 11_123_456_789 + 10**18))
        (world.repos / "a/link").symlink_to("odd")
        os.mkfifo(world.repos / "a/pipe")
        world.init()
        result = world.sync(verify=True)
        assert actions(result) == {"a": "same"}, result
        (world.backup / "a/odd").write_text("TEXT\n")
        assert actions(world.sync(verify=True)) == {"a": "differs"}
    finally:
        subprocess.run(["umount", str(world.backup)], check=True)


def test_clones_that_share_files_are_the_same(place: MirrorSandbox) -> None:
    """git and hg clone by hard links, in and between repositories."""
    top = place.repos / "unit"
    git(top, "init", "-q", "one")
    git(top / "one", "commit", "-q", "--allow-empty", "-m", "x")
    git(top, "clone", "-q", "one", "two")
    subprocess.run(["hg", "init", "h"], cwd=top, env=ENVIRONMENT, check=True)
    (top / "h/f").write_text("f")
    subprocess.run(["hg", "-R", "h", "commit", "-qAm", "x"], cwd=top, env=ENVIRONMENT, check=True)
    subprocess.run(["hg", "clone", "-q", "h", "h2"], cwd=top, env=ENVIRONMENT, check=True)
    place.sync()
    assert lines(place) == []


@pytest.mark.parametrize("graph", ["commit-graph", "multi-pack-index"])
def test_what_git_derives_may_be_missing_or_stale(place: MirrorSandbox, graph: str) -> None:
    """git makes it anew from objects."""
    top = place.repos / "unit"
    git(top, "init", "-q")
    for number in range(3):
        git(top, "commit", "-q", "--allow-empty", "-m", f"{number}")
    git(top, "gc", "-q")
    git(top, *(("commit-graph", "write", "--reachable") if graph == "commit-graph" else ("multi-pack-index", "write")))
    place.sync()
    (derived,) = (place.target / "unit/.git/objects").rglob(graph)
    derived.chmod(0o644)
    derived.unlink()
    assert lines(place) == []


@pytest.mark.parametrize("kind", ["commit", "tree", "tag"])
def test_history_that_strict_git_objects_to_is_the_sources_own(place: MirrorSandbox, kind: str) -> None:
    """It is as old as the project, the mirror has it too, and a note says so."""
    top = place.repos / "unit"
    git(top, "init", "-q", "-b", "main")
    git(top, "commit", "-q", "--allow-empty", "-m", "x")
    if kind == "commit":
        data = OLD_COMMIT.format(tree=git(top, "rev-parse", "HEAD^{tree}").strip()).encode()
    elif kind == "tree":
        blob = git(top, "hash-object", "-w", "file").strip()
        data = (b"100644 file\0" + bytes.fromhex(blob)) * 2
    else:
        data = f"object {git(top, 'rev-parse', 'HEAD').strip()}\ntype commit\ntag x\ntagger A<a@x> 1 +0000\n\nm\n".encode()
    raw = subprocess.run(
        ["git", "hash-object", "-w", "-t", kind, "--literally", "--stdin"], cwd=top, input=data, capture_output=True, check=True
    )
    git(top, "update-ref", f"refs/tags/{kind}", raw.stdout.decode().strip())
    place.settled()
    verdict = verify(unit(place), place.options())
    assert verdict.differences == []
    assert any("strict" in each for each in verdict.notes)
    objects = place.target / "unit/.git/objects"
    commit = git(top, "rev-parse", "HEAD").strip()
    (objects / commit[:2] / commit[2:]).unlink()
    assert any("fsck" in each for each in lines(place))


def test_a_damaged_source_is_never_the_same(place: MirrorSandbox) -> None:
    """Its mirror has the sound object, or it has none, or it is as damaged."""
    top = place.repos / "unit"
    git(top, "init", "-q")
    git(top, "add", ".")
    git(top, "commit", "-q", "-m", "x")
    place.settled()
    blob = git(top, "rev-parse", "HEAD:file").strip()
    for tree in (top, place.target / "unit"):
        path = tree / ".git/objects" / blob[:2] / blob[2:]
        path.chmod(0o644)
        path.write_bytes(b"\0" * path.stat().st_size)
        os.utime(path, (5, 5))
        assert lines(place) != []


@pytest.mark.parametrize("part", ["HEAD", "objects", "refs", "."])
def test_a_repository_that_lost_a_part_is_never_the_same(tmp_path: Path, part: str) -> None:
    """Whatever sync makes of it."""
    world = BackupHome(tmp_path)
    repository = world.git("a")
    world.init()
    lost = repository / ".git" / part
    lost.unlink() if lost.is_file() else shutil.rmtree(lost)
    for _again in range(2):
        assert actions(world.sync(verify=True)) == {"a": "differs"}
        world.sync()


def test_what_is_left_out_on_purpose_is_no_difference(tmp_path: Path) -> None:
    """Excluded things, caches, locks."""
    world = BackupHome(tmp_path)
    repository = world.git("a")
    for path in ("a/build/x", "a/cache/x"):
        world.write(path)
    world.write("a/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55")
    rules = {"exclude": ["build/"], "exclude_caches": True}
    world.sync(init=True, allow_local=True, **rules)
    (repository / ".git/index.lock").touch()
    (repository / ".git/objects/pack/tmp_pack_x").touch()
    result = world.sync(verify=True, **rules)
    assert actions(result) == {"a": "same"}, result
    assert actions(world.sync(verify=True)) == {"a": "differs"}


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_mounts_and_lost_and_found_are_no_difference(tmp_path: Path) -> None:
    """A mount that is left out is named here, too."""
    world = BackupHome(tmp_path)
    with tmpfs(world.repos / "a"):
        world.git("a")
        (world.repos / "a/lost+found").mkdir(mode=0o700)
        with tmpfs(world.repos / "a/data"):
            world.write("a/data/x")
            world.init()
            result = world.sync(verify=True)
            assert actions(result) == {"a": "same"}
            assert any("a/data" in each for each in result["warnings"])


def test_a_source_that_is_written_meanwhile_is_not_judged(place: MirrorSandbox) -> None:
    """What changed since the scan is no difference: the next run brings it over."""
    top = place.repos / "unit"
    for number in range(300):
        (top / f"deep/{number:03}").write_text("x" * 5000)
    place.settled()
    with busy(lambda number: (top / "file").write_text(f"{number}\n")):
        for _again in range(50):
            verdict = verify(unit(place), place.options())
            if any("changed during" in each for each in verdict.notes):
                break
        else:
            pytest.fail("the writer was too slow to be noticed")
    assert not any("file" in each for each in verdict.differences)


def test_a_file_that_becomes_a_pipe_holds_nothing_up(place: MirrorSandbox) -> None:
    """Again and again, while it is compared."""
    top = place.repos / "unit"
    place.settled()

    def swap(_number: int) -> None:
        os.mkfifo(top / "new")
        os.rename(top / "new", top / "file")
        (top / "new").write_text("contents\n")
        os.rename(top / "new", top / "file")

    with busy(swap):
        for _again in range(30):
            verify(unit(place), place.options(), idle=30)


def test_a_file_that_grows_is_compared_up_to_its_size(place: MirrorSandbox) -> None:
    """Its end would never be reached."""
    path = place.repos / "unit/file"
    place.settled()
    with path.open("ab") as file:

        def grow(_number: int) -> None:
            if os.fstat(file.fileno()).st_size < 1 << 28:
                file.write(b"x" * (1 << 20))

        with busy(grow):
            verify(unit(place), place.options(), idle=30)


def test_a_hole_of_terabytes_costs_nothing(place: MirrorSandbox) -> None:
    """Only data is read."""
    place.scratch.mkdir()
    try:
        for top in (place.repos, place.target):
            (top / "unit").mkdir(exist_ok=True)
            with (top / "unit/hole").open("wb") as file:
                file.write(b"begin")
                file.truncate(15 << 40)
    except OSError as error:
        assert error.errno == errno.EFBIG
        pytest.skip("this file system has no files of that size")
    times = (5, 5)
    for top in (place.repos, place.target):
        os.utime(top / "unit/hole", times)
    assert not any("hole" in each for each in lines(place))
    with (place.target / "unit/hole").open("r+b") as file:
        file.seek(14 << 40)
        file.write(b"x")
    os.utime(place.target / "unit/hole", times)
    assert ">fc........ hole" in lines(place)


def test_a_link_in_the_way_is_not_followed(place: MirrorSandbox, tmp_path: Path) -> None:
    """Nothing outside a unit is read, or named."""
    place.settled()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/other").write_text("other\n")
    (tmp_path / "outside/secret").touch()
    top = place.repos / "unit"

    def swap(_number: int) -> None:
        os.rename(top / "deep", top / "aside")
        os.symlink(tmp_path / "outside", top / "deep")
        os.unlink(top / "deep")
        os.rename(top / "aside", top / "deep")

    with busy(swap):
        for _again in range(30):
            assert "secret" not in str(verify(unit(place), place.options()))


@pytest.mark.parametrize("limits", [{"idle": 0.0}, {"total": 0.0}])
def test_limits_end_it_with_an_error_that_names_a_path(place: MirrorSandbox, limits: dict[str, float]) -> None:
    """Not silence, and not the other units' time."""
    for number in range(3000):
        (place.repos / f"unit/{number:04}").touch()
    place.settled()
    with pytest.raises(MirrorError, match=r"the comparison (was stopped|took too long)"):
        verify(unit(place), place.options(), **limits)


def test_differences_beyond_a_number_are_counted(place: MirrorSandbox) -> None:
    """Memory and the report have an end."""
    for number in range(1200):
        (place.repos / f"unit/{number:04}").touch()
    place.settled()
    for path in (place.target / "unit").glob("[01]*"):
        path.unlink()
    os.utime(place.target / "unit", ns=(0, (place.repos / "unit").stat().st_mtime_ns))
    shown_lines = lines(place)
    assert len(shown_lines) == 1001
    assert shown_lines[-1] == "and 200 more"


def test_names_are_shown_on_one_line(place: MirrorSandbox) -> None:
    """A name cannot write to the terminal, nor pretend to be a line of its own."""
    (place.repos / "unit/a\nb\x1b[31m").touch()
    place.settled()
    (place.target / "unit/a\nb\x1b[31m").unlink()
    os.utime(place.target / "unit", ns=(0, (place.repos / "unit").stat().st_mtime_ns))
    (line,) = lines(place)
    assert line.isprintable()


def test_access_times_stay(place: MirrorSandbox) -> None:
    """Reading to compare leaves no trace."""
    place.settled()
    paths = [place.repos / "unit/file", place.target / "unit/file"]
    for path in paths:
        os.utime(path, ns=(0, path.stat().st_mtime_ns))
    lines(place)
    assert [path.stat().st_atime_ns for path in paths] == [0, 0]


def test_a_unit_without_a_mirror_differs(place: MirrorSandbox) -> None:
    """One that was never mirrored is not the same as nothing."""
    (line,) = lines(place)
    assert "no mirror" in line
