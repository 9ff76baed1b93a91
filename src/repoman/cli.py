# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: what was typed becomes a playbook, its outcome becomes the exit code.

Nothing here imports ansible, so that help and wrong usage are answered at once.
"""

from __future__ import annotations

import argparse
import difflib
import json
import os
import re
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, NoReturn

from repoman import completion, shell
from repoman.errors import INTERRUPTED, USAGE, Failure, tell
from repoman.playbook import Playbook, version

WIDTH = 34
LINE_WIDTH = 80
"""Columns that help may take."""
LITERAL = "\0"
"""Before what came after ``--`` while the line is parsed: no argument of a process can hold it."""
TEXT_OPTIONS = {"-i", "--inventory", "-l", "--limit", "--forks", "--to", "--from", "--jobs"}
"""Options whose values are text."""
NAMES_FILES = {"sync", "restore"}
"""Verbs whose names may be any that a file can have."""
"""Column where the explanations of a help text begin."""


@dataclass(frozen=True)
class Argument:
    """An option, or a name to give.

    :param names: as typed; for a positional argument the one name of its value.
    :param help: a short explanation; empty keeps it out of the help.
    :param settings: what ``argparse`` is told besides.
    """

    names: tuple[str, ...]
    help: str
    settings: Mapping[str, Any]

    @property
    def is_option(self) -> bool:
        """Whether it is an option."""
        return self.names[0].startswith("-")

    @property
    def label(self) -> str:
        """How the help names it."""
        value = self.settings.get("metavar", "")
        return f"{', '.join(self.names)} {value}".strip() if self.is_option else str(value)


def flag(*names: str, help: str) -> Argument:  # noqa: A002
    """Return an option without a value."""
    return Argument(names, help, {"action": "store_true"})


def names(help: str, at_least_one: bool = True) -> Argument:  # noqa: A002
    """Return the positional argument for several names."""
    return Argument(("names",), help, {"metavar": "NAME…", "nargs": "+" if at_least_one else "*"})


def name(help: str) -> Argument:  # noqa: A002
    """Return the positional argument for one name."""
    return Argument(("name",), help, {"metavar": "NAME"})


def number(text: str) -> int:
    """Return the number that was typed, 1 or more.

    :raises argparse.ArgumentTypeError: it is none.
    """
    if not text.isascii() or not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 on")
    return int(text)


def text(typed: str) -> str:
    """Return what was typed as an option's value, which is not empty: a shell's unset variable is, and means nothing.

    :raises argparse.ArgumentTypeError: it is empty.
    """
    if not typed:
        raise argparse.ArgumentTypeError("its value is empty")
    return typed


EVERYWHERE = (
    flag("-C", "--check", help="only tell what would be done"),
    flag("--diff", help="show what changes as unified diffs"),
    Argument(("-v", "--verbose"), "tell more; up to -vvvv", {"action": "count"}),
    flag("--json", help="print one JSON document"),
    Argument(
        ("-i", "--inventory"), "work on the hosts of an Ansible inventory", {"metavar": "INVENTORY", "action": "append", "type": text}
    ),
    Argument(("-l", "--limit"), "of those, on the hosts that match", {"metavar": "PATTERN", "type": text}),
    Argument(("--forks",), "on so many hosts at a time", {"metavar": "N", "type": number}),
)
"""Options that stand before or after the verb."""


Run = Callable[[Playbook, Namespace], int]


@dataclass(frozen=True)
class Verb:
    """A row of the command's table.

    :param words: the verb as typed, ``list`` or ``profile list``; also its playbook's name, with an underscore.
    :param usage: what follows the verb.
    :param summary: a line for the list of verbs.
    :param about: what the help says besides.
    :param arguments: beside those that stand everywhere.
    :param examples: command lines for the help.
    :param variables: makes the playbook's extra variables of what was typed.
    :param run: carries it out; returns the exit code.
    """

    words: str
    usage: str
    summary: str
    examples: tuple[str, ...]
    variables: Callable[[Namespace], dict[str, Any]]
    run: Run
    arguments: tuple[Argument, ...] = ()
    about: str = ""


def just_run(playbook: Playbook, options: Namespace) -> int:
    """Run the playbook."""
    return playbook.run().exit_code


def set_up(playbook: Playbook, options: Namespace) -> int:
    """Run setup; where somebody can be asked, after showing what it would do."""
    if options.non_interactive or options.json or not sys.stdin.isatty():
        return just_run(playbook, options)
    return ask_first(playbook, default=True)


def remove(playbook: Playbook, options: Namespace) -> int:
    """Remove projects, after showing what goes and what stays, unless ``--yes``."""
    if options.yes or options.check:
        return just_run(playbook, options)
    if options.json or not sys.stdin.isatty():
        raise Failure(
            "remove asks before it deletes a container, and there is nobody to ask.",
            "add --yes to remove without a question",
            exit_code=USAGE,
        )
    return ask_first(playbook, default=False)


def ask_first(playbook: Playbook, default: bool) -> int:
    """Preview a playbook, ask once, run it; without anything to do there is no question.

    A preview that failed on this host ends it; on other hosts, one that is down does not stop the others.

    :param default: what an empty answer means.
    """
    if playbook.check:
        return playbook.run().exit_code
    preview = playbook.preview()
    if preview.exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    if not preview.changed or (preview.exit_code and playbook.is_here):
        return preview.exit_code
    if not confirmed("Proceed?", default):
        print("nothing was changed")  # noqa: T201
        return 1
    return playbook.run(brief=True).exit_code


def confirmed(question: str, default: bool) -> bool:
    """Ask on the terminal; the end of input means no."""
    print(f"{question} [{'Y/n' if default else 'y/N'}] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)  # noqa: T201
        return False
    answer = line.strip().lower()
    return answer in ("y", "yes") if answer else default


def open_shell(playbook: Playbook, options: Namespace) -> int:
    """Start the project and become a shell in it; it returns only if that is not to be."""
    if not playbook.is_here:
        raise Failure("shell works on this host only.", f"ssh to that host, then: repoman shell {options.name}", exit_code=USAGE)
    if playbook.json:
        raise Failure("shell has no --json: what it prints is the command's.", "repoman list --json", exit_code=USAGE)
    outcome = playbook.run()
    if outcome.exit_code or playbook.check:
        return outcome.exit_code
    from repoman import engine

    engine.forget()
    shell.become(outcome.results[-1], options.command)


def print_completion(playbook: Playbook, options: Namespace) -> int:
    """Print the script that completes in a shell, or names."""
    print("\n".join(completion.names(options.names)) if options.names else completion.script(options.shell), end="\n" * bool(options.names))  # noqa: T201
    return 0


def shell_to_complete(options: Namespace) -> dict[str, Any]:
    """Return the variables of ``completion``: none.

    :raises Failure: there is no completion for that shell.
    """
    if not options.names:
        completion.refuse(options.shell)
    return {}


def new_project(options: Namespace) -> dict[str, Any]:
    """Return the variables of ``new``: what was not given is left to the registry and the override."""
    project = {
        "name": options.name,
        "repo": options.repo,
        "image": options.image,
        "profiles": options.profile,
        "target": options.target,
    }
    given = {key: value for key, value in project.items() if value is not None}
    return {"repoman_projects": [given | ({"backup": False} if options.no_backup else {})]}


def profiles_to_install(options: Namespace) -> dict[str, Any]:
    """Return the variables of ``profile install``.

    :raises Failure: neither names nor ``--all``, or both.
    """
    if bool(options.names) == options.all:
        message = "--all installs every profile; it takes no names." if options.all else "which profile? Name some, or give --all."
        raise Failure(message, "repoman profile list", "repoman profile install --help", exit_code=USAGE)
    return {"repoman_profile_all": True} if options.all else {"repoman_profile_names": options.names}


def refuse_old_flags(options: Namespace) -> dict[str, Any]:
    """Return the variables of ``setup``: none.

    :raises Failure: a flag of earlier versions was given.
    """
    for old in ("with_llm", "without_llm"):
        if getattr(options, old):
            raise Failure(
                f"setup has no --{old.replace('_', '-')} any more: profiles are installed on their own.",
                "repoman profile install llm-share",
                exit_code=USAGE,
            )
    return {}


def what_to_sync(options: Namespace) -> dict[str, Any]:
    """Return the variables of ``sync``.

    :raises Failure: options that mean nothing together.
    """
    if options.allow_local and not options.init:
        raise Failure("--allow-local means something only together with --init.", "repoman sync --init --allow-local", exit_code=USAGE)
    alone = options.list_kept is not None
    if options.verify or alone:
        this = "--list-kept" if alone else "--verify"
        for other in ("names", "init", "full", "allow_shrink", "verify"):
            if getattr(options, other) and (alone or other not in ("names", "verify")):
                typed = "names" if other == "names" else f"--{other.replace('_', '-')}"
                raise Failure(f"{this} changes nothing, and does not go with {typed}.", "repoman sync --help", exit_code=USAGE)
    keys = (
        "names",
        "init",
        "allow_local",
        "full",
        "verify",
        "allow_shrink",
        "list_kept",
        "jobs",
        "exclude",
        "exclude_caches",
        "follow_mounts",
    )
    given = {key: getattr(options, key) for key in keys}
    given["names"] = [in_utf8(name) for name in given["names"] or []]
    given["list_kept"] = given["list_kept"] and in_utf8(given["list_kept"])
    return {f"repoman_sync_{key}": value for key, value in given.items() if value not in (None, False, [])}


def in_utf8(name: str) -> str:
    """Return a name of a file as the modules know it: bytes that are not UTF-8 are escaped."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def what_to_restore(options: Namespace) -> dict[str, Any]:
    """Return the variables of ``restore``; a directory is seen from where the command was typed.

    :raises Failure: it would be on another host, where that means nothing.
    """
    if options.to and (options.inventory or options.limit) and not options.to.startswith(("/", "~")):
        raise Failure(
            f"--to {options.to} is relative, and on another host there is nothing that it is relative to.",
            f"give an absolute directory, or one from the home there: --to ~/{options.to}",
            exit_code=USAGE,
        )
    if options.objects:
        for other in ("to", "from", "path", "overwrite"):
            if getattr(options, other):
                raise Failure(
                    f"--objects cannot be combined with --{other}.",
                    "repoman restore --help",
                    exit_code=USAGE,
                )
    to = options.to and (options.to if options.to.startswith("~") else os.path.abspath(options.to))
    given = {
        "name": in_utf8(options.name),
        "to": to,
        "from": getattr(options, "from"),
        "paths": options.path and [in_utf8(path) for path in options.path],
        "overwrite": options.overwrite,
        "objects": options.objects,
    }
    return {f"repoman_restore_{key}": value for key, value in given.items() if value not in (None, False)}


