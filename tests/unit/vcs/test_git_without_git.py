# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configurations and commits that are read without git, compared with git; and the place of the scratch git directory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import zlib
from contextlib import ExitStack
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandRunner, CompletedCommand
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import COPY_BYTES, ConfinedTree
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git import config, repository, scratch_place
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.commit import COMMIT_BYTES, read_commit_time
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import locate_git_dir
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.state import RepositoryState, read_state, read_states
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

WORDS = st.text("aB7-./@+x", min_size=1, max_size=6)
ODD = st.text(" \t\"\\#;=[]\n\r\v\f\0é~*:,_%'", max_size=2)
NAMES = st.from_regex(r"[A-Za-z][A-Za-z0-9-]{0,5}", fullmatch=True)
HEADS = st.tuples(NAMES, WORDS | st.none()).map(lambda parts: "[{}]".format(parts[0] if parts[1] is None else f'{parts[0]} "{parts[1]}"'))
SETTINGS = st.tuples(st.sampled_from(["\t", "  "]), NAMES, st.text("aB7/._@+:*,~-", min_size=1, max_size=6)).map(
    "{0[0]}{0[1]} = {0[2]}".format
)
SECTIONS = st.tuples(HEADS, st.lists(SETTINGS, max_size=4)).map(lambda parts: "".join(f"{line}\n" for line in (parts[0], *parts[1])))
TEXTS = st.lists(SECTIONS, min_size=1, max_size=3).map("".join)


def as_git_says(text: bytes) -> dict[str, list[str]] | None:
    """Let git read a configuration; return ``None`` if it refuses it."""
    argv = ["git", "config", "--file", "-", "--no-includes", "--list", "-z"]
    done = subprocess.run(argv, env=ENVIRONMENT | {"GIT_DIR": os.devnull}, input=text, capture_output=True, check=False, cwd="/")
    return None if done.returncode else config._parse_listing(done.stdout)


@settings(max_examples=100, deadline=None)
@example('[core]\n\tbare = false\n[remote "origin"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n\tfetch = x\n[A]\n b-C = D\n')
@example('[a "b.C"]\n\tk = v\n[a]\n')
@given(TEXTS)
def test_a_simple_configuration_is_what_git_says(text: str) -> None:
    """It is read without git, and git reads the same."""
    found = config.parse_simple_config(text.encode())
    assert found is not None and found == as_git_says(text.encode())


@settings(max_examples=200, deadline=None)
@given(TEXTS, ODD, st.integers(0, 200), st.booleans())
def test_an_odd_configuration_is_what_git_says(text: str, odd: str, at: int, is_replaced: bool) -> None:
    """With other characters somewhere, it is left to git, or git reads the same."""
    at %= len(text)
    changed = (text[:at] + odd + text[at + is_replaced :]).encode()
    found = config.parse_simple_config(changed)
    assert found is None or found == as_git_says(changed)


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
        b"author %b 1 +0000\ncommitter %b 7 +0000\n" % (PERSON, PERSON),
        b"author %b\ncommitter %b\n\n" % (PERSON, PERSON),
        b"committer %b 7 +0000\n\n" % PERSON,
    ],
)
def test_the_time_is_what_git_says(path: Path, rest: bytes) -> None:
    """Unless only git can tell. A parent that is missing is git's to report."""
    commit = store(path, HEADER + rest)
    found = time_of(path, commit)
    assert (found is not None) == (b" 2 +0000" in rest or b" 0 +0000" in rest)
    if found is not None:
        assert git(path, "rev-list", "--max-count=1", "--timestamp", commit).split() == [b"%d" % found, commit.encode()]


