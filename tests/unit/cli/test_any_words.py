# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever the words of a command line, they arrive as they were typed."""

from __future__ import annotations

import os
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from repoman import plain_shell, shell
from repoman.cli.command import make_playbook
from repoman.cli.parser import parse
from repoman.errors import CliError, EarlyExit

BYTES = st.binary(max_size=12).map(lambda word: os.fsdecode(word.replace(b"\0", b"")))
ODD = st.sampled_from(
    ["", "--", "-", "-c", "--json", "-v", "--root", "--help", "{{ x }}", "{% raw %}", "!unsafe", "$(id)", "`id`", "a b", "a\nb", "'", '"', "\\", "\\0101",
     "%s", "%b", "*", "~", "é", "caf\udce9", "\udcff", "\x1b[2J", "@file", "=", "a=b", "shell", "isurus", "null", "1e3", "[]", "\u2028", "\r"]
)  # fmt: skip
WORDS = st.lists(ODD | BYTES, max_size=5)
LINES = st.lists(
    st.sampled_from(["shell", "--root", "isurus", "--", "-v", "-q", "--json", "-h", "x", "-x", ".", "é", "-i", "3"]), max_size=6
)


@given(WORDS)
@example(["isurus"])
def test_words_behind_a_name(words: list[str]) -> None:
    """Behind ``--`` they are the command's, whatever they are; so are those behind a command."""
    for argv, command in (
        (["isurus", "--", *words], words),
        (["isurus", "make", *words], ["make", *words]),
        (["--root", "isurus", "--", *words], words),
    ):
        line = ["shell", *argv]
        verb, options = parse(line)
        assert (verb.words, options.name, options.command) == ("shell", "isurus", command), line
        assert plain_shell.parse(line) == ("isurus", command, "--root" in line[:2])


@given(LINES)
def test_the_short_parser_agrees(line: list[str]) -> None:
    """A command line that it understands means the same to the parser of all verbs."""
    plain = plain_shell.parse(["shell", *line])
    if plain is not None:
        _verb, options = parse(["shell", *line])
        assert plain == (options.name, options.command, bool(getattr(options, "root", False)))


@settings(max_examples=15)
@given(WORDS)
def test_a_command_gets_its_bytes(words: list[str]) -> None:
    """Through the JSON of Incus, which has no bytes that are not UTF-8, and through the shells on the way."""
    command = ["/bin/sh", "-c", 'for word; do printf "%s\\0" "$word"; done', "sh", *words]
    line = shell.encode_arguments(command)
    assert all(word.encode() for word in line if word)
    script = ["/bin/sh", "-c", f"exec 9</dev/null\n{shell.LOGIN_SCRIPT}", "repoman-shell", "/", "isurus", "/bin/sh", *line]
    done = subprocess.run(script, capture_output=True, check=False)
    assert done.stdout == b"".join(os.fsencode(word) + b"\0" for word in words), done


@example("--", "restore")
@given(ODD | BYTES, st.sampled_from(["sync", "restore", "remove", "status", "start"]))
def test_names_and_paths(word: str, verb: str) -> None:
    """A name or a path becomes a variable of the playbook, with bytes that are not UTF-8 escaped, or the line is refused."""
    wanted = os.fsencode(word).decode("utf-8", "backslashreplace")
    argv = [verb, "--", word] if verb != "remove" else [verb, "--yes", "--", word]
    try:
        assert wanted in _strings(make_playbook(*parse(argv)).variables), argv
        if verb == "restore":
            assert wanted in _strings(make_playbook(*parse([verb, "isurus", f"--path={word}"])).variables)
    except (CliError, EarlyExit):
        assert word not in {"isurus", "shell"}


@pytest.mark.parametrize("option", ["--from=--", "--to=--", "--path=--", "--inventory=--", "-i--", "-l--"])
def test_two_dashes_as_a_value(option: str) -> None:
    """They are a name like any other."""
    _verb, options = parse(["restore", "isurus", option])
    assert "--" in _strings(vars(options)), options


@pytest.mark.parametrize("option", ["--jobs=--", "--forks=--"])
def test_two_dashes_as_a_number(option: str) -> None:
    """They are not one."""
    with pytest.raises(CliError, match=option.partition("=")[0]):
        parse(["sync", option])


def _strings(value: object) -> list[str]:
    """Return the texts in nested data."""
    if isinstance(value, dict):
        return [text for each in value.values() for text in _strings(each)]
    if isinstance(value, list | tuple):
        return [text for each in value for text in _strings(each)]
    return [value] if isinstance(value, str) else []
