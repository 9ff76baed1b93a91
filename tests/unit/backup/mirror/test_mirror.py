# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirrors of every kind of repository and of trees of every shape; what they replace is kept; what kills a run leaves them whole."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import mirroring
import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest import manifest as manifest_file
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import patch_manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory, scan_unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import contents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import GitMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.path_class import classify_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import is_transient
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.mirror_units import _Worker, mirror_units
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.progress import Progress
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import MirrorResult, partial_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.verify import verify
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import remove_directory
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.process import pool
from hypothesis import given, settings
from hypothesis import strategies as st
from mirroring import MirrorSandbox, git, git_problems, hg, hg_problems, number_of

NOBODY = 65534


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """Empty sources and an empty target."""
    return MirrorSandbox(tmp_path)


@pytest.fixture
def unprivileged_place(short_dir: Path) -> MirrorSandbox:
    """Empty sources and an empty target that are those of the user without privileges, where root is."""
    place = MirrorSandbox(short_dir)
    if os.geteuid() == 0:
        for each in (short_dir, place.repos, place.target, place.state):
            os.chown(each, NOBODY, NOBODY)
    return place


def commit(repository: Path, *names: str) -> None:
    """Write files into a git repository and commit them."""
    for name in names:
        (repository / name).parent.mkdir(parents=True, exist_ok=True)
        (repository / name).write_text(f"{name} {len(git(repository, 'log', '--oneline', check=False))}\n")
    git(repository, "add", "-A")
    git(repository, "commit", "-q", "-m", " ".join(names))


def repository_at(path: Path, *options: str) -> Path:
    """Make a git repository with three commits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mirroring.run("git", "init", "-q", "-b", "main", *options, str(path))
    for name in ("one", "two/three", "two/four"):
        commit(path, name)
    return path


def again(place: MirrorSandbox) -> None:
    """See that nothing is left to do, by manifest and by looking at the mirror."""
    assert place.sync() == {}
    for plan in place.plans(place.options(full=True)):
        assert list(plan.items()) == [], plan.unit
    for outcome in place.sync(full=True).values():
        assert (outcome.state, outcome.files) == ("up to date", 0)


# Kinds of repositories


def test_every_kind_of_git_repository(place: MirrorSandbox, tmp_path: Path) -> None:  # noqa: PLR0915 - many kinds
    """Plain, bare, nested, submodule, linked worktree, shallow, partial, alternates, stash and rebase under way: first copy and changes."""
    plain = repository_at(place.repos / "plain")
    outside = repository_at(tmp_path / "outside")
    git(outside, "config", "uploadpack.allowFilter", "true")
    nested = repository_at(plain / "vendor" / "nested")
    mirroring.run("git", "clone", "-q", "--bare", str(plain), str(place.repos / "bare.git"))
    clone = ("git", "-c", "protocol.file.allow=always", "clone", "-q")
    mirroring.run(*clone, "--depth", "1", f"file://{outside}", str(place.repos / "shallow"))
    mirroring.run(*clone, "--filter=blob:none", "--no-checkout", f"file://{outside}", str(place.repos / "partial"))
    mirroring.run(*clone, "--shared", str(outside), str(place.repos / "borrowing"))
    mirroring.run(*clone, str(plain), str(place.repos / "cloned"))
    super_project = repository_at(place.repos / "super")
    git(super_project, "submodule", "--quiet", "add", f"file://{outside}", "deps/sub")
    git(super_project, "commit", "-q", "-m", "with a submodule")
    git(super_project, "worktree", "add", "-q", "-b", "side", str(super_project / "linked"))
    git(super_project, "worktree", "add", "-q", "-b", "far", str(place.repos / "far-worktree"))
    (plain / "one").write_text("stashed")
    git(plain, "stash", "-q")
    git(plain, "pack-refs", "--all")
    git(plain, "branch", "a/b/c")
    git(plain, "branch", "tmp_x")
    git(plain, "branch", "incoming-y.tmp")
    busy = repository_at(place.repos / "rebasing")
    git(busy, "checkout", "-q", "-b", "other", "HEAD~1")
    (busy / "two" / "four").write_text("conflict")
    git(busy, "add", "-A")
    git(busy, "commit", "-q", "-m", "conflicting")
    git(busy, "rebase", "-q", "main", check=False)
    assert (busy / ".git" / "rebase-merge").exists()
    graph = repository_at(place.repos / "graph")
    git(graph, "commit-graph", "write", "--reachable")
    git(graph, "repack", "-q", "-a", "-d", "--write-midx")
    mirroring.run("git", "init", "-q", str(place.repos / "empty"))

    def check_all() -> None:
        for each in (
            "plain",
            "plain/vendor/nested",
            "bare.git",
            "shallow",
            "partial",
            "cloned",
            "super",
            "super/deps/sub",
            "rebasing",
            "graph",
        ):
            assert mirroring.git_problems(place.target / each) == "", each

    place.settled()
    check_all()
    again(place)
    for each in (plain, nested, super_project, super_project / "deps" / "sub", super_project / "linked", graph, place.repos / "borrowing"):
        commit(each, "later", "two/three")
        git(each, "branch", "-f", "other")
    git(plain, "branch", "-D", "a/b/c")
    git(plain, "branch", "a/b")
    git(plain, "gc", "-q", "--prune=now")
    git(graph, "repack", "-q", "-a", "-d", "--write-midx")
    git(place.repos / "bare.git", "fetch", "-q", "origin", "+refs/heads/*:refs/heads/*")
    git(place.repos / "shallow", "fetch", "-q", "--unshallow")
    git(busy, "rebase", "--abort")
    commit(place.repos / "empty", "first")
    place.settled()
    check_all()
    again(place)
    restored = tmp_path / "restored"
    mirroring.run("git", "clone", "-q", str(place.target / "super"), str(restored))
    assert (restored / "later").exists()


def test_worktrees_in_a_bare_repository(place: MirrorSandbox) -> None:
    """They are mirrored like any directory, lock files of other tools with them; git's own locks are not."""
    source = repository_at(place.state / "source")
    bare = place.repos / "work"
    mirroring.run("git", "clone", "-q", "--bare", str(source), str(bare))
    git(bare, "worktree", "add", "-q", str(bare / "main"), "main")
    for name in ("Cargo.lock", "deep/yarn.lock"):
        (bare / "main" / name).parent.mkdir(exist_ok=True)
        (bare / "main" / name).write_text(name)
    place.settled()
    again(place)
    commit(bare / "main", "later", "deep/yarn.lock")
    place.settled()
    assert (place.kept() / "work/main/deep/yarn.lock").read_text() == "deep/yarn.lock"
    assert mirroring.git_problems(place.target / "work") == ""
    (bare / "main/deep/yarn.lock").unlink()
    (bare / "worktrees/main/index.lock").write_text("")
    (bare / "HEAD.lock").write_text("")
    place.sync()
    assert not (place.target / "work/main/deep/yarn.lock").exists()
    assert not (place.target / "work/worktrees/main/index.lock").exists()
    assert not (place.target / "work/HEAD.lock").exists()


def test_sha256_repository(place: MirrorSandbox) -> None:
    """The format of objects is the one thing that is taken from a repository's configuration."""
    repository_at(place.repos / "new", "--object-format=sha256")
    place.settled()
    assert mirroring.git_problems(place.target / "new") == ""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        (b"refs/heads/tmp_x", "reference"),
        (b"refs/heads/incoming-x.tmp", "reference"),
        (b"refs/heads/gc.pid", "reference"),
        (b"refs/heads/objects/tmp_x", "reference"),
        (b"refs/heads/main.lock", "transient"),
        (b"packed-refs.new", "transient"),
        (b"gc.pid", "transient"),
        (b"objects/ab/tmp_obj_x", "transient"),
        (b"objects/pack/.tmp-12-pack-x.pack", "transient"),
        (b"objects/tmp_objdir-incoming-x", "transient"),
        (b"objects/incoming-x/pack/y", "transient"),
        (b"objects/ab/cdef", "object"),
        (b"objects/info/commit-graphs/x", "derived"),
        (b"objects/pack/multi-pack-index", "derived"),
        (b"hooks/objects", "plain"),
        (b"index.lock", "transient"),
        (b"worktrees/main/index.lock", "transient"),
        (b"worktrees/main/HEAD", "reference"),
        (b"ORIG_HEAD", "reference"),
        (b"AUTO_MERGE", "reference"),
        (b"BISECT_LOG", "reference"),
        (b"sharedindex.0123", "reference"),
        (b"rebase-merge/done", "reference"),
        (b"Cargo.lock", "plain"),
        (b"hooks/yarn.lock", "plain"),
        (b"main/Cargo.lock", "plain"),
        (b"main/objects/tmp_x", "plain"),
        (b"main.lock/file", "plain"),
        (b"modules/sub/HEAD", "plain"),
    ],
)
def test_kinds_of_paths_in_a_git_directory(path: bytes, kind: str) -> None:
    """Branches may be called what temporary files are called."""
    assert classify_path(path) == kind


