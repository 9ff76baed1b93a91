# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Parts of a repository that are elsewhere, files that run as their owner, and changes behind a protection; with real git and Mercurial."""

from __future__ import annotations

import json
import os
import subprocess
import tomllib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host import hung_mounts
from ansible_collections.homelab.repoman.plugins.module_utils.projects import notes
from ansible_collections.homelab.repoman.plugins.module_utils.projects.git_share import GIT_DEVICE, GitShare, share_git_directory
from ansible_collections.homelab.repoman.plugins.module_utils.projects.notes import find_set_user_id_files, set_user_id_note
from ansible_collections.homelab.repoman.plugins.module_utils.projects.protected_record import changed_behind, protected_record
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository
from hung import hung_mount

GIT = "git -c user.name=me -c user.email=me@example.org -c protocol.file.allow=always"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A directory of repositories, with one of git and one of Mercurial."""
    root = tmp_path / "repos"
    root.mkdir()
    script = f"git init -q main && cd main && {GIT} commit -q --allow-empty -m x && cd .. && hg init hg"
    subprocess.run(["sh", "-c", script], cwd=root, check=True)
    return root


def share(root: Path, script: str, name: str, *devices: dict[str, str]) -> GitShare:
    """Run a script, and return what the repository of that name needs then."""
    subprocess.run(["sh", "-c", script.replace("GIT", GIT)], cwd=root, check=True)
    return share_git_directory("x", Repository(name, f"{root}/{name}", os.path.realpath(root / name)), devices)


@pytest.mark.parametrize(
    ("script", "name", "source"),
    [
        ("git -C main worktree add -q ../feature", "feature", "main"),
        ("git clone -q --bare main main.git && git -C main.git worktree add -q ../feature", "feature", "main.git"),
        ("GIT clone -q main super && cd super && GIT submodule --quiet add ../main sub", "super/sub", "super/.git/modules/sub"),
        ("GIT clone -q main super && cd super && GIT submodule --quiet add ../main a/b", "super/a/b", "super/.git/modules/a/b"),
    ],
)
def test_confirmed_git_directories_are_shared(root: Path, script: str, name: str, source: str) -> None:
    """At their own place, unless a device has them already; nothing that git writes is needed but the names in both directions."""
    device = {"type": "disk", "source": f"{root}/{source}", "path": f"{root}/{source}", "shift": "true"}
    assert share(root, script, name) == GitShare({GIT_DEVICE: device})
    assert share(root, "true", name, device) == share(root, "true", name, device | {"path": str(root)}) == GitShare()


@pytest.mark.parametrize(
    ("script", "name", "reason"),
    [
        (
            "git init -q ../out && GIT -C ../out commit -q --allow-empty -m x && git -C ../out worktree add -q ../repos/far",
            "far",
            "is outside",
        ),
        ("git init -q --separate-git-dir=sep.git sep", "sep", "does not name this repository"),
        ("mkdir fake && echo gitdir: ../main/.git >fake/.git", "fake", "does not name this repository"),
        ("git -C main worktree add -q ../w && mkdir fake && cp w/.git fake", "fake", "does not name this repository"),
        (
            "mkdir -p fake/own && echo gitdir: own >fake/.git && echo ../../main/.git >fake/own/commondir && cp main/.git/HEAD fake/own",
            "fake",
            "does not name this repository",
        ),
        ("git clone -q --shared main borrowing", "borrowing", "borrows from it"),
        ("hg share -q hg sharing --config extensions.share=", "sharing", "borrows from it"),
    ],
)
def test_others_are_only_named(root: Path, script: str, name: str, reason: str) -> None:
    """With the line of an override that shares them, which is valid and then enough."""
    found = share(root, script, name)
    assert found.devices == {} and reason in found.note
    line = found.note.split("begin repos.d/x.toml with: ")[1]
    (device,) = tomllib.loads(line)["devices"].values()
    assert share(root, "true", name, device) == GitShare()


@pytest.mark.parametrize(
    "script",
    ["true", "echo gitdir: ./gone >main/sub; mkdir d && echo gitdir: ../gone >d/.git", "mkfifo hg/.hg/sharedpath", "mkdir -p d/.git"],
)
def test_other_repositories_need_nothing(root: Path, script: str) -> None:
    """Nor does a broken one, which never hangs."""
    subprocess.run(["sh", "-c", script], cwd=root, check=True)
    assert {str(share(root, "true", name)) for name in ("main", "hg", "d")} == {str(GitShare())}


def test_set_user_id_files(tmp_path: Path) -> None:
    """Executable regular files with one of the bits, at any depth; directories, links and FIFOs are none."""
    for name, mode in (("a", 0o4755), ("b/c", 0o2755), ("b/d", 0o6644), ("e", 0o755), ("f", 0o4711)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        path.chmod(mode)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "fifo").chmod(0o4755)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "g").mkdir()
    (tmp_path / "g").chmod(0o2755)
    assert find_set_user_id_files(str(tmp_path)) == ([str(tmp_path / name) for name in ("a", "b/c", "f")], True)
    assert f"{tmp_path}/a" in set_user_id_note(str(tmp_path)) and set_user_id_note(str(tmp_path / "g")) == ""


def test_deep_trees_are_cut(tmp_path: Path) -> None:
    """A tree deeper than any real one ends the search there, and that is said."""
    path = tmp_path
    for _level in range(105):
        path /= "d"
        path.mkdir()
    (tmp_path / "tool").touch()
    (tmp_path / "tool").chmod(0o4755)
    assert find_set_user_id_files(str(tmp_path)) == ([str(tmp_path / "tool")], False)
    assert "(the search was cut short)" in set_user_id_note(str(tmp_path))


@pytest.mark.parametrize(
    "change",
    [
        "echo x >hooks/new",
        "rm hooks/one",
        "chmod 755 hooks/one",
        "echo other >hooks/one",
        "mv hooks/one hooks/two",
        "ln -sf /etc/passwd hooks/one",
        "rm -r hooks",
        "echo x >config",
        "rm config",
        "rm config && mkfifo config",
    ],
)
def test_changes_behind_a_protection(tmp_path: Path, change: str) -> None:
    """Every change of names, modes and contents is noticed; what is as it was, or newly protected, is none."""
    subprocess.run(["sh", "-c", "mkdir hooks && echo one >hooks/one && echo c >config"], cwd=tmp_path, check=True)
    devices = {f"protect-{name}": {"source": f"{tmp_path}/{name}", "readonly": "true"} for name in ("hooks", "config")}
    devices["protect-."] = {"source": str(tmp_path)}
    record = protected_record(devices)
    for previous in (record, "", "nonsense", "[]"):
        assert changed_behind(previous, protected_record(devices)) == []
    assert set(json.loads(record)) == {"protect-hooks", "protect-config"}
    subprocess.run(["sh", "-c", change], cwd=tmp_path, check=True)
    assert changed_behind(record, protected_record(devices)) == [f"protect-{'hooks' if 'hooks' in change else 'config'}"]


def test_a_directory_of_many_files_does_not_outlast_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is looked at before each file: this clock counts how often."""
    for number in range(20):
        (tmp_path / str(number)).touch(0o755)
        (tmp_path / str(number)).chmod(0o4755)
    clock = count()
    monkeypatch.setattr(notes.time, "monotonic", lambda: float(next(clock)))
    paths, is_complete = notes.find_set_user_id_files(str(tmp_path), 10.0)
    assert 0 < len(paths) < 20 and not is_complete


