# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Completion for bash, zsh and fish, made from the table of verbs.

The scripts contain no verbs or options. At each TAB the shell runs ``repoman completion --complete SHELL -- …``, which prints one
candidate per line with its explanation, or ``:files`` if a path is expected.

Written without a library, after a trial of two. argcomplete takes as long (77 ms per TAB, this module 69 ms, each the best of 21), but it
needs one argparse tree, and that loses ``-v list -vv``, ``-i a list -i b`` and ``remove a --yes b`` (see ``cli/parser.py``). shtab writes
static scripts without names of projects and profiles, and not for fish. Both would be one more dependency.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from repoman.errors import CliError

if TYPE_CHECKING:
    from repoman.cli.options import Argument
    from repoman.cli.verb import Verb

SHELLS = ("bash", "zsh", "fish")
FILES = ":files"
KINDS = ("projects", "profiles", "repositories", "directories", "backups")
"""Kinds of names: those of the registry; of the library; directories of ``repos_root`` without a project; all that ``sync`` takes; and
all that ``restore`` takes, with what is only in the backup."""
PATHS = ("INVENTORY", "PATH", "FILE", "P")
"""Metavariables of values that are paths."""

SCRIPTS = {
    "bash": """\
# repoman: completion for bash. In ~/.bashrc: source <(repoman completion bash)
_repoman() {
    local line=$COMP_LINE
    ((COMP_POINT < ${#line})) && line=${line:0:COMP_POINT}
    mapfile -t COMPREPLY < <(command repoman completion --complete bash -- "$COMP_WORDBREAKS" "$line" 2>/dev/null)
    if [[ ${COMPREPLY[0]} == :files ]]; then
        COMPREPLY=()
        compopt -o default 2>/dev/null
    fi
}
complete -F _repoman repoman
""",
    "zsh": """\
#compdef repoman
# repoman: completion for zsh. In ~/.zshrc, after compinit: source <(repoman completion zsh)
_repoman() {
    local -a lines candidates shown
    local line word
    local -i width=0
    lines=("${(@f)$(command repoman completion --complete zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    [[ $PREFIX == --*=* ]] && compset -P '*='
    if [[ ${lines[1]} == :files ]]; then
        _files
        return
    fi
    for line in "${lines[@]}"; do
        [[ -n $line ]] || continue
        candidates+=("${line%%$'\\t'*}")
        ((${#candidates[-1]} > width)) && width=${#candidates[-1]}
    done
    ((${#candidates})) || return 1
    for line in "${lines[@]}"; do
        word=${line%%$'\\t'*}
        [[ $line == *$'\\t'* ]] && word="${(r:width:)word}  -- ${line#*$'\\t'}"
        [[ -n $line ]] && shown+=("$word")
    done
    compadd -l -d shown -a candidates
}
if [[ ${funcstack[1]} == _repoman ]]; then
    _repoman "$@"
else
    compdef _repoman repoman
fi
""",
    "fish": """\
# repoman: completion for fish. In ~/.config/fish/config.fish: repoman completion fish | source
function __repoman_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines (command repoman completion --complete fish -- $words[2..-1] 2>/dev/null)
    if test "$lines[1]" = :files
        __fish_complete_path (commandline -ct | string replace -r -- '^--[^=]*=' '')
    else
        printf '%s\\n' $lines
    end
end
complete -c repoman -f -a '(__repoman_complete)'
""",
}


@dataclass(frozen=True)
class Candidate:
    """A possible completion.

    :param word: the complete word, unquoted.
    :param help: a short explanation; empty for names.
    """

    word: str
    help: str = ""


@dataclass
class ParsedLine:
    """The words before the current one.

    :param verb: the verb, or its first words.
    :param positional: positional arguments.
    :param options: options, without their values.
    :param pending: the option whose value is the current word.
    :param is_command: true after ``--``: the current word belongs to another command.
    """

    verb: str = ""
    positional: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    pending: Argument | None = None
    is_command: bool = False


def script(shell: str) -> str:
    """Return the script that a shell loads."""
    return SCRIPTS[shell]


