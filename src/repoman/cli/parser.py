# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From the command line to a verb and its options.

Not one argparse tree with subparsers, because a subparser starts with an empty namespace: in ``repoman -v list -vv`` and
``repoman -i a list -i b`` the second half would replace the first instead of adding to it, and a subparser cannot parse options
between positional arguments (``remove a --yes b``). So the words of the verb are parsed one after the other, then the rest by one
parser for that verb.
"""

from __future__ import annotations

import argparse
import difflib
import shlex
from argparse import Namespace
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from repoman.cli.help import command_help, group_help, verb_help
from repoman.cli.options import GLOBAL_OPTIONS, Argument, flag
from repoman.cli.verb import Verb
from repoman.cli.verbs import VERBS, VERBS_BY_WORDS
from repoman.errors import USAGE, CliError, EarlyExit

LITERAL_MARK = "\0"
"""Prefix of arguments after ``--`` during parsing, so that argparse does not take them for options. No argument of a process can
contain this character."""
TEXT_OPTIONS = {"-i", "--inventory", "-l", "--limit", "--forks", "--to", "--from", "--jobs"}
"""Options whose values must be UTF-8."""
FILE_NAME_VERBS = {"sync", "restore"}
"""Verbs whose arguments are file names, which may contain any bytes."""
FILE_NAME_OPTIONS = ("--path=", "--list-versions=", "--list-kept=")
SYNONYMS = {
    "": {
        **dict.fromkeys(("rm", "delete", "destroy"), "remove"),
        **dict.fromkeys(("exec", "enter", "run", "attach", "ssh", "login"), "shell"),
        **dict.fromkeys(("up", "create", "launch"), "new"),
        **dict.fromkeys(("ls", "ps"), "list"),
        **dict.fromkeys(("backup", "push"), "sync"),
        "down": "stop",
        "reboot": "restart",
        "init": "setup",
        "apply": "profile install",
    },
    "profile": {
        **dict.fromkeys(("rm", "delete"), "profile remove"),
        **dict.fromkeys(("add", "apply", "create"), "profile install"),
        "ls": "profile list",
        "cat": "profile show",
        "cp": "profile copy",
    },
}
"""Verbs of other tools, by the words before them, and what they are called here."""
ARGPARSE_TEXTS = {"expected one argument": "needs a value"}
"""Plainer words for messages of argparse."""


class Parser(argparse.ArgumentParser):
    """A parser that raises :class:`CliError` instead of printing and exiting.

    :param words: the verb, or the group of verbs, to parse for; empty for the command itself.
    """

    def __init__(self, words: str, arguments: Iterable[Argument]) -> None:
        super().__init__(
            prog=f"repoman {words}".strip(), add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS, exit_on_error=False
        )
        self.add_argument("-h", "--help", action="store_true")
        for argument in arguments:
            self.add_argument(*argument.names, **argument.keywords)

    def error(self, message: str) -> NoReturn:
        """Raise a usage error."""
        raise CliError(f"{message.rstrip('.')}.", f"{self.prog} --help", exit_code=USAGE)

    def _get_values(self, action: argparse.Action, arg_strings: list[str]) -> Any:
        """Return the value of an argument; argparse of older versions of Python drops the ``--`` of ``--path=--``, which is a file name."""
        if action.option_strings and action.nargs is None and arg_strings == ["--"]:
            value = self._get_value(action, "--")
            self._check_value(action, value)
            return value
        return super()._get_values(action, arg_strings)

    def parse_line(self, line: Sequence[str], options: Namespace, intermixed: bool) -> tuple[Namespace, list[str]]:
        """Parse arguments into ``options``; return it and the arguments left over.

        :param intermixed: options may stand between positional arguments.
        """
        try:
            if intermixed:
                return self.parse_known_intermixed_args(line, options)
            return self.parse_known_args(line, options)
        except argparse.ArgumentError as error:
            option = (error.argument_name or "").rpartition("/")[2]
            raise CliError(
                f"{option} {ARGPARSE_TEXTS.get(error.message, error.message)}.", f"{self.prog} --help", exit_code=USAGE
            ) from error

    def reject_extra(self, extra: Sequence[str]) -> None:
        """Raise a usage error for the first argument left over."""
        if not extra:
            return
        if not extra[0].startswith("-"):
            raise CliError(f"{self.prog}: {extra[0]!r} is one argument too many.", f"{self.prog} --help", exit_code=USAGE)
        option = extra[0].partition("=")[0]
        spellings = [spelling for action in self._actions if action.help != argparse.SUPPRESS for spelling in action.option_strings]
        raise CliError(f"{self.prog} has no option {option}.", *suggestions(option, spellings), f"{self.prog} --help", exit_code=USAGE)


def suggestions(typed: str, candidates: Iterable[str]) -> list[str]:
    """Return a hint with the candidate most similar to ``typed``, or nothing."""
    return [f"did you mean {match!r}?" for match in difflib.get_close_matches(typed, list(candidates), n=1)]


def parse(argv: Sequence[str]) -> tuple[Verb, Namespace]:
    """Parse the command line.

    :returns: the verb, and a namespace with a value for each of its arguments (``None`` or ``False`` by default).
    :raises CliError: wrong usage.
    :raises EarlyExit: for ``--help`` and ``--version``.
    """
    line, tail = list(argv), list[str]()
    if "--" in line:
        line, tail = line[: line.index("--")], line[line.index("--") :]
    before_command, command = list(line), tail[1:]
    options = Namespace(verbose=0)
    words = ""
    while words not in VERBS_BY_WORDS:
        words, line = parse_verb_word(words, line, options, argv)
    verb = VERBS_BY_WORDS[words]
    if verb.takes_command:
        line, inner = split_command(verb, line)
        if inner:
            before_command, command = before_command[: -len(inner)], [*inner, *tail]
        reject_non_utf8(words, before_command)
    else:
        reject_non_utf8(words, [*before_command, *command])
        line += [f"{LITERAL_MARK}{part}" if part.startswith("-") else part for part in command]
    if {"-h", "--help"} & set(line):
        raise EarlyExit(verb_help(verb))
    _parse_arguments(verb, line, options)
    if verb.takes_command:
        options.command = command
    return verb, options


def split_command(verb: Verb, line: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split the arguments of ``shell`` into its own and the command, which begins with the second word that is not an option.

    Options between ``NAME`` and the command are repoman's, as those of ssh are ssh's.
    """
    with_value = {name for argument in (*GLOBAL_OPTIONS, *verb.arguments) if argument.takes_value for name in argument.names}
    has_name, is_value = False, False
    for index, word in enumerate(line):
        if not is_value and not word.startswith("-"):
            if has_name:
                return list(line[:index]), list(line[index:])
            has_name = True
        is_value = not is_value and word in with_value
    return list(line), []


