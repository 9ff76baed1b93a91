# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Shared state of the checks of ``doctor``: account, registry and Incus. Each is read once."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from enum import Enum
from functools import cached_property
from typing import Any, TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staleness import BackupTimes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.state import target_state
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import shorten_home
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.warnings import collecting
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, HostFacts, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import SERVED_MOUNTS, hung_mount, hung_mount_error
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, api_path, find_socket
from ansible_collections.homelab.repoman.plugins.module_utils.process.python_probe import run_python
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed, read_installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import ProfileEntry, library_of, list_all
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.ownership import SHOWN, Ownership, ownership
from ansible_collections.homelab.repoman.plugins.module_utils.projects.summary import project_summary
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store
from ansible_collections.homelab.repoman.plugins.module_utils.registry.backup_root import backup_root
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Registry

Instances = dict[str, dict[str, Any]]
Value = TypeVar("Value")

DIRECTORY_SCRIPT = """
import json, os, sys
root = sys.argv[1]
answer = {"errno": 0, "writable": False, "directories": []}
try:
    answer["directories"] = sorted(entry.name for entry in os.scandir(root) if entry.is_dir(follow_symlinks=False))
    answer["writable"] = os.access(root, os.W_OK | os.X_OK)
except OSError as error:
    answer["errno"] = error.errno
print(json.dumps(answer))
"""
"""Prints whether a directory can be read and written, and which directories are in it. It reads none of them: each may be another file
system, which does not answer."""


class Requirement(Enum):
    """A requirement of some checks; the value is for messages."""

    INCUS = "Incus"
    INCUS_PROJECT = "the Incus project"
    REGISTRY = "the registry"
    REPOS_ROOT = "repos_root"


class MissingRequirementError(Exception):
    """A check cannot be made without its requirement, whose own check reports why it is missing."""

    def __init__(self, requirement: Requirement) -> None:
        super().__init__(requirement.value)
        self.requirement = requirement


