# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Help texts, made from the table of verbs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from repoman.cli.options import GLOBAL_OPTIONS
from repoman.cli.verb import Verb
from repoman.cli.verbs import GROUPS, VERBS

HELP_COLUMN, VERB_COLUMN = 34, 20
"""Columns where explanations start: of arguments, and of verbs."""
LINE_WIDTH = 80
"""Longest line of a help text."""
GLOBAL_USAGE = "[-C|--check] [--diff] [-q] [-v…] [--json] [-i INVENTORY] [-l PATTERN] [--forks N]"
"""The options of every verb, for the usage."""


@dataclass(frozen=True)
class ExitCode:
    """An exit code of the command.

    :param code: the number.
    :param short: for the help.
    :param detail: for the reference.
    """

    code: int
    short: str
    detail: str


EXIT_CODES = (
    ExitCode(0, "done, or nothing to do", "Done, or nothing to do."),
    ExitCode(
        1, "failed; 'profile diff', 'sync --verify': differences", "Failed; for profile diff and sync --verify: there are differences."
    ),
    ExitCode(2, "wrong usage", "Wrong usage."),
    ExitCode(3, "not found", "Not found: no registry, no such template or project, no address, an unreadable file."),
    ExitCode(
        4,
        "conflict with the current state",
        "Conflict with the current state: a profile that is not installed, a container that repoman did not create or that belongs to"
        " another user, a project without a container for shell, another run on the same project, a refusal of the backup.",
    ),
    ExitCode(130, "interrupted", "Interrupted."),
)


def exit_status_lines() -> list[str]:
    """Return the exit codes, one a line."""
    return [f"{exit_code.code:>5}  {exit_code.short}" for exit_code in EXIT_CODES]


def command_help() -> str:
    """Return the text of ``repoman --help``."""
    return "\n".join(
        (
            *usage_lines("", f"{GLOBAL_USAGE} VERB …"),
            "",
            "A container for each of your repositories, shared profiles, and a backup of all.",
            "",
            "verbs:",
            *columns([(verb.words, verb.summary) for verb in VERBS], VERB_COLUMN),
            "",
            "options, before or after the verb:",
            *columns([(argument.label, argument.help) for argument in GLOBAL_OPTIONS]),
            *columns([("-h, --help", "show this, or the help of a verb"), ("--version", "show the version")]),
            "",
            "exit status:",
            *exit_status_lines(),
            "",
            "example:",
            "  repoman setup",
            "  repoman profile install --all",
            "  repoman new isurus",
            "  repoman shell isurus",
            "",
        )
    )


def group_help(words: str) -> str:
    """Return the help of a group of verbs."""
    verbs = [verb for verb in VERBS if verb.words.startswith(f"{words} ")]
    rows = columns([(verb.words, verb.summary) for verb in verbs], VERB_COLUMN)
    return "\n".join(
        (f"usage: repoman {words} VERB …", "", GROUPS[words], "", "verbs:", *rows, "", "example:", f"  {verbs[0].examples[0]}", "")
    )


def verb_help(verb: Verb) -> str:
    """Return the help of a verb."""
    rows = [(argument.label, argument.help) for argument in verb.arguments if argument.help]
    return "\n".join(
        (
            *usage_lines(verb.words, verb.usage),
            "",
            f"{verb.summary}",
            *(["", *paragraph_lines(verb.about)] if verb.about else []),
            *(["", "arguments:", *columns(rows)] if rows else []),
            "",
            "options of every verb:",
            *columns([(argument.label, argument.help) for argument in GLOBAL_OPTIONS]),
            "",
            "example:",
            *(f"  {example}" for example in verb.examples),
            "",
        )
    )


def usage_lines(words: str, usage: str) -> list[str]:
    """Return the usage of a verb, wrapped between options.

    :param words: the verb; empty for the command itself.
    """
    start = f"usage: repoman {words}".rstrip()
    lines = [start]
    for part in re.findall(r"\[(?:[^][]|\[[^]]*\])*\]…?|\S+", usage):
        if len(lines[-1]) + 1 + len(part) > LINE_WIDTH:
            lines.append(" " * len(start))
        lines[-1] += f" {part}"
    return lines


def paragraph_lines(text: str) -> list[str]:
    """Return the lines of a paragraph; a command with a line to itself keeps it, so that it can be pasted."""
    lines = []
    for is_command, group in groupby(text.splitlines(), key=lambda line: line.startswith("repoman ")):
        part = list(group)
        lines += part if is_command else textwrap.wrap(" ".join(part), LINE_WIDTH, break_long_words=False, break_on_hyphens=False)
    return lines


def columns(rows: Iterable[tuple[str, str]], column: int = HELP_COLUMN) -> list[str]:
    """Return lines of two columns; a long left column gets a separate line."""
    lines = []
    for left, right in rows:
        first, *others = textwrap.wrap(right, LINE_WIDTH - column, break_on_hyphens=False) or [""]
        if len(left) + 4 > column:
            lines += [f"  {left}", f"{'':{column}}{first}"]
        else:
            lines.append(f"  {left:{column - 2}}{first}")
        lines += [f"{'':{column}}{line}" for line in others]
    return lines
