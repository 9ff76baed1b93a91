# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The context of sync and restore: account, registry, source and target, names of units, and work in a child process."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import BackupRoots, Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import name_spellings
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    NotCreatedYetError,
    RepomanError,
    RunInterruptedError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import FIND_SERVED, hung_mount, served_mounts_below
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report, UnresponsiveError, Work, run_in_child
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry
from ansible_collections.homelab.repoman.plugins.module_utils.registry.backup_root import backup_root
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import (
    EffectiveSettings,
    ProjectSettings,
    Registry,
    effective_settings,
    settings_of,
)
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import load_override
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import load_predicted


@dataclass(frozen=True)
class BackupContext:
    """The backup of one account, as its registry describes it.

    :param path: path of the registry.
    :param user_dir: directory of the user's profile templates.
    """

    account: Account
    path: str
    registry: Registry
    user_dir: str = ""

    @cached_property
    def roots(self) -> BackupRoots:
        """The source and the target of the backup."""
        defaults = self.registry.defaults
        return BackupRoots(backup_root(defaults, self.account), self.account.expand(defaults.repos_root), self.path, self.account)

    @property
    def logdir(self) -> Path:
        """Directory of the logs and of the local state."""
        return Path(self.account.expand(self.registry.defaults.logdir))

    def state(self, target: Target) -> Path:
        """Return the local state directory of a target."""
        return self.logdir / "sync" / target.ident

    @cached_property
    def overrides(self) -> dict[str, ProjectSettings | RepomanError]:
        """The projects' overrides; for one that cannot be read, the error."""
        overrides: dict[str, ProjectSettings | RepomanError] = {}
        for name in self.registry.projects:
            try:
                overrides[name] = load_override(self.path, name)
            except RepomanError as error:
                overrides[name] = error
        return overrides

    @cached_property
    def projects(self) -> dict[str, EffectiveSettings]:
        """The settings of the projects, without overrides that cannot be read."""
        overrides = {name: override for name, override in self.overrides.items() if isinstance(override, ProjectSettings)}
        return {
            name: effective_settings(name, self.registry.defaults, settings_of(project), overrides.get(name, ProjectSettings()))
            for name, project in self.registry.projects.items()
        }

    @property
    def warnings(self) -> list[str]:
        """Warnings of overrides that cannot be read; their projects are backed up without them."""
        return [
            f"{override.message} It does not count for the backup."
            for override in self.overrides.values()
            if isinstance(override, RepomanError)
        ]

    @cached_property
    def paths(self) -> dict[str, str]:
        """The projects' repositories, relative to ``repos_root``; empty for one outside it.

        Links directly in ``repos_root`` are resolved, unless they lead to a file system that does not answer. Links below it are not: a
        container may have made them.
        """
        root, real = self.roots.repos_root, os.path.realpath(self.roots.repos_root)
        paths: dict[str, str] = {}
        for name, path in self.repositories.items():
            relative_path = os.path.relpath(path, root)
            if _is_outside(relative_path) and not hung_mount(path):
                relative_path = os.path.relpath(os.path.realpath(path), real)
            top, _slash, rest = relative_path.partition("/")
            top_path = os.path.join(real, top)
            if not _is_outside(relative_path) and not hung_mount(top_path) and os.path.islink(top_path):
                relative_path = os.path.relpath(os.path.join(os.path.realpath(top_path), rest), real)
            paths[name] = "" if _is_outside(relative_path) else relative_path
        return paths

    @cached_property
    def excluded(self) -> dict[str, str]:
        """The directories that are not backed up, each with the project that fills it and has ``backup = false``."""
        return {path: name for name, path in self.paths.items() if not self.projects[name].backup and path and "/" not in path}

    @cached_property
    def repositories(self) -> dict[str, str]:
        """The projects' repositories as absolute paths, links not resolved."""
        configured = {name: project.repo for name, project in self.projects.items()}
        return {
            name: os.path.normpath(os.path.join(self.roots.repos_root, self.account.expand(repo) if repo[:1] in "~$" else repo))
            for name, repo in configured.items()
        }

    def project_directory(self, project: str) -> str:
        """Return the directory in ``repos_root`` that holds a project's repository; empty if the repository is outside it."""
        return self.paths[project].split("/")[0]

    def resolve_path(self, name: str, directories: Collection[str]) -> str:
        """Return the path in ``repos_root`` of a project's repository, or of a directory.

        :param directories: the existing directories.
        :raises NotCreatedYetError: there is neither.
        :raises ConflictError: the repository is outside ``repos_root``.
        """
        if self.paths.get(name):
            return self.paths[name]
        if name in set(directories):
            return name
        if "\\" in name and len(matches := [directory for directory in directories if name in name_spellings(os.fsencode(directory))]) == 1:
            return matches[0]
        if name in self.paths:
            raise ConflictError(
                f"the repository {self.repositories[name]} is not inside repos_root, {self.roots.repos_root}.",
                f"only what is in there is backed up: move it there, or change [defaults].repos_root in {self.path}",
            )
        suggestions = difflib.get_close_matches(name, [*self.projects, *directories], n=1)
        raise NotCreatedYetError(
            f"there is no project or directory called {name!r}.",
            *(f"did you mean {match!r}?" for match in suggestions),
            f"ls {self.roots.repos_root} {self.roots.backup_root}",
        )

    def resolve_directory(self, name: str, directories: Collection[str]) -> str:
        """Return the directory in ``repos_root`` that is, or contains, what :meth:`resolve_path` returns."""
        return self.resolve_path(name, directories).split("/")[0]

    def run_on_target(self, work: Work, idle_timeout: float, check_liveness: bool = False, on_report: Report = lambda _report: None) -> Any:
        """Return the result of ``work``, which may access the target; see :func:`run_in_child`.

        :param idle_timeout: seconds without progress after which the work is given up.
        :param check_liveness: do not give up while the target answers simple requests.
        :raises RepomanError: the work raised it, or the target, or a file system mounted in ``repos_root``, does not answer.
        """
        root = self.roots.backup_root
        try:
            return run_in_child(
                work, self.account, idle_timeout, ["stat", "--file-system", "--", root] if check_liveness else (), on_report
            )
        except UnresponsiveError as error:
            mount = hung_mount(root)  # a command with the path would hang, too
            sources = () if mount else sorted(served_mounts_below(self.roots.repos_root))
            source = next(filter(hung_mount, sources), "")
            mount = mount or source
            raise RepomanError(
                f"{source or root} does not answer: nothing came from it for {idle_timeout:g} s; gave up on it.",
                f"is its server up, its disk awake? {f'findmnt {shell_word(mount)}' if mount else FIND_SERVED}",
                "a slow one may be given longer: see probe_timeout and idle_timeout in 'ansible-doc homelab.repoman.repoman_sync'",
            ) from error
        except RunInterruptedError as error:
            raise RunInterruptedError("interrupted.", "what was done stays; run it again and it goes on from there") from error


def _is_outside(relative_path: str) -> bool:
    """Return whether a relative path leads out of its base directory, or is the base directory."""
    return relative_path.partition("/")[0] in ("..", ".")


def load_context(params: dict[str, Any], predicting: bool = False) -> BackupContext:
    """Return the backup that a module's parameters describe.

    :param predicting: read ``registry_text`` instead of the registry.
    :raises NotFoundError: the registry is missing or cannot be read.
    """
    account = get_account(params["user"])
    path = account.expand(params["registry_path"] or registry.default_path(account.home))
    user_dir = account.expand(params.get("user_dir") or registry.default_user_dir(account.home))
    return BackupContext(account, path, load_predicted(path, params, account) if predicting else registry.load(path), user_dir)
