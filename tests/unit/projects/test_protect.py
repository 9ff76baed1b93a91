# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which devices protect a repository."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.protect import devices, devices_for_running_instance

INSIDE = "/home/me/repos/demo"
GIT = ["-c", "user.name=me", "-c", "user.email=me@example.org", "-c", "protocol.file.allow=always"]


def git(*arguments: str, cwd: Path) -> None:
    """Run git."""
    subprocess.run(["git", *GIT, *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A git repository with a commit."""
    path = tmp_path.resolve() / "repos/demo"
    path.mkdir(parents=True)
    git("init", "-q", cwd=path)
    git("commit", "-q", "--allow-empty", "-m", "first", cwd=path)
    return path


def protected(repo: Path, *protect: str, **more: list[dict[str, str]]) -> dict[str, str]:
    """Return the paths in the instance that are mounted, and how."""
    found = devices(str(repo), INSIDE, protect or ("hooks", "config"), **more)
    assert all(device["type"] == "disk" and device["shift"] == "true" for device in found.values())
    return {device["path"].removeprefix(f"{INSIDE}/"): "ro" if "readonly" in device else "rw" for device in found.values()}


def test_nothing_is_protected_by_default(repo: Path) -> None:
    """Off by default."""
    assert devices(str(repo), INSIDE, ()) == {}


def test_hooks_and_settings_of_git(repo: Path) -> None:
    """Each is mounted over itself, and so is the directory above, which could be renamed otherwise."""
    assert protected(repo, "hooks") == {".git": "rw", ".git/hooks": "ro"}
    assert protected(repo, "config") == {".git": "rw", ".git/config": "ro"}
    assert protected(repo) == {".git": "rw", ".git/config": "ro", ".git/hooks": "ro"}
    device = devices(str(repo), INSIDE, ["hooks"])["protect-.git/hooks"]
    assert device["source"] == f"{repo}/.git/hooks" and device["path"] == f"{INSIDE}/.git/hooks"


@pytest.mark.parametrize("head", ["file", "link", "branch without commits"])
def test_a_bare_repository(tmp_path: Path, head: str) -> None:
    """Also with the link that ``HEAD`` used to be, which leads nowhere while the branch has no commits; git takes it for a repository."""
    bare = tmp_path / "bare"
    git("init", "-q", "--bare", "-b", "main", str(bare), cwd=tmp_path)
    if head != "file":
        (bare / "HEAD").unlink()
        (bare / "HEAD").symlink_to("refs/heads/main")
    if head == "link":
        (bare / "refs/heads/main").write_text("0" * 40)
    git("rev-parse", "--git-dir", cwd=bare)
    assert protected(bare) == {"config": "ro", "hooks": "ro"}


def test_mercurial(tmp_path: Path) -> None:
    """Its hooks are settings; the files it could be given settings by must be there."""
    hg = tmp_path / ".hg"
    hg.mkdir()
    (hg / "requires").touch()
    with pytest.raises(NotFoundError) as error:
        protected(tmp_path, "hooks")
    assert error.value.hints == [f"touch {hg}/hgrc {hg}/hgrc-not-shared"]
    (hg / "hgrc").touch()
    (hg / "hgrc-not-shared").touch()
    everything = {".hg": "rw", ".hg/hgrc": "ro", ".hg/hgrc-not-shared": "ro", ".hg/requires": "ro"}
    assert protected(tmp_path, "hooks") == protected(tmp_path, "config") == everything


def test_submodules_and_linked_worktrees(repo: Path, tmp_path: Path) -> None:
    """Hooks and settings of submodules, with every directory that leads to them, and the file that leads a linked worktree to its settings."""
    git("clone", "-q", str(repo), str(tmp_path / "library"), cwd=tmp_path)
    git("submodule", "add", "-q", "--name", "deep/library", str(tmp_path / "library"), "library", cwd=repo)
    git("worktree", "add", "-q", str(repo / "other"), cwd=repo)
    assert protected(repo) == {
        ".git": "rw",
        ".git/config": "ro",
        ".git/hooks": "ro",
        ".git/modules": "rw",
        ".git/modules/deep": "rw",
        ".git/modules/deep/library": "rw",
        ".git/modules/deep/library/config": "ro",
        ".git/modules/deep/library/hooks": "ro",
        ".git/worktrees": "rw",
        ".git/worktrees/other": "rw",
        ".git/worktrees/other/commondir": "ro",
    }
    git("config", "extensions.worktreeConfig", "true", cwd=repo)
    with pytest.raises(NotFoundError) as error:
        protected(repo)
    assert error.value.hints == [f"touch {repo}/.git/config.worktree {repo}/.git/worktrees/other/config.worktree"]


def test_a_linked_worktree_as_the_project(repo: Path) -> None:
    """The directory with git's settings is protected if, and only if, a device of the project mounts it."""
    other = repo.parent / "other"
    git("worktree", "add", "-q", str(other), cwd=repo)
    assert protected(other) == {".git": "ro"}
    brought = {"type": "disk", "source": f"{repo}/.git", "path": "/srv/git/"}
    assert protected(other, "config", other_devices=[brought]) == {
        ".git": "ro",
        "/srv/git/config": "ro",
        "/srv/git/worktrees": "rw",
        "/srv/git/worktrees/other": "rw",
        "/srv/git/worktrees/other/commondir": "ro",
    }
    for value in ("true", "1", "yes", "On"):  # as Incus reads them
        assert protected(other, "config", other_devices=[brought | {"readonly": value}]) == {".git": "ro"}


def test_the_repository_through_another_device(repo: Path) -> None:
    """A device that mounts all repositories does not bypass the protection; a path that both reach is protected once."""
    everything = {"type": "disk", "source": str(repo.parent), "path": "/srv/all"}
    assert protected(repo, "hooks", other_devices=[everything]) == {
        ".git": "rw",
        ".git/hooks": "ro",
        "/srv/all/demo": "rw",
        "/srv/all/demo/.git": "rw",
        "/srv/all/demo/.git/hooks": "ro",
    }
    assert protected(repo, "hooks", other_devices=[everything | {"path": "/home/me/repos"}]) == {".git": "rw", ".git/hooks": "ro"}


@pytest.mark.parametrize("part", [".git", ".git/hooks", ".git/config"])
def test_links_are_refused(repo: Path, part: str) -> None:
    """No part of the way to what is protected may be a link: it could lead the mount out of the repository."""
    elsewhere = repo.parent / "elsewhere"
    (repo / part).rename(elsewhere)
    (repo / part).symlink_to(elsewhere)
    with pytest.raises(ConflictError, match="is a link"):
        protected(repo)


def test_other_ways_in_are_refused(repo: Path) -> None:
    """A second name of the settings, a redirection of git's, and something else in their place."""
    os.link(repo / ".git/config", repo / "second")
    with pytest.raises(ConflictError, match="second name"):
        protected(repo)
    (repo / "second").unlink()
    (repo / ".git/commondir").write_text("../evil\n")
    with pytest.raises(ConflictError, match="sends git elsewhere"):
        protected(repo)
    (repo / ".git/commondir").write_text(".\n")
    assert protected(repo, "hooks") == {".git": "rw", ".git/hooks": "ro", ".git/commondir": "ro"}
    (repo / ".git/config").unlink()
    os.mkfifo(repo / ".git/config")
    with pytest.raises(ConflictError, match="is not a file"):
        protected(repo)


def test_missing_paths_are_refused(repo: Path) -> None:
    """It could be made from inside; the hint makes it."""
    (repo / ".git/hooks").rename(repo / "hooks")
    with pytest.raises(NotFoundError) as error:
        protected(repo)
    assert error.value.hints == [f"mkdir {repo}/.git/hooks"]


@pytest.mark.parametrize("part", [".git", ".git/modules", ".git/worktrees", ".git/modules/deep/library", ".git/config"])
def test_unreadable_paths_are_reported(short_dir: Path, unprivileged: Callable[[Callable[[], object]], str], part: str) -> None:
    """A container can make what the user may not look at; that is a sentence."""
    path = short_dir / "demo"
    git("init", "-q", str(path), cwd=short_dir)
    for directory in (".git/worktrees", ".git/modules/deep/library"):
        (path / directory).mkdir(parents=True)
    git("config", "extensions.worktreeConfig", "true", cwd=path)
    (path / part).chmod(0)
    try:
        said = unprivileged(lambda: protected(path))
    finally:
        (path / part).chmod(0o700)
    assert f"NotFoundError: cannot read {path / part}" in said and said.rstrip().endswith(": Permission denied.")


def test_endless_directories_and_links_are_refused(repo: Path) -> None:
    """Directories and links that a container made to be followed for ever."""
    deep = repo / ".git/modules"
    for _level in range(60):
        deep = deep / "a"
    deep.mkdir(parents=True)
    with pytest.raises(ConflictError, match="is too deep"):
        protected(repo)
    shutil.rmtree(repo / ".git/modules")
    deep = repo / ".git"
    for _level in range(30):
        deep = deep / "modules/a"
        (deep / "hooks").mkdir(parents=True)
        (deep / "HEAD").touch()
    with pytest.raises(ConflictError, match="is too deep"):
        protected(repo, "hooks")
    shutil.rmtree(repo / ".git/modules")
    for number in range(2001):
        (repo / ".git/worktrees" / str(number)).mkdir(parents=True)
    with pytest.raises(ConflictError, match="has more in it than the 2000 entries"):
        protected(repo)
    shutil.rmtree(repo / ".git")
    for number in range(1100):
        (repo / f"link{number}").symlink_to(f"link{number + 1}")
    (repo / ".git").write_text("gitdir: link0\n")
    with pytest.raises(ConflictError, match="more than 40 symbolic links on its path, so"):
        protected(repo)
    (repo / ".git").write_text(f"gitdir: {'a/' * (1 << 19)}\n")
    with pytest.raises(ConflictError, match=r"is too long: .*, so"):
        protected(repo)


def test_a_device_has_a_name_that_incus_takes(repo: Path, tmp_path: Path) -> None:
    """Even for a submodule whose name is long or contains letters that Incus does not accept."""
    for name in ("x" * 80, "ü", "a b"):
        module = repo / ".git/modules" / name
        (module / "hooks").mkdir(parents=True)
        (module / "HEAD").touch()
    names = list(devices(str(repo), INSIDE, ["hooks"]))
    assert len(names) == 2 + 1 + 6 and all(name.startswith("protect-") and name.isascii() and len(name) < 64 for name in names)


def test_mounts_inside_the_repository_do_not_change_while_running() -> None:
    """Incus would delete the file under a mount that it takes away: such devices neither come nor go; all others do."""
    new, old, kept = {"path": f"{INSIDE}/.git/config"}, {"path": f"{INSIDE}/.git/hooks"}, {"path": "/srv/git/config"}
    cache, own = {"path": "/var/cache/x"}, {"path": f"{INSIDE}/by-hand"}
    now = {"old": old, "protect-kept": kept, "gone": cache, "own": own, "changed": old}
    wanted = {"new": new, "protect-kept": kept, "cache": cache, "changed": old | {"readonly": "true"}}
    settled, waiting = devices_for_running_instance(wanted, now, ["old", "protect-kept", "gone", "changed"], INSIDE)
    assert settled == {"old": old, "protect-kept": kept, "cache": cache, "changed": old}
    assert waiting == ["changed", "new", "old"]