def nothing(options: Namespace) -> dict[str, Any]:
    """Return no variables."""
    return {}


def one_profile(options: Namespace) -> dict[str, Any]:
    """Return the variables of verbs about one profile."""
    return {"repoman_profile_names": [options.name]}


VERBS = (
    Verb(
        "setup",
        "[--non-interactive]",
        "prepare this host: the Incus project and the registry",
        ("repoman setup", "repoman setup --check --diff"),
        refuse_old_flags,
        set_up,
        (
            flag("--non-interactive", help="apply without asking"),
            flag("--with-llm", help=""),
            flag("--without-llm", help=""),
        ),
        "Makes the Incus project, detects the host's LAN address on br0 and writes the registry.\n"
        "Run again, it changes only what is not as it should be. It asks before it applies;\n"
        "an empty answer means yes. With no terminal it applies without asking.",
    ),
    Verb(
        "new",
        "NAME [--repo DIR] [--image IMAGE] [--profile NAME]… [--no-backup] [--target MEMBER]",
        "make the container of a repository",
        ("repoman new isurus", "repoman new isurus --repo isurus-project --profile default --profile claude-share"),
        new_project,
        just_run,
        (
            name("name of the project and of its container"),
            Argument(("--repo",), "directory of the repository in repos_root; the name where not set", {"metavar": "DIR", "type": text}),
            Argument(("--image",), "image of a new container, as incus takes it", {"metavar": "IMAGE", "type": text}),
            Argument(("--profile",), "profile of the container; repeat for more", {"metavar": "NAME", "action": "append", "type": text}),
            flag("--no-backup", help="leave the repository out of the backup"),
            Argument(("--target",), "member of the Incus cluster for a new container", {"metavar": "MEMBER", "type": text}),
        ),
        "The repository is mounted at the same path, and the account inside is yours. An existing\n"
        "container of the project is brought to its configuration. What fails is undone.",
    ),
    Verb("list", "", "show the projects and their containers", ("repoman list", "repoman list --json"), nothing, just_run),
    Verb(
        "status",
        "[NAME…]",
        "tell all: host, containers, repositories, backup",
        ("repoman status", "repoman status isurus", "repoman status --json"),
        lambda options: {"repoman_project_names": options.names} if options.names else {},
        just_run,
        (names("projects to look at; default: all", at_least_one=False),),
        "Shows what is not committed, not pushed, not backed up, and not as it is configured. Nothing that\n"
        "a repository configures is run, and nothing is sent over the network.",
    ),
    Verb(
        "remove",
        "NAME… [--yes]",
        "delete containers; repository and backup stay",
        ("repoman remove isurus", "repoman remove isurus --yes"),
        lambda options: {"repoman_projects": [{"name": name} for name in dict.fromkeys(options.names)]},
        remove,
        (names("projects to remove"), flag("--yes", help="do not ask")),
        "Shows what goes and what stays, and asks; an empty answer means no.",
    ),
    Verb(
        "sync",
        "[NAME…] [--init [--allow-local]] [--full] [--verify] [--allow-shrink] [--exclude PATTERN]… [--exclude-caches] [--follow-mounts]"
        " [--jobs N] [--list-kept NAME]",
        "back up all repositories, or those named",
        (
            "repoman sync --init",
            "repoman sync",
            "repoman sync --verify",
            "repoman sync isurus --check --diff",
            "repoman sync --list-kept isurus",
        ),
        what_to_sync,
        just_run,
        (
            names("projects or directories (default: all)", at_least_one=False),
            flag("--init", help="make an unmarked backup_root the target"),
            flag("--allow-local", help="with --init, accept a target on the same disk"),
            flag("--full", help="compare everything with the mirrors"),
            flag("--verify", help="compare contents; change nothing"),
            flag("--allow-shrink", help="allow large deletions; see below"),
            Argument(
                ("--exclude",),
                "do not back up matches (.gitignore pattern)",
                {"metavar": "PATTERN", "action": "append", "type": text},
            ),
            flag("--exclude-caches", help="skip directories with a valid CACHEDIR.TAG"),
            flag("--follow-mounts", help="also back up mounted file systems"),
            Argument(("--jobs",), "repositories to work on at once", {"metavar": "N", "type": number}),
            Argument(("--list-kept",), "list saved versions of a project or directory", {"metavar": "NAME", "type": text}),
        ),
        "git fsck and hg verify accept each mirror, even if the source changes during\n"
        "the run. Replaced and removed files are kept for 30 days. Nothing changes if the\n"
        "target is missing or is the wrong one, or if a source has vanished. If you\n"
        "emptied or deleted a source on purpose: repoman sync NAME --allow-shrink.\n"
        "--verify exits with 1 if anything differs. sync exits with 1 if something failed\n"
        "or is damaged, and with 4 if a guard refused or another run was busy.",
    ),
    Verb(
        "restore",
        "NAME [--to DIR] [--from TIME] [--path P]… [--overwrite] [--objects]",
        "restore a repository, or files in it",
        (
            "repoman restore isurus",
            "repoman restore isurus --to /tmp/isurus --from 2026-11-24",
            "repoman restore isurus --path src/main.c --overwrite",
            "repoman restore isurus --objects",
        ),
        what_to_restore,
        just_run,
        (
            name("project, or directory of repos_root"),
            Argument(("--to",), "restore to this directory, not in place", {"metavar": "DIR", "type": text}),
            Argument(("--from",), "restore the version before this time", {"metavar": "TIME", "type": text}),
            Argument(("--path",), "restore only this path of the repository", {"metavar": "P", "action": "append", "type": text}),
            flag("--overwrite", help="replace existing files; they are saved first"),
            flag("--objects", help="restore only missing or damaged objects"),
        ),
        "TIME is a time as shown by repoman sync --list-kept NAME, or 2026-11-24, or\n"
        "'2026-11-24 18:30'. Replaced files are saved next to the directory, and the\n"
        "report names the path. --objects repairs a git or Mercurial repository from its\n"
        "mirror, verifies each object, and changes nothing else.",
    ),
    Verb(
        "shell",
        "NAME [-- COMMAND…]",
        "open a shell, or run a command, in a container",
        ("repoman shell isurus", "repoman shell isurus -- git status"),
        lambda options: {"repoman_project_name": options.name},
        open_shell,
        (
            name("project to enter; its container is started if it is stopped"),
            Argument(("command",), "what to run in the repository; default: your login shell", {"metavar": "COMMAND…", "nargs": "*"}),
        ),
        "The exit status is the command's.",
    ),
    Verb(
        "completion",
        "bash|zsh|fish",
        "print the script that completes this command in a shell",
        ("repoman completion fish | source", "source <(repoman completion bash)", "source <(repoman completion zsh)"),
        shell_to_complete,
        print_completion,
        (
            Argument(("shell",), "the shell: bash, zsh or fish", {"metavar": "SHELL", "nargs": "?"}),
            Argument(("--names",), "", {"metavar": "KIND", "choices": completion.KINDS}),
        ),
        "Put your shell's line of the examples into ~/.config/fish/config.fish, into ~/.bashrc, or into\n"
        "~/.zshrc after compinit. It completes verbs, options, and names of projects and profiles.",
    ),
    Verb("profile list", "", "show the profile library", ("repoman profile list",), nothing, just_run),
    Verb(
        "profile install",
        "NAME…|--all",
        "bring profiles into Incus",
        ("repoman profile install claude-share", "repoman profile install --all"),
        profiles_to_install,
        just_run,
        (
            names("profiles of the library to install or update", at_least_one=False),
            flag("--all", help="every profile of the library, in alphabetical order"),
        ),
        "A file in ~/.config/repoman/profiles.d shadows the vendor file of the same name.",
    ),
    Verb(
        "profile diff",
        "NAME [--vendor]",
        "show what install would change",
        ("repoman profile diff claude-share", "repoman profile diff claude-share --vendor"),
        lambda options: one_profile(options) | {"repoman_vendor_diff": options.vendor},
        just_run,
        (name("profile to compare with the installed one"), flag("--vendor", help="compare your file with the vendor file it shadows")),
        "The exit status is 1 where they differ.",
    ),
    Verb(
        "profile remove",
        "NAME",
        "take a profile out of Incus; its file stays",
        ("repoman profile remove dotfiles",),
        one_profile,
        just_run,
        (name("profile to remove"),),
    ),
    Verb(
        "profile show",
        "NAME",
        "print a profile as it would be installed",
        ("repoman profile show claude-share",),
        one_profile,
        just_run,
        (name("profile to print"),),
    ),
)

