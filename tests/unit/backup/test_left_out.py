# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What sync leaves out of a unit: excluded paths and caches."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import scan_in_memory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import read_left_out
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse
from backup_fixture import BackupHome, actions, git
from mirroring import git_problems

if TYPE_CHECKING:
    from collections.abc import Iterator

TAG = "Signature: 8a477f597d28d172789f06886806bc55"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BackupHome]:
    """A home with nothing in it."""
    yield BackupHome(tmp_path)


def mirrored(world: BackupHome, unit: str) -> set[str]:
    """Return what a mirror has, without repositories."""
    top = world.backup / unit
    return {str(path.relative_to(top)) for path in top.rglob("*") if ".git" not in path.parts}


def defaults(world: BackupHome, text: str) -> None:
    """Add keys to ``[defaults]``."""
    world.registry.write_text(world.registry.read_text().replace("[defaults]\n", f"[defaults]\n{text}\n"))


def override(world: BackupHome, name: str, text: str) -> None:
    """Write a project's override."""
    path = world.root / "repos.d" / f"{name}.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def scanned(top: Path, **rules: object) -> set[str]:
    """Return which paths a scan with some rules sees."""
    found = scan_in_memory(Unit("unit", str(top), rules=TreeRules(**rules)))  # type: ignore[arg-type]
    return {os.fsdecode(entry.path) for entry in found.entries() if entry.path}


def test_excluded_things_are_not_copied(world: BackupHome) -> None:
    """Defaults hold for every unit, loose files too; the next run finds nothing to do."""
    for path in ("a/node_modules/x/y", "a/src/main.c", "a/src/main.o", "a/keep.o", "b/deep/node_modules/z", "loose.o", "loose.c"):
        world.write(path)
    defaults(world, 'exclude = ["node_modules/", "*.o", "!keep.o"]')
    world.init()
    assert mirrored(world, "a") == {"src", "src/main.c", "keep.o"}
    assert mirrored(world, "b") == {"deep"}
    assert (world.backup / "loose.c").exists()
    assert not (world.backup / "loose.o").exists()
    assert set(actions(world.sync()).values()) == {"unchanged"}


@pytest.mark.parametrize("full", [False, True])
def test_newly_excluded_things_go_to_the_history_and_come_back(world: BackupHome, full: bool) -> None:
    """A changed list takes effect although the source is the same."""
    world.write("a/cache/x", "precious\n")
    world.write("a/file")
    world.init()
    override(world, "a", 'exclude = ["/cache/"]')
    world.project("a")
    result = world.sync(full=full)
    assert actions(result) == {"a": "synced"}
    assert mirrored(world, "a") == {"file"}
    assert [path.read_text() for path in world.kept()] == ["precious\n"]
    assert actions(world.sync(full=full)) == {"a": "unchanged"}
    override(world, "a", "exclude = []")
    assert actions(world.sync(full=full)) == {"a": "synced"}
    assert mirrored(world, "a") == {"file", "cache", "cache/x"}


def test_verify_names_what_is_newly_excluded(world: BackupHome) -> None:
    """The mirror has more than it is to have until the next run; nothing has changed meanwhile."""
    for path in ("a/x.o", "a/sub/y.o", "b/cache/z", "b/file"):
        world.write(path)
    world.write("b/cache/CACHEDIR.TAG", f"{TAG}\n")
    world.init()
    result = world.sync(verify=True, exclude=["*"], exclude_caches=True)
    told = str(result)
    assert actions(result) == {"a": "differs", "b": "differs"}
    assert "*deleting   x.o" in told
    assert "*deleting   sub" in told
    assert "changed during the comparison" not in told
    emptied = world.sync(names=["a", "b"], exclude=["*"], exclude_caches=True, allow_shrink=True)
    assert set(actions(emptied).values()) == {"synced"}, str(emptied["units"])
    result = world.sync(verify=True, exclude=["*"], exclude_caches=True)
    assert set(actions(result).values()) == {"same"}, str(result["units"])
    result = world.sync(exclude_caches=True)
    assert set(actions(result).values()) == {"synced"}
    assert mirrored(world, "b") == {"cache", "cache/CACHEDIR.TAG", "file"}


def test_check_mode_shows_what_an_exclude_would_remove(world: BackupHome) -> None:
    """Nothing goes by surprise."""
    world.write("a/x.o")
    world.write("a/file")
    world.init()
    result = world.sync(check=True, exclude=["*.o"])
    assert "- a/x.o" in result["diff"][0]["prepared"]
    assert mirrored(world, "a") == {"x.o", "file"}


def test_the_shrink_guard_sees_what_an_exclude_removes(world: BackupHome) -> None:
    """Most of a unit does not go because of a pattern, unless that is allowed."""
    for number in range(150):
        world.write(f"a/many/{number}")
    world.write("a/file")
    world.init()
    result = world.sync(exclude=["many/"])
    assert actions(result) == {"a": "failed"}
    assert len(mirrored(world, "a")) == 152
    assert actions(world.sync(exclude=["many/"], allow_shrink=True)) == {"a": "synced"}
    assert mirrored(world, "a") == {"file"}


