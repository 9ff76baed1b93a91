# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Configurations of git: read those of a repository and its user, and write one with which git runs no other program."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping

from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError, CommandRunner
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import ConfinedTree, VcsError
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.environment import account_environment
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.location import GitLocation

PLAIN_VALUE = re.compile(r"[A-Za-z0-9]*\Z")
SIMPLE_BYTES = 64 << 10
"""Maximum size of a configuration that is read without git."""
SIMPLE_CONFIG = re.compile(
    rb'(?:\[[A-Za-z0-9-]+(?: "[A-Za-z0-9/._@+-]+")?\]\n(?:[ \t]+[A-Za-z][A-Za-z0-9-]* = [A-Za-z0-9/._@+:*,~-]+\n)*)+'
)
"""A configuration that can be read without git; see :func:`parse_simple_config`."""
KEPT_SETTINGS = frozenset(
    {
        "core.autocrlf",
        "core.checkstat",
        "core.eol",
        "core.filemode",
        "core.ignorecase",
        "core.precomposeunicode",
        "core.protecthfs",
        "core.protectntfs",
        "core.sparsecheckout",
        "core.sparsecheckoutcone",
        "core.symlinks",
        "core.trustctime",
        "index.sparse",
    }
)
"""The settings of a repository that are kept: they decide how files are compared. All are words or numbers."""
EXTENSIONS = frozenset({"objectformat", "refstorage"})
"""Extensions of the repository's format that git must know to read it."""
EXTENSIONS_NOT_NEEDED = frozenset({"noop", "noop-v1", "partialclone", "preciousobjects", "relativeworktrees", "worktreeconfig"})
USER_SETTINGS = frozenset({"core.autocrlf", "core.eol", "core.excludesfile"})
"""The settings of the user that are kept: they decide which files count as changed."""
GIT_HARDENING = """\
\tfsmonitor = false
\thooksPath = /dev/null
\tuntrackedCache = false
\tpager = cat
\teditor = false
\tsshCommand = false
[protocol]
\tallow = never
[submodule]
\trecurse = false
[gc]
\tauto = 0
[maintenance]
\tauto = false
"""


def read_user_settings(runner: CommandRunner) -> dict[str, str]:
    """Return the user's settings that decide which files count as changed or ignored."""
    environment = {key: value for key, value in account_environment(runner.account).items() if key != "GIT_CONFIG_GLOBAL"}
    try:
        done = runner.run(["git", "config", "--global", "--includes", "--list", "-z"], environment, "/")
    except CommandError:
        return {}
    return {key: values[-1] for key, values in _parse_listing(done.out).items() if key in USER_SETTINGS}


def read_config(location: GitLocation, tree: ConfinedTree, runner: CommandRunner) -> dict[str, list[str]]:
    """Return a repository's own configuration as data, its includes left out; the keys are as ``git config --list`` has them.

    :raises VcsError: it cannot be read.
    """
    text = tree.read(os.path.join(location.common_dir, "config")) or b""
    settings = parse_config(text, runner)
    if is_true(settings.get("extensions.worktreeconfig")):
        text += b"\n" + (tree.read(os.path.join(location.git_dir, "config.worktree")) or b"")
        settings = parse_config(text, runner)
    return settings


def parse_config(text: bytes, runner: CommandRunner) -> dict[str, list[str]]:
    """Return the text of a git configuration as data.

    :raises VcsError: it is malformed.
    """
    if not text.strip():
        return {}
    if (simple := parse_simple_config(text)) is not None:
        return simple
    environment = account_environment(runner.account) | {"GIT_DIR": os.devnull}
    done = runner.run(["git", "config", "--file", "-", "--no-includes", "--list", "-z"], environment, "/", text)
    if done.code:
        raise VcsError(f"its configuration is malformed: {done.error_summary()}")
    return _parse_listing(done.out)


def parse_simple_config(text: bytes) -> dict[str, list[str]] | None:
    """Return the text of a git configuration as data if it is as simple as those that git itself writes; ``None`` if only git can tell.

    No value has a space, a quote, a comment or an escape, which are what makes git's syntax difficult. Source: ``git help config``, Syntax.
    """
    if len(text) > SIMPLE_BYTES or not SIMPLE_CONFIG.fullmatch(text):
        return None
    settings: dict[str, list[str]] = {}
    section = ""
    for line in text.decode("ascii").splitlines():
        words = line.split()
        if line.startswith("["):
            name, _space, subsection = line[1:-1].partition(" ")
            section = name.lower() + (f".{subsection[1:-1]}" if subsection else "")
        elif words:
            settings.setdefault(f"{section}.{words[0].lower()}", []).append(words[2])
    return settings


def minimal_config(configured: Mapping[str, list[str]], bare: bool, settings: Mapping[str, str] | None = None) -> str:
    """Return the text of a configuration with which git can read a repository, and runs nothing.

    :param configured: the repository's own, as :func:`read_config` returns it.
    :param settings: of the user, as :func:`read_user_settings` returns them.
    :raises VcsError: the repository has an unknown format.
    """
    extensions = {key.removeprefix("extensions."): values[-1] for key, values in configured.items() if key.startswith("extensions.")}
    unknown = sorted(extensions.keys() - EXTENSIONS - EXTENSIONS_NOT_NEEDED)
    if unknown:
        raise VcsError(f"its format has the extension {unknown[0]!r}, which is not known here")
    for key in EXTENSIONS & extensions.keys():
        if not PLAIN_VALUE.match(extensions[key]):
            raise VcsError(f"its format has an unknown {key}: {extensions[key]!r}")
    safe_settings = {key: values[-1] for key, values in configured.items() if key in KEPT_SETTINGS and PLAIN_VALUE.match(values[-1])}
    needed = {key: extensions[key] for key in sorted(EXTENSIONS & extensions.keys())}
    text = config_section("core", "", {"repositoryFormatVersion": "1", "bare": str(bare).lower()}) + GIT_HARDENING
    text += config_section("extensions", "", needed)
    for key, value in {**(settings or {}), **safe_settings}.items():
        section, _dot, name = key.partition(".")
        text += config_section(section, "", {name: value})
    return text


def is_true(values: list[str] | None) -> bool:
    """Return whether git reads a setting as true."""
    return bool(values) and values[-1].lower() in ("true", "yes", "on", "1") if values else False


def _parse_listing(listed: bytes) -> dict[str, list[str]]:
    """Return the output of ``git config --list -z`` as data; a key without a value is on."""
    settings: dict[str, list[str]] = {}
    for entry in os.fsdecode(listed).split("\0"):
        key, newline, value = entry.partition("\n")
        if key:
            settings.setdefault(key, []).append(value if newline else "true")
    return settings


def config_section(name: str, subsection: str, values: Mapping[str, str]) -> str:
    """Return a section of a git configuration; source of the quoting: ``git help config``, Syntax."""
    if not values:
        return ""
    plain = subsection.replace("\\", "\\\\").replace('"', '\\"')  # other characters need no escape in a subsection's name
    head = f'[{name} "{plain}"]' if subsection else f"[{name}]"
    return "".join((f"{head}\n", *(f"\t{key} = {_quoted(value)}\n" for key, value in values.items())))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
    return f'"{escaped}"'