@pytest.mark.parametrize(
    ("path", "is_passing"),
    [
        (b"store/lock", True),
        (b"wlock", True),
        (b"store/journal", True),
        (b".bookmarks-ab12cd~", True),
        (b"patches/lock", False),
        (b"store/data/lock.i", False),
    ],
)
def test_passing_paths_in_a_mercurial_directory(path: bytes, is_passing: bool) -> None:
    """Only what hg itself puts there for a moment is left out."""
    assert is_transient(path) is is_passing


def test_mercurial(place: MirrorSandbox) -> None:
    """Commits, large logs, bookmarks, phases, a strip, and a share; the mirror is what hg verify accepts."""
    first = place.repos / "first"
    mirroring.run("hg", "init", str(first))
    (first / "big").write_text("".join(f"{number}\n" for number in range(40_000)))
    for number in range(4):
        (first / f"file{number}").write_text(f"{number}")
        (first / "sub").mkdir(exist_ok=True)
        (first / "sub" / f"Upper{number}").write_text(f"{number}")
        hg(first, "commit", "-q", "-A", "-m", f"{number}")
    hg(first, "bookmark", "here")
    hg(first, "phase", "--public", "-r", "0")
    mirroring.run("hg", "--config", "extensions.share=", "share", "-q", str(first), str(place.repos / "shared"))
    place.settled()
    assert mirroring.hg_problems(place.target / "first") == ""
    again(place)
    old = (place.target / "first/.hg/store/00changelog.i").read_bytes()
    (first / "big").write_text("".join(f"{number} changed\n" for number in range(40_000)))
    hg(first, "commit", "-q", "-m", "big again")
    hg(first, "--config", "extensions.strip=", "strip", "-q", "-r", "2")
    (first / "file9").write_text("9")
    hg(first, "commit", "-q", "-A", "-m", "another")
    place.settled()
    assert mirroring.hg_problems(place.target / "first") == ""
    assert (place.kept() / "first/.hg/store/00changelog.i").read_bytes() == old
    assert not (place.kept() / "first/.hg/store/data/sub/_upper0.i").exists(), "what did not change is not kept twice"
    again(place)


def test_later_changesets_are_cut_off(place: MirrorSandbox) -> None:
    """Logs that have more than the changelog, as in the middle of a commit (hg holds its lock), are mirrored as far as the changelog goes."""
    source = place.repos / "work"
    mirroring.run("hg", "init", str(source))
    for number in range(3):
        (source / "file").write_text(f"{number}")
        (source / f"new{number}").write_text(f"{number}")
        hg(source, "commit", "-q", "-A", "-m", f"{number}")
    log = source / ".hg/store/00changelog.i"
    data = log.read_bytes()
    hg(source, "commit", "-q", "-A", "-m", "none", check=False)
    (source / "file").write_text("last")
    (source / "newest").write_text("last")
    hg(source, "commit", "-q", "-A", "-m", "last")
    log.write_bytes(data)
    assert mirroring.hg_problems(source) != ""
    (source / ".hg/store/lock").symlink_to("host:1")
    outcome = place.sync()["work"]
    assert outcome.state == "synced"
    assert not outcome.settled
    assert mirroring.hg_problems(place.target / "work") == ""


# Damage


def test_damaged_source_leaves_a_whole_mirror_whole(place: MirrorSandbox) -> None:
    """A repository that has lost an object is reported each time; its mirror keeps the object, and all else is mirrored, commits too."""
    source = repository_at(place.repos / "work")
    place.settled()
    lost = git(source, "rev-parse", "HEAD:one").strip()
    commit(source, "later")
    missing = source / ".git/objects" / lost[:2] / lost[2:]
    missing.rename(place.state / "lost")
    mercurial = place.repos / "work/mercurial"
    mirroring.run("hg", "init", str(mercurial))
    (mercurial / "file").write_text("x")
    hg(mercurial, "commit", "-q", "-A", "-m", "x")
    for more in ({}, {}, {"full": True}):
        outcome = place.sync(**more)["work"]
        assert outcome.state == "failed"
        assert outcome.error is not None
        assert lost in outcome.error.message
        assert "is damaged" in outcome.error.message
        assert "restore work --objects" in outcome.error.hints[0]
        assert mirroring.git_problems(place.target / "work") == ""
        assert git(place.target / "work", "rev-parse", "HEAD") == git(source, "rev-parse", "HEAD")
        assert (place.target / "work/later").exists()
        assert mirroring.hg_problems(place.target / "work/mercurial") == ""
    (place.state / "lost").rename(missing)
    place.settled()
    again(place)


def test_damaged_source_without_a_mirror_is_mirrored_as_it_is(place: MirrorSandbox) -> None:
    """A damaged copy is better than none, and it is said each time."""
    source = repository_at(place.repos / "work")
    lost = git(source, "rev-parse", "HEAD:one").strip()
    (source / ".git/objects" / lost[:2] / lost[2:]).unlink()
    outcome = place.sync()["work"]
    assert outcome.state == "failed"
    assert place.differences() == ""
    assert place.sync()["work"].state == "failed"
    assert place.sync(full=True)["work"].state == "failed"
    assert place.sync()["work"].state == "failed"


def test_stale_locks_are_left_out_of_all(place: MirrorSandbox) -> None:
    """What a killed git or hg left behind is not mirrored, so it is neither planned nor counted, nor missed by a comparison."""
    source = repository_at(place.repos / "work/odd[*]")
    mercurial = place.repos / "work/mercurial"
    mirroring.run("hg", "init", str(mercurial))
    (mercurial / "file").write_text("x")
    hg(mercurial, "commit", "-q", "-A", "-m", "x")
    place.settled()
    left = ["index.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_x", "worktrees.lock"]
    for path in (source / ".git", source):
        for each in left:
            (path / each).parent.mkdir(parents=True, exist_ok=True)
            (path / each).write_text("x")
    (mercurial / ".hg/wlock").symlink_to("host:1")
    (mercurial / ".hg/store/lock").symlink_to("host:1")
    (mercurial / ".hg/store/journal").write_text("x")
    (mercurial / ".hg/store/journal.phaseroots").write_text("x")

    def nothing_left() -> None:
        for full in (False, True):
            assert [path for plan in place.plans(place.options(full=full)) for path in plan.items()] == []
            assert all((outcome.state, outcome.files) == ("up to date", 0) for outcome in place.sync(full=full).values())

    for full in (False, True):
        planned = [path for plan in place.plans(place.options(full=full)) for what, path in plan.items() if what == "created"]
        expected = [f"odd[*]/{each}" for each in (*left, "refs", "refs/heads", "objects", "objects/pack")]
        assert sorted(planned) == sorted(map(os.fsencode, expected))
    assert place.sync()["work"].state == "synced"
    nothing_left()
    assert [verify(unit, place.options()).differences for unit in place.units()] == [[], []]
    assert not (place.target / "work/odd[*]/.git/index.lock").exists()
    shutil.rmtree(place.target / "work")
    assert place.sync()["work"].state == "synced"
    nothing_left()
    for each in left:
        (source / ".git" / each).unlink()
    for each in ("wlock", "store/lock", "store/journal", "store/journal.phaseroots"):
        (mercurial / ".hg" / each).unlink()
    assert all(what == "changed" for plan in place.plans(place.options()) for what, _path in plan.items())
    place.settled()
    again(place)