@pytest.mark.parametrize(
    "pattern", ["*", ".*", ".git", ".git/", "HEAD", "objects/", "*.pack", "**/refs/**", "/.git/objects", ".git/**", "config"]
)
def test_no_pattern_takes_anything_from_a_repository(world: BackupHome, pattern: str) -> None:
    """Whatever a pattern matches, repositories are mirrored as they are."""
    repository = world.git("a")
    git(world.repos, "clone", "-q", "--bare", str(repository), "bare")
    world.write("a/HEAD")
    defaults(world, f'exclude = ["{pattern}"]')
    world.init()
    for name in ("a/.git", "bare"):
        assert git_problems(world.backup / name) == ""
        one, other = world.repos / name, world.backup / name
        done = subprocess.run(["rsync", "-anc", "--delete", "-i", f"{one}/", f"{other}/"], capture_output=True, text=True, check=True)
        assert done.stdout == ""


def test_mercurial_and_gitlinks_stay_whole(world: BackupHome) -> None:
    """The same of Mercurial, and of the file by which a worktree finds its repository."""
    world.hg("h")
    repository = world.git("a")
    git(repository, "worktree", "add", "-q", str(world.repos / "w"))
    defaults(world, 'exclude = ["*"]')
    world.init()
    assert (world.backup / "h/.hg/store/00changelog.i").exists()
    assert (world.backup / "w/.git").is_file()
    assert not (world.backup / "h/README").exists()


def test_an_excluded_directory_takes_the_repositories_in_it_along(world: BackupHome) -> None:
    """What lies in an excluded directory is excluded whole."""
    world.git("a")
    world.git("a/node_modules/dependency")
    defaults(world, 'exclude = ["node_modules/"]')
    world.init()
    assert mirrored(world, "a") == {"README"}
    assert git_problems(world.backup / "a") == ""


@pytest.mark.parametrize("how", ["pattern", "bare", "cache"])
def test_a_repository_that_is_newly_excluded_is_not_lost(world: BackupHome, how: str) -> None:
    """It goes to the history, which is no failure; one that vanishes beside it is one."""
    world.git("a")
    world.git("a/node_modules/dependency")
    git(world.repos, "clone", "-q", "--bare", str(world.repos / "a"), "a/vendor.git")
    world.write("a/node_modules/CACHEDIR.TAG", TAG)
    world.init()
    params = {"pattern": {"exclude": ["node_modules/"]}, "bare": {"exclude": ["/*.git/"]}, "cache": {"exclude_caches": True}}[how]
    assert actions(world.sync(**params)) == {"a": "synced"}
    gone = "vendor.git" if how == "bare" else "node_modules/dependency"
    assert not (world.backup / "a" / gone).exists()
    assert any(path.name == "HEAD" for path in world.kept())
    assert git_problems(world.backup / "a") == ""


def test_a_work_tree_kept_in_a_bare_repository_obeys_patterns(world: BackupHome) -> None:
    """A bare repository is whole; the work tree in it is one like any other."""
    repository = world.git("a")
    git(world.repos, "clone", "-q", "--bare", str(repository), "bare")
    git(world.repos / "bare", "worktree", "add", "-q", "main-tree", "main")
    world.write("bare/main-tree/x.o")
    world.write("bare/refs.o")
    defaults(world, 'exclude = ["*.o"]')
    world.init()
    assert (world.backup / "bare/main-tree/README").exists()
    assert not (world.backup / "bare/main-tree/x.o").exists()
    assert (world.backup / "bare/refs.o").exists()


def test_defaults_entry_override_and_run_add_up(world: BackupHome) -> None:
    """All lists count, and a later pattern can take back an earlier one."""
    for name in ("1", "2", "3", "4", "5"):
        world.write(f"a/{name}")
    defaults(world, 'exclude = ["1", "5"]')
    world.project("a", exclude='["2"]')
    override(world, "a", 'exclude = ["3", "!5"]')
    world.sync(init=True, allow_local=True, exclude=["4"])
    assert mirrored(world, "a") == {"5"}


def test_a_projects_patterns_are_relative_to_its_repository(world: BackupHome) -> None:
    """A leading slash means the project's directory, also where that is not the unit."""
    for path in ("mono/app/build/x", "mono/build/y", "mono/app/src/build/z"):
        world.write(path)
    world.project("app", repo='"mono/app"')
    override(world, "app", 'exclude = ["/build"]')
    world.init()
    assert mirrored(world, "mono") == {"app", "app/src", "app/src/build", "app/src/build/z", "build", "build/y"}


