# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The actions of verbs: run the playbook at once or after a question, open a shell, or print a completion script."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from repoman import completion
from repoman.cli import targets
from repoman.document import print_text
from repoman.errors import CONFLICT, INTERRUPTED, NOT_FOUND, USAGE, CliError, EarlyExit, print_hints

if TYPE_CHECKING:
    from repoman.playbook import Playbook, PlaybookResult


def run_playbook(playbook: Playbook, options: Namespace) -> int:
    """Run the playbook."""
    return playbook.run().exit_code


def run_status(playbook: Playbook, options: Namespace) -> int:
    """Run the playbook, and show a report that is longer than the screen with a pager."""
    strict = ("projects" if options.names else "all") if options.strict else ""
    playbook = replace(playbook, details=bool(options.names or options.all), strict=strict)
    if playbook.json or playbook.verbosity or not sys.stdout.isatty():
        return playbook.run().exit_code
    from repoman import pager

    with pager.Paged():
        return playbook.run().exit_code


def run_setup(playbook: Playbook, options: Namespace) -> int:
    """Run setup, on a terminal after a preview and a question."""
    if options.non_interactive or options.json or not sys.stdin.isatty():
        return run_playbook(playbook, options)
    return preview_and_confirm(playbook, default=True)


def run_restore(playbook: Playbook, options: Namespace) -> int:
    """Restore. Before settings are replaced, ask on a terminal, after a preview; a repository that cannot be restored stops no other."""
    if not options.settings or options.non_interactive or options.check or options.json or not sys.stdin.isatty():
        return run_playbook(playbook, options)
    preview = _preview(playbook)
    planned = sum("restored" in result or "summary" in result for result in preview.results)
    if not preview.changed or (playbook.is_local and planned < 1 + bool(options.names or options.all)):  # a part failed as a whole
        return preview.exit_code
    return _run_if_confirmed(playbook, default=True)


def run_remove(playbook: Playbook, options: Namespace) -> int:
    """Remove projects, unless ``--yes`` after a preview and a question."""
    if options.yes or options.check:
        return run_playbook(playbook, options)
    if options.json or not sys.stdin.isatty():
        raise CliError(
            "remove asks before it deletes a container, but there is no terminal.",
            "add --yes to remove without a question",
            exit_code=USAGE,
        )
    return preview_and_confirm(playbook, default=False)


def run_sync(playbook: Playbook, options: Namespace) -> int:
    """Back up. Before the backup of another host is taken over, ask on a terminal, after a preview."""
    from repoman import early_scan

    early_scan.start(playbook)
    if not options.take_over or options.check or options.json or not sys.stdin.isatty():
        return run_playbook(playbook, options)
    preview = _preview(playbook)
    if not any("summary" in result for result in preview.results):  # it failed as a whole; a unit that fails does not stop the others
        return preview.exit_code
    if any("previous_owner" in result for result in preview.results):
        return _run_if_confirmed(playbook, default=False)
    return run_playbook(playbook, options)


def preview_and_confirm(playbook: Playbook, default: bool) -> int:
    """Preview a playbook, ask for confirmation, and run it; do not ask if there is nothing to do.

    If the preview fails on this host, nothing is run. On several hosts, one that fails does not stop the others.

    :param default: meaning of an empty answer.
    """
    if playbook.check:
        return playbook.run().exit_code
    preview = _preview(playbook)
    if not preview.changed or (preview.exit_code and playbook.is_local):
        return preview.exit_code
    return _run_if_confirmed(playbook, default)


def _preview(playbook: Playbook) -> PlaybookResult:
    """Show what a playbook would do.

    :raises KeyboardInterrupt: it was interrupted.
    """
    preview = playbook.preview()
    if preview.exit_code == INTERRUPTED:
        raise KeyboardInterrupt
    return preview


def _run_if_confirmed(playbook: Playbook, default: bool) -> int:
    """Ask for confirmation, and run a playbook whose preview was shown."""
    if not confirm("Proceed?", default):
        print("nothing was changed")  # noqa: T201
        return 1
    return playbook.run(brief=True).exit_code


def confirm(question: str, default: bool) -> bool:
    """Ask on the terminal; the end of input means no."""
    print(f"{question} [{'Y/n' if default else 'y/N'}] ", end="", file=sys.stderr, flush=True)  # noqa: T201
    line = sys.stdin.readline()
    if not line:
        print(file=sys.stderr)  # noqa: T201
        return False
    answer = line.strip().lower()
    return answer in ("y", "yes") if answer else default


