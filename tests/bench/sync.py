# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What mirroring costs beside ``rsync -a --delete`` of the same trees: pairs of runs, one after the other; the figures are medians.

Each pair runs both on targets of their own. ``--latency`` lets every operation on both targets take half a millisecond more (libfuse3 is
needed). ``--million`` mirrors one tree of a million entries, and says how much memory that took.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent

CONTRACT = {
    ("unchanged", False): 0.6,
    ("1 % changed", False): 1.2,
    ("first copy", False): 1.15,
    ("unchanged", True): 0.02,
    ("1 % changed", True): 0.08,
    ("first copy", True): 0.2,
}
ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}


def git(where: Path, *arguments: str) -> None:
    """Run git in a repository."""
    subprocess.run(["git", "-C", str(where), *arguments], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


def build(top: Path, count: int) -> int:
    """Make repositories with history, about 400 entries each; return how many entries there are."""
    chance = random.Random(1)  # noqa: S311 - the same trees each time
    for number in range(count):
        repository = top / f"repo{number:03}"
        repository.mkdir(parents=True)
        git(repository, "init", "-q", "-b", "main")
        for name in range(110):
            file = repository / f"src/part{name % 11}/file{name}.py"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("".join(f"{chance.random()}\n" for _line in range(chance.choice([5, 50, 300]))))
        for step in range(4):
            for name in chance.sample(range(110), 6):
                with (repository / f"src/part{name % 11}/file{name}.py").open("a") as handle:
                    handle.write(f"{chance.random()}\n")
            git(repository, "add", "-A")
            git(repository, "commit", "-q", "-m", f"step {step}")
    return sum(len(directories) + len(files) for _path, directories, files in os.walk(top))


def change(top: Path, step: int) -> None:
    """Change one file in a hundred, all over the repositories, and commit in every tenth of them."""
    chance = random.Random(step)  # noqa: S311
    for number, repository in enumerate(sorted(top.iterdir())):
        for name in chance.sample(range(110), 4):
            with (repository / f"src/part{name % 11}/file{name}.py").open("a") as handle:
                handle.write(f"changed in {step}\n")
        if number % 10 == step % 10:
            git(repository, "commit", "-q", "-a", "-m", f"changed in {step}")


class Ours:
    """Runs over one target, each the whole of what the module does in a process of its own, guards, log and registry included.

    :param source: directory of the repositories.
    :param target: where the mirrors are.
    :param home: where the registry, the log and what is remembered are.
    """

    def __init__(self, source: Path, target: Path, home: Path) -> None:
        self.home, self.first = home, True
        self.memory = 0.0
        home.mkdir()
        (home / "repoman.toml").write_text(
            f'[repoman]\nschema = 3\n[defaults]\nrepos_root = "{source}"\nbackup_root = "{target}"\nlogdir = "{home}/log"\n'
        )

    def run(self, **params: bool) -> None:
        """Run once."""
        params |= {"init": True, "allow_local": True} if self.first else {}
        self.first = False
        command = [sys.executable, __file__, "--once", str(self.home), json.dumps(params)]
        done = subprocess.run(command, env=ENVIRONMENT | {"HOME": str(self.home)}, check=True, stdout=subprocess.PIPE)
        self.memory = max(self.memory, float(done.stdout))


def once(home: Path, more: dict[str, Any]) -> int:
    """Do what the module does, and print how many MB its largest process took."""
    sys.path[:0] = [str(HERE.parents[1] / ".dev")]
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import run as sync
    from ansible_collections.homelab.repoman.plugins.modules.repoman_sync import SPEC

    params = {key: option.get("default") for key, option in SPEC["argument_spec"].items()}
    result = sync.run(params | {"registry_path": str(home / "repoman.toml"), "_diff": False} | more, False)
    if result.get("failed"):
        raise SystemExit(str(result))
    print(max(resource.getrusage(each).ru_maxrss for each in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024)
    return 0


def rsync(source: Path, target: Path) -> None:
    """Run what everybody runs."""
    subprocess.run(["rsync", "-a", "--delete", "--exclude=/.repoman", f"{source}/", f"{target}/"], check=True)


def timed(do: Callable[[], None]) -> float:
    """Return how many seconds something takes."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


@contextlib.contextmanager
def slow(base: Path, wanted: bool) -> Iterator[Path]:
    """Give a directory for targets, with latency or without."""
    backing = base / "backing"
    backing.mkdir()
    if not wanted:
        yield backing
        return
    if not shutil.which("fusermount3") or subprocess.run(["pkg-config", "--exists", "fuse3"], check=False).returncode:
        subprocess.run(["apt-get", "install", "-y", "-qq", "libfuse3-dev", "fuse3", "pkg-config"], check=True, stdout=subprocess.DEVNULL)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True).stdout.split()
    program, mounted = base / "slowfs", base / "mounted"
    subprocess.run(["cc", "-O2", str(HERE / "slowfs.c"), "-o", str(program), *flags], check=True)
    mounted.mkdir()
    subprocess.run([str(program), str(mounted), str(backing), "-o", "max_threads=64"], check=True)
    try:
        yield mounted
    finally:
        subprocess.run(["fusermount3", "-u", str(mounted)], check=True)


def compare(base: Path, repositories: int, runs: int, latency: bool) -> bool:
    """Print the figures of one kind of target; return whether all are within the contract."""
    source = base / "source"
    if not source.exists():
        print(f"{repositories} repositories, {build(source, repositories)} entries")
    figures: dict[str, list[tuple[float, float]]] = {"first copy": [], "unchanged": [], "1 % changed": []}
    with tempfile.TemporaryDirectory(dir=base) as place, slow(Path(place), latency) as targets:
        for number in range(runs):
            theirs, mine = targets / f"theirs{number}", targets / f"mine{number}"
            theirs.mkdir()
            mine.mkdir()
            ours = Ours(source, mine, Path(place) / f"home{number}")

            def pair(name: str, ours: Ours = ours, theirs: Path = theirs) -> None:
                both = [lambda: timed(lambda: rsync(source, theirs)), lambda: timed(ours.run)]
                os.sync()  # a run of ours waits until what it wrote is on the disk, and must not wait for theirs
                if len(figures[name]) % 2:
                    mine_took, theirs_took = both[1](), both[0]()
                else:
                    theirs_took = both[0]()
                    os.sync()
                    mine_took = both[1]()
                figures[name].append((mine_took, theirs_took))

            pair("first copy")
            pair("unchanged")
            change(source, number + 1)
            pair("1 % changed")
    good = True
    print(f"\n{'with 0.5 ms latency' if latency else 'local disk'}, medians of {runs} pairs")
    print(f"{'run':<14}{'rsync -a --delete':>18}{'repoman':>10}{'ratio':>8}{'contract':>10}")
    for name, pairs in figures.items():
        ratio = statistics.median(mine_took / theirs_took for mine_took, theirs_took in pairs)
        wanted = CONTRACT[name, latency]
        good &= ratio <= wanted
        theirs_took = statistics.median(each[1] for each in pairs)
        mine_took = statistics.median(each[0] for each in pairs)
        print(f"{name:<14}{theirs_took:>16.2f} s{mine_took:>8.2f} s{ratio:>7.3f}x{wanted:>9}x")
    return good


def million(base: Path) -> bool:
    """Mirror a tree of a million entries, first, again and comparing all, and print the memory that the largest process took."""
    source = base / "million"
    for directory in range(2000):
        path = source / f"unit/group{directory // 50}/directory{directory}"
        path.mkdir(parents=True)
        for number in range(500):
            os.mknod(path / f"a file with a name of usual length {number}.txt", 0o644)
    target = base / "million-target"
    target.mkdir()
    ours = Ours(source, target, base / "million-home")
    first, again, full = timed(ours.run), timed(ours.run), timed(lambda: ours.run(full=True))
    figures = (
        f"first copy {first:.0f} s, unchanged {again:.1f} s, all compared {full:.0f} s, memory of the largest process {ours.memory:.0f} MB"
    )
    print(f"\na million entries in one unit: {figures} (contract: 200 MB)")
    return ours.memory < 200


def main() -> int:
    """Parse arguments, measure, print; 1 if something is out of the contract."""
    if sys.argv[1:2] == ["--once"]:
        return once(Path(sys.argv[2]), json.loads(sys.argv[3]))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repositories", type=int, default=200)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--where", default=None, help="directory to measure in; on the disk that matters")
    parser.add_argument("--no-local", action="store_true")
    parser.add_argument("--latency", action="store_true")
    parser.add_argument("--latency-runs", type=int, default=1)
    parser.add_argument("--million", action="store_true")
    arguments = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory(dir=arguments.where, prefix="repoman-bench.") as base:
        if not arguments.no_local:
            good &= compare(Path(base), arguments.repositories, arguments.runs, latency=False)
        if arguments.latency:
            good &= compare(Path(base), arguments.repositories, arguments.latency_runs, latency=True)
        if arguments.million:
            good &= million(Path(base))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