def test_caches_keep_only_their_tag(world: BackupHome) -> None:
    """A valid tag empties a directory of the mirror; an invalid one means nothing."""
    for path in ("a/cache/x", "a/cache/deep/y", "a/other/x", "a/short/x", "a/linked/x"):
        world.write(path)
    world.write("a/cache/CACHEDIR.TAG", f"{TAG}\n# a comment\n")
    world.write("a/other/CACHEDIR.TAG", "no signature\n")
    world.write("a/short/CACHEDIR.TAG", TAG[:-1])
    (world.repos / "a/linked/CACHEDIR.TAG").symlink_to("../cache/CACHEDIR.TAG")
    defaults(world, "exclude_caches = true")
    world.init()
    there = mirrored(world, "a")
    assert {path for path in there if path.startswith("cache")} == {"cache", "cache/CACHEDIR.TAG"}
    assert {"other/x", "short/x", "linked/x"} <= there


def test_a_project_may_keep_its_caches(world: BackupHome) -> None:
    """The override comes over the defaults, and the run over both."""
    world.write("a/cache/CACHEDIR.TAG", TAG)
    world.write("a/cache/x")
    world.project("a")
    defaults(world, "exclude_caches = true")
    override(world, "a", "exclude_caches = false")
    world.init()
    assert "cache/x" in mirrored(world, "a")
    world.sync(exclude_caches=True)
    assert "cache/x" not in mirrored(world, "a")


def test_a_tag_in_a_repository_is_no_reason_to_leave_it_out(tmp_path: Path) -> None:
    """A container could put one into its repository."""
    world = BackupHome(tmp_path)
    world.git("a")
    world.git("b/nested")
    for path in ("a/CACHEDIR.TAG", "b/nested/CACHEDIR.TAG", "a/.git/CACHEDIR.TAG", "c/CACHEDIR.TAG", "c/x"):
        world.write(path, TAG)
    world.sync(init=True, allow_local=True, exclude_caches=True)
    assert git_problems(world.backup / "a") == git_problems(world.backup / "b/nested") == ""
    assert (world.backup / "c/x").exists()


@pytest.mark.parametrize("kind", ["pipe", "directory", "device"])
def test_a_tag_that_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    """A pipe would be waited for without end, a device has no end."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/x").touch()
    tag = tmp_path / "cache/CACHEDIR.TAG"
    if kind == "pipe":
        os.mkfifo(tag)
    elif kind == "directory":
        tag.mkdir()
    else:
        tag.symlink_to("/dev/zero")
    assert "cache/x" in scanned(tmp_path, caches=True)


def test_a_huge_tag_is_read_up_to_its_signature(tmp_path: Path) -> None:
    """Only the first bytes of a tag count."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache/x").touch()
    with (tmp_path / "cache/CACHEDIR.TAG").open("w") as file:
        file.write(TAG)
        file.truncate(1 << 50 if os.statvfs(tmp_path).f_namemax > 1 << 20 else 1 << 40)
    assert scanned(tmp_path, caches=True) == {"cache", "cache/CACHEDIR.TAG"}


def test_names_that_are_not_text_can_be_excluded(tmp_path: Path) -> None:
    """Patterns are compared with the bytes of names."""
    for name in (b"caf\xe9", b"caf\xc3\xa9", b"new\nline", b"-rf"):
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()
    assert scanned(tmp_path, exclude=((b"", ("caf?", "new*")),)) == {"caf\xe9", "-rf"}


def test_a_bad_value_names_file_and_line(world: BackupHome) -> None:
    """Wrong types and unknown keys are refused."""
    world.project("a")
    for text in ('exclude = "x"', "exclude = [1]", 'exclude_caches = "yes"', "follow_mounts = 1", "excludes = []"):
        override(world, "a", f"\n{text}\n")
        with pytest.raises(NotFoundError, match=r"a\.toml, line 2"):
            load_override(str(world.registry), "a")
    for text in ('exclude = "x"', "exclude_caches = 1", 'follow_mounts = ""'):
        with pytest.raises(NotFoundError, match="line 5"):
            parse(f"[repoman]\nschema = 3\n\n[defaults]\n{text}\n", "repoman.toml")


def test_a_rewrite_keeps_patterns_and_their_comments(world: BackupHome) -> None:
    """A run that writes to the registry leaves them as they are."""
    world.write("a/file")
    world.project("a", exclude='[  # what is built\n  "build/",  # by make\n]')
    defaults(world, 'exclude = ["*.o"]  # everywhere')
    world.init()
    text = world.registry.read_text()
    assert "last_sync" in text
    for each in ('[  # what is built\n  "build/",  # by make\n]', 'exclude = ["*.o"]  # everywhere'):
        assert each in text


def test_what_the_last_run_left_out_is_read_with_a_limit(tmp_path: Path) -> None:
    """A file that cannot be ours says nothing, and costs nothing."""
    path = tmp_path / "left_out.json"
    path.write_text('{"a": {"skipped": ["b"], "followed": [], "excluded": 3}}')
    assert read_left_out(path) == {"a": {"skipped": ["b"], "followed": [], "excluded": 3, "unverified": {}}}
    for text in ("", "[", "[]", '{"a": 1}', "[" * 100_000):
        path.write_text(text)
        assert read_left_out(path) == {}
    os.truncate(path, 1 << 40)
    assert read_left_out(path) == {}
