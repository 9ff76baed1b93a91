# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""hg is only started to verify a repository if there is something new to verify."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import Problem, Verdict
from damaging import flip, noise
from mirroring import MirrorSandbox, hg_problems


@pytest.fixture
def starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a program before hg that adds a line to the returned file, then runs hg, or is killed if there is a file ``kill``."""
    program, lines, kill = tmp_path / "bin/hg", tmp_path / "starts", tmp_path / "kill"
    hg = shutil.which("hg")
    assert hg
    program.parent.mkdir()
    script = f'#!/bin/sh\necho >>{shlex.quote(str(lines))}\nrm {shlex.quote(str(kill))} 2>/dev/null && kill -KILL $$\nexec {hg} "$@"\n'
    program.write_text(script)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return lines


def count(starts: Path) -> int:
    """Return how often hg was started, and reset the count."""
    number = starts.read_text().count("\n") if starts.exists() else 0
    starts.unlink(missing_ok=True)
    return number


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """Return a place with a mirrored repository that has three changesets."""
    place = MirrorSandbox(tmp_path)
    source = place.repos / "work"
    mirroring.run("hg", "init", str(source))
    for number in range(3):
        (source / "big").write_bytes(noise(number, 150_000))
        mirroring.run("hg", "commit", "-q", "-A", "-m", f"{number}", cwd=source)
    place.settled()
    return place


def test_damage(place: MirrorSandbox, starts: Path) -> None:
    """Damage is verified once in the copy, however often it is copied, and once more with the mirror's contents in its place.

    The mirror is known to be sound, so it is not verified; after a run that found damage, it is verified once.
    """
    flip(".hg/store/data/big.d", 70_000)(place.repos / "work")
    assert place.sync()["work"].state == "failed"
    assert count(starts) == 2
    assert place.sync()["work"].state == "failed"
    assert count(starts) == 3
    assert hg_problems(place.target / "work") == ""


def test_a_killed_hg_is_started_again(place: MirrorSandbox, starts: Path, tmp_path: Path) -> None:
    """A failure of hg itself, such as a lack of memory, is not a verdict on the repository."""
    (place.repos / "work/text").write_text("text\n")
    mirroring.run("hg", "commit", "-q", "-A", "-m", "text", cwd=place.repos / "work")
    (tmp_path / "kill").touch()
    count(starts)
    place.settled()
    assert count(starts) == 2


@pytest.mark.parametrize(
    ("problem", "is_repeatable"),
    [
        (Problem(b"store/data/f.i", "integrity check failed on data/f:0", 0), True),
        (Problem(b"store/data/f.d", "[Errno 2] No such file or directory: '/f.d'"), True),
        (Problem(b"store/data/f.d", "[Errno 5] Input/output error", 0), False),
        (Problem(b"store/data/f.d", "unpacking 0123456789ab: [Errno 116] Stale file handle: '/f.d'", 0), False),
        (Problem(b"", "hg did not finish in time"), False),
    ],
)
def test_what_hg_would_find_again(problem: Problem, is_repeatable: bool) -> None:
    """A file that could not be read, or a program that failed, may succeed the next time."""
    assert Verdict([problem]).is_repeatable == is_repeatable
