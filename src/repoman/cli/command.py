# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command: parse the command line, run a playbook, and return the exit code.

Nothing here imports ansible, so help and usage errors are printed at once.
"""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

from repoman import plain_shell, streams
from repoman.current_directory import leave_if_deleted
from repoman.document import print_document, print_text
from repoman.errors import INTERRUPTED, NOT_FOUND, STARTED_LINE, USAGE, CliError, EarlyExit, print_error, start_line

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Sequence
    from types import FrameType

    from repoman.cli.verb import Verb
    from repoman.playbook import Playbook


def run(argv: Sequence[str]) -> int:
    """Run the command; return its exit code.

    :param argv: the arguments, without the name of the command.
    """
    streams.prepare()
    return streams.finish(_run(argv))


def _run(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    if argv[:2] == ["completion", "--complete"]:
        from repoman import completion
        from repoman.cli.options import GLOBAL_OPTIONS
        from repoman.cli.verbs import GROUPS, VERBS

        print(completion.complete(argv[2:], VERBS, GLOBAL_OPTIONS, GROUPS), end="")  # noqa: T201
        return 0
    words = ""
    hints: list[str] = []
    prints_json = "--json" in argv[: argv.index("--") if "--" in argv else None]
    try:
        plain = plain_shell.parse(argv)
        if plain:
            prints_json = False
            leave_if_deleted(is_needed=False)
            plain_shell.enter_if_ready(*plain)
        from repoman.cli.parser import parse  # a plain shell and completion are faster without it

        verb, options = parse(argv)
        options.is_read = plain is not None
        words, prints_json = verb.words, options.json
        playbook = make_playbook(verb, options)
        leave_if_deleted(playbook.needs_directory)
        if not playbook.is_local:
            hints.append("other hosts roll back what they had started: repoman -i INVENTORY list")
        return verb.run(playbook, options)
    except EarlyExit as early_exit:
        print_text("help", str(early_exit), prints_json)
        return 0
    except KeyboardInterrupt as interrupt:
        if STARTED_LINE not in interrupt.args:
            start_line()
        failure = CliError("interrupted.", *hints, exit_code=INTERRUPTED)
    except CliError as error:
        failure = error
    except RuntimeError:
        if os.path.expanduser("~") != "~":
            raise
        # pathlib says it so, wherever a path of the user's is needed first
        hint = "export HOME=/home/NAME   # the directory with your files"
        failure = CliError("the home directory is unknown.", hint, exit_code=NOT_FOUND)
    print_error(failure)
    if prints_json:
        print_document(words, failure)
    return failure.exit_code


def make_playbook(verb: Verb, options: Namespace) -> Playbook:
    """Return the playbook of a verb, with its variables and options.

    :raises CliError: wrong usage.
    """
    if options.quiet and options.verbose:
        raise CliError("-q and -v exclude each other.", f"repoman {verb.words} --help", exit_code=USAGE)
    from repoman.playbook import Playbook  # help and completion are faster without it

    return Playbook(
        name=verb.words.replace(" ", "_"),
        variables=verb.variables(options),
        check=options.check,
        diff=options.diff,
        json=options.json,
        verbosity=options.verbose,
        quiet=options.quiet,
        inventory=tuple(options.inventory or ()),
        limit=options.limit or "",
        forks=options.forks or 0,
    )


def _interrupt(signum: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
