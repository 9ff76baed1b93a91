# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Usual files of a first copy have a way with few calls: what it writes, and what it leaves to the general way."""

from __future__ import annotations

import hashlib
import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import DamagedFileError, UnwritableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier

FILES = 50
OLD = 1_600_000_000_123_456_789


class Digest:
    """Passes contents with one of some digests, and may change the source when it has seen its contents."""

    def __init__(self, expected: set[bytes], then: list[tuple[Path, bytes]]) -> None:
        self.hash, self.expected, self.then = hashlib.sha256(), expected, then

    def update(self, chunk: bytes) -> None:
        """Take in bytes."""
        self.hash.update(chunk)

    def hole(self, size: int) -> None:
        """Take in zeros."""
        self.update(bytes(size))

    def finish(self) -> str:
        """Judge."""
        if self.then:
            path, contents = self.then.pop()
            path.write_bytes(contents)
        return "" if self.hash.digest() in self.expected else "its digest is wrong"


@pytest.fixture
def copier(tmp_path: Path) -> Iterator[Copier]:
    """Return what writes a first copy, with the directory open."""
    for each in ("source", "top", "work"):
        (tmp_path / each).mkdir()
    top, work = bytes(tmp_path / "top"), bytes(tmp_path / "work")
    instance = Copier(bytes(tmp_path / "source"), top, history=None, work=work, is_first_copy=True)
    umask = os.umask(0)
    with instance.keep_open(b""):
        yield instance
    os.umask(umask)
    instance.close()


def put(tmp_path: Path, name: str, contents: bytes, mode: int = 0o640) -> Path:
    """Write a file of the source, of another time than now."""
    path = tmp_path / "source" / name
    path.write_bytes(contents)
    path.chmod(mode)
    os.utime(path, ns=(OLD, OLD))
    return path


def alike(tmp_path: Path, name: str) -> bool:
    """Return whether the mirror's file is the source's."""
    one, other = (tmp_path / top / name for top in ("source", "top"))
    facts = [(each.st_mode, each.st_uid, each.st_gid, each.st_size, each.st_mtime_ns) for each in (one.stat(), other.stat())]
    return facts[0] == facts[1] and one.read_bytes() == other.read_bytes()


def test_few_calls_for_a_file(tmp_path: Path, copier: Copier) -> None:
    """A file that the mirror does not have takes few calls, and arrives as it is."""
    modes = (0o644, 0o400, 0o755, 0o4755, 0o000 if os.geteuid() == 0 else 0o444)
    names = [f"file{number}" for number in range(FILES)]
    for number, name in enumerate(names):
        put(tmp_path, name, b"x" * number, modes[number % len(modes)])
    calls = 0

    def count(_frame: object, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        entries = [copier.copy_file(os.fsencode(name), None, wait_for_tick=False) for name in names]
    finally:
        sys.setprofile(previous)
    assert all(alike(tmp_path, name) for name in names)
    assert entries == [entry_from_stat(os.fsencode(name), os.stat(tmp_path / "source" / name)) for name in names]
    assert (copier.files, copier.bytes) == (FILES, sum(range(FILES)))
    assert calls / FILES < 45  # the general way takes 59


def test_unusual_files(tmp_path: Path, copier: Copier) -> None:
    """A large file, one with holes, one of this moment, one that is not there and one that is no file are copied, or not, as ever."""
    put(tmp_path, "large", os.urandom(3 << 20))
    put(tmp_path, "new", b"new")
    with (tmp_path / "source/sparse").open("wb") as file:
        file.truncate(1 << 19)
        file.seek(1 << 18)
        file.write(b"data")
    os.utime(tmp_path / "source/sparse", ns=(OLD, OLD))
    os.mkfifo(tmp_path / "source/pipe")
    (tmp_path / "source/link").symlink_to("large")
    put(tmp_path, "left", b"contents")
    (tmp_path / "top/left").write_bytes(b"what an interrupted run left, which was longer")
    for name in ("large", "new", "sparse", "left"):
        assert copier.copy_file(os.fsencode(name), None) == entry_from_stat(os.fsencode(name), os.stat(tmp_path / "source" / name)), name
        assert alike(tmp_path, name), name
    assert (tmp_path / "top/sparse").stat().st_blocks <= (tmp_path / "source/sparse").stat().st_blocks
    assert [copier.copy_file(name, None) for name in (b"pipe", b"link", b"absent")] == [None] * 3
    assert sorted(os.listdir(tmp_path / "top")) == ["large", "left", "new", "sparse"]


def test_changed_while_it_is_copied(tmp_path: Path, copier: Copier) -> None:
    """The copy is a state that the file had, and the entry is that state's."""
    before, after = b"before", b"afterwards"
    path = put(tmp_path, "file", before)
    expected, then = {hashlib.sha256(each).digest() for each in (before, after)}, [(path, after)]
    got = copier.copy_file(b"file", None, wait_for_tick=False, check=lambda: Digest(expected, then))
    assert alike(tmp_path, "file") and path.read_bytes() == after
    assert got == entry_from_stat(b"file", path.stat())
    assert (copier.files, copier.bytes) == (1, len(after))


def test_damaged(tmp_path: Path, copier: Copier) -> None:
    """Contents that do not pass are never in the mirror, not even for a moment."""
    put(tmp_path, "file", b"contents")
    seen: list[list[str]] = []

    class Wrong(Digest):
        def finish(self) -> str:
            seen.append(os.listdir(tmp_path / "top"))
            return "it is wrong"

    with pytest.raises(DamagedFileError, match="it is wrong"):
        copier.copy_file(b"file", None, wait_for_tick=False, check=lambda: Wrong(set(), []))
    assert seen[0] == [] == os.listdir(tmp_path / "top")
    assert copier.files == 0


def test_target_that_cannot_store_it(tmp_path: Path, copier: Copier) -> None:
    """A file that the target has no room for leaves nothing behind, and the error is the general one."""
    put(tmp_path, "file", b"x" * 50_000)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(UnwritableError, match="top/file cannot be written: File too large"):
            copier.copy_file(b"file", None, wait_for_tick=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert os.listdir(tmp_path / "top") == []
    assert copier.copy_file(b"file", None, wait_for_tick=False) and alike(tmp_path, "file")
