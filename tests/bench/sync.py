# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The backup against plain ``rsync -a --delete`` of the same trees, in pairs, each pair in the same run.

usage: sync.py [local] [latency] [million] [--runs N] [--repositories N] [--keep DIR]

Both write to targets of their own on the same file system; with ``latency``, through a mount on which every
operation takes half a millisecond longer. Each figure is the median of the pairs' ratios, whole processes, the
safety of the backup included.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import trees

HERE = Path(__file__).resolve().parent
DELAY_MICROSECONDS = 500
REPOSITORIES = 200
MILLION = 1_000_000


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", nargs="*", help="local, latency, million; default: local")
    parser.add_argument("--runs", type=int, default=5, help="pairs of each kind")
    parser.add_argument("--repositories", type=int, default=REPOSITORIES)
    parser.add_argument("--keep", type=Path, help="a directory to keep the trees in, for the next bench")
    options = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="repoman-bench.", dir="/var/tmp"))  # noqa: S108
    try:
        for what in options.what or ["local"]:
            {"local": local, "latency": latency, "million": million}[what](work / what, options)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def local(work: Path, options: argparse.Namespace) -> None:
    """Measure on the local disk."""
    pairs("local disk", work, work / "target", options)


def latency(work: Path, options: argparse.Namespace) -> None:
    """Measure on a target on which every operation takes longer."""
    with slow(work) as target:
        pairs(f"{DELAY_MICROSECONDS} µs an operation", work, target, options)


def million(work: Path, options: argparse.Namespace) -> None:
    """Tell the memory of a first and of an unchanged run over a million entries."""
    source = work / "repos"
    for project in range(100):
        for part in range(100):
            directory = source / f"project-{project:03}" / f"part{part:03}"
            directory.mkdir(parents=True)
            for number in range(99):
                (directory / f"file{number}").touch()
    told(f"{trees.count(source)} entries")
    home = prepared(work, source, work / "target")
    for label in ("first", "unchanged"):
        seconds, peak = ours(home)
        told(f"  {label:<12} {seconds:7.2f} s   peak {peak} MB")


def pairs(where: str, work: Path, target: Path, options: argparse.Namespace) -> None:
    """Measure first copy, unchanged and changed runs in pairs, and print a row of each."""
    work.mkdir(parents=True, exist_ok=True)
    source = work / "repos"
    kept = options.keep / f"repos-{options.repositories}" if options.keep else None
    if kept and not kept.exists():
        trees.make(kept, options.repositories)
    if kept:
        subprocess.run(["cp", "-a", str(kept), str(source)], check=True)
    else:
        trees.make(source, options.repositories)
    told(f"{where}: {options.repositories} repositories, {trees.count(source)} entries")
    home = prepared(work, source, target / "ours")
    theirs = target / "theirs"
    first: list[tuple[float, float]] = []
    unchanged: list[tuple[float, float]] = []
    changed: list[tuple[float, float]] = []
    peaks: list[int] = []

    def pair(rows: list[tuple[float, float]]) -> None:
        # In turn, so that neither always finds the disk's cache as the other left it.
        if len(rows) % 2:
            reference = plain(source, theirs)
            mine, peak = ours(home)
        else:
            mine, peak = ours(home)
            reference = plain(source, theirs)
        rows.append((mine, reference))
        peaks.append(peak)

    for turn in range(options.runs):
        for old in (theirs, target / "ours"):
            if old.exists():
                shutil.rmtree(old)
        shutil.rmtree(home, ignore_errors=True)
        home = prepared(work, source, target / "ours")
        subprocess.run(["sync"], check=True)
        pair(first)
        pair(unchanged)
        trees.change(source, turn + 1)
        pair(changed)
        told(f"    turn {turn + 1}: first {first[-1]}, unchanged {unchanged[-1]}, changed {changed[-1]}")
    for label, rows in (("unchanged", unchanged), ("1 % changed", changed), ("first copy", first)):
        ratio = statistics.median(mine / reference for mine, reference in rows)
        mine, reference = (statistics.median(row[side] for row in rows) for side in (0, 1))
        told(f"  {label:<12} {mine:8.2f} s   rsync {reference:8.2f} s   ratio {ratio:.3f}")
    told(f"  peak memory  {max(peaks)} MB")


def prepared(work: Path, source: Path, target: Path) -> Path:
    """Return a home whose registry names ``source`` and ``target``, the target marked as ours."""
    home = work / "home"
    config = home / ".config" / "repoman"
    config.mkdir(parents=True)
    target.mkdir(parents=True, exist_ok=True)
    (config / "repoman.toml").write_text(
        f'[repoman]\nschema = 3\n[defaults]\nrepos_root = "{source}"\nbackup_root = "{target}"\nlogdir = "{home}/log"\n', encoding="utf-8"
    )
    empty = work / "empty"
    (empty / "project").mkdir(parents=True, exist_ok=True)
    (empty / "project" / "file").touch()
    run_ours(home, {"init": True, "allow_local": True, "repos_root": str(empty), "check": False})
    return home


def ours(home: Path) -> tuple[float, int]:
    """Run a backup; return its seconds and its peak of memory in MB, that of its processes together at most."""
    began = time.monotonic()
    peak = run_ours(home, {})
    return time.monotonic() - began, peak


def run_ours(home: Path, more: dict[str, object]) -> int:
    """Run a backup in a process of its own; return its peak of memory in MB."""
    done = subprocess.run(
        [sys.executable, str(HERE / "run_sync.py"), str(home), json.dumps(more)],
        check=True,
        capture_output=True,
        text=True,
        env=os.environ | {"HOME": str(home)},
    )
    return int(json.loads(done.stdout)["peak_mb"])


def plain(source: Path, target: Path) -> float:
    """Run plain rsync; return its seconds."""
    target.mkdir(exist_ok=True)
    began = time.monotonic()
    subprocess.run(["rsync", "-a", "--delete", f"{source}/", f"{target}/"], check=True)
    return time.monotonic() - began


@contextmanager
def slow(work: Path) -> Iterator[Path]:
    """Yield a directory on which every operation takes longer."""
    work.mkdir(parents=True, exist_ok=True)
    program, behind, target = work / "slowfs", work / "behind", work / "slow"
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True).stdout.split()
    subprocess.run(["cc", "-O2", "-o", str(program), str(HERE / "slowfs.c"), *flags], check=True)
    behind.mkdir()
    target.mkdir()
    arguments = [f"--root={behind}", f"--delay={DELAY_MICROSECONDS}", "-f", "-o", "max_threads=64", str(target)]
    daemon = subprocess.Popen([str(program), *arguments])
    try:
        while not os.path.ismount(target):
            if daemon.poll() is not None:
                raise SystemExit("the slow file system did not start")
            time.sleep(0.01)
        yield target
    finally:
        subprocess.run(["fusermount3", "-u", str(target)], check=False)
        daemon.wait()


def told(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
    main()
