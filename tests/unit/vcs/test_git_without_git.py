# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configurations and commits that are read without git, compared with git; and the place of the scratch git directory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import zlib
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner, CompletedCommand
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import COPY_BYTES, ConfinedTree
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import config, repository
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.commit import COMMIT_BYTES, read_commit_time
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import locate_git_dir
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.state import RepositoryState, read_state
from hypothesis import example, given, settings
from hypothesis import strategies as st

ENVIRONMENT = {
    "PATH": os.environ["PATH"],
    "LC_ALL": "C",
    "HOME": "/nonexistent",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "a <",
    "GIT_AUTHOR_EMAIL": "a@example.org",
    "GIT_COMMITTER_NAME": "ä b",
    "GIT_COMMITTER_EMAIL": "a@example.org",
    "GIT_AUTHOR_DATE": "1600000000 +0000",
    "GIT_COMMITTER_DATE": "1700000000 -0230",
}
HEADER = b"tree 4b825dc642cb6eb9a060e54bf8d69288fbee4904\n"
PERSON = b"a <a@example.org>"


def git(path: Path, *arguments: str, data: bytes = b"", code: int = 0) -> bytes:
    """Run git, and return its output."""
    done = subprocess.run(
        ["git", *arguments], cwd=path, env=ENVIRONMENT | {"GIT_DIR": str(path / ".git")}, input=data, capture_output=True, check=False
    )
    assert done.returncode == code, done
    return done.stdout


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A repository with a commit and a branch that follows another one."""
    made = tmp_path / "repository"
    made.mkdir()
    git(made, "init", "--quiet", "--initial-branch=main")
    (made / "file").write_text("one\n")
    git(made, "--work-tree=.", "add", "file")
    git(made, "commit", "--quiet", "--message=one")
    git(made, "branch", "other")
    git(made, "branch", "--quiet", "--set-upstream-to=other")
    return made


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands of git that are run."""
    run, names = CommandRunner.run, list[str]()

    def recorded(self: CommandRunner, argv: list[str], *how: Any, **more: Any) -> CompletedCommand:
        names.append(argv[1])
        return run(self, argv, *how, **more)

    monkeypatch.setattr(CommandRunner, "run", recorded)
    return names


def look(path: Path, me: Account) -> RepositoryState:
    """Read the state of a repository."""
    return read_state(str(path), ConfinedTree(str(path.parent)), CommandRunner(me, 60))


# --- configurations ------------------------------------------------------------------------------

PLAIN = st.sampled_from(["a", "B", "7", "-", ".", "/", "core", "Remote", "main", "@", "+", "x1"])
ODD = st.sampled_from([" ", "\t", '"', "\\", "#", ";", "=", "[", "]", "\n", "\r", "\v", "\f", "\0", "é", "~", "*", ":", ",", "_"])
WORDS = st.lists(PLAIN | ODD, max_size=4).map("".join)
NAMES = st.lists(PLAIN, min_size=1, max_size=3).map("".join)
LINES = st.one_of(
    NAMES.map("[{}]".format),
    st.tuples(NAMES, NAMES | WORDS).map(lambda parts: '[{} "{}"]'.format(*parts)),
    st.tuples(st.sampled_from(["\t", " ", ""]), NAMES, st.sampled_from([" = ", "=", " ="]), NAMES | WORDS).map("".join),
    WORDS,
)


@settings(max_examples=400, deadline=None)
@example(b'[core]\n\tbare = false\n[remote "origin"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\tfetch = x\n[A]\n b-C = D\n')
@example(b'[a "b.C"]\n\tk = v\n[a]\n')
@given(st.lists(st.tuples(LINES, st.sampled_from(["\n", "\n", "\n", "\r\n", ""])).map("".join), max_size=5).map("".join).map(str.encode))
def test_a_simple_configuration_is_what_git_says(text: bytes) -> None:
    """If a configuration is read without git, git reads the same."""
    found = config.parse_simple_config(text)
    if found is not None:
        argv = ["git", "config", "--file", "-", "--no-includes", "--list", "-z"]
        done = subprocess.run(argv, env=ENVIRONMENT | {"GIT_DIR": os.devnull}, input=text, capture_output=True, check=False, cwd="/")
        assert done.returncode == 0 and found == config._parse_listing(done.stdout), (text, done)


@pytest.mark.parametrize(
    "text",
    [
        b"\tkey = value\n",
        b"[core]\n\tkey\n",
        b'[core]\n\tkey = "value"\n',
        b"[core]\n\tkey = a b\n",
        b"[core]\n\tkey = a\\\n",
        b"[core]\n\tkey = a;b\n",
        b"[core]\n\tkey = a#b\n",
        b"[core]\n\tkey = \n",
        b"[core.sub]\n\tkey = a\n",
        b"[core]\r\n\tkey = a\r\n",
        b"\xef\xbb\xbf[core]\n",
        b"[core] key = a\n",
        b'[core "a\\"b"]\n',
        b"[core]\n\tkey = a",
        b"[core]\n" + b"\tkey = a\n" * config.SIMPLE_BYTES,
    ],
)
def test_another_one_is_left_to_git(text: bytes) -> None:
    """Everything that has more of git's syntax."""
    assert config.parse_simple_config(text) is None


# --- commits -------------------------------------------------------------------------------------