def complete(arguments: Sequence[str], verbs: Iterable[Verb], global_options: Iterable[Argument], groups: Mapping[str, str]) -> str:
    """Return the output for a shell: one candidate a line.

    :param arguments: the shell, ``--``, and the words after ``repoman`` with the current one last; for bash instead of
        the words its ``COMP_WORDBREAKS`` and the line up to the cursor.
    """
    shell, words = arguments[0], list(arguments[2:])
    quote, start = "", 0
    if shell == "bash":
        breaks, line = words
        words, quote, start = split(line, breaks)
        words = words[1:]
    offered = candidates(words or [""], verbs, global_options, groups)
    if offered is None:
        return f"{FILES}\n"
    if shell != "bash":
        prefix = words[-1].partition("=")[0] + "=" if shell == "zsh" and re.match(r"--[^=]*=", words[-1]) else ""
        return "".join(
            f"{candidate.word.removeprefix(prefix)}\t{candidate.help}\n" if candidate.help else f"{candidate.word.removeprefix(prefix)}\n"
            for candidate in offered
        )
    return "".join(f"{quote_for_bash(candidate.word[start:], quote)}\n" for candidate in offered)


def candidates(
    words: Sequence[str], verbs: Iterable[Verb], global_options: Iterable[Argument], groups: Mapping[str, str]
) -> list[Candidate] | None:
    """Return the candidates for the last word, or ``None`` if a path is expected.

    :param groups: explanations of the first words of verbs with two.
    """
    table, current = {verb.words: verb for verb in verbs}, words[-1]
    line = parse_words(words[:-1], table, tuple(global_options))
    verb = table.get(line.verb)
    arguments = (*(verb.arguments if verb else ()), *global_options)
    if line.is_command or (verb is not None and verb.takes_command and line.positional and not current.startswith("-")):
        return None
    option, equals, _value = current.partition("=")
    if line.pending is None and equals and option.startswith("--"):
        matching = [argument for argument in arguments if option in argument.names and argument.takes_value]
        values = _values(matching[0], line) if matching else []
        return None if values is None else _starting_with(current, (Candidate(f"{option}={value.word}", value.help) for value in values))
    if line.pending is not None:
        values = _values(line.pending, line)
        return None if values is None else _starting_with(current, values)
    if current.startswith("-"):
        return _starting_with(current, _options(arguments, line))
    if verb is None:
        return _starting_with(current, _next_words(line.verb, table, groups))
    positional = next((argument for argument in verb.arguments if not argument.is_option and argument.names != ("command",)), None)
    if positional is not None and (positional.keywords.get("nargs") in ("+", "*") or not line.positional):
        if positional.key == "words":
            return _starting_with(current, _next_words(" ".join(line.positional), table, groups))
        if positional.key in ("name", "names") and not line.verb.startswith("profile ") and (current.startswith(".") or "/" in current):
            return None  # a path of a repository
        return _starting_with(current, [value for value in _values(positional, line) or [] if value.word not in line.positional])
    return _starting_with(current, [] if current else _options(arguments, line))


def parse_words(words: Sequence[str], table: Mapping[str, Verb], global_options: tuple[Argument, ...]) -> ParsedLine:
    """Parse the words before the current one."""
    line = ParsedLine()
    for word in words:
        verb = table.get(line.verb)
        if line.pending is not None:
            line.pending = None
        elif word == "--":
            line.is_command = True
        elif word.startswith("-"):
            line.options.append(word.partition("=")[0])
            matching = [
                argument
                for argument in (*(verb.arguments if verb else ()), *global_options)
                if word in argument.names and argument.takes_value
            ]
            line.pending = matching[0] if matching else None
        elif verb is None:
            line.verb = f"{line.verb} {word}".strip()
        elif verb.takes_command and line.positional:
            line.is_command = True
        else:
            line.positional.append(word)
    return line


def names(kind: str) -> list[str]:
    """Return names to complete, read from the user's files; files that cannot be read give none, nor does an unknown home.

    :param kind: one of :data:`KINDS`.
    """
    from repoman import repositories  # help is faster without it

    try:
        home = Path.home()
    except RuntimeError:
        return []
    registry = repositories.read_toml(repositories.registry_path())
    entries = repositories.entries(registry)
    projects = [str(entry.get("name", "")) for entry in entries]
    if kind == "projects":
        all_names = projects
    elif kind in ("directories", "backups"):
        all_names = [*projects, *(path.name for path in _directories(Path(repositories.repos_root(registry))))]
        all_names += repositories.backed_up(registry) if kind == "backups" else []
    elif kind == "profiles":
        all_names = [path.stem for directory in _libraries(home) for path in directory.glob("*.y*ml") if path.suffix in (".yml", ".yaml")]
    else:
        registered = {str(entry.get("repo", "")) for entry in entries}
        root = repositories.repos_root(registry)
        all_names = [path.name for path in _directories(Path(root)) if path.name not in registered]
    return sorted({name for name in all_names if name and name.isprintable() and not name.startswith((".", "-"))})


