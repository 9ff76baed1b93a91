# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files of git's object stores, judged by themselves: git's own are sound, and no damaged one is."""

from __future__ import annotations

import functools
import hashlib
import os
import random
import tempfile
import zlib
from pathlib import Path

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import UnsoundError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import (
    LooseCheck,
    check_of,
    index_problem,
    problem_of_file,
)
from mirroring import git

FORMATS = ("sha1", "sha256")


def pack_hash(files: dict[bytes, bytes], algorithm: str, path: bytes) -> bytes | None:
    """Return the hash at the end of a pack."""
    data = files.get(path)
    return data[-hashlib.new(algorithm).digest_size :] if data else None


@functools.cache
def store(algorithm: str) -> dict[bytes, bytes]:
    """Return the files of a git directory with everything that git derives from objects."""
    with tempfile.TemporaryDirectory() as base:
        repository = Path(base)
        mirroring.run("git", "init", "-q", f"--object-format={algorithm}", base)
        for number in range(4):
            (repository / "f").write_text("".join(f"{number} {each}\n" for each in range(3000)))
            (repository / "big").write_bytes(random.Random(number).randbytes(1 << 20))  # noqa: S311 - no secret
            git(repository, "add", ".")
            git(repository, "commit", "-q", "-m", f"{number}")
            if number == 1:
                git(repository, "-c", "pack.writeReverseIndex=true", "repack", "-q", "-a", "-d")
        (repository / "dead").write_text("dead")
        git(repository, "hash-object", "-w", "dead")
        git(repository, "tag", "-a", "-m", "t", "t")
        git(repository, "-c", "pack.writeReverseIndex=true", "repack", "-q", "--cruft", "-d", "-b", "-a")
        git(repository, "multi-pack-index", "write", "--bitmap")
        git(repository, "commit-graph", "write", "--split", "--reachable")
        (repository / "f").write_text("loose again")
        git(repository, "commit", "-q", "-a", "-m", "loose")
        place = repository / ".git"
        return {bytes(each.relative_to(place)): each.read_bytes() for each in place.rglob("*") if each.is_file()}


def problem(algorithm: str, path: bytes, data: bytes, pieces: int = 1 << 20) -> str | None:
    """Return what a check says of contents that come in pieces; None where there is no check."""
    create_check = check_of(path, algorithm, lambda pack: pack_hash(store(algorithm), algorithm, pack))
    if create_check is None:
        return None
    check = create_check()
    try:
        for at in range(0, len(data), pieces):
            check.update(data[at : at + pieces])
        return check.finish()
    except UnsoundError as error:
        return str(error)


@pytest.mark.parametrize("algorithm", FORMATS)
@pytest.mark.parametrize("pieces", [1 << 20, 4096, 21, 1])
def test_what_git_writes_is_sound(algorithm: str, pieces: int) -> None:
    """Every file that git writes passes, in whatever pieces it comes, and there is a check of each kind."""
    suffixes = set()
    for path, data in store(algorithm).items():
        if pieces == 1 and len(data) > 1 << 20:
            continue
        assert problem(algorithm, path, data, pieces) in (None, ""), path
        if check_of(path, algorithm):
            suffixes.add(path.rpartition(b".")[2] if b"." in path else path.rpartition(b"/")[2][:15])
    assert {b"idx", b"rev", b"bitmap", b"mtimes", b"multi-pack-index"[:15], b"graph"} < suffixes
    assert check_of(b"objects/pack/.gitkeep", algorithm) is None
    assert check_of(b"objects/pack/pack-1.keep", algorithm) is None
    assert check_of(b"objects/info/packs", algorithm) is None


def is_same_object(one: bytes, other: bytes) -> bool:
    """Tell whether two loose objects hold the same: a few bits of compressed data mean nothing."""
    try:
        inflate = zlib.decompressobj()
        return inflate.decompress(one) == zlib.decompress(other) and inflate.eof and not inflate.unused_data
    except zlib.error:
        return False


def same_contents(path: bytes, one: bytes, other: bytes) -> bool:
    """Tell whether two loose objects inflate to the same: the bits between the compressed data and its checksum mean nothing."""
    if path.startswith((b"objects/p", b"objects/i")):
        return False
    inflate = zlib.decompressobj()
    try:
        return inflate.decompress(other) == zlib.decompress(one) and inflate.eof and not inflate.unused_data
    except zlib.error:
        return False


