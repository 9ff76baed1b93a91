# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patterns that exclude: compared with git, whose format they have."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.exclude import Patterns
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from mirroring import ENVIRONMENT

NAMES = ["a", "b", "ab", "aab", "a.o", "b.o", "-x", "[a]", "a b", "a ", "#a", "!a", "A", "*", "a\\", "\xe4", "a-b", "]"]
TREE = [
    *NAMES,
    *(f"d/{name}" for name in NAMES),
    *(f"a.d/b/{name}" for name in ("a", "b", "ab", "a.o")),
    *(f"d.d/a.d/b.d/{name}" for name in ("a", "b", "c/a", "c/b.o")),
]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work tree with the paths of ``TREE``."""
    base = tmp_path_factory.mktemp("ignore")
    subprocess.run(["git", "init", "-q", str(base)], env=ENVIRONMENT, check=True)
    for each in TREE:
        path = base / each
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return base


def paths_of(base: Path) -> list[tuple[bytes, bool]]:
    """Return every path of a work tree, and whether it is a directory."""
    found = []
    for top, directories, files in os.walk(os.fsencode(base)):
        directories[:] = [each for each in directories if each != b".git"]
        for names, kind in ((directories, True), (files, False)):
            found += [(os.path.relpath(os.path.join(top, name), os.fsencode(base)), kind) for name in names]
    return sorted(found)


def git_ignores(base: Path, patterns: list[str]) -> set[bytes]:
    """Let git say which paths a ``.gitignore`` with these patterns ignores."""
    (base / ".git/info").mkdir(exist_ok=True)
    (base / ".git/info/exclude").write_bytes(b"".join(os.fsencode(each) + b"\n" for each in patterns))
    wanted = b"".join(path + b"\0" for path, _kind in paths_of(base))
    done = subprocess.run(
        ["git", "-C", str(base), "check-ignore", "--no-index", "-z", "--stdin"],
        env=ENVIRONMENT,
        input=wanted,
        capture_output=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return set(done.stdout.split(b"\0")[:-1])


def ours(base: Path, patterns: list[str]) -> set[bytes]:
    """Return which paths our patterns exclude."""
    compiled = Patterns(patterns)
    return {path for path, kind in paths_of(base) if compiled.match_path(path, kind)}


LISTS = [
    ["*.o"],
    ["a"],
    ["/a"],
    ["a/"],
    ["b.d/", "!b.d"],
    ["d/a"],
    ["d/*"],
    ["d/**"],
    ["**/a"],
    ["**"],
    ["*", "!a"],
    ["/*", "!/d"],
    ["a.d/**/a"],
    ["d.d/**/c/*"],
    ["**/b.d/**/a"],
    ["**/c/**"],
    ["a\\ "],
    ["a "],
    ["\\#a", "\\!a"],
    ["#a"],
    ["!a"],
    ["[ab]"],
    ["[!ab]"],
    ["[^a]*"],
    ["[a-c].o"],
    ["[[:upper:]]"],
    ["[[:alpha:][:digit:]]b"],
    ["[[:nonsense:]]"],
    ["[]]"],
    ["[a"],
    ["[]"],
    ["a\\"],
    ["\\a"],
    ["a?"],
    ["??"],
    ["?"],
    ["d/?"],
    ["d?a"],
    ["d*a"],
    ["d[/]a"],
    ["d/[a-]"],
    ["[--z]*"],
    ["***"],
    ["a***"],
    ["d/***/a"],
    ["**/**/a"],
    ["/**"],
    ["**/"],
    ["/"],
    ["!"],
    [""],
    ["a.d", "!a.d/b/a"],
    ["\\[a\\]"],
    ["\\*"],
    ["\xe4"],
    ["*\\ b"],
    ["d.d/*/b.d"],
    ["d.d/**"],
    ["*.d/b/"],
    ["a*b*"],
    ["*a*b"],
]


@pytest.mark.parametrize("patterns", LISTS, ids=" ".join)
def test_patterns_mean_what_they_mean_to_git(ground: Path, patterns: list[str]) -> None:
    """git's own answer to the same patterns is the right one."""
    assert ours(ground, patterns) == git_ignores(ground, patterns)


LITERAL_THEN_STARS = re.compile(r"!?/?[^*?\[\\]*[^*?\[\\/]\*\*")

PIECES = st.sampled_from(
    ["a", "b", "d", ".d", ".o", "c", "*", "**", "?", "/", "[ab]", "[!a]", "\\a", "\\*", "!", " ", "[a-c]", "**/", "/**"]
)


@given(st.lists(st.lists(PIECES, min_size=1, max_size=6).map("".join), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_random_patterns_mean_what_they_mean_to_git(ground: Path, patterns: list[str]) -> None:
    """The same for random patterns, except those on whose meaning versions of git differ.

    In ``a**/a`` git 2.39 cuts off the literal beginning and takes the rest for ``**/a``; later versions take ``**`` there for ``*``.
    """
    assume(not any(LITERAL_THEN_STARS.match(pattern) for pattern in patterns))
    assert ours(ground, patterns) == git_ignores(ground, patterns), patterns


@pytest.mark.parametrize(
    ("pattern", "path"),
    [
        ("*a" * 40 + "b", b"a" * 255),
        ("*a*" * 30 + "/x", b"a" * 255 + b"/y"),
        ("**/a" * 30 + "/x", b"a/" * 1000 + b"y"),
        ("a/" + "**/*a*a*a*a" * 12 + "/x", b"a/" + b"aaaaaaaaaaaaa/" * 250 + b"y"),
        ("[a-z]*" * 50 + "0", b"a" * 255),
    ],
)
def test_no_name_makes_matching_take_long(pattern: str, path: bytes) -> None:
    """A matcher that tries everything would not end: what bounds this test is that it does."""
    patterns = Patterns([pattern])
    assert not patterns.match(*((path.rpartition(b"/")[0], path.rpartition(b"/")[2])), is_directory=False)


def test_names_that_are_not_text_are_compared_as_bytes() -> None:
    """Names need not be UTF-8, and may hold line breaks."""
    patterns = Patterns([os.fsdecode(b"caf\xe9*"), "x\n*"])
    assert patterns.match(b"", b"caf\xe9.log", is_directory=False)
    assert patterns.match(b"", b"x\ny", is_directory=False)
    assert not patterns.match(b"", b"caf\xc3", is_directory=False)
