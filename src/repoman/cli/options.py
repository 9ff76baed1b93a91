# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options and arguments of verbs: how they are declared, and the types of their values."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Argument:
    """An option or a positional argument.

    :param names: spellings of an option (``-C``, ``--check``), or the attribute that holds a positional argument.
    :param help: a short explanation; if empty, help and completion leave it out.
    :param keywords: further keywords for ``ArgumentParser.add_argument``.
    :param noun: for a required positional argument, a word for its values, to ask for one that is missing.
    """

    names: tuple[str, ...]
    help: str
    keywords: Mapping[str, Any]
    noun: str = ""

    @property
    def is_option(self) -> bool:
        """True for an option, false for a positional argument."""
        return self.names[0].startswith("-")

    @property
    def takes_value(self) -> bool:
        """True if it is an option followed by a value."""
        return self.is_option and self.keywords.get("action") not in ("store_true", "count")

    @property
    def key(self) -> str:
        """Name of the attribute that holds its value after parsing."""
        return self.names[-1].lstrip("-").replace("-", "_")

    @property
    def label(self) -> str:
        """Left column of its line in the help."""
        value = self.keywords.get("metavar", "")
        return f"{', '.join(self.names)} {value}".strip() if self.is_option else str(value)


def flag(*names: str, help: str) -> Argument:  # noqa: A002
    """Return an option without a value."""
    return Argument(names, help, {"action": "store_true"})


def option(*names: str, metavar: str, help: str, repeatable: bool = False) -> Argument:  # noqa: A002
    """Return an option with a text value.

    :param repeatable: collect the values of repeated options in a list.
    """
    return Argument(names, help, {"metavar": metavar, "type": nonempty} | ({"action": "append"} if repeatable else {}))


def count(*names: str, metavar: str, help: str) -> Argument:  # noqa: A002
    """Return an option whose value is a number, 1 or more."""
    return Argument(names, help, {"metavar": metavar, "type": positive_int})


def name(help: str, noun: str = "project") -> Argument:  # noqa: A002
    """Return the required positional argument ``NAME``."""
    return Argument(("name",), help, {"metavar": "NAME", "nargs": "?"}, noun)


def names(help: str, noun: str = "") -> Argument:  # noqa: A002
    """Return the positional argument ``NAME…``, which is required if it has a noun."""
    return Argument(("names",), help, {"metavar": "NAME…", "nargs": "*"}, noun)


def positive_int(value: str) -> int:
    """Convert the value of an option to an integer of 1 or more.

    :raises argparse.ArgumentTypeError: the value is anything else.
    """
    if not value.isascii() or not value.isdigit() or not int(value):
        raise argparse.ArgumentTypeError("must be 1 or more")
    return int(value)


def nonempty(value: str) -> str:
    """Return the value of an option unchanged.

    An empty value is usually an unset shell variable, so it is rejected instead of being treated like a missing option.

    :raises argparse.ArgumentTypeError: the value is empty.
    """
    if not value:
        raise argparse.ArgumentTypeError("must not be empty")
    return value


GLOBAL_OPTIONS = (
    flag("-C", "--check", help="show what would be done, and change nothing"),
    flag("--diff", help="show changes as unified diffs"),
    flag("-q", "--quiet", help="show only what was done, and what failed"),
    Argument(("-v", "--verbose"), "show unchanged things and steps; up to -vvvv", {"action": "count"}),
    flag("--json", help="print one JSON document"),
    option("-i", "--inventory", metavar="INVENTORY", help="work on the hosts of an Ansible inventory", repeatable=True),
    option("-l", "--limit", metavar="PATTERN", help="limit -i to hosts that match"),
    count("--forks", metavar="N", help="work on N hosts at once"),
)
"""Options that every verb takes, before or after the verb."""