GROUPS = {"profile": "profiles: templates that are rendered for this host and installed into Incus"}
EPILOG = """\
exit status:
  0  done, or nothing to do            1  it failed; 'profile diff', 'sync --verify': they differ
  2  wrong usage                       3  something needed is not known
  4  conflict with what is there       130  interrupted
"""


class Asked(Exception):
    """A text was asked for, with ``--help`` or ``--version``: it is to be printed, and that is all."""


class Parser(argparse.ArgumentParser):
    """A parser that raises what it has to say.

    :param words: of the verb, or of a group of verbs, that it parses; empty for the command.
    """

    def __init__(self, words: str, arguments: Iterable[Argument]) -> None:
        super().__init__(prog=f"repoman {words}".strip(), add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
        self.add_argument("-h", "--help", action="store_true")
        for argument in arguments:
            self.add_argument(*argument.names, **argument.settings)

    def error(self, message: str) -> NoReturn:
        """Raise wrong usage."""
        raise Failure(f"{message.rstrip('.')}.", f"{self.prog} --help", exit_code=USAGE)

    def refuse(self, extra: Sequence[str]) -> None:
        """Raise wrong usage if anything is left over that no argument takes."""
        if not extra:
            return
        if not extra[0].startswith("-"):
            raise Failure(f"{self.prog}: {extra[0]!r} is one argument too many.", f"{self.prog} --help", exit_code=USAGE)
        typed = extra[0].partition("=")[0]
        known = [option for action in self._actions if action.help != argparse.SUPPRESS for option in action.option_strings]
        raise Failure(f"{self.prog} has no option {typed}.", *near(typed, known), f"{self.prog} --help", exit_code=USAGE)


def near(typed: str, known: Iterable[str]) -> list[str]:
    """Return a hint at the nearest of what is known, if any is near."""
    return [f"did you mean {match!r}?" for match in difflib.get_close_matches(typed, list(known), n=1)]


def parse(argv: Sequence[str]) -> tuple[Verb, Namespace]:
    """Return the verb that was typed, and its options.

    :raises Failure: wrong usage.
    :raises Asked: help or the version is asked for.
    """
    line, command = list(argv), None
    if "--" in line:
        line, command = line[: line.index("--")], line[line.index("--") + 1 :]
    typed = list(line)
    options = Namespace(verbose=0)
    words = ""
    while words not in VERBS_BY_WORDS:
        words, line = next_word(words, line, options)
    verb = VERBS_BY_WORDS[words]
    takes_command = any(argument.names == ("command",) for argument in verb.arguments)
    check_text(words, [*typed, *(command or [] if not takes_command else [])])
    if command and not takes_command:
        line += [f"{LITERAL}{part}" if part.startswith("-") else part for part in command]
    parser = Parser(words, (*EVERYWHERE, *(argument for argument in verb.arguments if argument.names != ("command",))))
    if any(asked in line for asked in ("-h", "--help")):
        raise Asked(help_of_verb(verb))
    known, extra = parser.parse_known_intermixed_args(line, options)
    if takes_command and extra and not extra[0].startswith("-"):
        raise Failure(
            f"a command goes after '--': {extra[0]!r} is one argument too many.",
            f"{parser.prog} NAME -- {' '.join(extra)}",
            exit_code=USAGE,
        )
    parser.refuse([part.removeprefix(LITERAL) for part in extra])
    unmark(known)
    for argument in (*EVERYWHERE, *verb.arguments):
        key = argument.names[-1].lstrip("-").replace("-", "_")
        if not hasattr(known, key):
            setattr(known, key, False if argument.settings.get("action") == "store_true" else None)
    if takes_command:
        known.command = command or []
    return verb, known


def check_text(words: str, line: Sequence[str]) -> None:
    """Refuse bytes that are not UTF-8, but in names of files for the verbs that know them.

    :raises Failure: there are some.
    """
    for number, part in enumerate(line):
        if part.isascii() or not any("\ud800" <= character <= "\udfff" for character in part):
            continue
        before = line[number - 1] if number else ""
        is_name = before not in TEXT_OPTIONS and (not part.startswith("-") or part.startswith(("--path=", "--list-kept=")))
        if words not in NAMES_FILES or not is_name:
            raise Failure(f"{part!r} is not UTF-8 text.", "a command for 'shell' may be anything, after '--'", exit_code=USAGE)


def unmark(options: Namespace) -> None:
    """Take the mark off what came after ``--``."""
    for key, value in vars(options).items():
        if isinstance(value, str):
            setattr(options, key, value.removeprefix(LITERAL))
        elif isinstance(value, list):
            setattr(options, key, [each.removeprefix(LITERAL) if isinstance(each, str) else each for each in value])


def next_word(words: str, line: list[str], options: Namespace) -> tuple[str, list[str]]:
    """Parse options up to the next word of the verb.

    :returns: the words so far and the rest of the line.
    """
    parser = Parser(words, (*EVERYWHERE, *((flag("--version", help=""),) if not words else ())))
    parser.add_argument("word", nargs="?" if not any(not part.startswith("-") for part in line) else None)
    parser.add_argument("rest", nargs=argparse.REMAINDER, default=[])
    known, extra = parser.parse_known_args(line, options)
    if hasattr(known, "help"):
        raise Asked(help_of_group(words) if words else help_of_command())
    if hasattr(known, "version"):
        raise Asked(f"repoman {version()}\n")
    parser.refuse(extra)
    word, rest = getattr(known, "word", None), known.rest
    for key in ("word", "rest"):
        if hasattr(known, key):
            delattr(known, key)
    if word is None:
        raise Failure("no verb was given." if not words else f"{words}: what about it?", f"{parser.prog} --help", exit_code=USAGE)
    here = f"{words} {word}".strip()
    level = len(here.split())
    choices = list(dict.fromkeys(" ".join(verb.words.split()[:level]) for verb in VERBS if verb.words.startswith(words)))
    if here not in choices:
        hints = near(here, choices) or near(word, [choice.split()[-1] for choice in choices])
        raise Failure(f"there is no verb {here!r}.", *hints, f"{parser.prog} --help", exit_code=USAGE)
    return here, rest


def playbook_of(verb: Verb, options: Namespace) -> Playbook:
    """Return the playbook that does what was typed.

    :raises Failure: wrong usage that only the verb can tell.
    """
    return Playbook(
        name=verb.words.replace(" ", "_"),
        variables=verb.variables(options),
        check=options.check,
        diff=options.diff,
        json=options.json,
        verbosity=options.verbose,
        inventory=tuple(options.inventory or ()),
        limit=options.limit or "",
        forks=options.forks or 0,
    )


def help_of_command() -> str:
    """Return the text of ``repoman --help``."""
    rows = [(f"{verb.words} {verb.usage}".strip(), verb.summary) for verb in VERBS]
    return "\n".join(
        (
            "usage: repoman [-C|--check] [--diff] [-v…] [--json] [-i INVENTORY] [-l PATTERN] VERB …",
            "",
            "A container for each of your repositories, profiles shared into them, and a backup of them all.",
            "",
            "verbs:",
            *columns(rows),
            "",
            "options, before or after the verb:",
            *columns([(argument.label, argument.help) for argument in EVERYWHERE]),
            *columns([("-h, --help", "show this, or the help of a verb"), ("--version", "show the version")]),
            "",
            EPILOG,
            "example:",
            "  repoman setup",
            "  repoman profile install --all",
            "  repoman new isurus",
            "  repoman shell isurus",
            "",
        )
    )


def help_of_group(words: str) -> str:
    """Return the help of a group of verbs."""
    verbs = [verb for verb in VERBS if verb.words.startswith(f"{words} ")]
    rows = [(f"{verb.words} {verb.usage}".strip(), verb.summary) for verb in verbs]
    return "\n".join(
        (f"usage: repoman {words} VERB …", "", GROUPS[words], "", "verbs:", *columns(rows), "", "example:", f"  {verbs[0].examples[0]}", "")
    )


def help_of_verb(verb: Verb) -> str:
    """Return the help of a verb."""
    own = [(argument.label, argument.help) for argument in verb.arguments if argument.help]
    return "\n".join(
        (
            *usage_lines(verb),
            "",
            f"{verb.summary}",
            *(["", verb.about] if verb.about else []),
            *(["", "arguments:", *columns(own)] if own else []),
            "",
            "options of every verb:",
            *columns([(argument.label, argument.help) for argument in EVERYWHERE]),
            "",
            "example:",
            *(f"  {example}" for example in verb.examples),
            "",
        )
    )


def usage_lines(verb: Verb) -> list[str]:
    """Return the usage of a verb, wrapped between options to 80 columns."""
    start = f"usage: repoman {verb.words}"
    lines = [start]
    for part in re.findall(r"\[(?:[^][]|\[[^]]*\])*\]…?|\S+", verb.usage):
        if len(lines[-1]) + 1 + len(part) > LINE_WIDTH:
            lines.append(" " * len(start))
        lines[-1] += f" {part}"
    return lines


def columns(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return lines of two columns; a left part that is too long gets a line of its own."""
    lines = []
    for left, right in rows:
        if len(left) + 4 > WIDTH:
            lines += [f"  {left}", f"{'':{WIDTH}}{right}"]
        else:
            lines.append(f"  {left:{WIDTH - 2}}{right}")
    return lines


VERBS_BY_WORDS = {verb.words: verb for verb in VERBS}


def main(argv: Sequence[str] | None = None) -> int:
    """Be the command.

    :param argv: what was typed after its name.
    :returns: its exit code.
    """
    try:
        code = _main(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return code


def _main(argv: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, _interrupt)
    if argv[:2] == ["completion", "--complete"]:
        print(completion.answer(argv[2:], VERBS, EVERYWHERE, GROUPS), end="")  # noqa: T201
        return 0
    as_json = "--json" in argv[: argv.index("--") if "--" in argv else None]
    words = ""
    elsewhere: list[str] = []
    try:
        verb, options = parse(argv)
        words = verb.words
        playbook = playbook_of(verb, options)
        if not playbook.is_here:
            elsewhere.append("what was begun on other hosts is being undone there: repoman -i INVENTORY list")
        return verb.run(playbook, options)
    except Asked as asked:
        print(asked, end="")  # noqa: T201
        return 0
    except KeyboardInterrupt:
        failure = Failure("interrupted.", *elsewhere, exit_code=INTERRUPTED)
    except Failure as error:
        failure = error
    tell(failure)
    if as_json:
        document = {
            "verb": words,
            "changed": False,
            "exit_code": failure.exit_code,
            "failed": True,
            "msg": failure.message,
            "hints": failure.hints,
        }
        print(json.dumps(document, indent=2))  # noqa: T201
    return failure.exit_code


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