def _parse_arguments(verb: Verb, line: Sequence[str], options: Namespace) -> None:
    """Parse everything after the verb into ``options``."""
    arguments = [*GLOBAL_OPTIONS, *(argument for argument in verb.arguments if argument.names != ("command",))]
    parser = Parser(verb.words, arguments)
    _options, extra = parser.parse_line(line, options, intermixed=True)
    parser.reject_extra([part.removeprefix(LITERAL_MARK) for part in extra])
    strip_marks(options)
    for argument in arguments:
        if not hasattr(options, argument.key):
            setattr(options, argument.key, False if argument.keywords.get("action") == "store_true" else None)
        if argument.noun and not getattr(options, argument.key):
            raise CliError(f"which {argument.noun}? {parser.prog} {argument.label}", f"{parser.prog} --help", exit_code=USAGE)


def reject_non_utf8(words: str, line: Sequence[str]) -> None:
    """Raise a usage error for arguments that are not UTF-8, except file names of verbs that take any.

    :raises CliError: there is such an argument.
    """
    for index, part in enumerate(line):
        if part.isascii() or not any("\ud800" <= character <= "\udfff" for character in part):
            continue
        previous = line[index - 1] if index else ""
        is_file_name = previous not in TEXT_OPTIONS and (not part.startswith("-") or part.startswith(FILE_NAME_OPTIONS))
        if words not in FILE_NAME_VERBS or not is_file_name:
            raise CliError(f"{part!r} is not UTF-8 text.", "a command for 'shell' may be anything, after '--'", exit_code=USAGE)


def strip_marks(options: Namespace) -> None:
    """Remove :data:`LITERAL_MARK` from all values."""
    for key, value in vars(options).items():
        if isinstance(value, str):
            setattr(options, key, value.removeprefix(LITERAL_MARK))
        elif isinstance(value, list):
            setattr(options, key, [item.removeprefix(LITERAL_MARK) if isinstance(item, str) else item for item in value])


def parse_verb_word(words: str, line: list[str], options: Namespace, argv: Sequence[str]) -> tuple[str, list[str]]:
    """Parse global options up to the next word of the verb.

    :param words: the words of the verb parsed so far.
    :param argv: the command line that ``line`` is from, for hints.
    :returns: the words with the next one added, and the rest of the line.
    """
    parser = Parser(words, (*GLOBAL_OPTIONS, *((flag("--version", help=""),) if not words else ())))
    parser.add_argument("word", nargs="?" if not any(not part.startswith("-") for part in line) else None)
    parser.add_argument("rest", nargs=argparse.REMAINDER, default=[])
    _options, extra = parser.parse_line(line, options, intermixed=False)
    if hasattr(options, "help"):
        raise EarlyExit(group_help(words) if words else command_help())
    if hasattr(options, "version"):
        from repoman.playbook import version

        raise EarlyExit(f"repoman {version()}\n")
    parser.reject_extra(extra)
    word, rest = getattr(options, "word", None), options.rest
    for key in ("word", "rest"):
        if hasattr(options, key):
            delattr(options, key)
    choices = _next_words(words)
    if word is None:
        message = f"{words} needs a verb: {', '.join(choices[:-1])} or {choices[-1]}." if words else "no verb was given."
        raise CliError(message, f"{parser.prog} --help", exit_code=USAGE)
    longer = f"{words} {word}".strip()
    if word not in choices:
        hints = _synonym_hints(words, word, rest, argv)
        hints = hints or suggestions(longer, [f"{words} {choice}".strip() for choice in choices]) or suggestions(word, choices)
        raise CliError(f"there is no verb {longer!r}.", *hints, f"{parser.prog} --help", exit_code=USAGE)
    return longer, rest


def _synonym_hints(words: str, word: str, rest: Sequence[str], argv: Sequence[str]) -> list[str]:
    """Return the hint for a verb of other tools: the same command line with the verb of repoman, or with its help if it has options.

    :param rest: the arguments after the word, up to ``--``.
    """
    verb = SYNONYMS[words].get(word)
    if verb is None:
        return []
    if any(part.startswith("-") for part in rest):
        return [f"repoman {verb} --help"]
    end = len(argv[: argv.index("--")]) if "--" in argv else len(argv)
    position = end - len(rest) - 1
    before = list(argv[:position])
    if words:
        del before[len(before) - 1 - before[::-1].index(words)]
    return [f"repoman {shlex.join([*before, *verb.split(), *argv[position + 1 :]])}"]


def _next_words(words: str) -> list[str]:
    """Return the words that may follow the first words of a verb."""
    level = len(words.split())
    return list(dict.fromkeys(verb.words.split()[level] for verb in VERBS if verb.words.split()[:level] == words.split()))
