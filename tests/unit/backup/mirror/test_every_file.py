# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every path of a source is in its mirror, wherever it lies, apart from a short list of transient files; rsync judges."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import mirroring
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mirroring import MirrorSandbox, git, git_problems

pytestmark = pytest.mark.engine

EXAMPLES = int(os.environ.get("REPOMAN_EXAMPLES", "1"))

ODD = [
    "objects/pack/.gitkeep",
    "objects/pack/pack-5678.idx",
    "objects/pack/pack-1234.pack",
    "objects/pack/pack-1234.keep",
    "objects/pack/pack-1234.rev",
    "objects/pack/pack-1234.bitmap",
    "objects/pack/pack-1234.mtimes",
    "objects/pack/pack-1234.promisor",
    "objects/pack/old/pack-1.pack",
    "objects/.gitignore",
    "objects/README",
    "objects/ab/not-an-object",
    "objects/abc/x",
    "objects/info/odd",
    "objects/info/deep/er",
    "objects/maintenance/x",
    "refs/odd file",
    "refs/heads/.gitkeep",
    "refs/x",
    "logs/odd",
    "info/odd",
    "info/refs",
    "description",
    "odd",
    "x.lock",
    "odd.d/x.lock",
    "hooks/x.lock",
    "odd.d/tmp_obj_1",
    "branches/x",
    "gitweb/config",
    "svn/.metadata",
    "annex/objects/x",
    "lfs/objects/ab/cd/x",
    "rr-cache/x/preimage",
    "worktrees/gone/x",
    "modules/no-repository/x",
    "rebase-apply/0001",
    "FETCH_HEAD",
    "COMMIT_EDITMSG",
    "MERGE_MSG",
    "gitk.cache",
    "next-index-1",
    "index.bak",
    "config~",
    "HEAD.old",
    "packed-refs.orig",
]
KINDS = ["file", "empty", "link", "fifo", "directory", "large"]


@pytest.fixture
def place(tmp_path: Path) -> MirrorSandbox:
    """A place with a repository ``a``, its bare clone ``a/t/x.git`` and one that is a unit."""
    return with_repositories(MirrorSandbox(tmp_path))


def with_repositories(place: MirrorSandbox) -> MirrorSandbox:
    """Make the repositories."""
    mirroring.run("git", "init", "-q", "-b", "main", str(place.repos / "a"))
    (place.repos / "a/f").write_text("f")
    git(place.repos / "a", "add", "f")
    git(place.repos / "a", "commit", "-q", "-m", "1")
    for target in ("a/t/x.git", "m.git"):
        mirroring.run("git", "clone", "-q", "--bare", str(place.repos / "a"), str(place.repos / target))
    git(place.repos / "m.git", "repack", "-q", "-a", "-d")
    return place


def grow(path: Path, kind: str) -> None:
    """Put something somewhere, whatever is there."""
    with suppress(FileExistsError, NotADirectoryError):
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
        if kind == "link":
            path.symlink_to("/etc/passwd")
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "directory":
            path.mkdir(exist_ok=True)
        elif not path.is_dir():
            path.write_bytes({"file": b"odd\n", "empty": b"", "large": bytes(3 << 20) + b"end"}[kind])


def settle(place: MirrorSandbox) -> None:
    """Sync until the clock does not matter, and see that rsync finds nothing and nothing is left to do."""
    place.settled()
    place.sync()
    assert place.sync() == {}
    assert not place.differences()


@pytest.mark.parametrize("kind", KINDS)
def test_odd_files_of_one_kind(place: MirrorSandbox, kind: str) -> None:
    """First copy and later: all of them, in each kind of repository."""
    settle(place)
    for number, inner in enumerate(ODD):
        for store in ("a/.git", "a/t/x.git", "m.git"):
            if (kind, inner) not in {("link", "logs/odd")} and not (kind in {"file", "empty", "large"} and inner.startswith("refs/")):
                grow(place.repos / store / inner, kind)
        if number % 10 == 0:
            settle(place)
    settle(place)
    shutil.rmtree(place.target / "a")
    shutil.rmtree(place.state)
    place.state.mkdir()
    settle(place)
    for store in ("a/.git", "a/t/x.git", "m.git"):
        for inner in ODD:
            path = place.repos / store / inner
            with suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
    settle(place)


