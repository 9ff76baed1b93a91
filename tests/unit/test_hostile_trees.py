# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees that a hostile writer changes while they are read: nothing from outside gets into a mirror, and nothing holds a run up."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils import scan
from ansible_collections.homelab.repoman.plugins.module_utils.scan import DEEPEST, Manifest, TooDeepError, UnreadableError, walk

OUTSIDE = "of-the-host-alone"

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
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                blocks = b"".join(walk(top if held else bytes(unit), start))
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
        list(walk(bytes(tmp_path / "unit")))
    found = scan.scan_one(scan.Unit("unit", str(tmp_path / "unit")), "", str(tmp_path / "manifest"))
    assert found.error is not None
    assert found.error.exit_code == 1
    assert str(tmp_path / "unit") in found.error.message


def test_a_walk_holds_few_directories_open(deep_path: Path) -> None:
    """However deep a tree is and wherever it branches, a walk needs few descriptors, and finds all."""
    held = os.open(deep_path, os.O_PATH)
    count = 700
    for _number in range(count):
        os.mkdir(b"d", dir_fd=held)
        os.mkdir(b"e", dir_fd=held)
        os.mkdir(b"c", dir_fd=held)
        inner = os.open(b"d", os.O_PATH, dir_fd=held)
        os.close(held)
        held = inner
    os.close(held)
    most = len(os.listdir("/proc/self/fd"))
    before = most
    directories = []
    for block in walk(bytes(deep_path)):
        size, _more = scan.HEAD.unpack_from(block)
        directories.append(block[scan.HEAD.size : scan.HEAD.size + size])
        most = max(most, len(os.listdir("/proc/self/fd")))
    assert len(directories) == len(set(directories)) == 3 * count + 1
    assert directories == sorted(directories, key=scan.order)
    assert most - before <= scan.HELD + 3
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_lies_too_deep_is_named_in_short(deep_path: Path) -> None:
    """Five thousand directories in one another: what can be reached is walked, the rest is one short sentence."""
    held = os.open(deep_path, os.O_PATH)
    for _number in range(5000):
        os.mkdir(b"dd", dir_fd=held)
        inner = os.open(b"dd", os.O_PATH, dir_fd=held)
        os.close(held)
        held = inner
    os.close(held)
    closed: dict[bytes, UnreadableError] = {}
    manifest = Manifest(b"".join(walk(bytes(deep_path), closed=closed)))
    assert max(len(entry.path) for entry in manifest.entries()) <= DEEPEST + 512
    assert manifest.count() > 1000
    [(path, error)] = closed.items()
    assert isinstance(error, TooDeepError)
    assert path.startswith(b"dd/dd/dd")
    assert "too deep" in error.message
    assert str(deep_path) in error.message
    assert len(error.message) < 600
    assert error.exit_code == 1