@dataclass
class DoctorContext:
    """Shared state of the checks.

    :param account: the user whose projects they are.
    :param registry_path: path of the registry.
    :param socket: path of the Incus socket.
    :param params: parameters of the module.
    :param registry_warnings: of the registry, once it has been read.
    """

    account: Account
    registry_path: str
    socket: str
    params: dict[str, Any]
    registry_warnings: list[str] = field(default_factory=list)
    _unreachable: RepomanError | None = None

    @classmethod
    def of(cls, params: dict[str, Any]) -> DoctorContext:
        """Return the context for a module's parameters.

        :raises NotFoundError: the account does not exist.
        """
        account = get_account(params["user"])
        path = account.expand(params["registry_path"] or store.default_path(account.home))
        return cls(account, path, find_socket(params["socket"]), params)

    def short(self, path: str) -> str:
        """Return a path for a message: below the home directory as ``~/…``."""
        return shorten_home(path, self.account.home)

    # Incus

    @cached_property
    def _connection(self) -> tuple[Client, dict[str, Any]] | RepomanError:
        client = Client(self.socket, self.params["timeout"])
        try:
            return client, client.read("/1.0", shapes.SERVER_FEATURES).data["environment"]
        except RepomanError as error:
            return error

    def connect(self) -> dict[str, Any]:
        """Return the environment of the Incus server.

        :raises RepomanError: Incus cannot be reached.
        """
        if isinstance(self._connection, RepomanError):
            raise self._connection
        return self._connection[1]

    @property
    def client(self) -> Client:
        """The connection to Incus.

        :raises MissingRequirementError: Incus cannot be reached.
        """
        if isinstance(self._connection, RepomanError) or self._unreachable is not None:
            raise MissingRequirementError(Requirement.INCUS)
        return self._connection[0]

    def note_unreachable(self, error: RepomanError) -> None:
        """Note that Incus has stopped to answer, so that no other check waits for it."""
        self._unreachable = error

    @cached_property
    def storage_pools(self) -> dict[str, dict[str, Any]]:
        """The storage pools, by name."""
        return {pool["name"]: pool for pool in self.client.read("/1.0/storage-pools?recursion=1", [shapes.STORAGE_POOL]).data}

    # The registry

    @cached_property
    def _registry(self) -> Registry | RepomanError:
        with collecting() as collected:
            try:
                return store.load(self.registry_path)
            except RepomanError as error:
                return error
            finally:
                self.registry_warnings += collected.warnings

    def read_registry(self) -> Registry:
        """Return the registry.

        :raises RepomanError: it cannot be read.
        """
        if isinstance(self._registry, RepomanError):
            raise self._registry
        return self._registry

    @property
    def registry(self) -> Registry:
        """The registry.

        :raises MissingRequirementError: it cannot be read.
        """
        return required(self.read_registry, Requirement.REGISTRY)

    @property
    def registry_or_none(self) -> Registry | None:
        """The registry; ``None`` if it cannot be read."""
        return None if isinstance(self._registry, RepomanError) else self._registry

    # Repositories

    @property
    def repos_root(self) -> str:
        """The directory of all repositories.

        :raises MissingRequirementError: there is no registry.
        """
        return self.account.expand(self.registry.defaults.repos_root)

    @cached_property
    def _directories(self) -> list[str] | RepomanError:
        path = self.repos_root
        if mount := hung_mount(path):
            return hung_mount_error(path, mount)
        try:
            answer = run_python(self.account, DIRECTORY_SCRIPT, path)
        except CommandError as error:
            reason = f"it {error.message}"
            return NotFoundError(f"repos_root, {self.short(path)}, cannot be read: {reason}.", SERVED_MOUNTS)
        return self._judge_repos_root(path, answer)

    def read_repos_root(self) -> list[str]:
        """Check ``repos_root``, and return the names of the directories directly in it.

        Its server may be down, so a child process reads it, with a time limit.

        :raises RepomanError: it is missing or cannot be used.
        """
        if isinstance(self._directories, RepomanError):
            raise self._directories
        return self._directories

    def require_repos_root(self) -> None:
        """Check that ``repos_root`` can be used.

        :raises MissingRequirementError: it cannot.
        """
        required(self.read_repos_root, Requirement.REPOS_ROOT)

    def _judge_repos_root(self, path: str, answer: dict[str, Any]) -> list[str] | RepomanError:
        """Return the directories in ``repos_root``, or why it cannot be used.

        :param answer: printed by :data:`DIRECTORY_SCRIPT`.
        """
        word, elsewhere = shell_word(path), f"another place: [defaults].repos_root in {self.short(self.registry_path)}"
        if answer["errno"] == errno.ENOENT:
            return NotFoundError(
                f"there is no directory repos_root, {self.short(path)}.",
                f"mkdir -p {word}",
                f"findmnt --target {word}   # or is it not mounted?",
                elsewhere,
            )
        if answer["errno"]:
            return NotFoundError(
                f"repos_root, {self.short(path)}, cannot be read: {os.strerror(answer['errno'])}.", f"ls -ld {word}", elsewhere
            )
        if not answer["writable"]:
            return NotFoundError(f"repos_root, {self.short(path)}, is not writable for you.", f"ls -ld {word}", elsewhere)
        directories: list[str] = answer["directories"]
        return directories

    # The backup

    @cached_property
    def target(self) -> dict[str, Any]:
        """The state of the backup target, as ``status`` shows it."""
        return target_state(backup_root(self.registry.defaults, self.account), self.account)

    @cached_property
    def backup_times(self) -> BackupTimes:
        """When everything was last backed up."""
        backup = BackupContext(self.account, self.registry_path, self.registry)
        return BackupTimes(backup, self.target, datetime.now(timezone.utc))

    # Profiles and projects

    @cached_property
    def installed(self) -> dict[str, Installed]:
        """The installed profiles."""
        return read_installed(self.client)

    @cached_property
    def library(self) -> list[ProfileEntry]:
        """The profile templates."""
        facts = HostFacts(self.registry.lan_ip, self.account.name, self.account.home)
        return list_all(library_of(self.params, self.account), self.installed, facts)

    @property
    def run_context(self) -> RunContext:
        """The context of a run on projects."""
        return RunContext(self.account, self.registry_path, self.registry, self.client)

    @cached_property
    def instances(self) -> Instances:
        """All instances of the Incus project.

        :raises MissingRequirementError: the Incus project does not exist.
        """
        context = self.run_context
        instances = required(context.read_instances, Requirement.INCUS_PROJECT, NotFoundError)
        path = api_path("/1.0/projects/{}", context.incus_project)
        if not instances and self.client.read_or_none(path, shapes.PROJECT) is None:  # Incus lists none in a project that does not exist
            raise MissingRequirementError(Requirement.INCUS_PROJECT)
        return instances

    @cached_property
    def ownerships(self) -> dict[str, Ownership]:
        """How each instance belongs to the user."""
        return {name: ownership(self.run_context, instance, self.instances) for name, instance in self.instances.items()}

    def is_here(self, instance: Mapping[str, Any]) -> bool:
        """Return whether an instance is on this host, and not on another member of a cluster."""
        server = self.connect()
        return not server.get("server_clustered") or instance.get("location") == server.get("server_name")

    @cached_property
    def summaries(self) -> dict[str, dict[str, Any]]:
        """The summary of each project of the registry, and of each container of the user, by name."""
        self.require_repos_root()
        shown = {name for name, owned in self.ownerships.items() if owned.relation in SHOWN}
        return {
            name: project_summary(self.run_context, name, self.instances[name] if name in shown else None, self.ownerships.get(name))
            for name in sorted({*self.registry.projects, *shown})
        }


def required(read: Callable[[], Value], requirement: Requirement, kind: type[RepomanError] = RepomanError) -> Value:
    """Return what a function reads.

    :param kind: the errors that mean that the requirement is missing.
    :raises MissingRequirementError: it raised one.
    """
    try:
        return read()
    except kind as error:
        raise MissingRequirementError(requirement) from error
