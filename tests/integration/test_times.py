# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What containers do with a repository leaves no trace that a backup would see."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from world import World

YEAR_2001 = 1_000_000_000_123_456_789


def times(repository: Path) -> dict[str, int]:
    """Return the times of all files and directories of a repository."""
    return {str(path): path.lstat().st_mtime_ns for path in (repository, *repository.rglob("*"))}


@pytest.mark.parametrize("image", ["busybox", "debian-cloud"])
def test_a_start_leaves_the_times_of_a_repository(ready: World, image: str) -> None:
    """Made, stopped and started, frozen and started, mounted again, entered: the directory has the time that it had, and verify agrees."""
    repository = ready.git_repository("demo")
    os.utime(repository, ns=(YEAR_2001, YEAR_2001))
    target = ready.mkdir(ready.home / "backup")
    ready.write(ready.registry, ready.registry.read_text().replace('backup_root = "/nfs/repos"', f'backup_root = "{target}"'))
    ready.repoman("sync", "--init", "--allow-local")
    before = times(repository)
    ready.repoman("new", "demo", "--image", image)
    assert times(repository) == before
    for stop in ("stop", "pause"):
        ready.incus(stop, "--project=repoman", *(["--force"] if stop == "stop" else []), "demo")
        ready.repoman("new", "demo")
        assert times(repository) == before, stop
    ready.incus("stop", "--project=repoman", "--force", "demo")
    ready.repoman("shell", "demo", "--", "true")
    assert times(repository) == before
    verified = ready.repoman("--json", "sync", "--verify", code=1).data  # the registry has the new project
    assert {unit["action"] for unit in verified["units"]} == {"same"} and verified["settings"]["action"] == "differs"


def test_a_start_that_cleans_up_leaves_them_too(ready: World) -> None:
    """A probe that a killed run left is removed without a trace."""
    repository = ready.git_repository("demo")
    ready.repoman("new", "demo", "--image", "busybox")
    ready.incus("stop", "--project=repoman", "--force", "demo")
    left = ready.write(repository / ".repoman-probe-0123456789abcdef", "")
    long_ago = time.time() - 86400
    os.utime(left, (long_ago, long_ago))
    os.utime(repository, ns=(YEAR_2001, YEAR_2001))
    ready.repoman("new", "demo")
    assert not left.exists() and repository.stat().st_mtime_ns == YEAR_2001
