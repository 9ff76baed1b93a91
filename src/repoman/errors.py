# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of the command itself, and how they are printed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable

USAGE = 2
NOT_FOUND = 3
CONFLICT = 4
INTERRUPTED = 130
SHARED_MEMORY = "/dev/shm"  # noqa: S108
"""Directory of ansible's locks; every user needs write permission there."""
OPEN_SHARED_MEMORY = f"ls -ld {SHARED_MEMORY}   should say drwxrwxrwt; if it does not: sudo chmod 1777 {SHARED_MEMORY}"


class CliError(Exception):
    """The command fails with a message.

    :param message: the problem, in one sentence.
    :param hints: remedies, each a command or a sentence.
    :param exit_code: exit code of the command.
    """

    def __init__(self, message: str, *hints: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hints = list(hints)
        self.exit_code = exit_code


STARTED_LINE = "has begun a new line"
"""Argument of a ``KeyboardInterrupt`` after which the terminal is at the start of a line."""


class EarlyExit(Exception):
    """Raised for ``--help`` and ``--version``, with the text to print instead of running a verb."""


def start_line() -> None:
    """On a terminal, begin a new line: an interrupt leaves ``^C`` behind the progress, or behind a question."""
    if sys.stderr.isatty():
        print(file=sys.stderr)  # noqa: T201


def print_error(failure: CliError) -> None:
    """Print an error and its hints on standard error."""
    red, _cyan, plain = _colours()
    print(f"{red}repoman: error:{plain} {escape_control_characters(failure.message)}", file=sys.stderr)  # noqa: T201
    print_hints(failure.hints)


def print_hints(hints: Iterable[str]) -> None:
    """Print hints on standard error."""
    _red, cyan, plain = _colours()
    for hint in hints:
        print(f"{cyan}hint:{plain} {escape_control_characters(hint)}", file=sys.stderr)  # noqa: T201


def _colours() -> tuple[str, str, str]:
    """Return what makes standard error red, cyan and plain; empty if it is not a terminal that shows colours."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return ("\033[1;31m", "\033[36m", "\033[0m") if colour else ("", "", "")


def escape_control_characters(text: str) -> str:
    """Return ``text`` with control characters and undecodable bytes escaped, so that a terminal does not interpret them."""
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)