def split(line: str, breaks: str) -> tuple[list[str], str, int]:
    """Split a line as bash does.

    :param breaks: characters, besides blanks, after which readline starts a new word.
    :returns: the words, of which the last may be incomplete; the quote that is still open; the offset in the last word at
        which the part that readline replaces starts.
    """
    words, word, quote, start, in_word = [], "", "", 0, False
    position = 0
    while position < len(line):
        character = line[position]
        position += 1
        if quote:
            if character == quote:
                quote = ""
            elif character == "\\" and quote == '"' and line[position : position + 1] in ("$", "`", '"', "\\"):
                word += line[position]
                position += 1
            else:
                word += character
        elif character in "'\"":
            quote, in_word, start = character, True, len(word)
        elif character == "\\":
            word, in_word = word + line[position : position + 1], True
            position += 1
        elif character in " \t\n":
            if in_word or word:
                words.append(word)
            word, start, in_word = "", 0, False
        else:
            word += character
            if character in breaks:
                start = len(word)
    return [*words, word], quote, start


def quote_for_bash(text: str, quote: str = "") -> str:
    """Return a text quoted for bash.

    :param quote: the quote that is already open.
    """
    if quote == "'":
        return text.replace("'", "'\\''")
    return re.sub(r'[$`"\\]' if quote else r"[^\w%+=:,./@-]", lambda match: f"\\{match[0]}", text)


def check_shell(shell: str | None) -> None:
    """Check that there is a script for a shell.

    :raises CliError: there is none.
    """
    if shell not in SHELLS:
        message = "which shell? bash, zsh or fish." if shell is None else f"no completion for {shell!r}; choose bash, zsh or fish."
        raise CliError(message, "repoman completion --help", exit_code=2)


def _starting_with(current: str, offered: Iterable[Candidate]) -> list[Candidate]:
    return [candidate for candidate in offered if candidate.word.startswith(current)]


def _options(arguments: Iterable[Argument], line: ParsedLine) -> list[Candidate]:
    """Return the long forms of the options that can still be added."""
    repeatable = ("append", "count")
    return [
        Candidate(argument.names[-1], argument.help)
        for argument in arguments
        if argument.is_option
        and argument.help
        and (argument.keywords.get("action") in repeatable or not set(argument.names) & set(line.options))
    ] + [Candidate("--help", "show the help"), *([] if line.verb else [Candidate("--version", "show the version")])]


def _next_words(words: str, table: Mapping[str, Verb], groups: Mapping[str, str]) -> list[Candidate]:
    """Return the next words of the verbs that start with ``words``."""
    level, summaries = len(words.split()), dict[str, str]()
    for verb in table.values():
        parts = verb.words.split()
        if parts[:level] == words.split() and len(parts) > level:
            summaries.setdefault(parts[level], verb.summary if len(parts) == level + 1 else groups[parts[level]])
    return [Candidate(word, summary) for word, summary in summaries.items()]


def _values(argument: Argument, line: ParsedLine) -> list[Candidate] | None:
    """Return the values of an argument, or ``None`` if it is a path; empty if they are unknown."""
    metavar = str(argument.keywords.get("metavar", "")).rstrip("…")
    if metavar in PATHS or argument.names == ("--to",):
        return None
    if argument.names == ("shell",):
        return [Candidate(shell) for shell in SHELLS]
    kind = ""
    if argument.names == ("--repo",) or (metavar == "NAME" and not argument.is_option and line.verb == "new"):
        kind = "repositories"
    elif "--profile" in argument.names or (metavar == "NAME" and line.verb.startswith("profile ")):
        kind = "profiles"
    elif metavar == "NAME":
        kind = {"sync": "directories", "restore": "backups"}.get(line.verb, "projects")
    return [Candidate(name) for name in names(kind)] if kind else []


def _libraries(home: Path) -> list[Path]:
    """Return the directories of the profile library, the user's first."""
    from repoman.installation import COLLECTION_PATH

    vendor_dirs = [Path(path) for path in (os.environ.get("REPOMAN_VENDOR_DIR"), "/usr/local/share/repoman/profiles") if path]
    bundled_dirs = [Path(entry, COLLECTION_PATH, "profiles") for entry in sys.path if entry]
    return [home / ".config/repoman/profiles.d", *[path for path in (*vendor_dirs, *bundled_dirs) if path.is_dir()][:1]]


def _directories(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir()]
    except OSError:
        return []