def run_shell(playbook: Playbook, options: Namespace) -> int:
    """Start the project's container and replace this process with a shell in it; return only if that fails.

    :param options: with ``is_read``, the container was read before, and is not ready.
    """
    if playbook.json:
        raise CliError("shell has no --json: its output is that of the command.", "repoman list --json", exit_code=USAGE)
    from repoman import running, shell

    last = None if options.is_read else running.read(playbook)
    if last is None:
        result = playbook.run()
        if result.exit_code:
            if result.exit_code == NOT_FOUND and options.command:
                print_hints(targets.command_hints(options))
            return result.exit_code
        last = result.results[-1]
        if _is_without_container(last["projects"][0]):
            return create_for_shell(playbook, options)
        if playbook.check:
            return 0
        _clean_up()
    shell.exec_shell(shell.as_root(last) if options.root else last, options.command, options.subdirectory)


def run_ssh_proxy(playbook: Playbook, options: Namespace) -> int:
    """Start the project's container, and replace this process with one that connects ssh to it; return only if that fails."""
    from repoman import running, ssh

    last = running.read(playbook)
    if last is None:
        result = replace(playbook, name="shell").run()
        if result.exit_code:
            return result.exit_code
        last = result.results[-1]
        if _is_without_container(last["projects"][0]):
            raise _without_container(options.name)
        _clean_up()
    ssh.exec_proxy(last)


def _clean_up() -> None:
    """Remove what a run left, before this process is replaced."""
    from repoman import engine

    engine.cleanup()


def _is_without_container(project: Mapping[str, Any]) -> bool:
    """Return whether a project of a result has no container that can be used."""
    return project["state"] == "missing" or bool(project.get("unfinished"))


def _without_container(name: str) -> CliError:
    return CliError(f"the project {name!r} has no container.", f"repoman new {name}", exit_code=CONFLICT)


def print_ssh_config(playbook: Playbook, options: Namespace) -> int:
    """Print the configuration of OpenSSH for projects; make the key that it names."""
    from repoman import ssh

    if not playbook.check:
        ssh.public_key()
    print(ssh.config_text(options.names, options.user), end="")  # noqa: T201
    return 0


def create_for_shell(playbook: Playbook, options: Namespace) -> int:
    """Ask whether to create the container of a project that has none, and replace this process with a shell that does.

    :raises CliError: there is no terminal to ask on.
    """
    if playbook.check or not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise _without_container(options.name)
    if not confirm(f"The project {options.name} has no container. Create it?", default=True):
        print("nothing was changed")  # noqa: T201
        return 1
    from repoman import engine, shell

    engine.cleanup()
    verbosity = [f"-{'v' * playbook.verbosity}"] if playbook.verbosity else []
    root = ["--root"] if options.root else []
    shell.exec_repoman(["shell", "--create", *root, *verbosity, *([options.word] if options.word else []), "--", *options.command])


def edit_profile(playbook: Playbook, options: Namespace) -> int:
    """Edit a template of the user's."""
    from repoman import profile_edit

    return profile_edit.run(options.name, options.diff)


def print_completion(playbook: Playbook, options: Namespace) -> int:
    """Print the completion script of a shell, or with ``--names`` the names that it completes, one per line."""
    text = "\n".join([*completion.names(options.names), ""]) if options.names else completion.script(options.shell)
    print_text("completion", text, options.json)
    return 0


def print_help(playbook: Playbook, options: Namespace) -> int:
    """Print the help of a verb, as ``VERB --help`` does, or the schema of the documents of ``--json``.

    :raises CliError: the verb does not exist.
    """
    if options.json_schema:
        from repoman.installation import COLLECTION_PATH, collection_root

        print((collection_root() / COLLECTION_PATH / "docs/output.schema.json").read_text(encoding="utf-8"), end="")  # noqa: T201
        return 0
    from repoman.cli.parser import parse

    try:
        parse([*(options.words or ())[:2], "--help"])  # no verb has more; --help behind a command of shell would be its own
    except EarlyExit as help_text:
        print_text("help", str(help_text), options.json)
    return 0


def print_version(playbook: Playbook, options: Namespace) -> int:
    """Print the version, as ``--version`` does."""
    from repoman.playbook import version

    print_text("version", f"repoman {version()}\n", options.json)
    return 0
