# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Directories of loose objects that are as the scan saw them are not read again; what changed since the scan is mirrored all the same."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import patch_manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff
from mirroring import MirrorSandbox, git, git_problems, run


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """A repository with some loose objects, all made before the run begins."""
    place = MirrorSandbox(tmp_path)
    git(place.repos, "init", "-q", "-b", "main", "alpha")
    for number in range(6):
        commit(place.repos / "alpha", number)
    time.sleep(0.05)  # objects made a moment ago are read again in any case
    return place


def commit(repository: Path, number: int) -> None:
    """Make a commit with a file of its own."""
    (repository / f"file{number}").write_text(f"{number}\n" * 40)
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", f"change {number}")


def fan_out(place: Path) -> list[Path]:
    """Return the directories of loose objects."""
    return sorted(each for each in (place / ".git/objects").iterdir() if len(each.name) == 2)


@pytest.mark.parametrize("known", [True, False])
def test_what_was_scanned_is_not_read_again(place: MirrorSandbox, monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    """Each directory of loose objects is listed once in a run that knows when it began, otherwise twice."""
    listed: list[str] = []
    scandir = os.scandir

    def counting(directory: int):
        listed.append(os.readlink(f"/proc/self/fd/{directory}") if isinstance(directory, int) else os.fsdecode(directory))
        return scandir(directory)

    monkeypatch.setattr(os, "scandir", counting)
    place.settled(**({} if known else {"started_ns": 0}))
    source = [str(each) for each in fan_out(place.repos / "alpha")]
    assert {listed.count(each) for each in source} == {1 if known else 2}


def test_a_commit_after_the_scan_is_mirrored_whole(place: MirrorSandbox) -> None:
    """Commits between scan and copy: the references are read later, so their objects are needed."""
    repository = place.repos / "alpha"
    place.settled()
    commit(repository, 6)
    place.sync(meanwhile=lambda _plans: [commit(repository, 7 + each) for each in range(20)] and None)
    assert git_problems(place.target / "alpha") == ""
    assert git(place.target / "alpha", "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")


def test_a_commit_after_the_scan_of_a_first_copy_is_mirrored_whole(place: MirrorSandbox) -> None:
    """The same in a first copy."""
    repository = place.repos / "alpha"
    place.sync(meanwhile=lambda _plans: [commit(repository, 7 + each) for each in range(20)] and None)
    assert git_problems(place.target / "alpha") == ""
    assert git(place.target / "alpha", "rev-parse", "HEAD") == git(repository, "rev-parse", "HEAD")
    place.settled()


@pytest.mark.parametrize("first", [True, False])
def test_objects_packed_after_the_scan_are_mirrored_packed(place: MirrorSandbox, first: bool) -> None:
    """Objects that went into a pack between scan and copy."""
    repository = place.repos / "alpha"
    if not first:
        place.settled()
        commit(repository, 6)
    place.sync(meanwhile=lambda _plans: git(repository, "gc", "-q", "--prune=now") and None)
    assert git_problems(place.target / "alpha") == ""
    place.settled()
    assert not fan_out(place.target / "alpha")


def spread(repository: Path) -> None:
    """Commit so many files that directories of loose objects have several."""
    for number in range(400):
        (repository / f"many{number}").write_text(f"{number} of many\n")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "many")
    time.sleep(0.05)


def hide(place: MirrorSandbox, plans: list[UnitDiff], missed: set[str]) -> None:
    """Let a scan have missed some objects, although their directories look the same and have others."""
    for plan in plans:
        if plan.unit.name == "alpha":
            hidden = {os.fsencode(f".git/objects/{each}"): None for each in missed}
            plan.source_manifest = patch_manifest(plan.source_manifest, hidden, str(place.scratch / "hidden.manifest"))


def loose_objects(repository: Path) -> set[str]:
    """Return the loose objects that have a neighbour in their directory, but the last of each directory, as paths."""
    return {f"{each.name}/{name}" for each in fan_out(repository) for name in sorted(os.listdir(each))[:-1]}


@pytest.mark.parametrize("first", [True, False])
def test_a_scan_that_missed_objects_is_found_out_by_the_proof(place: MirrorSandbox, first: bool) -> None:
    """As over a network file system whose cached attributes are old."""
    repository = place.repos / "alpha"
    if not first:
        place.settled()
    old = loose_objects(repository)
    spread(repository)
    missed = loose_objects(repository) - old
    assert len(missed) > 100
    outcomes = place.sync(meanwhile=lambda plans: hide(place, plans, missed))
    assert outcomes["alpha"].error is None
    assert git_problems(place.target / "alpha") == ""
    assert place.differences() == ""


def test_without_a_proof_nothing_is_taken_from_the_scan(place: MirrorSandbox) -> None:
    """Git cannot verify a repository of an unknown format, so its objects are listed again."""
    repository = place.repos / "alpha"
    spread(repository)
    config = repository / ".git/config"
    config.write_text(config.read_text().replace("repositoryformatversion = 0", "repositoryformatversion = 7"))
    outcomes = place.sync(meanwhile=lambda plans: hide(place, plans, loose_objects(repository)))
    assert outcomes["alpha"].error is None
    assert any("could not be verified" in each for each in outcomes["alpha"].notes)
    assert place.differences() == ""


def test_a_directory_that_became_something_else_after_the_scan(place: MirrorSandbox) -> None:
    """A file in the place of a directory of objects: the mirror keeps its objects."""
    repository = place.repos / "alpha"
    git(repository, "repack", "-q", "-a")
    place.settled()
    time.sleep(0.05)
    commit(repository, 6)
    chosen = fan_out(repository)[0]

    def replace(_plans: list[UnitDiff]) -> None:
        shutil.rmtree(chosen)
        chosen.write_text("not a directory\n")

    place.sync(meanwhile=replace)
    assert git_problems(place.target / "alpha") == ""
    assert run("git", "-C", str(place.target / "alpha"), "log", "--oneline").count("\n") >= 6
