# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command explains its arguments in the words of the roles and modules."""

from __future__ import annotations

import re
from typing import Any

from ansible_collections.homelab.repoman.plugins.modules import repoman_profile, repoman_restore
from role_options import documented, options_of, plain

from repoman.cli.options import Argument
from repoman.cli.verbs import VERBS_BY_WORDS


def test_command_agrees_with_new() -> None:
    """Each argument of ``repoman new`` is a key of the role's projects, explained in its words."""
    projects = options_of("new")["projects"]["options"]
    verb = VERBS_BY_WORDS["new"]
    arguments = {argument.names[-1].lstrip("-"): argument for argument in verb.arguments}
    arguments["name"] = arguments.pop("names")
    assert arguments.keys() == {"name", "all", "repo", "clone", "image", "profile", "no-backup", "target", "adopt"}
    assert arguments["all"].help == plain(options_of("new")["all"]["description"])
    for name in ("name", "repo", "image", "target", "adopt"):
        assert arguments[name].help == plain(projects[name]["description"])
        assert "choices" not in projects[name] and "choices" not in arguments[name].keywords
    assert arguments["profile"].keywords["action"] == "append" and projects["profiles"]["type"] == "list"
    assert plain(projects["profiles"]["description"]).startswith("profiles of the container")
    assert arguments["profile"].help.startswith("profile of the container")
    assert arguments["no-backup"].keywords["action"] == "store_true" and projects["backup"]["type"] == "bool"


def arguments_of(words: str) -> dict[str, Argument]:
    """Return the arguments of a verb that its help shows, by the names of the options of a role or module."""
    arguments = VERBS_BY_WORDS[words].arguments
    return {argument.names[-1].lstrip("-").replace("-", "_"): argument for argument in arguments if argument.help}


def typed(description: Any) -> str:
    """Return a description as in the help, with options of the role as typed on the command line."""
    return re.sub(r"repoman_sync_(\w+)", lambda option: f"--{option[1].replace('_', '-')}", plain(description))


def test_command_agrees_with_sync() -> None:
    """Each argument of ``repoman sync`` is an option of the role, explained in its words."""
    options, arguments = options_of("sync"), arguments_of("sync")
    told = {name: argument.help.removesuffix("; see below") for name, argument in arguments.items()}
    assert told == {name: typed(options[f"sync_{name}"]["description"]) for name in arguments}
    flags = {name for name, argument in arguments.items() if argument.keywords.get("action") == "store_true"}
    assert flags == {name for name in arguments if options[f"sync_{name}"]["type"] == "bool"}


def test_command_agrees_with_restore() -> None:
    """Each argument of ``repoman restore`` is an option of the module, explained in its words."""
    options, arguments = documented(repoman_restore), arguments_of("restore")
    path = arguments.pop("path")
    assert arguments.pop("non_interactive").help == "with --settings, apply without asking"  # only about asking
    assert {name: argument.help for name, argument in arguments.items()} == {
        name: plain(options[name]["description"]) for name in ("names", "all", "to", "from", "overwrite", "objects", "jobs", "settings")
    }
    assert plain(options["paths"]["description"]).startswith("restore only these paths of the repository")
    assert path.help.startswith("restore only this path of the repository") and path.keywords["action"] == "append"


def test_command_agrees_with_profile_install() -> None:
    """What to install is described in the words of the role setup, and of the module."""
    options, arguments = options_of("setup"), arguments_of("profile install")
    assert {name: argument.help for name, argument in arguments.items()} == {
        "names": plain(options["profiles"]["description"]),
        "all": plain(options["all_profiles"]["description"]),
        "force": plain(options["force_profiles"]["description"]),
    }
    assert options["force_profiles"]["description"] == documented(repoman_profile)["force"]["description"]
    assert options["all_profiles"]["description"] == documented(repoman_profile)["all"]["description"]


def test_command_setup_takes_the_backup_root() -> None:
    """``repoman setup`` takes one value for the registry, that of the role; the others are set in the file, or by the role."""
    arguments = arguments_of("setup")
    assert list(arguments) == ["backup_root", "non_interactive"]
    assert "backup_root" in options_of("setup")
