# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command lines of a shell that need no parser for all verbs, and modules that are not loaded for it."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from repoman import plain_shell
from repoman.cli import parser

WORDS = ("demo", "a-1", "1x", "-x", "-", "--", "--root", "--create", "-v", "--json", "--help", "-i", "", ".", "a/b", "ü", "new", "shell")


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        ("shell demo", ("demo", [], False)),
        ("shell --root demo", ("demo", [], True)),
        ("shell demo true", ("demo", ["true"], False)),
        ("shell demo sh --help -- -v", ("demo", ["sh", "--help", "--", "-v"], False)),
        ("shell --root demo -- -x --", ("demo", ["-x", "--"], True)),
        ("shell demo --", ("demo", [], False)),
    ],
)
def test_plain_lines(argv: str, expected: tuple[str, list[str], bool]) -> None:
    """They are understood."""
    assert plain_shell.parse(argv.split()) == expected


def test_the_parser_understands_the_same() -> None:
    """Every line that is understood is the same for the parser of all verbs, with no other option."""
    lines = [["shell", *words] for length in range(4) for words in itertools.product(WORDS, repeat=length)]
    understood = {tuple(line): plain for line in lines if (plain := plain_shell.parse(line)) is not None}
    assert len(understood) > 500
    for line, (name, command, is_root) in understood.items():
        verb, options = parser.parse(line)
        found = {key: value for key, value in vars(options).items() if value}
        expected = {"name": name, "command": command, "root": is_root}
        assert verb.words == "shell" and found == {key: value for key, value in expected.items() if value}, line


@pytest.mark.parametrize(
    "argv",
    [
        "",
        "shell",
        "shell --",
        "shell . true",
        "shell -v demo",
        "shell demo -v true",
        "-v shell demo",
        "shell a/b",
        "list demo",
        "shell --help",
    ],
)
def test_other_lines(argv: str) -> None:
    """They are left to the parser of all verbs."""
    assert plain_shell.parse(argv.split()) is None


def test_a_module_is_loaded_when_it_is_used() -> None:
    """What was loaded inside gets the module when it uses it; what is imported later, at once."""
    script = """
import sys
from repoman import stand_in
with stand_in.postponed(["inspect", "calendar", "sys"]):
    import calendar
    import dataclasses
    is_loaded = isinstance(calendar, stand_in.StandIn), "tokenize" in sys.modules, isinstance(sys.modules["sys"], stand_in.StandIn)
print(is_loaded, "inspect" in sys.modules, "calendar" in sys.modules)
Undocumented = dataclasses.make_dataclass("Undocumented", [("x", int)])
import inspect
print(Undocumented.__doc__, isinstance(inspect, stand_in.StandIn), calendar.isleap(2024))
"""
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["(True, False, False) False False", "Undocumented(x: int) False True"]


def test_no_stand_in_is_left_for_ansible() -> None:
    """If the container is not ready, one of the user's plugins may change one of these modules, and modules loaded earlier must see that."""
    script = """
import sys
from repoman import plain_shell, running, stand_in
with stand_in.postponed(["calendar"]):
    import calendar
sys.modules["holder"] = holder = type(sys)("holder")
holder.calendar = calendar
running.read_project = lambda name: None
plain_shell.enter_if_ready("demo", [], False)
import calendar
print(holder.calendar is calendar, not [name for module in list(sys.modules.values()) for name, value in vars(module).items() if
    isinstance(value, stand_in.StandIn)])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "True True\n"