def test_a_directory_is_not_listed_beyond_the_time_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container can make one with millions of entries: none is read from it after the time is over."""
    for number in range(500):
        (tmp_path / str(number)).touch()
    seen, clock, scandir = count(), count(), os.scandir

    class Counted:
        """The entries of a directory; each that is read is counted."""

        def __init__(self, path: int | str) -> None:
            self.entries = scandir(path)

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            return (entry for entry in self.entries if next(seen) >= 0)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return iter(self)

        def __exit__(self, *_error: object) -> None:
            self.entries.close()

    monkeypatch.setattr(notes.os, "scandir", Counted)
    monkeypatch.setattr(notes.time, "monotonic", lambda: float(next(clock)))
    assert notes.find_set_user_id_files(str(tmp_path), 10.0) == ([], False)
    assert next(seen) < 20


def test_a_search_ends_at_the_depth_and_at_other_file_systems(tmp_path: Path) -> None:
    """Directories that cannot be read, or lie too deep, make it incomplete; links are not followed."""
    deepest = tmp_path / "/".join(["d"] * notes.SCAN_DEPTH)
    deepest.mkdir(parents=True)
    for path in (tmp_path / "top", deepest / "in"):
        path.touch()
        path.chmod(0o4755)
    (tmp_path / "link").symlink_to(deepest)
    assert find_set_user_id_files(str(tmp_path)) == ([str(deepest / "in"), str(tmp_path / "top")], True)
    (deepest / "deeper").mkdir()
    (deepest / "deeper/out").touch()
    (deepest / "deeper/out").chmod(0o4755)
    assert find_set_user_id_files(str(tmp_path)) == ([str(deepest / "in"), str(tmp_path / "top")], False)


def test_a_search_leaves_out_what_another_machine_serves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may not answer. Below the repository no link is read by its path: the container can put one there at any time."""
    repository = tmp_path / "link/repo"
    for name in ("served", "other"):
        (tmp_path / "repos/repo" / name).mkdir(parents=True)
    (tmp_path / "link").symlink_to("repos")
    tool = repository / "other/tool"
    tool.touch()
    tool.chmod(0o4755)
    read: list[str] = []
    readlink = os.readlink

    def noted(path: str, **more: int) -> str:
        read.append(str(path))
        return readlink(path, **more)

    with hung_mount(repository / "served") as gave_up:
        hung_mounts._served_mounts.cache_clear()
        monkeypatch.setattr(os, "readlink", noted)
        found = find_set_user_id_files(str(repository))
        monkeypatch.undo()
        assert found == ([str(tool)], False) and not gave_up.is_set()
        assert [path for path in read if path.startswith((f"{repository}/", f"{tmp_path}/repos/repo/"))] == []
    hung_mounts._served_mounts.cache_clear()