CHANGING = [
    "objects/pack/.gitkeep",
    "objects/pack/pack-1234.keep",
    "objects/pack/pack-5678.idx",
    "objects/pack/sub/x",
    "objects/info/odd",
    "objects/README",
    "objects/ab/not-an-object",
    "objects/xyz",
    "logs/odd",
    "logs/objects/x",
    "odd",
    "hooks/x",
]


def test_a_path_changes_its_type(place: MirrorSandbox) -> None:
    """From each kind to each other; the next run mirrors it, and the former one is in the history."""
    kinds = ["file", "empty", "link", "fifo", "directory", "full"]
    walk = [kind for at, first in enumerate(kinds) for other in kinds[at + 1 :] for kind in (first, other)]
    settle(place)
    for kind in [*walk, kinds[0]]:
        for store in ("a/.git", "m.git"):
            for inner in CHANGING:
                path = place.repos / store / inner
                if kind == "link" and inner.startswith("logs"):
                    continue  # git would read what it leads to
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.is_symlink() or path.exists():
                    path.unlink()
                grow(path, kind if kind != "full" else "directory")
                if kind == "full":
                    (path / "below").write_text(inner)
                    (path / "empty").mkdir()
        outcomes = place.sync()
        assert [each.error.message for each in outcomes.values() if each.error] == [], kind
        assert not place.differences(), kind
    settle(place)
    for repository in ("a", "m.git"):
        git(place.target / repository, "fsck", "--full", "--strict")


MIMICS = ["x/HEAD", "x/objects/y", "x/refs/z"]


def test_references_that_look_like_repositories(place: MirrorSandbox) -> None:
    """Branches, their reflogs, references of a work tree, and odd files among them."""
    git(place.repos / "a", "worktree", "add", "-q", str(place.repos / "w"))
    for name in MIMICS:
        git(place.repos / "w", "update-ref", f"refs/worktree/{name}", "HEAD")
        for repository in ("a", "m.git"):
            git(place.repos / repository, "config", "core.logAllRefUpdates", "always")
            git(place.repos / repository, "branch", name)
    for store in ("a/.git", "m.git"):
        for inner in ("logs/objects/x", "logs/logs/objects/x", "logs/logs/refs/x", "logs/logs/HEAD"):
            grow(place.repos / store / inner, "file")
    settle(place)
    for repository in ("a", "m.git"):
        commit = git(place.repos / repository, "commit-tree", "-m", "2", "HEAD^{tree}").strip()
        git(place.repos / repository, "branch", "-f", MIMICS[1], commit)
    settle(place)


def test_a_repository_that_gets_its_configuration_later(place: MirrorSandbox) -> None:
    """git needs none; what looks like a repository in it does so neither before nor after, and not while ``HEAD`` is lost."""
    repository, contents = place.repos / "m.git", (place.repos / "m.git/config").read_text()
    for name in MIMICS:
        git(repository, "branch", name)
    (repository / "config").unlink()
    grow(repository / "logs/objects/x", "file")
    settle(place)
    (repository / "config").write_text(contents)
    settle(place)
    head = (repository / "HEAD").rename(repository.parent / "HEAD")
    for _turn in range(2):
        error = place.sync()["m.git"].error
        assert error is not None
        assert "is no longer a repository: HEAD is missing" in error.message
        assert (place.target / "m.git/HEAD").exists()
    head.rename(repository / "HEAD")
    settle(place)


