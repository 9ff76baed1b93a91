# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The action of ``new``: with ``--clone`` it clones a repository first, with ``--all`` it also offers projects for the repositories that have none."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from repoman.cli.actions import confirm
from repoman.cli.targets import Target, new_command, unregistered_targets
from repoman.errors import escape_control_characters, print_hints

if TYPE_CHECKING:
    from repoman.playbook import Playbook


def run_new(playbook: Playbook, options: Namespace) -> int:
    """Create or update containers."""
    if options.clone:
        from repoman.cli.cloning import run_with_clone

        return run_with_clone(playbook, options)
    return _run_all(playbook) if options.all and playbook.is_local else playbook.run().exit_code


def _run_all(playbook: Playbook) -> int:
    """Create or update all containers, and on a terminal, if the user agrees, those of the repositories without a project.

    :raises CliError: the registry cannot be read.
    """
    targets = unregistered_targets()
    can_ask = not (playbook.check or playbook.json) and sys.stdin.isatty() and sys.stderr.isatty()
    if targets and can_ask and _wants(targets):
        playbook = replace(playbook, variables=dict(playbook.variables) | {"repoman_projects": [_settings(target) for target in targets]})
        targets = []
    code = playbook.run().exit_code
    if targets and not can_ask:
        print(f"{_count(targets)} no project; to create containers:", file=sys.stderr)  # noqa: T201
        print_hints(_commands(targets))
    return code


def _wants(targets: Sequence[Target]) -> bool:
    """Ask whether to create containers for repositories without a project."""
    print(f"{_count(targets)} no project:", file=sys.stderr)  # noqa: T201
    for target in targets:
        directory = f" (the repository {target.repo})" if target.repo else ""
        print(f"  {target.name}{escape_control_characters(directory)}", file=sys.stderr)  # noqa: T201
    return confirm("Create containers for them, too?", default=True)


def _count(targets: Sequence[Target]) -> str:
    return f"{len(targets)} repositor{'y has' if len(targets) == 1 else 'ies have'}"


def _settings(target: Target) -> dict[str, str]:
    return {"name": target.name} | ({"repo": target.repo} if target.repo else {})


def _commands(targets: Sequence[Target]) -> list[str]:
    """Return the commands that create the projects: one for all whose repository has their name, and one for each other."""
    names = [target.name for target in targets if not target.repo]
    together = [f"repoman new {' '.join(names)}"] if names else []
    return together + [new_command(target.name, target.repo) for target in targets if target.repo]
