# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Contents that are judged while they are copied: what does not pass never reaches the mirror."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import DamagedFileError, UnsoundError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier


class Digest:
    """Passes contents with a digest."""

    def __init__(self, expected: str, stop: bytes = b"") -> None:
        self.hash, self.expected, self.stop, self.seen = hashlib.sha256(), expected, stop, 0

    def update(self, chunk: bytes) -> None:
        """Take in bytes."""
        self.seen += len(chunk)
        if self.stop and self.stop in chunk:
            raise UnsoundError("it has a forbidden byte")
        self.hash.update(chunk)

    def hole(self, size: int) -> None:
        """Take in zeros."""
        self.update(bytes(size))

    def finish(self) -> str:
        """Judge."""
        return "" if self.hash.hexdigest() == self.expected else "its digest is wrong"


@pytest.fixture(params=[True, False], ids=["first", "later"])
def copier(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Copier]:
    """Return what writes a mirror, of a first copy and of a later one."""
    for each in ("source", "top", "work", "kept"):
        (tmp_path / each).mkdir()
    instance = Copier(
        bytes(tmp_path / "source"),
        bytes(tmp_path / "top"),
        history=None if request.param else bytes(tmp_path / "kept"),
        work=bytes(tmp_path / "work"),
        is_first_copy=request.param,
    )
    yield instance
    instance.close()


def entry(tmp_path: Path) -> Entry | None:
    """Return what the mirror has."""
    try:
        return entry_from_stat(b"f", os.lstat(tmp_path / "top" / "f"))
    except FileNotFoundError:
        return None


CONTENTS = {
    "empty": b"",
    "small": b"hello",
    "of one read": b"x" * (1 << 20),
    "of many reads": os.urandom(3 << 20) + b"end",
}


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("mirrored", [None, b"other", b"equal"])
def test_sound_contents_arrive(copier: Copier, tmp_path: Path, contents: bytes, mirrored: bytes | None) -> None:
    """What passes is copied, whatever the mirror has."""
    (tmp_path / "source" / "f").write_bytes(contents)
    if mirrored is not None:
        (tmp_path / "top" / "f").write_bytes(contents if mirrored == b"equal" else bytes(len(contents)))
    got = copier.copy_file(b"f", entry(tmp_path), check=lambda: Digest(hashlib.sha256(contents).hexdigest()))
    assert got is not None
    assert (tmp_path / "top" / "f").read_bytes() == contents
    assert os.listdir(tmp_path / "work") == []


@pytest.mark.parametrize("contents", CONTENTS.values(), ids=CONTENTS)
@pytest.mark.parametrize("mirrored", [None, b"other", b"of the same size", b"equal"])
@pytest.mark.parametrize("stop", [False, True])
def test_damaged_contents_stay_out(copier: Copier, tmp_path: Path, contents: bytes, mirrored: bytes | None, stop: bool) -> None:
    """What does not pass changes nothing and leaves nothing, and the error tells whether the mirror's copy is damaged too."""
    (tmp_path / "source" / "f").write_bytes(contents)
    if mirrored is not None:
        mirrored = {b"equal": contents, b"of the same size": bytes(len(contents))}.get(mirrored, mirrored)
        (tmp_path / "top" / "f").write_bytes(mirrored)
    with pytest.raises(DamagedFileError) as error:
        copier.copy_file(b"f", entry(tmp_path), check=lambda: Digest("0", contents[-1:] if stop else b""))
    assert error.value.is_mirrored == (mirrored == contents)
    assert error.value.path == b"f"
    assert entry(tmp_path) is None if mirrored is None else (tmp_path / "top" / "f").read_bytes() == mirrored
    assert os.listdir(tmp_path / "work") == []


def test_holes_are_judged_and_stay_holes(copier: Copier, tmp_path: Path) -> None:
    """A check sees the zeros of holes, before, between and after data."""
    contents = bytes(1 << 20) + b"a" * 4096 + bytes(1 << 20) + b"b" * 4096 + bytes(1 << 20)
    with (tmp_path / "source" / "f").open("wb") as file:
        for place in (1 << 20, (2 << 20) + 4096):
            file.seek(place)
            file.write(contents[place : place + 4096])
        file.truncate(len(contents))
    copier.copy_file(b"f", None, check=lambda: Digest(hashlib.sha256(contents).hexdigest()))
    status = (tmp_path / "top" / "f").stat()
    assert (tmp_path / "top" / "f").read_bytes() == contents
    assert status.st_blocks * 512 < status.st_size
    (tmp_path / "source" / "f").write_bytes(b"")
    os.truncate(tmp_path / "source" / "f", 1 << 20)
    with pytest.raises(DamagedFileError):
        copier.copy_file(b"f", entry(tmp_path), check=lambda: Digest("0"))
    assert (tmp_path / "top" / "f").read_bytes() == contents


def test_a_copier_that_cannot_begin_leaves_nothing_open(tmp_path: Path) -> None:
    """Whichever of its directories is missing."""
    before = len(os.listdir("/proc/self/fd"))
    existing, missing = bytes(tmp_path), bytes(tmp_path / "missing")
    for source, top, work in ((missing, existing, existing), (existing, missing, existing), (existing, existing, missing)):
        with pytest.raises(FileNotFoundError):
            Copier(source, top, history=None, work=work, is_first_copy=True)
    assert len(os.listdir("/proc/self/fd")) == before