def test_references_that_move_while_head_is_lost(place: MirrorSandbox) -> None:
    """They are mirrored once it is back."""
    repository = place.repos / "m.git"
    for name in MIMICS:
        git(repository, "branch", name)
    settle(place)
    commit = git(repository, "commit-tree", "-m", "2", "HEAD^{tree}").strip()
    for name in MIMICS:
        git(repository, "branch", "-f", name, commit)
    head = (repository / "HEAD").rename(repository.parent / "HEAD")
    error = place.sync()["m.git"].error
    assert error is not None
    assert "HEAD is missing" in error.message
    head.rename(repository / "HEAD")
    settle(place)
    for name in MIMICS:
        assert (place.target / "m.git/refs/heads" / name).read_text().strip() == commit


def test_a_clone_among_reflogs_and_its_holder_lose_files(place: MirrorSandbox) -> None:
    """Both are reported, and the clone stays guarded when the other one is whole again."""
    repository = place.repos / "m.git"
    clone = repository / "logs/c.git"
    clone.parent.mkdir(exist_ok=True)
    mirroring.run("git", "clone", "-q", "--no-local", "--bare", str(repository), str(clone))
    settle(place)
    pack = next(clone.rglob("*.pack"))
    contents = pack.read_bytes()
    (clone / "config").unlink()
    head = (repository / "HEAD").rename(repository.parent / "HEAD")
    assert place.sync()["m.git"].error
    head.rename(repository / "HEAD")
    pack.unlink()
    pack.write_bytes(b"")
    for _turn in range(2):
        assert place.sync()["m.git"].error
        assert (place.target / pack.relative_to(place.repos)).read_bytes() == contents


@pytest.mark.parametrize("clone", ["d/logs", "e/refs/x.git", "m.git/logs/c.git", "a/.git/logs/c.git", "a/.git/refs/c"])
def test_clones_among_references(place: MirrorSandbox, clone: str) -> None:
    """They are repositories: the mirror keeps what they lose."""
    source, mirror = place.repos / clone, place.target / clone
    source.parent.mkdir(parents=True, exist_ok=True)
    how = "--no-checkout" if clone.endswith("/c") else "--bare"
    mirroring.run("git", "clone", "-q", "--no-local", how, str(place.repos / "m.git"), str(source))
    store = source / ".git" if clone.endswith("/c") else source
    settle(place)
    pack = next(store.rglob("*.pack"))
    for lost in (pack, store / "objects", store / "config"):
        saved = shutil.move(lost, place.repos.parent / "saved")
        if lost == pack:
            lost.write_bytes(b"")
        for _turn in range(2):
            assert place.sync()[clone.partition("/")[0]].error
            assert git_problems(mirror) == ""
            assert (mirror / pack.relative_to(source)).stat().st_size
        lost.unlink(missing_ok=True)
        shutil.move(saved, lost)
        settle(place)


@pytest.mark.parametrize("what", ["loose object", "pack"])
def test_a_link_that_becomes_an_object(place: MirrorSandbox, tmp_path: Path, what: str) -> None:
    """Links are never followed, so the repository was damaged; afterwards, the mirror has the object."""
    repository = "a/.git" if what == "loose object" else "m.git"
    objects = place.repos / repository / "objects"
    path = next(iter(objects.glob("??/*" if what == "loose object" else "pack/*.pack")))
    outside = shutil.move(path, tmp_path / "outside")
    path.symlink_to(outside)
    for _turn in range(2):
        assert any(each.error for each in place.sync().values())
    path.unlink()
    shutil.move(outside, path)
    settle(place)
    git(place.target / repository.removesuffix("/.git"), "fsck", "--full", "--strict")


def test_transient_files_are_left_out(place: MirrorSandbox) -> None:
    """The documented list; they are in no mirror and no run waits for them."""
    transient = [
        "index.lock",
        "refs/heads/main.lock",
        "packed-refs.lock",
        "packed-refs.new",
        "gc.pid",
        "objects/ab/tmp_obj_1",
        "objects/pack/tmp_pack_1",
    ]
    for inner in transient:
        grow(place.repos / "a/.git" / inner, "file")
    place.sync()
    place.sync()
    assert place.sync() == {}
    assert {each.split(" ", 1)[1].strip() for each in place.differences().splitlines() if each.startswith(">f")} == {
        f".git/{inner}" for inner in transient
    }


