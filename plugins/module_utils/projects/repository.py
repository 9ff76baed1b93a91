# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The paths of a project's repository, on the host and in the container."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import check_answers
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.unknown import new_commands
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import VcsError, resolve_path


@dataclass(frozen=True)
class Repository:
    """The paths of a project's repository.

    :param relative_path: as the registry has it: relative to ``repos_root``.
    :param container_path: its path in the container: the one that the user writes.
    :param host_path: its path on the host, with symbolic links resolved.
    """

    relative_path: str
    container_path: str
    host_path: str


def existing_repository(repo: str, context: RunContext, name: str) -> Repository:
    """Return the paths of the repository of project ``name``.

    :param repo: a directory in ``repos_root``: relative to it, or absolute.
    :raises NotFoundError: it does not exist.
    :raises ConflictError: see :func:`resolve_repository`.
    """
    repository = resolve_repository(repo, context)
    if not os.path.isdir(repository.host_path):
        path = repository.container_path
        is_new = name not in context.registry.projects
        meant = new_commands(name, repository.relative_path, context) if is_new else []
        problem = "is not a directory" if os.path.exists(repository.host_path) else "does not exist"
        raise NotFoundError(
            f"the repository {path} {problem}.",
            *meant,
            f"repoman restore {shell_word(name)}   # if it was backed up",
            f"git init {shell_word(path)}   # if it is a new one",
            *([] if meant else [f"if it is elsewhere below repos_root: repoman new {name} --repo DIR"]),
        )
    return repository


def resolve_repository(repo: str, context: RunContext) -> Repository:
    """Return the paths of a repository, whether or not it exists.

    :param repo: a directory in ``repos_root``: relative to it, or absolute.
    :raises RepomanError: its file system does not answer.
    :raises ConflictError: it is outside ``repos_root`` once symbolic links are resolved, or they form a loop.
    """
    root, path = context.repos_root, context.repository_path(repo)
    check_answers(path)
    try:
        host_path, real_root = resolve_path(path), os.path.realpath(root)
    except VcsError as error:
        raise ConflictError(f"the repository {path} is behind too many links.", f"namei -l {path}") from error
    if not path.startswith(f"{root}/") and host_path.startswith(f"{real_root}/"):  # such as the physical path of a home behind a link
        path = os.path.join(root, os.path.relpath(host_path, real_root))
    if not path.startswith(f"{root}/") or not host_path.startswith(f"{real_root}/"):
        raise ConflictError(
            f"the repository {path} is not inside repos_root, {root}.",
            f"move it there, or change [defaults].repos_root in {context.registry_path}",
        )
    return Repository(os.path.relpath(path, root), path, host_path)
