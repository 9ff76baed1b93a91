# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What stops the command before, or instead of, a module's answer."""

from __future__ import annotations

import os
import sys

USAGE = 2
INTERRUPTED = 130
SHARED_MEMORY = "/dev/shm"  # noqa: S108
"""Where ansible's locks are, so that every user must be allowed to write there."""
OPEN_SHARED_MEMORY = f"ls -ld {SHARED_MEMORY}   should say drwxrwxrwt; if it does not: sudo chmod 1777 {SHARED_MEMORY}"


class Failure(Exception):
    """It cannot go on.

    :param message: one sentence: what is wrong.
    :param hints: what to do about it, one command or sentence each.
    :param exit_code: of the command.
    """

    def __init__(self, message: str, *hints: str, exit_code: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.hints = list(hints)
        self.exit_code = exit_code


def tell(failure: Failure) -> None:
    """Print a failure and its hints on standard error."""
    colour = sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    red, cyan, plain = ("\033[1;31m", "\033[36m", "\033[0m") if colour else ("", "", "")
    print(f"{red}repoman: error:{plain} {printable(failure.message)}", file=sys.stderr)  # noqa: T201
    for hint in failure.hints:
        print(f"{cyan}hint:{plain} {printable(hint)}", file=sys.stderr)  # noqa: T201


def printable(text: str) -> str:
    """Return ``text`` with everything a terminal would obey, or that is not text, as an escape."""
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode() for character in text)
