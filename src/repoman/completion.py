# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Completion for bash, zsh and fish, from the command's own table of verbs.

The scripts hold no words of their own: at each TAB the shell asks ``repoman completion --complete SHELL -- …`` and this
module answers, a candidate a line with its explanation, or ``:files`` where a path is wanted.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repoman.errors import Failure

if TYPE_CHECKING:
    from repoman.cli import Argument, Verb

SHELLS = ("bash", "zsh", "fish")
FILES = ":files"
KINDS = ("projects", "profiles", "repositories")
PATHS = ("INVENTORY", "PATH", "FILE", "P")
"""What the values of options are called that are paths."""

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
    local line
    lines=("${(@f)$(command repoman completion --complete zsh -- "${(@Q)words[2,CURRENT]}" 2>/dev/null)}")
    [[ $PREFIX == --*=* ]] && compset -P '*='
    if [[ ${lines[1]} == :files ]]; then
        _files
        return
    fi
    for line in "${lines[@]}"; do
        [[ -n $line ]] || continue
        candidates+=("${line%%$'\\t'*}")
        shown+=("${line/$'\\t'/  -- }")
    done
    ((${#candidates})) || return 1
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
    """A word that may stand there.

    :param word: all of it, as the program would get it.
    :param help: a short explanation; empty for names.
    """

    word: str
    help: str = ""


@dataclass
class Typed:
    """What the words before the current one mean.

    :param verb: the verb, or its first words.
    :param given: the names that were given.
    :param options: that were given.
    :param pending: the option whose value comes next.
    :param is_command: whether all that follows belongs to another command.
    """

    verb: str = ""
    given: list[str] = field(default_factory=list)
    options: list[str] = field(default_factory=list)
    pending: Argument | None = None
    is_command: bool = False


def script(shell: str) -> str:
    """Return the script to load into a shell."""
    return SCRIPTS[shell]


def answer(arguments: Sequence[str], verbs: Iterable[Verb], everywhere: Iterable[Argument], groups: Mapping[str, str]) -> str:
    """Return what a shell is to be told.

    :param arguments: the shell, ``--``, and the words after ``repoman`` with the current one last; for bash the
        characters that end a word, and the line up to the cursor.
    """
    shell, words = arguments[0], list(arguments[2:])
    quote, start = "", 0
    if shell == "bash":
        breaks, line = words
        words, quote, start = split(line, breaks)
        words = words[1:]
    found = candidates(words or [""], verbs, everywhere, groups)
    if found is None:
        return f"{FILES}\n"
    if shell != "bash":
        cut = words[-1].partition("=")[0] + "=" if shell == "zsh" and re.match(r"--[^=]*=", words[-1]) else ""
        return "".join(
            f"{each.word.removeprefix(cut)}\t{each.help}\n" if each.help else f"{each.word.removeprefix(cut)}\n" for each in found
        )
    return "".join(f"{escaped(each.word[start:], quote)}\n" for each in found)


def candidates(
    words: Sequence[str], verbs: Iterable[Verb], everywhere: Iterable[Argument], groups: Mapping[str, str]
) -> list[Candidate] | None:
    """Return what may stand in place of the last word and begins with it; ``None`` where it is a path.

    :param groups: explanations of the first words of verbs that have two.
    """
    table, current = {verb.words: verb for verb in verbs}, words[-1]
    typed = read(words[:-1], table, tuple(everywhere))
    verb = table.get(typed.verb)
    arguments = (*(verb.arguments if verb else ()), *everywhere)
    if typed.is_command:
        return None
    option, equals, _value = current.partition("=")
    if typed.pending is None and equals and option.startswith("--"):
        named = [each for each in arguments if option in each.names and takes_value(each)]
        values = _values(named[0], typed) if named else []
        return None if values is None else _beginning(current, (Candidate(f"{option}={each.word}", each.help) for each in values))
    if typed.pending is not None:
        values = _values(typed.pending, typed)
        return None if values is None else _beginning(current, values)
    if current.startswith("-"):
        return _beginning(current, _options(arguments, typed))
    if verb is None:
        return _beginning(current, _next_words(typed.verb, table, groups))
    positional = next((each for each in verb.arguments if not each.is_option and each.names != ("command",)), None)
    if positional is not None and (positional.settings.get("nargs") in ("+", "*") or not typed.given):
        return _beginning(current, [each for each in _values(positional, typed) or [] if each.word not in typed.given])
    return _beginning(current, [] if current else _options(arguments, typed))


def read(words: Sequence[str], table: Mapping[str, Verb], everywhere: tuple[Argument, ...]) -> Typed:
    """Return what the words before the current one mean."""
    typed = Typed()
    for word in words:
        verb = table.get(typed.verb)
        if typed.pending is not None:
            typed.pending = None
        elif word == "--":
            typed.is_command = True
        elif word.startswith("-"):
            typed.options.append(word.partition("=")[0])
            named = [each for each in (*(verb.arguments if verb else ()), *everywhere) if word in each.names and takes_value(each)]
            typed.pending = named[0] if named else None
        elif verb is None:
            typed.verb = f"{typed.verb} {word}".strip()
        else:
            typed.given.append(word)
    return typed


def takes_value(argument: Argument) -> bool:
    """Whether an option takes a value."""
    return argument.is_option and argument.settings.get("action") not in ("store_true", "count")


def names(kind: str) -> list[str]:
    """Return names to complete, from the user's files alone; none where these cannot be read.

    :param kind: ``projects``, ``profiles`` or ``repositories``.
    """
    home = Path.home()
    registry: dict[str, Any] = {}
    with suppress(OSError, ValueError):
        registry = tomllib.loads((home / ".config/repoman/repoman.toml").read_text(encoding="utf-8"))
    projects, defaults = registry.get("project"), registry.get("defaults")
    entries = [each for each in projects if isinstance(each, dict)] if isinstance(projects, list) else []
    if kind == "projects":
        found = [str(each.get("name", "")) for each in entries]
    elif kind == "profiles":
        found = [path.stem for directory in _libraries(home) for path in directory.glob("*.yml")]
    else:
        taken = {str(each.get("repo", "")) for each in entries}
        root = str(defaults.get("repos_root", "~/repos") if isinstance(defaults, dict) else "~/repos")
        root = os.path.expanduser(os.path.expandvars(root))
        found = [path.name for path in _directories(Path(root)) if path.name not in taken]
    return sorted({name for name in found if name and name.isprintable() and not name.startswith((".", "-"))})


def split(line: str, breaks: str) -> tuple[list[str], str, int]:
    """Split a line as bash does.

    :param breaks: the characters at which readline begins a word anew, beside blanks.
    :returns: the words with the last one perhaps not finished, the quote that is still open, and how much of the last word
        stands before the part that readline will replace.
    """
    words, word, quote, start, begun = [], "", "", 0, False
    at = 0
    while at < len(line):
        character = line[at]
        at += 1
        if quote:
            if character == quote:
                quote = ""
            elif character == "\\" and quote == '"' and line[at : at + 1] in ("$", "`", '"', "\\"):
                word += line[at]
                at += 1
            else:
                word += character
        elif character in "'\"":
            quote, begun, start = character, True, len(word)
        elif character == "\\":
            word, begun = word + line[at : at + 1], True
            at += 1
        elif character in " \t\n":
            if begun or word:
                words.append(word)
            word, start, begun = "", 0, False
        else:
            word += character
            if character in breaks:
                start = len(word)
    return [*words, word], quote, start


def escaped(text: str, quote: str = "") -> str:
    """Return a text as it is typed in bash.

    :param quote: the quote that is open.
    """
    if quote == "'":
        return text.replace("'", "'\\''")
    return re.sub(r'[$`"\\]' if quote else r"[^\w%+=:,./@-]", lambda match: f"\\{match[0]}", text)


def refuse(shell: str | None) -> None:
    """See that it is one of the shells.

    :raises Failure: it is not.
    """
    if shell not in SHELLS:
        said = "which shell? bash, zsh or fish." if shell is None else f"there is no completion for {shell!r}, but for bash, zsh and fish."
        raise Failure(said, "repoman completion --help", exit_code=2)


def _beginning(current: str, found: Iterable[Candidate]) -> list[Candidate]:
    return [each for each in found if each.word.startswith(current)]


def _options(arguments: Iterable[Argument], typed: Typed) -> list[Candidate]:
    """Return the options that may still be given; their long forms."""
    many = ("append", "count")
    return [
        Candidate(each.names[-1], each.help)
        for each in arguments
        if each.is_option and each.help and (each.settings.get("action") in many or not set(each.names) & set(typed.options))
    ] + [Candidate("--help", "show the help"), *([] if typed.verb else [Candidate("--version", "show the version")])]


def _next_words(words: str, table: Mapping[str, Verb], groups: Mapping[str, str]) -> list[Candidate]:
    """Return the words of the verbs that begin with ``words``."""
    level, found = len(words.split()), dict[str, str]()
    for verb in table.values():
        parts = verb.words.split()
        if parts[:level] == words.split() and len(parts) > level:
            found.setdefault(parts[level], verb.summary if len(parts) == level + 1 else groups[parts[level]])
    return [Candidate(word, summary) for word, summary in found.items()]


def _values(argument: Argument, typed: Typed) -> list[Candidate] | None:
    """Return the values an argument may have; ``None`` where it is a path, none where they are not known."""
    meta = str(argument.settings.get("metavar", "")).rstrip("…")
    if meta in PATHS or argument.names == ("--to",):
        return None
    if argument.names == ("shell",):
        return [Candidate(shell) for shell in SHELLS]
    kind = ""
    if argument.names == ("--repo",) or (meta == "NAME" and not argument.is_option and typed.verb == "new"):
        kind = "repositories"
    elif argument.names == ("--profile",) or (meta == "NAME" and typed.verb.startswith("profile ")):
        kind = "profiles"
    elif meta == "NAME":
        kind = "projects"
    return [Candidate(name) for name in names(kind)] if kind else []


def _libraries(home: Path) -> list[Path]:
    """Return the directories of the profile library, the user's first."""
    from repoman.playbook import PLACE

    vendors = [Path(given) for given in (os.environ.get("REPOMAN_VENDOR_DIR"), "/usr/local/share/repoman/profiles") if given]
    own = [Path(entry, PLACE, "profiles") for entry in sys.path if entry]
    return [home / ".config/repoman/profiles.d", *[path for path in (*vendors, *own) if path.is_dir()][:1]]


def _directories(root: Path) -> list[Path]:
    try:
        return [path for path in root.iterdir() if path.is_dir()]
    except OSError:
        return []
