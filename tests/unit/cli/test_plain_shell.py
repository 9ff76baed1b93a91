# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The command lines of a shell that need no parser for all verbs, and modules that are not loaded for it."""

from __future__ import annotations

import itertools
import subprocess
import sys
from importlib.machinery import BuiltinImporter, FrozenImporter

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


def test_a_module_is_run_when_it_is_used() -> None:
    """What imports it gets the module, which is run on its first use; what Python has built in, or has loaded, stays as it is."""
    script = """
import sys
import textwrap
from types import ModuleType
from repoman import postponed
postponed.install(["inspect", "calendar", "sys", "_bisect", "textwrap"])
import calendar, dataclasses, inspect, textwrap, _bisect
print(*(type(each) is ModuleType for each in (calendar, inspect, sys, _bisect, textwrap)), "tokenize" in sys.modules)
Undocumented = dataclasses.make_dataclass("Undocumented", [("x", int)])
print(Undocumented.__doc__, type(inspect) is ModuleType, type(calendar) is ModuleType, calendar.isleap(2024))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    built_in = "_bisect" in sys.builtin_module_names
    assert done.stdout.splitlines() == [f"False False True {built_in} True False", "Undocumented(x: int) True False True"]


def test_no_module_is_frozen() -> None:
    """Python would not load a frozen one from its file."""
    assert not [name for name in plain_shell.UNUSED if FrozenImporter.find_spec(name) or BuiltinImporter.find_spec(name)]


def test_ansible_gets_ordinary_modules() -> None:
    """If the container is not ready, one of the user's plugins may change one of these modules, and modules loaded earlier must see that."""
    script = """
import sys
from types import ModuleType
from repoman import plain_shell, postponed, running
def read_project(name):
    global calendar, before
    import calendar
    before = type(calendar) is ModuleType
running.read_project = read_project
plain_shell.enter_if_ready("demo", [], False)
print(before, type(calendar) is ModuleType, sys.modules["calendar"] is calendar)
del sys.modules["calendar"]
import calendar
print(type(calendar) is ModuleType, [name for name in plain_shell.UNUSED if type(sys.modules.get(name, sys)) is not ModuleType])
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["False True True", "True []"]
