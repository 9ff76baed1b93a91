# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory is bounded whatever the size of a repository's metadata; limits hold while reading."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.staging import Piece, Spool, in_full, same_data, write_out
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from mirroring import MirrorSandbox, git

MIB = 1 << 20
PROGRAM = """
import json, resource, sys
from pathlib import Path
sys.path[:0] = {paths!r}
import mirroring
place = mirroring.MirrorSandbox(Path({base!r}))
outcomes = place.sync()
print(json.dumps({{
    "errors": [str(each.error.message) for each in outcomes.values() if each.error],
    "own": next(int(each.split()[1]) for each in open("/proc/self/status") if each.startswith("VmHWM")),
    "children": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss,
}}))
"""


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """A place with a repository ``a``."""
    place = MirrorSandbox(tmp_path)
    mirroring.run("git", "init", "-q", "-b", "main", str(place.repos / "a"))
    (place.repos / "a/f").write_text("f")
    git(place.repos / "a", "add", "f")
    git(place.repos / "a", "commit", "-q", "-m", "1")
    return place


def sync_apart(place: MirrorSandbox) -> dict[str, Any]:
    """Sync in a process of its own, and return what failed and the memory it took, in KiB."""
    program = PROGRAM.format(paths=[each for each in sys.path if each], base=str(place.repos.parent))
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True)
    assert not done.returncode, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, 2 << 30) for name in ("index", "packed-refs", "HEAD", "logs/HEAD", "refs/heads/huge", "config")]
    + [(name, 8 << 40) for name in ("index", "packed-refs", "worktrees/x/index")],
)
def test_a_sparse_file_of_any_size(place: MirrorSandbox, name: str, size: int) -> None:
    """The project fails with the file's path and size, in little memory; all else of it is mirrored."""
    file = place.repos / "a/.git" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("ab") as opened:
        opened.truncate(size)
    result = sync_apart(place)
    assert max(result["own"], result["children"]) < 110 * 1024
    (error,) = result["errors"]
    assert f".git/{name} " in error
    assert str(size) in error
    assert (place.target / "a/f").exists()


@pytest.mark.parametrize("name", ["index", "packed-refs", "logs/refs/heads/main"])
def test_a_sparse_file_below_the_limit(place: MirrorSandbox, name: str) -> None:
    """Whatever git says of it, it costs this process no memory."""
    file = place.repos / "a/.git" / name
    with file.open("ab") as opened:
        opened.truncate(500 * MIB)
    assert sync_apart(place)["own"] < 110 * 1024


def test_many_files_that_are_each_small(place: MirrorSandbox) -> None:
    """A thousand reflogs of a megabyte: holes do not add up in memory."""
    for number in range(300):
        file = place.repos / f"a/.git/logs/refs/heads/b{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("wb") as opened:
            opened.truncate(MIB)
    assert sync_apart(place)["own"] < 140 * 1024


def test_large_metadata_is_mirrored(place: MirrorSandbox) -> None:
    """A list of references, an index and a log that go through the scratch file: what git reads of the mirror is what it reads of the source."""
    repository = place.repos / "a"
    head = git(repository, "rev-parse", "HEAD").strip()
    lines = "".join(f"{head} refs/tags/a-rather-long-name-of-a-tag-{number:06}\n" for number in range(20_000))
    (repository / ".git/packed-refs").write_text("# pack-refs with: peeled fully-peeled sorted \n" + lines)
    blob = git(repository, "rev-parse", "HEAD:f").strip()
    entries = "".join(f"100644 blob {blob}\tdirectory/file-{number:06}\n" for number in range(20_000))
    subprocess.run(["git", "update-index", "--index-info"], cwd=repository, input=entries, text=True, check=True)
    with (repository / ".git/logs/HEAD").open("a") as log:
        log.write(f"{head} {head} a <a@example.org> 1700000000 +0000\tcommit: same\n" * 20_000)
    git(repository, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/tags/a-rather-long-name-of-a-tag-000001")
    place.settled()
    place.sync()
    assert place.sync() == {}
    for command in (("for-each-ref",), ("ls-files", "-s"), ("reflog",)):
        assert git(place.target / "a", *command) == git(repository, *command)
    git(repository, "tag", "-d", "a-rather-long-name-of-a-tag-000007")
    place.settled()


def test_a_file_that_grows_while_it_is_read(tmp_path: Path) -> None:
    """It is read up to the size it had when it was opened."""
    path = tmp_path / "grows"
    path.write_bytes(b"x" * (2 * MIB))
    stop = threading.Event()

    def grow() -> None:
        with path.open("ab") as file:
            while not stop.is_set():
                file.write(b"y" * MIB)
                file.flush()
                file.truncate(min(file.tell(), 64 * MIB))

    thread = threading.Thread(target=grow)
    thread.start()
    top_fd = os.open(tmp_path, os.O_PATH)
    try:
        for _turn in range(20):
            read = Spool(str(tmp_path / "spool")).stage(top_fd, b"grows", 256 * MIB)
            assert read is not None
            assert read[1] is not None
            assert read[0].size == len(read[1])
    finally:
        stop.set()
        thread.join()
        os.close(top_fd)


@pytest.mark.parametrize(
    "segments",
    [[(0, b"a" * (3 * MIB))], [(5 * MIB, b"tail")], [(0, b"head"), (9 * MIB + 5, b"tail" * MIB)], [(0, b"\0" * MIB + b"x" + bytes(MIB))]],
)
def test_pieces_are_what_was_read(tmp_path: Path, segments: list[tuple[int, bytes]]) -> None:
    """Contents and holes, after any other piece."""
    path = tmp_path / "file"
    with path.open("wb") as file:
        for position, data in segments:
            file.seek(position)
            file.write(data)
        file.truncate(20 * MIB)
    top_fd = os.open(tmp_path, os.O_PATH)
    spool = Spool(str(tmp_path / "spool"))
    try:
        for _turn in range(2):
            read = spool.stage(top_fd, b"file", 64 * MIB)
            assert read is not None
            data = read[1]
            assert isinstance(data, Piece)
            assert in_full(data, 64 * MIB) == path.read_bytes()
            assert in_full(data, MIB) == b""
            write_out(data, os.fsencode(tmp_path / "copy"))
            assert (tmp_path / "copy").read_bytes() == path.read_bytes()
            assert (tmp_path / "copy").stat().st_blocks <= path.stat().st_blocks + 16
            with path.open("rb") as file:
                assert same_data(data, file.fileno())
            (tmp_path / "other").write_bytes(path.read_bytes())
            with (tmp_path / "other").open("r+b") as file:
                assert same_data(data, file.fileno())
                file.seek(segments[-1][0])
                file.write(b"!")
                file.flush()
                assert not same_data(data, file.fileno())
    finally:
        os.close(top_fd)


def test_small_files_beyond_the_memory_of_all(tmp_path: Path) -> None:
    """The scratch file takes what is more than all small files may have together."""
    (tmp_path / "file").write_bytes(b"x" * source_files.MEMORY_BYTES)
    top_fd = os.open(tmp_path, os.O_PATH)
    spool = Spool(str(tmp_path / "spool"))
    try:
        read = [spool.stage(top_fd, b"file", MIB) for _turn in range(source_files.STAGED_MEMORY_BYTES // MIB + 2)]
    finally:
        os.close(top_fd)
    assert [isinstance(each[1], Piece) for each in read if each][-3:] == [False, True, True]
    assert all(each and in_full(each[1], MIB) == b"x" * MIB for each in read)
