# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A verb of the command: its arguments, its help, and what runs it."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from repoman.cli import actions, variables
from repoman.cli.options import Argument

if TYPE_CHECKING:
    from repoman.playbook import Playbook


@dataclass(frozen=True)
class Verb:
    """A row of the table.

    :param words: the verb as typed, such as ``list`` or ``profile list``. With ``_`` for spaces, the name of its playbook.
    :param usage: the arguments, for the usage line.
    :param summary: one line for the list of verbs.
    :param examples: command lines for the help.
    :param arguments: arguments and options, without the global ones.
    :param about: a paragraph for the help.
    :param variables: returns the extra variables for the playbook.
    :param run: runs the verb and returns the exit code.
    """

    words: str
    usage: str
    summary: str
    examples: tuple[str, ...]
    arguments: tuple[Argument, ...] = ()
    about: str = ""
    variables: Callable[[Namespace], dict[str, Any]] = variables.no_variables
    run: Callable[[Playbook, Namespace], int] = actions.run_playbook

    @property
    def takes_command(self) -> bool:
        """True if the arguments after ``--`` are a command to run."""
        return any(argument.names == ("command",) for argument in self.arguments)