def test_one_command_is_enough(path: Path, me: Account, commands: list[str]) -> None:
    """A repository as git makes it needs one command; what it says is the same as with all of them."""
    simple = look(path, me)
    assert commands == ["status"]
    assert (simple.problem, simple.last_commit, simple.ahead) == ("", "2023-11-14T22:13:20Z", 0)
    git(path, "gc", "--quiet")
    with (path / ".git/config").open("a") as file:
        file.write("# a comment\n")
    commands.clear()
    assert look(path, me) == simple
    assert commands == ["config", "rev-list", "status"]


def store(path: Path, content: bytes, kind: str = "commit") -> str:
    """Write an object as a file, whatever is in it; return its ID."""
    data = b"%b %d\0%b" % (kind.encode(), len(content), content)
    name = sha1(data, usedforsecurity=False).hexdigest()
    file = path / ".git/objects" / name[:2] / name[2:]
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(zlib.compress(data))
    return name


def time_of(path: Path, commit: str) -> int | None:
    """Read the time of a commit without git."""
    tree = ConfinedTree(str(path.parent))
    location = locate_git_dir(str(path), tree)
    assert location is not None
    with repository.hold_objects(location, tree) as held:
        assert held.own is not None
        return read_commit_time(held.own, commit)


@pytest.mark.parametrize(
    "rest",
    [
        b"author %b 1 +0000\ncommitter %b 2 +0000\n\nx" % (PERSON, PERSON),
        b"parent %b\nauthor %b 1 +0000\ncommitter %b 1700000000 -1200\nencoding x\n\n" % (b"a" * 40, PERSON, PERSON),
        b"author  <> 1 +0000\ncommitter \xff <\xff> 0 +0000\n\n",
        b"author %b 1 +0000\ncommitter %b 99999999999999 +0000\n\nx" % (PERSON, PERSON),
        b"author %b 1 +0000\ncommitter %b -5 +0000\n\nx" % (PERSON, PERSON),
        b"author %b 1 +0000\ncommitter <a> %b 7 +0000\n\nx" % (PERSON, PERSON),
        b"author %b 1 +0000\n\ncommitter %b 7 +0000\n" % (PERSON, PERSON),
        b"author %b\ncommitter %b\n\n" % (PERSON, PERSON),
        b"committer %b 7 +0000\n\n" % PERSON,
    ],
)
def test_the_time_is_what_git_says(path: Path, rest: bytes) -> None:
    """Unless only git can tell."""
    commit = store(path, HEADER + rest)
    found = time_of(path, commit)
    listed = git(path, "rev-list", "--max-count=1", "--timestamp", "--no-walk", commit).split()
    assert found is None or [b"%d" % found, commit.encode()] == listed


def test_what_only_git_can_read(path: Path) -> None:
    """A damaged object, another kind of object, one that is large, and one that is missing."""
    good = b"author %b 1 +0000\ncommitter %b 2 +0000\n\nx" % (PERSON, PERSON)
    commit = store(path, HEADER + good)
    assert time_of(path, commit) == 2
    assert time_of(path, store(path, HEADER + good, "tag")) is None
    assert time_of(path, store(path, HEADER + good + b"x" * COMMIT_BYTES)) is None
    assert time_of(path, store(path, HEADER + good + os.urandom(COMMIT_BYTES))) is None
    assert time_of(path, "0" * 40) is None
    file = path / ".git/objects" / commit[:2] / commit[2:]
    file.write_bytes(zlib.compress(b"commit 1\0" + HEADER + good))
    assert time_of(path, commit) is None
    file.write_bytes(b"x")
    assert time_of(path, commit) is None


# --- scratch directories -------------------------------------------------------------------------


@pytest.fixture
def memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in place of the one in memory, and another one in place of that on the disk."""
    for name in ("memory", "disk"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    monkeypatch.setattr(repository, "DISK", str(tmp_path / "disk"))
    monkeypatch.setattr(repository, "MEMORY", str(tmp_path / "memory"))
    return tmp_path / "memory"


def scratch_parent(path: Path, me: Account) -> str:
    """Return the name of the directory in which the scratch git directory is made; nothing is left in it, or copied twice."""
    tree = ConfinedTree(str(path.parent))
    location = locate_git_dir(str(path), tree)
    assert location is not None
    with repository.open_git(location, tree, CommandRunner(me, 60)) as scratch:
        assert scratch.git("status", "--porcelain") == b""
        copied = sum(file.stat().st_size for file in [scratch.path / "index", scratch.path / "info/exclude"])
        assert tree.remaining_bytes == COPY_BYTES - copied
        parent = scratch.path.parent
    assert not any(each for name in ("memory", "disk") for each in (path.parent / name).iterdir())
    return parent.name


def test_small_files_are_in_memory(path: Path, memory: Path, me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are in the directory for temporary files if they are too large, memory cannot be used, or the user chose a directory."""
    git(path, "--work-tree=.", "status")
    assert scratch_parent(path, me) == "memory"
    with monkeypatch.context() as patch:
        patch.setattr(repository, "MEMORY_BYTES", (path / ".git/index").stat().st_size)
        assert scratch_parent(path, me) == "disk"
    with monkeypatch.context() as patch:
        patch.setattr(repository, "DISK", "/nonexistent")
        assert scratch_parent(path, me) == "disk"
    monkeypatch.setattr(repository, "MEMORY", str(memory / "missing"))
    assert scratch_parent(path, me) == "disk"
