# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The trees that are backed up, the same ones each time.

It imports no other file of the bench, because it runs as the user who owns the trees: the bench passes its text to that user's Python.
usage: build TOP COUNT | small TOP COUNT | million TOP COUNT | change TOP STEP | entries TOP
"""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_AUTHOR_NAME": "a",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "a",
    "GIT_COMMITTER_EMAIL": "a@example.org",
}
FILES = 500
"""In each directory of the large tree."""


def git(where: Path, *arguments: str) -> None:
    """Run git in a repository."""
    subprocess.run(["git", "-C", str(where), *arguments], env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)


def build(top: Path, count: int) -> None:
    """Make repositories with history, about 400 entries each."""
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


def small(top: Path, count: int) -> None:
    """Make repositories of about 60 entries each: one, and copies with one different file each."""
    first = top / "repo0000"
    first.mkdir(parents=True)
    git(first, "init", "-q", "-b", "main")
    for name in range(12):
        (first / f"file{name}.py").write_text(f"print({name})\n" * 20)
    git(first, "add", "-A")
    git(first, "commit", "-q", "-m", "first")
    for number in range(1, count):
        copy = top / f"repo{number:04}"
        shutil.copytree(first, copy)
        (copy / "own.py").write_text(f"print({number})\n")


def million(top: Path, count: int) -> None:
    """Make one directory with many empty files."""
    for directory in range(count // FILES):
        path = top / f"unit/group{directory // 50}/directory{directory}"
        path.mkdir(parents=True)
        for number in range(FILES):
            os.mknod(path / f"a file with a name of usual length {number}.txt", 0o644)


def change(top: Path, step: int) -> None:
    """Change one file in a hundred, all over the repositories, and commit in every tenth of them."""
    chance = random.Random(step)  # noqa: S311
    for number, repository in enumerate(sorted(top.iterdir())):
        for name in chance.sample(range(110), 4):
            with (repository / f"src/part{name % 11}/file{name}.py").open("a") as handle:
                handle.write(f"changed in {step}\n")
        if number % 10 == step % 10:
            git(repository, "commit", "-q", "-a", "-m", f"changed in {step}")


def entries(top: Path) -> int:
    """Return how many files and directories there are."""
    return sum(len(directories) + len(files) for _path, directories, files in os.walk(top))


def main(what: str, top: str, *number: str) -> None:
    """Do what the command line says."""
    verbs: dict[str, Callable[..., int | None]] = {"build": build, "small": small, "million": million, "change": change, "entries": entries}
    done = verbs[what](Path(top), *map(int, number))
    if done is not None:
        print(done)


if __name__ == "__main__":
    main(*sys.argv[1:])