def test_damaged_mercurial_source(place: MirrorSandbox) -> None:
    """A damaged Mercurial repository leaves its mirror alone; one that has no mirror is mirrored as it is, also beside others that have one."""
    source = place.repos / "work/first"
    for each in (source, place.repos / "second"):
        mirroring.run("hg", "init", str(each))
        (each / "file").write_text("x")
        hg(each, "commit", "-q", "-A", "-m", "x")
    place.settled()
    (place.repos / "second").rename(place.repos / "work/second")
    for each in (source, place.repos / "work/second"):
        (each / "file").write_text("y")
        hg(each, "commit", "-q", "-m", "y")
        (each / ".hg/store/data/file.i").write_bytes(b"nonsense")
    outcome = place.sync()["work"]
    assert outcome.state == "failed"
    assert outcome.error is not None
    assert "is damaged" in outcome.error.message
    assert mirroring.hg_problems(place.target / "work/first") == ""
    assert (place.target / "work/second/.hg/store/data/file.i").read_bytes() == b"nonsense"
    assert place.sync()["work"].state == "failed"


def test_a_head_that_is_a_link(place: MirrorSandbox) -> None:
    """As old versions of git made it, and all of them read it."""
    source = repository_at(place.repos / "work")
    (source / ".git/HEAD").unlink()
    (source / ".git/HEAD").symlink_to("refs/heads/main")
    place.settled()
    commit(source, "later")
    place.settled()
    again(place)
    assert mirroring.git_problems(place.target / "work") == ""


