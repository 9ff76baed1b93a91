# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words in hints: the shell reads back what was meant."""

from __future__ import annotations

import os
import subprocess

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word

NAMES = ["isurus", "two words", "-x", "it's", "a\nb", "\\", "$HOME", "`id`", "é", "tab\t'", "\u202e", "*", "~", "a" * 255]


@pytest.mark.parametrize(
    "name", [*map(os.fsencode, NAMES), b"\xff", b"\xffab", b"odd\n\xff name", b"'\x01'", b"\xc3", bytes(range(1, 256)).replace(b"/", b"")]
)
def test_the_shell_reads_the_name_back(name: bytes) -> None:
    """Whatever bytes a name has, bash makes the same name of the word, which is one line."""
    word = shell_word(name)
    assert word.isprintable()
    script = f'set -- {word}; echo $#; printf %s "$1"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
    assert done.stdout == b"1\n" + name
    assert shell_word(os.fsdecode(name)) == word


def test_names_are_not_mistaken_for_options() -> None:
    """Names that begin with a hyphen come after ``--``; values after ``=``."""
    assert repoman_command("restore", ["isurus"], "--overwrite", ("--path", "a b")) == "repoman restore isurus --overwrite --path 'a b'"
    assert repoman_command("restore", ["-x"], "--overwrite", ("--path", "-p")) == "repoman restore --overwrite --path=-p -- -x"
    assert repoman_command("sync", [b"-\xff", "a"]) == "repoman sync -- $'-\\xff' a"
