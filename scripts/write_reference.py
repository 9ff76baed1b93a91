# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Write the reference of the command and of the registry: two pages of the guides and the man page.

usage: .venv/bin/python scripts/write_reference.py [--check]

They are made from the tables that the command and the registry's reader use. With --check, write nothing; the exit status is 1 if a
page is out of date.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.registry import keys
from ansible_collections.homelab.repoman.plugins.module_utils.registry.keys import Key, Kind

from repoman.cli.help import EXIT_CODES, GLOBAL_USAGE
from repoman.cli.options import GLOBAL_OPTIONS, Argument
from repoman.cli.verbs import VERBS, Verb
from repoman.playbook import version

ROOT = Path(__file__).resolve().parents[1]
GUIDES = ROOT / "docs/docsite/rst"
MAN_PAGE = ROOT / "docs/man/repoman.1"
RST_HEADER = ".. This page is written by scripts/write_reference.py: make docs-reference\n\n.. _ansible_collections.homelab.repoman.docsite.{name}:\n\n"
DESCRIPTION = (
    "repoman runs each of your git and Mercurial repositories in a separate Incus container, with the repository mounted at the same path,"
    " your account inside, and your dotfiles, agent state and runtimes shared through Incus profiles. It also backs up all repositories."
)
SYNOPSIS = f"{GLOBAL_USAGE} VERB …"
ENVIRONMENT = (
    ("INCUS_SOCKET", "Path of the socket of Incus, if it is not the system's."),
    ("REPOMAN_VENDOR_DIR", "Directory of the vendor profiles."),
    ("REPOMAN_LOG", "A file to which a trace of the run is appended. Secrets are masked in it, but not paths and names."),
    ("VISUAL, EDITOR", "The editor for profile edit, with arguments: VISUAL first."),
    ("REPOMAN_OUTPUT", "quiet, normal or verbose, instead of the registry's output."),
    ("REPOMAN_DETAILS", "1 shows all details in status, as --all does."),
    ("REPOMAN_STRICT", "all or projects: status exits with 1 if something needs you; projects counts only projects and the backup."),
    ("REPOMAN_PAGER, PAGER", "The pager for long output of status; empty or cat for none."),
    ("NO_COLOR", "If it is set, the output has no colors."),
)
FILES = (
    ("~/.config/repoman/repoman.toml", "The registry: the host's address, the defaults and the projects."),
    ("~/.config/repoman/repos.d/NAME.toml", "Overrides for one project."),
    ("~/.config/repoman/profiles.d/NAME.yml", "Your profile templates; they shadow vendor templates of the same name."),
    ("~/.local/state/repoman", "Logs, the state of the backup, profiles that were replaced, and drafts of profile edit."),
)


def main(check: bool) -> int:
    """Write the pages, or with ``check`` compare them; return the exit status."""
    pages = {
        GUIDES / "command_reference.rst": command_page(),
        GUIDES / "registry_reference.rst": registry_page(),
        MAN_PAGE: man_page(),
    }
    stale = [path for path, text in pages.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(ROOT)} is out of date: make docs-reference", file=sys.stderr)  # noqa: T201
        else:
            path.write_text(pages[path], encoding="utf-8")
    return int(check and bool(stale))


# --- both forms ---


def shown(arguments: Iterable[Argument]) -> list[Argument]:
    """Return the arguments that the help shows."""
    return [argument for argument in arguments if argument.help]


