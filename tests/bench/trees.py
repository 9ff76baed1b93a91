# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Trees of real git repositories for benches, the same for the same seed."""

from __future__ import annotations

import os
import random
import subprocess
from pathlib import Path

GIT = ["git", "-c", "user.name=bench", "-c", "user.email=bench@example.org", "-c", "gc.auto=0", "-c", "core.fsync=none"]
PACKED_FILES = 110
LOOSE_FILES = 60
CHANGED_FILES = 6
COMMITTED_SHARE = 0.03
EDITED_SHARE = 0.05
WORDS = [f"word{number}" for number in range(997)]


def make(root: Path, repositories: int, seed: int = 1) -> int:
    """Make ``repositories`` repositories below ``root``, each of about 400 entries; return the number of entries."""
    for number in range(repositories):
        _repository(root / f"project-{number:04}", random.Random(seed * 100003 + number))  # noqa: S311
    return count(root)


def count(root: Path) -> int:
    """Return the number of files, directories and links below ``root``."""
    return sum(len(directories) + len(files) for _path, directories, files in os.walk(root))


def change(root: Path, seed: int) -> int:
    """Work in some of the repositories, as people do: edit files, and commit in some; about one entry in a hundred changes.

    :returns: the number of repositories that were worked in.
    """
    chance = random.Random(seed)  # noqa: S311
    projects = sorted(path for path in root.iterdir() if path.is_dir())
    committed = max(1, round(len(projects) * COMMITTED_SHARE))
    edited = max(1, round(len(projects) * EDITED_SHARE))
    chosen = chance.sample(projects, min(len(projects), committed + edited))
    for number, project in enumerate(chosen):
        files = sorted(path for path in project.rglob("*.txt") if ".git" not in path.parts)
        for path in chance.sample(files, min(CHANGED_FILES, len(files))):
            path.write_text(_text(chance), encoding="utf-8")
        if number < committed:
            _git(project, "commit", "--quiet", "--all", "--message", f"change {seed}")
    return len(chosen)


def _repository(path: Path, chance: random.Random) -> None:
    path.mkdir(parents=True)
    _git(path, "init", "--quiet", "--initial-branch=main")
    for hook in (path / ".git" / "hooks").glob("*.sample"):
        hook.unlink()
    _files(path, range(PACKED_FILES), chance)
    _git(path, "add", "--all")
    _git(path, "commit", "--quiet", "--message", "first")
    _git(path, "repack", "-a", "-d", "--quiet")
    _files(path, range(PACKED_FILES, PACKED_FILES + LOOSE_FILES), chance)
    _git(path, "add", "--all")
    _git(path, "commit", "--quiet", "--message", "second")


def _files(path: Path, numbers: range, chance: random.Random) -> None:
    for number in numbers:
        directory = path / f"part{number % 7}" / f"sub{number % 5}"
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"file{number}.txt").write_text(_text(chance), encoding="utf-8")


def _text(chance: random.Random) -> str:
    lines = int(min(4000, 10 * chance.paretovariate(0.9)))
    return "".join(" ".join(chance.choices(WORDS, k=8)) + "\n" for _line in range(lines))


def _git(path: Path, *arguments: str) -> None:
    subprocess.run([*GIT, *arguments], cwd=path, check=True)