@pytest.mark.parametrize("algorithm", FORMATS)
def test_what_is_damaged_is_not(algorithm: str) -> None:
    """A bit anywhere, a lost end, nothing at all, zeros at the end, more at the end, and another file of the kind: none passes."""
    chance = random.Random(1)  # noqa: S311 - no secret
    for path, data in store(algorithm).items():
        if check_of(path, algorithm) is None:
            continue
        places = {0, 1, 5, 13, len(data) // 2, len(data) - 1, len(data) - 21, *(chance.randrange(len(data)) for _each in range(10))}
        damaged = [data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :] for at in places]
        damaged += [data[:at] for at in places]
        damaged += [data[:at] + bytes(len(data) - at) for at in places]
        damaged += [b"", data + b"\0", data + data, data[len(data) // 2 :], data.replace(b"\n", b"x") + b"\n"]
        for each in damaged:
            if each != data and not same_contents(path, data, each):
                assert problem(algorithm, path, each), (path, len(each))


@pytest.mark.parametrize("algorithm", FORMATS)
def test_another_sound_file_under_the_name(algorithm: str) -> None:
    """Sound contents of another object, or what belongs to another pack, do not pass."""
    files = store(algorithm)
    loose = [each for each in files if (problem(algorithm, each, files[each]) == "" and not each.startswith((b"objects/p", b"objects/i")))]
    assert problem(algorithm, loose[0], files[loose[1]]) == "its contents do not match its name"
    for suffix in (b"idx", b"rev", b"bitmap", b"mtimes"):
        same_suffix = [each for each in files if each.endswith(b"." + suffix) and b"/pack-" in each]
        assert same_suffix, suffix
        other = next(each for each in files if each.endswith(b".pack") and each[:-5] != same_suffix[0].rpartition(b".")[0])
        assert problem(algorithm, other[:-5] + b"." + suffix, files[same_suffix[0]]) == "it belongs to another pack"


def test_a_small_file_that_inflates_without_end() -> None:
    """A loose object is read only as far as its header says."""
    squeezed = zlib.compress(b"blob 5\0" + bytes(200 << 20))
    assert problem("sha1", b"objects/00/" + b"0" * 38, squeezed) == "it is longer than its header says"


def test_an_object_that_is_cut_off_while_its_end_is_not_inflated_yet() -> None:
    """What is wrong with it is said, whichever of two things it is."""
    header = b"blob 1048563\0"
    compressed = zlib.compress(header + bytes((1 << 20) - len(header) + 100))
    inflate = zlib.decompressobj()
    inflate.decompress(compressed, 1 << 20)
    check = LooseCheck("0" * 40)
    check.update(compressed[: -len(inflate.unconsumed_tail)])
    assert check.finish() == "it is longer than its header says"


@pytest.mark.parametrize("name", [b"objects/pack/pack-" + b"1" * 40 + b".pack", b"objects/11/" + b"1" * 38])
def test_holes_are_not_read(tmp_path: Path, name: bytes) -> None:
    """A file of any size that has nothing but its first bytes is known to be damaged."""
    path = tmp_path / "sparse"
    path.write_bytes(b"PACK" if name.endswith(b"pack") else zlib.compress(b"blob 9\0" + b"x" * 9)[:6])
    os.truncate(path, 1 << 31)
    create_check = check_of(name, "sha1")
    assert create_check
    with open(path, "rb") as file:
        assert problem_of_file(file.fileno(), create_check()) in {"it has a hole", "it cannot be decompressed"}
    assert os.path.getsize(path) == 1 << 31


@pytest.mark.parametrize("algorithm", FORMATS)
def test_an_index(algorithm: str, tmp_path: Path) -> None:
    """A repository's index has its checksum, or zeros in its place."""
    data = store(algorithm)[b"index"]
    assert index_problem(data, algorithm) == ""
    size = hashlib.new(algorithm).digest_size
    assert index_problem(data[:-size] + bytes(size), algorithm) == ""
    for bad in (b"", b"\0" * 100, data[:-1], data[:30] + b"~" + data[31:], data + b"more"):
        assert index_problem(bad, algorithm), bad[:10]