def sentence(text: str) -> str:
    """Return a short explanation as a sentence."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."


def paragraph(text: str) -> str:
    """Return a text on one line."""
    return " ".join(text.split())


# --- reStructuredText ---


def rst(text: str) -> str:
    """Return a text in which nothing is markup."""
    return re.sub(r"([\\*`|])", r"\\\1", text).replace("_ ", "\\_ ")


def title(text: str, underline: str) -> str:
    """Return a title."""
    return f"{text}\n{underline * len(text)}\n"


def definitions(rows: Iterable[tuple[str, str]]) -> str:
    """Return a list of literal terms with explanations."""
    return "\n".join(f"``{term}``\n   {rst(text)}\n" for term, text in rows)


def block(language: str, lines: Iterable[str]) -> str:
    """Return a code block."""
    return f".. code-block:: {language}\n\n" + "".join(f"   {line}\n" for line in lines)


def command_page() -> str:
    """Return the reference of the command."""
    parts = [
        RST_HEADER.format(name="command_reference") + title("The command", "="),
        rst(DESCRIPTION) + "\n",
        block("text", [f"repoman {SYNOPSIS}"]),
        title("Options of every verb", "-"),
        "These stand before or after the verb.\n",
        definitions((argument.label, sentence(argument.help)) for argument in GLOBAL_OPTIONS),
        definitions((("-h, --help", "Show the help of the command, or of a verb."), ("--version", "Show the version."))),
        *(verb_section(verb) for verb in VERBS),
        title("Exit status", "-"),
        definitions((str(exit_code.code), exit_code.detail) for exit_code in EXIT_CODES),
        "Results go to standard output, errors and hints to standard error.\n",
        title("Environment", "-"),
        definitions(ENVIRONMENT),
        title("Files", "-"),
        definitions(FILES),
    ]
    return "\n".join(parts)


def verb_section(verb: Verb) -> str:
    """Return the section of a verb."""
    parts = [
        title(f"repoman {verb.words}", "-"),
        f"{rst(sentence(verb.summary))}\n",
        block("text", [f"repoman {verb.words} {verb.usage}".strip()]),
    ]
    if verb.about:
        parts.append(f"{rst(paragraph(verb.about))}\n")
    if arguments := shown(verb.arguments):
        parts.append(definitions((argument.label, sentence(argument.help)) for argument in arguments))
    return "\n".join([*parts, block("console", [f"$ {example}" for example in verb.examples])])


TABLES = (
    ("[repoman]", "", keys.REPOMAN),
    ("[host]", "", keys.HOST),
    ("[defaults]", "Defaults for all projects. Directories start with ``/``, ``~/`` or ``$HOME/``.", keys.DEFAULTS),
    ("[[project]]", "One for each project. ``repoman new`` adds it, and ``repoman remove`` removes it.", keys.PROJECT),
)
REGISTRY_INTRO = (
    "``~/.config/repoman/repoman.toml`` is the registry, in TOML. You can edit it: comments, order and unknown keys are preserved. It belongs"
    " to one host and one user. A value of another type is an error that names the file and the line, and a key that looks like a misspelled"
    " one is a warning.\n"
)
OVERRIDE_INTRO = (
    "``~/.config/repoman/repos.d/NAME.toml`` has what the project NAME needs different. Lowest precedence first: defaults, entry of the"
    " registry, override, command line. Unknown keys are an error.\n"
)
OVERRIDE_EXAMPLE = (
    'image = "images:debian/13/cloud"',
    'profiles = ["default", "dotfiles"]',
    'protect = ["hooks", "config"]',
    "",
    "[config]",
    '"limits.memory" = "4GiB"',
    "",
    "[devices.data]",
    'type = "disk"',
    'source = "/srv/data"',
    'path = "/srv/data"',
    "shift = true",
)


def registry_page() -> str:
    """Return the reference of the registry and the overrides."""
    parts = [RST_HEADER.format(name="registry_reference") + title("The registry and overrides", "="), REGISTRY_INTRO]
    for name, text, table in TABLES:
        parts += [title(name, "-"), *([f"{text}\n"] if text else []), key_table(table)]
    parts += [title("Overrides", "-"), OVERRIDE_INTRO, block("toml", OVERRIDE_EXAMPLE).replace("   \n", "\n"), key_table(keys.OVERRIDE)]
    return "\n".join(parts)


def key_table(table: Iterable[Key]) -> str:
    """Return a table of keys."""
    rows = ["key", "type", "default", "meaning"]
    lines = [".. list-table::", "   :header-rows: 1", ""]
    lines += [f"   {'*' if cell == 'key' else ' '} - {cell}" for cell in rows]
    for key in table:
        kind = f"one of {', '.join(f'``{choice}``' for choice in key.choices)}" if key.kind is Kind.CHOICE else str(key.kind)
        lines += [f"   * - ``{key.name}``", f"     - {kind}", f"     - {default_of(key)}", f"     - {rst(key.meaning)}"]
    return "\n".join(lines) + "\n"


def default_of(key: Key) -> str:
    """Return the default of a key in TOML."""
    if key.default_text:
        return key.default_text
    value = key.default
    if isinstance(value, tuple):
        return "``[" + ", ".join(f'"{item}"' for item in value) + "]``"
    return f"``{str(value).lower()}``" if isinstance(value, bool) else f'``"{value}"``'


# --- roff ---

ROFF = {"\\": "\\e", "-": "\\-", "~": "\\(ti", "^": "\\(ha", "'": "\\(aq", "`": "\\(ga", "…": "..."}


def roff(text: str, keep_together: bool = False) -> str:
    """Return a text in which nothing is a request.

    :param keep_together: do not break it at blanks.
    """
    quoted = "".join(ROFF.get(character, character) for character in text)
    quoted = f"\\&{quoted}" if quoted.startswith(".") else quoted
    return quoted.replace(" ", "\\ ") if keep_together else quoted


def terms(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Return a list of terms with explanations."""
    return [line for term, text in rows for line in (".TP", f".B {roff(term, keep_together=True)}", *sentences(text))]


