# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Damage in git repositories that are written all the while: it is named, and never reaches the mirror."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from damaging import DAMAGE, rewrite, writing
from damaging import git_commit as commit
from mirroring import MirrorSandbox, git, git_problems

pytestmark = pytest.mark.engine

RUNS = int(os.environ.get("REPOMAN_RACES", "3"))

WRITER = r"""
set -u
cd "$1"
count=0
while [ ! -e "$3" ]; do
    count=$((count + 1))
    echo "$count" >"file$((count % 7))"
    git add -A
    git commit -q -m "$count"
    git branch -q -f "side$((count % 5))"
done 2>/dev/null
"""


@pytest.mark.parametrize("new", [False, True], ids=["the mirror has it", "new"])
def test_damage_under_a_writer(tmp_path: Path, new: bool) -> None:
    """Every run that comes to an end names the damaged object; the mirror is sound after each, and as the source once that is mended."""
    place = MirrorSandbox(tmp_path)
    repository = place.repos / "work"
    git(place.repos, "init", "-q", "-b", "main", "work")
    git(repository, "config", "gc.auto", "0")
    for number in range(5):
        commit(repository, f"past{number}")
    if not new:
        commit(repository, "object")
    place.settled()
    if new:
        commit(repository, "object")
    name = git(repository, "rev-parse", "HEAD:object").strip()
    path = repository / ".git/objects" / name[:2] / name[2:]
    sound = path.read_bytes()
    rewrite(path, DAMAGE["a bit"])
    named = 0
    with writing(WRITER, repository, False, tmp_path / "stop"):
        for number in range(10 * RUNS):
            outcome = place.sync()["work"]
            assert outcome.state in {"failed", "too busy"}, outcome
            assert git_problems(place.target / "work") == ""
            if outcome.state == "failed":
                assert outcome.error is not None
                assert name in outcome.error.message
                named += 1
            if named and number >= RUNS:
                break
    assert named
    rewrite(path, lambda _data: sound)
    place.settled()
    assert git_problems(place.target / "work") == ""