@pytest.mark.parametrize("damage", ["missing", "empty", "other contents", "trailing data", "cut off", "wrong size"])
@pytest.mark.parametrize("is_parent", [False, True])
def test_damage_is_left_to_git(path: Path, me: Account, is_parent: bool, damage: str) -> None:
    """Of the commit itself and of its parent: the state has the problem that git reports, or git has none."""
    parent = git(path, "rev-parse", "HEAD").decode().strip()
    (path / "file").write_text("two\n")
    git(path, "--work-tree=.", "commit", "--quiet", "--all", "--message=two")
    head = git(path, "rev-parse", "HEAD").decode().strip()
    assert look(path, me).problem == "" and time_of(path, head) == 1700000000
    damaged = parent if is_parent else head
    file = path / ".git/objects" / damaged[:2] / damaged[2:]
    data = file.read_bytes()
    file.chmod(0o644)
    if damage == "missing":
        file.unlink()
    elif damage == "wrong size":
        contents = zlib.decompress(data).partition(b"\0")[2]
        raw = b"commit 7\0" + contents
        other = sha1(raw, usedforsecurity=False).hexdigest()
        file = path / ".git/objects" / other[:2] / other[2:]
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(zlib.compress(raw))
        assert time_of(path, other) is None
        return
    else:
        file.write_bytes({"empty": b"", "other contents": zlib.compress(b"x"), "trailing data": data + b"x", "cut off": data[:-1]}[damage])
    assert time_of(path, head) is None
    done = subprocess.run(["git", "rev-list", "--max-count=1", "HEAD"], cwd=path, env=ENVIRONMENT, capture_output=True, check=False)
    assert bool(look(path, me).problem) == bool(done.returncode)


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
        (tmp_path / name).chmod(0o1777)
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "disk"))
    monkeypatch.setattr(scratch_place, "DISK", str(tmp_path / "disk"))
    monkeypatch.setattr(scratch_place, "MEMORY", str(tmp_path / "memory"))
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
    """They are on the disk if they are too large or too many, others may not use that memory, or the user chose a directory."""
    git(path, "--work-tree=.", "status")
    assert scratch_parent(path, me) == "memory"
    with monkeypatch.context() as patch:
        patch.setattr(scratch_place, "MEMORY_BYTES", (path / ".git/index").stat().st_size)
        assert scratch_parent(path, me) == "disk"
    with monkeypatch.context() as patch:
        patch.setattr(scratch_place, "DISK", "/nonexistent")
        assert scratch_parent(path, me) == "disk"
    with monkeypatch.context() as patch:
        patch.setenv("TMPDIR", tempfile.gettempdir())
        assert scratch_parent(path, me) == "disk"
    with ExitStack() as stack:
        places = [stack.enter_context(scratch_place.memory()) for _number in range(scratch_place.AT_ONCE)]
        assert set(places) == {str(memory)} and scratch_parent(path, me) == "disk"
    assert scratch_parent(path, me) == "memory"
    memory.chmod(0o755)
    assert scratch_parent(path, me) == "disk"
    monkeypatch.setattr(scratch_place, "MEMORY", str(memory / "missing"))
    assert scratch_parent(path, me) == "disk"


def test_what_killed_runs_leave_in_memory_is_removed(path: Path, memory: Path, me: Account) -> None:
    """After an hour, if their process has ended; nothing else is touched."""
    gone = subprocess.run(["sh", "-c", "echo $$"], check=True, capture_output=True, text=True).stdout.strip()
    old, new = memory / f"repoman-vcs-{gone}-old", memory / f"repoman-vcs-{gone}-new"
    alive, other = memory / f"repoman-vcs-{os.getpid()}-old", memory / f"other-{gone}-old"
    for each in (old, new, alive, other):
        (each / "objects").mkdir(parents=True)
        if each != new:
            os.utime(each, (0, 0))
    (memory / f"repoman-vcs-{gone}-link").symlink_to(other)
    read_states({"a": str(path)}, str(path.parent), me, 60)
    assert sorted(each.name for each in memory.iterdir()) == sorted([new.name, alive.name, other.name, f"repoman-vcs-{gone}-link"])
    assert (other / "objects").is_dir()