def test_a_reference_to_nothing_is_no_damage(place: MirrorSandbox) -> None:
    """A remote's HEAD that names a branch renamed since is mirrored as it is, by every run."""
    source = repository_at(place.repos / "work")
    git(source, "update-ref", "refs/remotes/origin/main", "HEAD")
    git(source, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    place.settled()
    git(source, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/master")
    git(source, "symbolic-ref", "refs/remotes/origin/chained", "refs/remotes/origin/HEAD")
    assert mirroring.git_problems(source) != ""
    commit(source, "later")
    place.settled()
    git(source, "pack-refs", "--all")
    git(source, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    place.settled()
    assert git(place.target / "work", "rev-parse", "refs/remotes/origin/HEAD") != ""
    shutil.rmtree(place.target / "work")
    git(source, "symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/master")
    place.settled()
    assert verify(Unit("work", str(source)), place.options()).differences == []


def test_verify(place: MirrorSandbox) -> None:
    """Verify says what differs, what git and hg find, and changes nothing."""
    source = repository_at(place.repos / "work")
    mirroring.run("hg", "init", str(place.repos / "other"))
    (place.repos / "other/file").write_text("x")
    hg(place.repos / "other", "commit", "-q", "-A", "-m", "x")
    (place.repos / "loose").write_text("loose")
    place.settled()
    options = place.options()
    work, other, loose = (
        Unit("work", str(source)),
        Unit("other", str(place.repos / "other")),
        Unit("loose files", str(place.repos), is_top_level=True),
    )
    assert [verify(each, options).differences for each in (work, other, loose)] == [[], [], []]
    blob = git(source, "rev-parse", "HEAD:one").strip()
    mirrored = place.target / "work/.git/objects" / blob[:2] / blob[2:]
    mirrored.chmod(0o644)
    before = mirrored.stat()
    mirrored.write_bytes(b"x" * before.st_size)
    os.utime(mirrored, ns=(before.st_atime_ns, before.st_mtime_ns))
    (place.target / "loose").write_text("other")
    log = place.target / "other/.hg/store/00manifest.i"
    log.write_bytes(b"\0" * log.stat().st_size)
    lines = verify(work, options).differences
    assert any(blob[2:] in each for each in lines)
    assert any("git fsck says" in each for each in lines)
    assert any("hg verify reports" in each for each in verify(other, options).differences)
    assert any("loose" in each for each in verify(loose, options).differences)
    assert mirrored.read_bytes() == b"x" * before.st_size


def test_units_are_verified_at_once(place: MirrorSandbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a place of its own for what hg looks at; an hg before the real one waits until both have begun."""
    units = [Unit(name, str(place.repos / name)) for name in ("one", "two")]
    for unit in units:
        mirroring.run("hg", "init", unit.source)
        (Path(unit.source) / "file").write_text(unit.name)
        hg(Path(unit.source), "commit", "-q", "-A", "-m", "x")
    place.settled()
    programs, started = tmp_path / "bin", tmp_path / "begun"
    programs.mkdir()
    wait = f'tries=0\nwhile [ "$(wc -l <{started})" -lt 2 ] && [ $((tries+=1)) -lt 200 ]; do sleep 0.1; done\n'
    (programs / "hg").write_text(f'#!/bin/sh\necho "$2" >>{started}\n{wait}exec {shutil.which("hg")} "$@"\n')
    (programs / "hg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda unit: verify(unit, place.options()).differences, units)) == [[], []]
    assert len(set(started.read_text().splitlines())) == 2


# Traps


def test_nothing_a_repository_configures_runs(place: MirrorSandbox, tmp_path: Path) -> None:
    """Hooks, filters, monitors, included configuration, hgrc, extensions: none runs in sync or verify."""
    trap = tmp_path / "sprung"
    script = tmp_path / "trap"
    script.write_text(f'#!/bin/sh\necho "$0 $*" >>{trap}\n')
    script.chmod(0o755)
    work = repository_at(place.repos / "work")
    git(work, "submodule", "--quiet", "add", f"file://{repository_at(tmp_path / 'outside')}", "sub")
    git(work, "commit", "-q", "-m", "sub")
    included = tmp_path / "included"
    included.write_text(f"[core]\n\tfsmonitor = {script}\n[alias]\n\tfsck = !{script}\n")
    for directory in (work / ".git", work / ".git/modules/sub"):
        with (directory / "config").open("a") as file:
            file.write(
                f"[core]\n\tfsmonitor = {script}\n\tsshCommand = {script}\n\tpager = {script}\n\thooksPath = {tmp_path}\n\teditor = {script}\n"
                f"[alias]\n\tfsck = !{script}\n\trev-list = !{script}\n[include]\n\tpath = {included}\n"
                f'[filter "x"]\n\tclean = {script}\n\tsmudge = {script}\n[credential]\n\thelper = !{script}\n[gpg]\n\tprogram = {script}\n'
                f'[remote "origin"]\n\tpromisor = true\n\turl = ext::{script}\n[uploadpack]\n\tpackObjectsHook = {script}\n'
            )
        for hook in ("post-checkout", "pre-auto-gc", "fsmonitor-watchman", "reference-transaction", "post-index-change"):
            shutil.copy(script, directory / "hooks" / hook)
    evil = tmp_path / "evil"
    mirroring.run("git", "init", "-q", str(evil))
    shutil.copy(work / ".git/config", evil / ".git/config")
    other = repository_at(place.repos / "pointing")
    (other / ".git/commondir").write_text(f"{evil}/.git\n")
    (other / ".git/objects/info/alternates").write_text(f"{evil}/.git/objects\n")
    mercurial = place.repos / "mercurial"
    mirroring.run("hg", "init", str(mercurial))
    (mercurial / "file").write_text("x")
    hg(mercurial, "commit", "-q", "-A", "-m", "x")
    extension = tmp_path / "trap.py"
    extension.write_text(f"open({str(trap)!r}, 'a').write('hg extension')\n")
    for name in (".hg/hgrc", ".hg/hgrc-not-shared"):
        (mercurial / name).write_text(
            f"[hooks]\nprelock.x = {script}\nupdate = {script}\n[extensions]\ntrap = {extension}\n[alias]\nverify = !{script}\n"
        )
    for _turn in range(2):
        outcomes = place.sync()
        for name, outcome in outcomes.items():
            assert outcome.state in {"synced", "up to date"} or name == "pointing", outcome.error
        for unit in place.units():
            verify(unit, place.options())
        assert not trap.exists(), trap.read_text()
        for each in ("one", "sub/one"):
            (work / each).write_text("changed")
        mirroring.run(
            "git", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/nonexistent", "-C", str(work), "update-index", "--add", "one"
        )
        (mercurial / ".hg/store/phaseroots").write_text("")
        trap.unlink(missing_ok=True)
    assert (place.target / "work/.git/config").read_bytes() == (work / ".git/config").read_bytes()


def test_links_are_never_followed(place: MirrorSandbox, tmp_path: Path) -> None:
    """A mirror with links where the source has directories, and the other way round, writes nothing outside."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    unit = place.repos / "work"
    (unit / "inner").mkdir(parents=True)
    (unit / "inner" / "precious").write_text("source")
    (unit / "link").symlink_to(outside)
    (place.repos / "linked").symlink_to(outside)
    place.settled()
    assert (place.target / "linked").is_symlink()
    assert (place.target / "work/link").is_symlink()
    shutil.rmtree(place.target / "work/inner")
    (place.target / "work/inner").symlink_to(outside)
    (unit / "inner" / "precious").write_text("source again")
    (unit / "link").unlink()
    (unit / "link").mkdir()
    (unit / "link" / "precious").write_text("a directory now")
    place.sync()
    place.settled(full=True)
    assert (outside / "precious").read_text() == "precious"
    assert sorted(os.listdir(outside)) == ["precious"]


# Kept


def test_what_is_replaced_or_removed_is_kept(place: MirrorSandbox) -> None:
    """Every old content, whole directories, kinds that changed, references and objects: all is found in kept."""
    unit = repository_at(place.repos / "work")
    for path, text in (("file", "old"), ("tree/a/b", "b"), ("tree/c", "c"), ("becomes-dir", "was file"), ("becomes-file/x", "was in dir")):
        (unit / path).parent.mkdir(parents=True, exist_ok=True)
        (unit / path).write_text(text)
    (unit / "link").symlink_to("old target")
    (place.repos / "loose").write_text("old loose")
    git(unit, "branch", "side")
    (unit / ".git/index").read_bytes()
    place.settled()
    before = {
        each.relative_to(place.target / "work"): each.read_bytes()
        for each in (place.target / "work").rglob("*")
        if each.is_file() and not each.is_symlink()
    }
    (unit / "file").write_text("new")
    shutil.rmtree(unit / "tree")
    (unit / "becomes-dir").unlink()
    (unit / "becomes-dir").mkdir()
    (unit / "becomes-dir/y").write_text("y")
    shutil.rmtree(unit / "becomes-file")
    (unit / "becomes-file").write_text("file")
    (unit / "link").unlink()
    (unit / "link").symlink_to("new target")
    (place.repos / "loose").write_text("new loose")
    git(unit, "branch", "-D", "side")
    commit(unit, "one")
    git(unit, "reflog", "expire", "--expire=now", "--all")
    git(unit, "gc", "-q", "--prune=now")
    outcomes = place.settled()
    history = place.kept()
    assert (history / "loose files/loose").read_text() == "old loose"
    assert (history / "work/link").readlink() == Path("old target")
    assert outcomes["work"].kept_bytes > 0
    for path, data in before.items():
        now = place.target / "work" / path
        if not (now.is_file() and now.read_bytes() == data):
            assert (history / "work" / path).read_bytes() == data, path
    git(unit, "checkout", "-q", "--orphan", "fresh")
    shutil.rmtree(unit / "two")
    place.settled()
    assert (place.kept() / "work/two/three").exists()


def test_a_unit_takes_the_place_of_a_loose_file(place: MirrorSandbox) -> None:
    """A name that was a loose file and is a directory now, and the other way round: both old selves are kept."""
    (place.repos / "thing").write_text("loose")
    (place.repos / "dir").mkdir()
    (place.repos / "dir/file").write_text("in dir")
    place.settled()
    (place.repos / "thing").unlink()
    (place.repos / "thing").mkdir()
    (place.repos / "thing/file").write_text("now dir")
    place.sync()
    place.settled()
    texts = [each.read_text() for each in (place.target / ".repoman/kept").rglob("thing*") if each.is_file()]
    assert texts == ["loose"]
    shutil.rmtree(place.repos / "dir")
    (place.repos / "dir").write_text("loose now")
    place.sync()
    assert (place.target / "dir").read_text() == "loose now"
    assert [each.read_text() for each in (place.target / ".repoman/kept").rglob("dir/file")] == ["in dir"]


# Trees

NAMES = st.sampled_from(
    [b"a", b"b", b"-rf", b"new\nline", b"tab\t", b"*", b"\xff\xfe", b"\x1b[31m", b" ", b"a b", b"'\"", b"objects", b"x.lock"]
)
LONG = {"long": b"\0" * 70_000 + b"end", "middling": b"x" * 3000}
CONTENTS = st.one_of(st.binary(max_size=40), st.sampled_from(sorted(LONG)).map(lambda name: LONG[name]))
FILE_MODES = st.sampled_from([0o644, 0o600, 0o400, 0o755, 0o4755, 0o000])
TREES = st.recursive(
    st.one_of(
        st.tuples(st.just("file"), CONTENTS, FILE_MODES, st.integers(0, 3)),
        st.tuples(st.just("link"), st.sampled_from([b"a", b"/nonexistent", b"..", b"\xff"])),
        st.tuples(st.just("pipe")),
        st.tuples(st.just("hard"), st.integers(0, 2)),
        st.tuples(st.just("hole"), st.integers(1, 3)),
    ),
    lambda inner: st.tuples(st.just("dir"), st.dictionaries(NAMES, inner, max_size=5), st.sampled_from([0o755, 0o700, 0o2750, 0o555])),
    max_leaves=12,
)


def grow(path: bytes, what: Any, hard: dict[int, bytes]) -> None:
    """Make a random tree."""
    if what[0] == "dir":
        os.mkdir(path)
        for name, inner in what[1].items():
            grow(os.path.join(path, name), inner, hard)
        os.chmod(path, what[2])
    elif what[0] == "file":
        Path(os.fsdecode(path)).write_bytes(what[1])
        os.chmod(path, what[2])
        os.utime(path, (1_000_000 + what[3], 1_000_000 + what[3]))
    elif what[0] == "link":
        os.symlink(what[1], path)
    elif what[0] == "pipe":
        os.mkfifo(path)
    elif what[0] == "hole":
        with open(path, "wb") as file:
            file.truncate(1 << 20)
            file.seek(what[1] << 17)
            file.write(b"data")
    elif what[1] in hard:
        os.link(hard[what[1]], path)
    else:
        Path(os.fsdecode(path)).write_bytes(b"hard")
        hard[what[1]] = path


TOPS = st.lists(st.dictionaries(NAMES, TREES, max_size=4), min_size=2, max_size=4)


@settings(max_examples=int(os.environ.get("REPOMAN_TREES", "25")))
@given(TOPS)
def test_random_trees(steps: list[dict[bytes, Any]]) -> None:
    """Any tree after any other: the mirror is as the source, check mode said what would happen, and nothing is left to do."""
    with tempfile.TemporaryDirectory() as base:
        place = MirrorSandbox(Path(base))
        for number, step in enumerate(steps):
            unit = place.repos / "work"
            if unit.exists():
                shutil.rmtree(unit)
            unit.mkdir()
            hard: dict[int, bytes] = {}
            for name, what in step.items():
                grow(os.path.join(bytes(unit), name), what, hard)
            if number % 2:
                place.scratch.mkdir(exist_ok=True)
                plans = place.plans(place.options())
                assert any(plan.total for plan in plans) or not place.differences()
            outcomes = place.settled(full=number == 2)
            for outcome in outcomes.values():
                assert outcome.settled
            again(place)


def test_sparse_files_stay_sparse(place: MirrorSandbox) -> None:
    """A hole costs no blocks in the mirror."""
    (place.repos / "work").mkdir()
    with (place.repos / "work/image").open("wb") as file:
        file.truncate(64 << 20)
        file.seek(32 << 20)
        file.write(b"data")
    place.settled()
    assert (place.target / "work/image").stat().st_blocks < 1000
    place.settled(full=True)


def test_rewritten_with_the_same_size_and_time(place: MirrorSandbox) -> None:
    """What a comparison of size and time misses is mirrored all the same."""
    (place.repos / "work").mkdir()
    file = place.repos / "work/file"
    file.write_text("one")
    place.settled()
    status = file.stat()
    file.write_text("two")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert place.settled()["work"].files == 1
    assert (place.kept() / "work/file").read_text() == "one"


def test_times_beyond_the_year_2262(place: MirrorSandbox) -> None:
    """A time that no number of nanoseconds holds is mirrored, and nothing is copied again for it."""
    repository = repository_at(place.repos / "work")
    (place.repos / "work/file").write_text("x")
    (place.repos / "work/link").symlink_to("file")
    (place.repos / "work/inner").mkdir()
    late = 10_413_792_000_000_000_000
    for each in ("file", "link", "inner", ".git/config", ".git/refs"):
        os.utime(repository / each, ns=(late, late), follow_symlinks=False)
    if (repository / "file").lstat().st_mtime_ns != late:
        pytest.skip("no such time here")
    place.settled()
    for each in ("file", "link", "inner", ".git/config", ".git/refs"):
        assert (place.target / "work" / each).lstat().st_mtime_ns == late, each
    again(place)
    (repository / "file").chmod(0o600)
    (repository / "inner").chmod(0o700)
    assert place.settled()["work"].bytes == 0


def test_deeper_than_functions_call_each_other(place: MirrorSandbox) -> None:
    """A thousand directories in each other are mirrored, changed, kept and removed."""
    deep = place.repos / "work" / "/".join("d" * 1100)
    mirroring.run("mkdir", "-p", str(deep))
    try:
        (deep / "file").write_text("one")
        assert place.sync()["work"].state == "synced"
        (deep / "file").write_text("other")
        assert place.sync()["work"].state == "synced"
        assert (place.target / "work" / "/".join("d" * 1100) / "file").read_text() == "other"
        assert (place.kept() / "work" / "/".join("d" * 1100) / "file").read_text() == "one"
        mirroring.run("rm", "-r", str(place.repos / "work/d"))
        (place.repos / "work/file").write_text("x")
        outcome = place.sync()["work"]
        assert (outcome.state, outcome.kept_bytes) == ("synced", 5)
        assert os.listdir(place.target / "work") == ["file"]
        remove_directory(place.kept())
        assert not place.kept().exists()
    finally:
        mirroring.run("rm", "-rf", str(place.repos), str(place.target))


def test_a_unit_that_nobody_can_handle_fails_alone(place: MirrorSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in the scan or the work of one unit, the others are mirrored."""
    for name in ("bad", "good"):
        (place.repos / name).mkdir()
        (place.repos / name / "file").write_text(name)
    original = Copier.copy_file

    def fails(self: Copier, path: bytes, *arguments: Any, **more: Any) -> Any:
        if b"/bad" in self.source_path:
            raise ValueError("odd")
        return original(self, path, *arguments, **more)

    monkeypatch.setattr(Copier, "copy_file", fails)
    outcomes = place.sync(jobs=2)
    assert (outcomes["bad"].state, outcomes["good"].state) == ("failed", "synced")
    assert outcomes["bad"].error is not None
    assert "ValueError: odd" in outcomes["bad"].error.message
    monkeypatch.undo()
    place.settled()
    monkeypatch.setattr("ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units.walk_blocks", fails)
    error = scan_unit(Unit("bad", "bad"), "", str(place.scratch / "x")).error
    assert error is not None
    assert "TypeError" in error.message


def test_attributes_alone_copy_nothing(place: MirrorSandbox) -> None:
    """A new mode, owner or time, or a link more, is set without copying contents."""
    (place.repos / "work").mkdir()
    file = place.repos / "work/file"
    file.write_bytes(b"x" * 1000)
    place.settled()
    file.chmod(0o4711)
    os.utime(file, (1, 1))
    if os.geteuid() == 0:
        os.chown(file, 12345, 54321)
        file.chmod(0o4711)
    outcome = place.settled()["work"]
    assert outcome.bytes == 0
    assert not place.kept().exists()


def test_xattrs(place: MirrorSandbox) -> None:
    """Extended attributes are kept where they are asked for."""
    (place.repos / "work").mkdir()
    file = place.repos / "work/file"
    file.write_text("x")
    try:
        os.setxattr(file, "user.colour", b"blue")
    except OSError:
        pytest.skip("no extended attributes here")
    place.settled(xattrs=True)
    assert os.getxattr(place.target / "work/file", "user.colour") == b"blue"
    os.setxattr(file, "user.colour", b"red")
    os.setxattr(file.parent, "user.shape", b"round")
    place.sync(xattrs=True)
    assert os.getxattr(place.target / "work/file", "user.colour") == b"red"


def test_sockets_and_pipes_in_a_repository(place: MirrorSandbox) -> None:
    """git and hg are never let near a pipe that they would wait for."""
    unit = repository_at(place.repos / "work")
    listener = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(unit / ".git"):  # a socket's whole path may be too long
        listener.bind("fsmonitor--daemon.ipc")
    os.mkfifo(unit / ".git/objects/pack/pack-x.idx")
    os.mkfifo(unit / ".git/refs/heads/pipe")
    outcome = place.sync()["work"]
    listener.close()
    assert outcome.state == "synced"
    assert stat.S_ISSOCK((place.target / "work/.git/fsmonitor--daemon.ipc").lstat().st_mode)


@pytest.mark.parametrize("how", ["direct", "further", "linked"])
def test_pipes_where_objects_are_borrowed(place: MirrorSandbox, tmp_path: Path, how: str) -> None:
    """git is not let near them either, however many object directories lie between; the repository is said to be damaged."""
    lender, middle = place.repos / "lender", place.repos / "middle"
    repository_at(lender)
    clone = ("git", "clone", "-q", "--shared", "--bare")
    mirroring.run(*clone, str(lender), str(middle))
    mirroring.run("git", "clone", "-q", "--shared", str(lender if how == "direct" else middle), str(place.repos / "work"))
    place.settled()
    pipe = lender / ".git/objects/pack/pack-x.idx"
    pipe.with_suffix(".pack").write_bytes(b"PACK")
    os.mkfifo(tmp_path / "pipe" if how == "linked" else pipe)
    if how == "linked":
        (lender / ".git/objects/ab").mkdir(exist_ok=True)
        pipe = lender / ".git/objects/ab/cdef"
        pipe.symlink_to(tmp_path / "pipe")
    (place.repos / "work/new").write_text("x")
    git(place.repos / "work", "symbolic-ref", "refs/heads/also", "refs/heads/main")
    outcome = place.sync()["work"]
    assert outcome.state == "failed"
    assert outcome.error is not None
    assert f"{pipe}, from which it borrows objects, is neither a file nor a directory" in outcome.error.message
    assert (place.target / "work/new").exists()
    pipe.unlink()
    (lender / ".git/objects/pack/pack-x.pack").unlink()
    place.settled()
    (lender / ".git/objects/info/alternates").write_text(f'"{place.repos}/odd\\040one"\n')
    (place.repos / "odd one/ab").mkdir(parents=True)
    os.mkfifo(place.repos / "odd one/ab/pipe")
    git(place.repos / "work", "branch", "third")
    assert place.sync()["work"].state == "failed"
    (lender / ".git/objects/info/alternates").write_text(f"{lender}/.git/objects\n{middle}/objects\n")
    git(place.repos / "work", "branch", "fourth")
    assert place.sync()["work"].state == "synced"


def test_unreadable_file(unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """A file nobody lets us read: it is named, all else is mirrored, and the unit is not done."""

    def work() -> None:
        unit = unprivileged_place.repos / "work"
        unit.mkdir()
        (unit / "open").write_text("x")
        (unit / "secret").write_text("x")
        (unit / "secret").chmod(0)
        outcome = unprivileged_place.sync()["work"]
        assert outcome.state == "failed", outcome
        assert outcome.error is not None
        assert "secret" in outcome.error.message, outcome.error.message
        assert (unprivileged_place.target / "work/open").exists()
        (unit / "secret").chmod(0o600)
        unprivileged_place.settled()

    assert unprivileged(work) == "None"


def test_unreadable_file_of_a_repository(unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """All else of the repository is mirrored and none of it removed again; what needs the file is said to be damaged; the next run mends it."""

    def work() -> None:
        source = repository_at(unprivileged_place.repos / "work")
        mercurial = unprivileged_place.repos / "mercurial"
        mirroring.run("hg", "init", str(mercurial))
        (mercurial / "file").write_text("x")
        hg(mercurial, "commit", "-q", "-A", "-m", "x")
        (mercurial / ".hg/branch").write_text("default\n")
        blob = git(source, "rev-parse", "HEAD:one").strip()
        needed = [source / ".git/objects" / blob[:2] / blob[2:], mercurial / ".hg/store/data/file.i"]
        harmless = [source / ".git/config", source / ".git/logs/HEAD", mercurial / ".hg/branch"]

        def sync_without(unreadable: list[Path], *, damaged: bool) -> None:
            for each in unreadable:
                each.chmod(0)
            outcomes = unprivileged_place.sync()
            assert len(outcomes) >= 2
            for name in ("work", "mercurial"):
                outcome = outcomes[name]
                message = outcome.error.message if outcome.error else ""
                assert outcome.state == "failed", name
                assert "cannot be read" in message, message
                assert ("is damaged" in message) == damaged, message
            for each in unreadable:
                each.chmod(0o644)

        def files(top: Path) -> set[Path]:
            return {each.relative_to(top) for each in top.rglob("*") if each.is_file() and ".repoman" not in each.parts}

        unreadable = [*needed, *harmless]
        sync_without(unreadable, damaged=True)
        assert files(unprivileged_place.repos) - files(unprivileged_place.target) == {
            each.relative_to(unprivileged_place.repos) for each in unreadable
        }
        unprivileged_place.settled()
        again(unprivileged_place)
        commit(source, "later")
        (mercurial / "file").write_text("y")
        hg(mercurial, "commit", "-q", "-m", "y")
        sync_without(harmless, damaged=False)
        assert files(unprivileged_place.repos) == files(unprivileged_place.target)
        assert git(unprivileged_place.target / "work", "rev-parse", "HEAD") == git(source, "rev-parse", "HEAD")
        assert mirroring.hg_problems(unprivileged_place.target / "mercurial") == ""
        unprivileged_place.settled()
        again(unprivileged_place)

    assert unprivileged(work) == "None"


def failed(outcome: MirrorResult, *words: str) -> None:
    """See that a unit failed for what it says, and all else of it was mirrored."""
    assert (outcome.state, outcome.manifest != "") == ("failed", True), outcome
    assert outcome.error is not None
    for word in (*words, "Everything else in work was mirrored."):
        assert word in outcome.error.message, outcome.error.message


def test_unreadable_directory(unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str]) -> None:
    """A directory nobody lets us read: it is named, all else is mirrored, and what the mirror has in it stays."""

    def work() -> None:
        unit = unprivileged_place.repos / "work"
        repository_at(unit / "secret/repository")
        (unit / "secret/file").write_text("x")
        (unit / "new").mkdir()
        (unit / "new").chmod(0o070)
        (unit / "gone").write_text("x")
        failed(unprivileged_place.sync()["work"], "work/new' cannot be read: Permission denied.")
        assert (unprivileged_place.target / "work/new").stat().st_mode & 0o777 == 0o770
        mirrored = entries(unprivileged_place.target / "work/secret")
        (unit / "secret/file").write_text("later")
        (unit / "secret").chmod(0o400)
        (unit / "gone").unlink()
        (unit / "later").write_text("x")
        for full in (False, True):
            failed(
                unprivileged_place.sync(full=full)["work"], "work/new' cannot be read: Permission denied.", "work/secret' cannot be read"
            )
            assert not (unprivileged_place.target / "work/gone").exists()
            assert (unprivileged_place.target / "work/later").exists()
            assert entries(unprivileged_place.target / "work/secret") == mirrored
            assert [
                list(plan.items()) for plan in unprivileged_place.plans(unprivileged_place.options(full=True)) if plan.unit.name == "work"
            ] == [[]]
        (unit / "secret").chmod(0o750)
        (unit / "new").chmod(0o700)
        unprivileged_place.settled()
        again(unprivileged_place)

    assert unprivileged(work) == "None"


def entries(top: Path) -> dict[str, tuple[int, bytes]]:
    """Return what lies below a directory, but for a file that git only writes."""
    paths = [path for path in top.rglob("*") if path.name != "COMMIT_EDITMSG"]
    return {str(path.relative_to(top)): (path.lstat().st_ino, b"" if path.is_dir() else path.read_bytes()) for path in paths}


@pytest.mark.parametrize("closed", ["objects", "objects/??", "objects/pack", "refs/heads", "logs"])
def test_unreadable_directory_of_a_repository(
    unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str], closed: str
) -> None:
    """A repository that cannot be read whole stays as its mirror has it; without a mirror, all that can be read is mirrored."""

    def work() -> None:
        unit = repository_at(unprivileged_place.repos / "work")
        (shut, *_others) = sorted((unit / ".git").glob(closed))
        git(unit, "repack", "-q") if closed == "objects/pack" else None
        shut.chmod(0)
        (first,) = [outcome for outcome in unprivileged_place.sync().values() if outcome.unit.name == "work"]
        assert first.error is not None
        assert f"{shut}' cannot be read: Permission denied." in first.error.message
        assert (unprivileged_place.target / "work/one").exists()
        for path in (unit / ".git").rglob("*"):
            if shut != path and shut not in path.parents and path.is_file():
                assert (unprivileged_place.target / "work/.git" / path.relative_to(unit / ".git")).exists(), path
        shut.chmod(0o755)
        unprivileged_place.settled()
        mirrored = entries(unprivileged_place.target / "work/.git")
        commit(unit, "later")
        git(unit, "update-ref", "-d", "refs/heads/main")
        git(unit, "-c", "gc.reflogExpire=now", "reflog", "expire", "--expire=now", "--all")
        shut.chmod(0)
        for full in (False, True):
            outcome = unprivileged_place.sync(full=full)["work"]
            failed(outcome, f"{shut}' cannot be read: Permission denied.", f"The mirror keeps {unit}/.git as it was.")
            assert (unprivileged_place.target / "work/later").exists()
            assert entries(unprivileged_place.target / "work/.git") == mirrored
            assert git_problems(unprivileged_place.target / "work") == ""
        shut.chmod(0o755)
        unprivileged_place.settled()
        again(unprivileged_place)

    assert unprivileged(work) == "None"


@pytest.mark.parametrize("name", ["hooks", "private"])
def test_unreadable_directory_beside_a_repository(
    unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str], name: str
) -> None:
    """What git does not need may be unreadable: the repository is mirrored all the same."""

    def work() -> None:
        unit = repository_at(unprivileged_place.repos / "work")
        unreadable = unit / ".git" / name
        unreadable.mkdir(exist_ok=True)
        (unreadable / "file").write_text("x")
        unprivileged_place.settled()
        unreadable.chmod(0)
        commit(unit, "later")
        failed(unprivileged_place.sync()["work"], f".git/{name}' cannot be read: Permission denied.")
        assert git(unprivileged_place.target / "work", "log", "--format=%H") == git(unit, "log", "--format=%H")
        assert git_problems(unprivileged_place.target / "work") == ""
        assert (unprivileged_place.target / "work/.git" / name / "file").exists()
        (unit / ".git/index.lock").touch()
        assert "index.lock" not in str(verify(Unit("work", str(unit)), unprivileged_place.options()).differences)
        (unit / ".git/index.lock").unlink()
        unreadable.chmod(0o755)
        unprivileged_place.settled()

    assert unprivileged(work) == "None"


def test_unreadable_directory_of_a_new_repository(
    unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str]
) -> None:
    """Of a repository that comes into a project that has a mirror, all that can be read is mirrored."""

    def work() -> None:
        (unprivileged_place.repos / "work").mkdir()
        unprivileged_place.settled()
        unit = repository_at(unprivileged_place.repos / "work/new")
        shut, *others = sorted((unit / ".git/objects").glob("??"))
        shut.chmod(0)
        failed(unprivileged_place.sync()["work"], f"{shut}' cannot be read: Permission denied.")
        assert all(
            (unprivileged_place.target / "work/new/.git/objects" / each.name / next(each.iterdir()).name).exists() for each in others
        )
        failed(unprivileged_place.sync(full=True)["work"], f"The mirror keeps {unit}/.git as it was.")
        shut.chmod(0o755)
        unprivileged_place.settled()
        again(unprivileged_place)
        assert git_problems(unprivileged_place.target / "work/new") == ""

    assert unprivileged(work) == "None"


def test_unreadable_directory_of_a_mercurial_repository(
    unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str]
) -> None:
    """A Mercurial repository that cannot be read whole stays as its mirror has it; without a mirror, what can be read is mirrored."""

    def work() -> None:
        unit = unprivileged_place.repos / "work"
        unit.mkdir()
        hg(unit, "init")
        (unit / "one").write_text("one")
        hg(unit, "commit", "-q", "-A", "-m", "one")
        shut = unit / ".hg/store/data"
        shut.chmod(0)
        assert unprivileged_place.sync()["work"].state == "failed"
        assert (unprivileged_place.target / "work/.hg/store/00changelog.i").exists()
        shut.chmod(0o755)
        unprivileged_place.settled()
        mirrored = entries(unprivileged_place.target / "work/.hg")
        (unit / "two").write_text("two")
        hg(unit, "commit", "-q", "-A", "-m", "two")
        shut.chmod(0)
        for full in (False, True):
            failed(unprivileged_place.sync(full=full)["work"], f"The mirror keeps {unit}/.hg as it was.")
            assert (unprivileged_place.target / "work/two").exists()
            assert entries(unprivileged_place.target / "work/.hg") == mirrored
        shut.chmod(0o755)
        unprivileged_place.settled()
        assert hg_problems(unprivileged_place.target / "work") == ""

    assert unprivileged(work) == "None"


def test_read_only_directories_as_an_ordinary_user(
    unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str]
) -> None:
    """Directories that forbid writing are mirrored, changed and removed all the same, and forbid it in the mirror too."""

    def work() -> None:
        unit = unprivileged_place.repos / "work"
        (unit / "closed/inner").mkdir(parents=True)
        (unit / "closed/inner/file").write_text("one")
        (unit / "closed").chmod(0o555)
        (unit / "closed/inner").chmod(0o555)
        unit.chmod(0o555)
        unprivileged_place.settled()
        assert (unprivileged_place.target / "work").stat().st_mode & 0o777 == 0o555
        unit.chmod(0o755)
        (unit / "closed/inner/file").write_text("two")
        unprivileged_place.settled()
        assert (unprivileged_place.target / "work/closed").stat().st_mode & 0o777 == 0o555
        (unit / "closed/inner").chmod(0o755)
        (unit / "closed").chmod(0o755)
        shutil.rmtree(unit / "closed/inner")
        (unit / "closed").chmod(0o555)
        unprivileged_place.settled()
        for each in (unit / "closed", unprivileged_place.target / "work/closed", *(unprivileged_place.target / ".repoman/kept").rglob("*")):
            if each.is_dir():
                each.chmod(0o755)

    assert unprivileged(work) == "None"


@pytest.mark.parametrize("kind", ["git", "hg"])
def test_read_only_repository_as_an_ordinary_user(
    unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str], kind: str
) -> None:
    """A repository of which nothing may be written is mirrored, and so is what was changed of it in between."""

    def work() -> None:
        unit = unprivileged_place.repos / "work"
        if kind == "git":
            repository_at(unit)
        else:
            mirroring.run("hg", "init", str(unit))
        for number in range(2):
            mirroring.run("chmod", "-R", "u+w", str(unit))
            if kind == "git":
                commit(unit, f"file{number}")
            else:
                (unit / "file").write_text(str(number))
                hg(unit, "commit", "-q", "-A", "-m", str(number))
            mirroring.run("chmod", "-R", "a-w", str(unit))
            unprivileged_place.settled()
        again(unprivileged_place)
        mirroring.run("chmod", "-R", "u+w", str(unprivileged_place.target / "work"))  # hg takes a lock to verify
        assert (git_problems if kind == "git" else hg_problems)(unprivileged_place.target / "work") == ""

    assert unprivileged(work) == "None"


def test_a_first_copy_goes_on_in_read_only_directories(
    unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str]
) -> None:
    """A first copy whose directories have their modes already, as a run that was killed leaves it, is finished by the next."""

    def work() -> None:
        unit = unprivileged_place.repos / "work"
        (unit / "closed").mkdir(parents=True)
        (unit / "closed/file").write_text("one")
        (unit / "less").mkdir()
        (unit / "less/gone").write_text("one")
        (unit / "less").chmod(0o555)
        (unit / "closed").chmod(0o555)
        unit.chmod(0o555)
        shutil.copytree(unit, unprivileged_place.target / ".repoman/work/new/work")
        unit.chmod(0o755)
        (unit / "closed").chmod(0o755)
        (unit / "less").chmod(0o755)
        (unit / "less/gone").unlink()
        (unit / "less").chmod(0o555)
        (unit / "closed/later").write_text("two")
        (unit / "later").write_text("two")
        unprivileged_place.settled()

    assert unprivileged(work) == "None"


# Killed


KILLED = """
import os, signal, sys
from pathlib import Path
from mirroring import MirrorSandbox
at, jobs = int(sys.argv[2]), int(sys.argv[3])
seen = 0
leader = os.getpid()
def counted(event, arguments):
    global seen
    if event in {"os.rename", "os.link", "os.mkdir", "os.rmdir", "os.remove", "os.symlink", "open", "os.utime", "ctypes.dlsym"}:
        if event == "open" and (not isinstance(arguments[2], int) or not arguments[2] & os.O_CREAT):
            return
        seen += 1
        if seen == at:
            os.kill(leader, signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
place = MirrorSandbox(Path(sys.argv[1]))
place.runs = 100 + at
sys.addaudithook(counted)
place.sync(jobs=jobs)
"""


def killed(base: Path, at: int, jobs: int = 1) -> bool:
    """Run once in a process that is killed at its so manieth change; tell whether it was."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(base), str(at), str(jobs)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


def test_killed_at_any_moment(tmp_path: Path) -> None:
    """Killed at every so manieth change of a run over git, hg and plain units: every mirror is whole, and one run more makes it equal."""
    start = tmp_path / "start"
    start.mkdir()
    first = MirrorSandbox(start)
    work = repository_at(first.repos / "work")
    for number in range(3):
        git(work, "branch", f"side{number}")
    mercurial = first.repos / "mercurial"
    mirroring.run("hg", "init", str(mercurial))
    for number in range(2):
        (mercurial / f"file{number}").write_text("x")
        hg(mercurial, "commit", "-q", "-A", "-m", "x")
    (first.repos / "plain/tree").mkdir(parents=True)
    (first.repos / "plain/tree/file").write_text("old")
    first.settled()
    commit(work, "one", "five")
    git(work, "branch", "-D", "side0")
    git(work, "branch", "side0/inner")
    git(work, "reflog", "expire", "--expire=now", "--all")
    git(work, "gc", "-q", "--prune=now")
    (mercurial / "file0").write_text("y")
    (mercurial / "file7").write_text("y")
    hg(mercurial, "commit", "-q", "-A", "-m", "y")
    (first.repos / "plain/tree/file").write_text("new")
    (first.repos / "new").mkdir()
    repository_at(first.repos / "new/inner")

    at, step, base = 1, int(os.environ.get("REPOMAN_KILL_STEP", "67")), tmp_path / "copy"
    while True:
        mirroring.run("cp", "-a", str(start), str(base))
        relocated = MirrorSandbox(base)
        if not killed(base, at):
            break
        for each in ("work", "new/inner"):
            if (relocated.target / each.partition("/")[0]).exists():
                assert mirroring.git_problems(relocated.target / each) == "", at
        assert mirroring.hg_problems(relocated.target / "mercurial") == "", at
        text = (relocated.target / "plain/tree/file").read_text()
        assert text in {"old", "new"}
        try:
            relocated.settled()
        except AssertionError as error:
            raise AssertionError(f"killed at change {at}") from error
        left = os.listdir(relocated.target / ".repoman/work")
        assert left == ["new"], at
        assert os.listdir(relocated.target / ".repoman/work/new") == []
        assert mirroring.git_problems(relocated.target / "work") == ""
        shutil.rmtree(base)
        at += step
    assert at > 5 * step


def test_children_end_with_their_parent(tmp_path: Path) -> None:
    """A run in several processes that is killed leaves none of them working."""
    base = tmp_path / "place"
    base.mkdir()
    place = MirrorSandbox(base)
    for name in ("one", "two", "three"):
        repository_at(place.repos / name)
    assert killed(base, 60, jobs=2)
    place.settled(jobs=2)
    again(place)


# Far


def test_far_target(tmp_path: Path) -> None:
    """With many threads, as for a target with latency, the outcome is the same."""
    place = MirrorSandbox(tmp_path, is_remote=True, jobs=2)
    for name in ("one", "two"):
        repository_at(place.repos / name)
    mirroring.run("hg", "init", str(place.repos / "three"))
    (place.repos / "three/file").write_text("x")
    hg(place.repos / "three", "commit", "-q", "-A", "-m", "x")
    place.settled()
    commit(place.repos / "one", "later")
    git(place.repos / "one", "gc", "-q", "--prune=now")
    place.settled()
    assert mirroring.git_problems(place.target / "one") == ""
    assert mirroring.hg_problems(place.target / "three") == ""


# Manifests


def test_memory_of_a_full_comparison(place: MirrorSandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    """A mirror is compared directory by directory: four times the entries take no more memory, whatever changed of them."""
    monkeypatch.setattr(manifest_file, "BUFFER_LIMIT", 1 << 14)
    monkeypatch.setattr(contents, "BLOCK", 1 << 12)
    peaks = []
    for directories in range(10, 14), range(14, 26):
        for number in directories:
            (place.repos / f"work/{number}").mkdir(parents=True)
            for each in range(60):
                os.mknod(place.repos / f"work/{number}/a file with a name of usual length {each}")
        place.sync()
        shutil.copytree(place.repos / "work", place.repos / "copy")
        shutil.rmtree(place.repos / "work")
        (place.repos / "copy").rename(place.repos / "work")
        place.scratch.mkdir(exist_ok=True)
        tracemalloc.start()
        assert [plan.total for plan in place.plans(place.options(full=True)) if plan.unit.name == "work"] == [0]
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_manifest_round_trip(tmp_path: Path) -> None:
    """A saved manifest is read back; one that is not whole counts as none; rewriting changes what it is told to."""
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file").write_text("x")
    manifest = scan_in_memory(Unit("tree", str(tmp_path / "tree")))
    path = str(tmp_path / "manifest")
    manifest.save(path)
    loaded = Manifest.load(path)
    assert loaded is not None
    assert loaded.digest == manifest.digest
    assert list(loaded.entries()) == list(manifest.entries())
    assert [each.path for each in loaded.entries()] == [b"", b"inner", b"inner/file"]
    entry = list(loaded.entries())[2]
    without = patch_manifest(loaded, {b"inner/file": None}, path + "2")
    assert [each.path for each in without.entries()] == [b"", b"inner"]
    more = patch_manifest(without, {b"inner/a/b": entry._replace(path=b"inner/a/b"), b"inner/file": entry}, path + "3")
    assert sorted(each.path for each in more.entries()) == [b"", b"inner", b"inner/a/b", b"inner/file"]
    Path(path).write_bytes(Path(path).read_bytes()[:-1])
    assert Manifest.load(path) is None
    assert Manifest.load(path + "none") is None
    assert number_of(Unit("x", "x")) == "78"


# ---- so many at once -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("total", "processes"), [(0, 3), (3, 2), (8, 2), (8, 3), (2, 4), (1, 1)])
def test_processes_share_what_is_done_at_once(total: int, processes: int) -> None:
    """So many as were asked for are done at once, in all processes together."""
    shares = pool.threads_per_process(total, processes)
    assert len(shares) == processes
    assert sum(shares) == max(total, processes)
    assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("more", "new", "expected"),
    [
        ({"is_remote": True, "jobs": 1}, False, 1),
        ({"is_remote": True, "jobs": 3}, False, 3),
        ({"is_remote": True, "jobs": 0}, False, 16),
        ({"is_remote": True, "jobs": 0}, True, 16),
        ({"is_remote": False, "jobs": 3}, False, 3),
        ({"is_remote": False, "jobs": 0}, True, (os.cpu_count() or 1) + 1),
    ],
)
def test_so_many_units_are_mirrored_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], new: bool, expected: int
) -> None:
    """As many units are under way at once as were asked for, or as the target's distance wants: these wait for one another."""
    path = tmp_path / "begun"
    path.touch()

    def work(_self: object, changes: UnitDiff, _tell: object) -> MirrorResult:
        with path.open("ab") as file:
            file.write(b"x")
        while path.stat().st_size < expected:
            os.sched_yield()
        return MirrorResult(changes.unit, "up to date")

    monkeypatch.setattr(_Worker, "__call__", work)
    crews: list[int] = []
    monkeypatch.setattr(
        pool, "threads_per_process", lambda *arguments, real=pool.threads_per_process: crews.extend(real(*arguments)) or crews
    )
    diffs = [UnitDiff(Unit(str(number), ""), Manifest(), Manifest(), is_first_copy=new) for number in range(expected + 4)]
    options = MirrorOptions(target="", history="", work="", scratch="", **more)
    assert len(list(mirror_units(diffs, options, Progress()))) == len(diffs)
    assert sum(crews) == expected or (expected == 1 and not crews)


def test_a_directory_that_is_removed_is_kept_as_it_was(place: MirrorSandbox) -> None:
    """Also if its name is part of a repository's path: with its empty directories and its mode."""
    source = place.repos / "unit"
    mirroring.run("git", "init", "-q", str(source / "data"))
    (source / "data/f").write_text("f")
    (source / "a/empty").mkdir(parents=True)
    (source / "a/f").write_text("f")
    (source / "a").chmod(0o750)
    place.settled()
    shutil.rmtree(source / "a")
    place.settled()
    history = place.kept() / "unit/a"
    assert (history / "empty").is_dir()
    assert history.stat().st_mode & 0o777 == 0o750
    shutil.rmtree(source / "data")
    place.settled(lose_repositories=True)
    assert not (place.target / "unit/data").exists()
    assert (place.kept() / "unit/data/.git/HEAD").is_file()


def test_symbolic_references_that_name_one_another() -> None:
    """Those that lead nowhere are told from those that lead somewhere, however many there are in a row; a circle is git's to judge."""
    chain = 30_000
    texts = {b"refs/c/%d" % number: b"ref: refs/c/%d\n" % (number + 1) for number in range(chain)}
    lost = dict(texts)
    texts |= {b"refs/d/1": b"ref: refs/heads/main\n", b"refs/d/2": b"ref: refs/d/1\n", b"refs/d/3": b"ref: refs/heads/packed\n"}
    texts |= {b"refs/e/1": b"ref: refs/e/2\n", b"refs/e/2": b"ref: refs/e/1\n", b"refs/e/3": b"ref: refs/e/1\n"}
    texts[b"refs/heads/main"] = b"1" * 40 + b"\n"
    git_directory = object.__new__(GitMirror)
    git_directory.prefix = b""
    entry = Entry(b"", 0o100644, 0, 0, 0, 0, 0, 0, 1, b"")
    git_directory.staged = {path: (entry._replace(path=path), text) for path, text in texts.items()}
    git_directory.staged[b"packed-refs"] = (entry._replace(path=b"packed-refs"), b"1" * 40 + b" refs/heads/packed\n")
    assert git_directory._unresolved_symrefs() == lost.keys()


@pytest.mark.parametrize("number", [2, 5, 6, 40])
def test_the_first_unreadable_paths_are_named(
    unprivileged_place: MirrorSandbox, unprivileged: Callable[[Callable[[], object]], str], number: int
) -> None:
    """Up to five of them, each with a hint; of more, how many. The message stays short however long their names are."""

    def work() -> None:
        unit = unprivileged_place.repos / "work"
        names = [f"{each:02}" for each in range(number)]
        for each in names:
            (unit / each).mkdir(parents=True)
            (unit / each).chmod(0)
        (unit / "file").write_text("x")
        error = unprivileged_place.sync()["work"].error
        assert error is not None
        assert [each for each in names if f"work/{each}' cannot be read" in error.message] == names[:5]
        assert error.hints == [f"ls -ld {unit}/{each}" for each in names[:5]]
        assert (f"And {number - 5} more." in error.message) == (number > 5)
        for each in names:
            (unit / each).chmod(0o700)
            (unit / each).rename(unit / (each + "x" * 250))
            (unit / (each + "x" * 250)).chmod(0)
        error = unprivileged_place.sync()["work"].error
        assert error is not None
        assert len(error.message) < 1500
        for each in unit.iterdir():
            each.chmod(0o700)

    assert unprivileged(work) == "None"


@pytest.mark.parametrize("name", ["odd\udcff", "a\nb", "e\x1b[31m", "x\u202e"])
def test_names_are_shown_as_they_are_typed(name: str) -> None:
    """A unit's name of any bytes is escaped in the whole message."""
    error = partial_error(Unit(name, "/repos/x"), [RepomanError("x.")], [])
    assert error.message == f"x. Everything else in {escape_path(os.fsencode(name))} was mirrored."
    assert error.message.isprintable()