def sentences(text: str) -> list[str]:
    """Return the lines of a paragraph: one for each sentence, as roff expects."""
    return [roff(part) for part in re.split(r"(?<=[.:;]) (?=[A-Z])", paragraph(text))]


def usage(words: str, arguments: str) -> list[str]:
    r"""Return a usage line that breaks only between arguments. ``\&`` keeps three dots from ending a sentence."""
    parts = re.findall(r"\[(?:[^][]|\[[^]]*\])*\]…?|\S+", arguments)
    return [
        ".HP",
        f".B {roff(f'repoman {words}'.strip(), keep_together=True)}",
        *(roff(part, keep_together=True) + "\\&" * ("…" in part) for part in parts),
    ]


def examples(lines: Iterable[str]) -> list[str]:
    """Return command lines."""
    return [".PP", ".in +4n", ".EX", *(roff(line) for line in lines), ".EE", ".in"]


def man_page() -> str:
    """Return the man page."""
    lines = [
        '.\\" This page is written by scripts/write_reference.py: make docs-reference',
        f'.TH REPOMAN 1 "" "repoman {version()}" "User commands"',
        *(".nh", ".ad l"),
        *(".SH NAME", "repoman \\- a container for each of your repositories, shared profiles, and a backup"),
        *(".SH SYNOPSIS", *usage("", SYNOPSIS)),
        *(".SH DESCRIPTION", *sentences(DESCRIPTION)),
        ".SH OPTIONS",
        "These stand before or after the verb.",
        *terms((argument.label, sentence(argument.help)) for argument in GLOBAL_OPTIONS),
        *terms((("-h, --help", "Show the help of the command, or of a verb."), ("--version", "Show the version."))),
        ".SH VERBS",
    ]
    for verb in VERBS:
        lines += [f".SS {roff(verb.words)}", *usage(verb.words, verb.usage), ".PP", roff(sentence(verb.summary))]
        lines += sentences(verb.about) if verb.about else []
        lines += terms((argument.label, sentence(argument.help)) for argument in shown(verb.arguments))
        lines += examples(verb.examples)
    lines += [".SH EXIT STATUS", *terms((str(exit_code.code), exit_code.detail) for exit_code in EXIT_CODES)]
    lines += [".SH ENVIRONMENT", *terms(ENVIRONMENT)]
    lines += [".SH FILES", *terms(FILES)]
    lines += [".SH SEE ALSO", ".BR incus (1),", ".BR ansible\\-playbook (1)"]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(check=sys.argv[1:] == ["--check"]))
