# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names of projects and directories that do not exist, and those that may have been meant."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import INSTANCE_NAME, nearest
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount, served_mounts_below
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext


def no_such_project(name: str, context: RunContext, existing: Iterable[str]) -> NotFoundError:
    """Return the error about a project that does not exist; if there is a directory for it, with the command that creates it.

    :param existing: names of the projects.
    """
    hints = [_did_you_mean(match) for match in difflib.get_close_matches(name, list(existing), n=3)]
    commands = new_commands(name, name, context) if INSTANCE_NAME.match(name) else []
    return NotFoundError(
        f"there is no project called {name!r} in {context.registry_path}.", *dict.fromkeys((*hints, "repoman list", *commands))
    )


def new_commands(name: str, repo: str, context: RunContext) -> list[str]:
    """Return the commands that create a project of the directories that may have been meant; a hint for one that belongs to a project.

    :param repo: the directory in ``repos_root``, as the user wrote it: itself, one of this name in another directory, or a similar one.
    """
    root = context.repos_root
    if hung_mount(root) or os.path.isabs(repo):
        return []
    parent, base = os.path.split(os.path.normpath(repo))
    if hung_mount(os.path.join(root, repo)):
        return []
    if os.path.isdir(os.path.join(root, repo)):
        return [_new(name, repo)]
    served = served_mounts_below(root)
    inside = [] if parent else [f"{directory}/{base}" for directory in _directories(root, served) if _is_directory(root, directory, base)]
    match = nearest(base, _directories(os.path.join(root, parent), served))
    owners = {os.path.normpath(project.repo): owner for owner, project in context.registry.projects.items()}
    hints = [_did_you_mean(owners[directory]) if directory in owners else _new(name, directory) for directory in inside]
    if not match:
        return hints
    directory = os.path.join(parent, match)
    if directory in owners:
        return [*hints, _did_you_mean(owners[directory])]
    similar = _new(name if parent or name != base or not INSTANCE_NAME.match(match) else match, directory)
    return [*hints, f"{similar}   # {_did_you_mean(match)}"]


def _did_you_mean(name: str) -> str:
    return f"did you mean {name!r}?"


def _new(name: str, repo: str) -> str:
    return repoman_command("new", [name], *([("--repo", repo)] if repo != name else []))


def _is_directory(root: str, *names: str) -> bool:
    path = os.path.join(root, *names)
    return os.path.isdir(path) and not os.path.islink(path)


def _directories(path: str, served: set[str]) -> list[str]:
    """Return the names of the directories in a directory, without hidden ones and those that another machine serves."""
    try:
        with os.scandir(path) as found:
            return sorted(
                entry.name
                for entry in found
                if not entry.name.startswith(".")
                and entry.name.isprintable()
                and entry.is_dir(follow_symlinks=False)
                and entry.path not in served
            )
    except OSError:
        return []