def test_a_link_in_an_object_directory_is_never_followed(place: MirrorSandbox, tmp_path: Path) -> None:
    """It is mirrored as the link it is; what it leads to is neither read by git nor in an error."""
    outside = tmp_path / "outside"
    mirroring.run("git", "clone", "-q", "--bare", str(place.repos / "a"), str(outside))
    (outside / "objects/secret-name").mkdir()
    os.mkfifo(outside / "objects/pack/pipe")
    settle(place)
    objects = place.repos / "a/.git/objects"
    (objects / "zz").symlink_to(outside / "objects")
    (objects / "pack/linked").symlink_to(outside / "objects/pack")
    settle(place)
    assert (place.target / "a/.git/objects/zz").is_symlink()
    assert "secret-name" not in str(place.differences())


@pytest.mark.parametrize("what", ["loose object", "directory of objects", "pack", "index", "directory of packs"])
@pytest.mark.parametrize("kind", ["link", "fifo"])
def test_what_takes_the_place_of_objects(place: MirrorSandbox, tmp_path: Path, what: str, kind: str) -> None:
    """What the mirror has there stays, however the link leads to the very same bytes outside, and the run says what is wrong."""
    repository = place.repos / ("a" if "pack" not in what and what != "index" else "m.git")
    objects = repository / (".git/objects" if repository.name == "a" else "objects")
    settle(place)
    path = {
        "loose object": next(iter(objects.glob("??/*")), objects),
        "directory of objects": next(iter(objects.glob("??")), objects),
        "pack": next(iter(objects.glob("pack/*.pack")), objects),
        "index": next(iter(objects.glob("pack/*.idx")), objects),
        "directory of packs": objects / "pack",
    }[what]
    shutil.move(path, tmp_path / "secret-name")
    if kind == "link":
        path.symlink_to(tmp_path / "secret-name")
    else:
        os.mkfifo(path)
    (place.repos / repository.name / "later").write_text("later")
    for _turn in range(2):
        outcome = place.sync()[repository.name]
        assert outcome.error is not None
        assert "secret-name" not in outcome.error.message
        mirrored = place.target / path.relative_to(place.repos)
        assert not mirrored.is_symlink()
        assert mirrored.is_file() or mirrored.is_dir()
        git(place.target / repository.name, "fsck", "--full", "--strict")
        assert (place.target / repository.name / "later").exists()


def is_damage(inner: str, kind: str) -> bool:
    """Return whether a path would be a broken reference or reflog, which is shown elsewhere."""
    parts = inner.split("/")
    return ("refs" in parts and kind not in {"directory", "fifo"}) or (parts[0] == "logs" and kind == "link")


odd_names = st.sampled_from([*ODD, "HEAD.lock", "refs/heads/a.lock"]) | st.lists(
    st.sampled_from(["objects", "pack", "info", "refs", "heads", "logs", "ab", "odd", ".x", "x.lock.d", "hooks", "worktrees", "tmp"]),
    min_size=1,
    max_size=4,
).map("/".join)


@settings(max_examples=12 * EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    steps=st.lists(
        st.lists(st.tuples(st.sampled_from(["a/.git", "a/t/x.git", "m.git", "a"]), odd_names, st.sampled_from(KINDS)), max_size=12),
        max_size=3,
    )
)
def test_random_odd_files(steps: list[list[tuple[str, str, str]]]) -> None:
    """Whatever is thrown into real repositories: what they are proven by stays sound, and every file arrives but the transient ones."""
    with tempfile.TemporaryDirectory(prefix="every-") as directory:
        place = with_repositories(MirrorSandbox(Path(directory)))
        for step in [[], *steps]:
            for store, inner, kind in step:
                if is_damage(inner, kind):
                    continue
                grow(place.repos / store / inner, kind)
            outcomes: dict[str, Any] = place.sync()
            assert not any(each.error for each in outcomes.values()), [each.error and each.error.message for each in outcomes.values()]
            left = [each for each in place.differences().splitlines() if not each.partition(" -> ")[0].rstrip(" /").endswith(".lock")]
            assert not left
