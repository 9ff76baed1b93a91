# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirrors of repositories that are written all the while: none may be corrupt, and once the writer rests the mirror is as the source."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import mirroring
import pytest
from damaging import writing
from mirroring import MirrorSandbox, git, hg

pytestmark = pytest.mark.engine

RACES = int(os.environ.get("REPOMAN_RACES", "10"))

GIT_WRITER = r"""
set -u
cd "$1"
brutal=$2
count=0
while [ ! -e "$3" ]; do
    count=$((count + 1))
    echo "$count" >"file$((count % 7))"
    git add -A
    case $((count % 12)) in
        0) git commit -q --amend -m "amended $count" ;;
        1) git stash -q; git stash pop -q ;;
        2) git commit -q -m "$count"; git repack -q -a -d ;;
        3) git branch -q -f "side$((count % 5))"; git commit -q -m "$count" ;;
        4) git pack-refs --all; git commit -q -m "$count" ;;
        5) git commit -q -m "$count"; git tag -f "tag$((count % 3))" >/dev/null ;;
        6) git commit -q -m "$count"; git gc -q --auto ;;
        7) git commit -q -m "$count"; git rebase -q --force-rebase HEAD~1 ;;
        8) git branch -q -D "side$((count % 5))"; git commit -q -m "$count" ;;
        9) git commit -q -m "$count"; [ "$brutal" = no ] || { git reset -q --hard HEAD~2; git reflog expire --expire=now --all; git gc -q --prune=now; } ;;
        10) git commit -q -m "$count"; [ "$brutal" = no ] || { git branch -q -f main2 HEAD~1; git reflog expire --expire=now --all; git prune --expire=now; } ;;
        *) git commit -q -m "$count" ;;
    esac
done 2>/dev/null
"""

HG_WRITER = r"""
set -u
cd "$1"
brutal=$2
count=0
run() { hg --noninteractive --config extensions.rebase= --config extensions.strip= --config extensions.shelve= "$@"; }
while [ ! -e "$3" ]; do
    count=$((count + 1))
    echo "$count" >"file$((count % 5))"
    echo "$count" >"new$count"
    for each in dir*/*[37]; do echo "$count" >>"$each"; done
    run commit -q -A -m "$count"
    case $((count % 4)) in
        0) echo more >>"new$count"; run commit -q --amend -m "amended $count" ;;
        1) run bookmark -q -f "mark$((count % 3))" ;;
        2) [ "$brutal" = no ] || run strip -q --no-backup -r . ;;
        3) echo shelved >"new$count"; run shelve -q; run unshelve -q ;;
    esac
done 2>/dev/null
"""


def many_files(repository: Path, turn: int) -> None:
    """Write so many files that a copy takes longer than a commit."""
    for number in range(600):
        file = repository / f"dir{number % 20}" / f"{number}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"{turn} {number}\n" * 20)


def history(repository: Path) -> None:
    """Give a git repository a past, as loose objects and as a pack."""
    for turn in range(3):
        many_files(repository, turn)
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", f"past {turn}")
        if turn == 1:
            git(repository, "repack", "-q", "-a", "-d")


def hg_history(repository: Path) -> None:
    """Give a Mercurial repository a past."""
    for turn in range(2):
        many_files(repository, turn)
        hg(repository, "commit", "-q", "-A", "-m", f"past {turn}")


def rounds(states: list[str]) -> Iterator[int]:
    """Count the runs: so many, and on a busy machine more, until one finds a moment in which it can do its work."""
    for number in range(20 * RACES):
        if number >= RACES and "synced" in states:
            return
        yield number


def race(place: MirrorSandbox, script: str, brutal: bool, tmp_path: Path, problems: Callable[[Path], str]) -> None:
    """Back up a repository while a writer loops over it; its mirror is sound after each run, and equal to it once it rests.

    :param problems: returns what is wrong with a mirror.
    """
    mirror = place.target / "work"
    states: list[str] = []
    with writing(script, place.repos / "work", brutal, tmp_path / "stop"):
        for number in rounds(states):
            if number % 5 == 0 and mirror.exists():
                mirror.rename(tmp_path / f"mirror{number}")
            outcome = place.sync()["work"]
            states.append(outcome.state if outcome.error is None else outcome.error.message)
            assert outcome.state in {"synced", "too busy"}, states[-1]
            if mirror.exists():
                assert problems(mirror) == "", states
    assert "synced" in states
    place.settled()
    assert problems(mirror) == ""
    sys.stdout.write(f"{states}\n")


@pytest.mark.parametrize("brutal", [False, True], ids=["busy", "brutal"])
def test_git(tmp_path: Path, brutal: bool) -> None:
    """A git repository that never rests: whole after every run, first copies and later ones; equal once it rests."""
    place = MirrorSandbox(tmp_path)
    repository = place.repos / "work"
    git(place.repos, "init", "-q", "-b", "main", "work")
    history(repository)
    for number in range(5):
        (repository / f"file{number}").write_text("begin")
        git(repository, "add", "-A")
        git(repository, "commit", "-q", "-m", f"begin {number}")
    git(repository, "config", "gc.auto", "30")
    git(repository, "config", "gc.autoDetach", "false")  # what is in the background would outlive the writer
    git(repository, "config", "maintenance.autoDetach", "false")
    race(place, GIT_WRITER, brutal, tmp_path, mirroring.git_problems)


@pytest.mark.parametrize("brutal", [False, True], ids=["busy", "brutal"])
def test_hg(tmp_path: Path, brutal: bool) -> None:
    """A Mercurial repository that never rests: whole after every run, first copies and later ones; equal once it rests."""
    place = MirrorSandbox(tmp_path)
    repository = place.repos / "work"
    run_first = ("init", "work")
    mirroring.run("hg", *run_first, cwd=place.repos)
    hg_history(repository)
    (repository / "first").write_text("begin")
    hg(repository, "commit", "-q", "-A", "-m", "begin")
    race(place, HG_WRITER, brutal, tmp_path, mirroring.hg_problems)
