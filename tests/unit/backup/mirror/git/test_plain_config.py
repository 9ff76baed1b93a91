# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A configuration that is taken for readable without starting git is one that git can read."""

from __future__ import annotations

import subprocess

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.config import PLAIN_CONFIG
from hypothesis import given
from hypothesis import strategies as st

PIECES = [
    *("[core]", '[remote "origin"]', "[a.b]", '[branch "x y"]', "[", "]", '"', "\\", "=", "#", ";", " ", "\t", "\n", "\r", "\0", "\n\n"),
    *("bare", "url", "1x", "-x", "fetch = +refs/heads/*:refs/remotes/origin/*", "url = git@host:a/b", "bare = false", "é", "\x7f", "\x01"),
    *("\n[core]\n", "\n\tname = value\n", "\n# note\n", "\n; note\n", '[core "a\\"b"]\n', "name\n", 'x = "a\n', "x = a \\\n"),
]


def is_readable(config: bytes) -> bool:
    """Ask git."""
    command = ["git", "config", "--file", "-", "--no-includes", "--list"]
    return subprocess.run(command, input=config, capture_output=True, check=False).returncode == 0


@given(st.lists(st.sampled_from(PIECES), max_size=12))
def test_what_is_plain_is_readable(pieces: list[str]) -> None:
    """Whatever the pieces: git reads what is called plain."""
    config = "".join(pieces).encode()
    if PLAIN_CONFIG.fullmatch(config):
        assert is_readable(config)


@pytest.mark.parametrize(
    "config",
    [b"", b"\n# nothing\n", b"[core]\n\tbare = false\n\trepositoryformatversion = 0\n", b'[remote "origin"]\n\turl = ssh://git@host/a b\n'],
)
def test_usual_ones_are_plain(config: bytes) -> None:
    """What git itself writes costs no process."""
    assert PLAIN_CONFIG.fullmatch(config)
    assert is_readable(config)


@pytest.mark.parametrize(
    "config",
    [
        b"bare = false\n",
        b"[core\n",
        b"[core]\n\tbare = false\n\0\0\0",
        b"\0" * 40,
        b'[core]\n\tx = "a\n',
        b"[core]\n\t1x = 2\n",
        b"[core]\nx",
    ],
)
def test_damaged_ones_are_not(config: bytes) -> None:
    """git decides."""
    assert not PLAIN_CONFIG.fullmatch(config)
