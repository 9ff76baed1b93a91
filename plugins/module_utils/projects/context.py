# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The account, registry and Incus that a run works with, and the state it reads from them at its start."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, get_account
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import check_answers
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import LOCAL, client_command, instance_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import expanded_devices
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Registry

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.module_utils.incus import images
    from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
    from ansible_collections.homelab.repoman.plugins.module_utils.projects.mount_index import MountIndex

NO_PROJECT = "project not found"
"""Part of Incus's error, in lower case, if an Incus project does not exist."""

UNKNOWN_STATE = "Error"
"""State of an instance that Incus cannot describe, such as one on a cluster member that is offline."""


def repository_path(account: Account, repos_root: str, repo: str) -> str:
    """Return the path of a repository, whether or not it exists.

    :param repo: as the registry has it: relative to ``repos_root``, or absolute.
    """
    return os.path.normpath(os.path.join(repos_root, account.expand(repo) if repo[:1] in "~$" else repo))


@dataclass(frozen=True)
class RunContext:
    """The account, registry and Incus of a run.

    :param account: the user that the containers are for.
    :param registry_path: path of the registry.
    :param registry: its content.
    :param client: connection to Incus.
    :param predict: check mode only: objects that an earlier task may create can be missing, with a warning.
    """

    account: Account
    registry_path: str
    registry: Registry
    client: incus.Client
    predict: bool = False

    @property
    def incus_project(self) -> str:
        """The Incus project of the instances."""
        return self.registry.defaults.incus_project

    @property
    def repos_root(self) -> str:
        """The directory of all repositories, as the user writes it."""
        return self.account.expand(self.registry.defaults.repos_root)

    @cached_property
    def cluster_member(self) -> str:
        """Name of this host in its Incus cluster; empty if Incus is not clustered."""
        environment = self.client.read("/1.0", shapes.SERVER).data["environment"]
        return str(environment["server_name"]) if environment.get("server_clustered") else ""

    def repository_path(self, repo: str) -> str:
        """Return the path of a repository, whether or not it exists.

        :param repo: as the registry has it: relative to ``repos_root``, or absolute.
        """
        return repository_path(self.account, self.repos_root, repo)

    def instance_path(self, name: str, suffix: str = "") -> str:
        """Return the API path of an instance.

        :param suffix: rest of the path, such as ``/state``.
        """
        return api_path("/1.0/instances/{}" + suffix, name, project=self.incus_project)

    def read_instance(self, name: str) -> dict[str, Any]:
        """Read one instance of the Incus project.

        :raises RepomanError: it does not exist, or Incus cannot describe it.
        """
        return self._described(self.client.read(self.instance_path(name), shapes.OTHER_INSTANCE).data)

    def read_instances(self, recursion: int = 1) -> dict[str, dict[str, Any]]:
        """Read every instance of the Incus project, repoman's or not, in one request: name to instance.

        :param recursion: 2 to include their state.
        :raises NotFoundError: the Incus project does not exist.
        :raises RepomanError: Incus cannot describe one of them.
        """
        instances = self._read_instances(api_path("/1.0/instances", recursion=recursion, project=self.incus_project))
        return {instance["name"]: self._described(instance) for instance in instances}

    def read_all_instances(self) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
        """Read the instances of all Incus projects in one request.

        :returns: those of the Incus project by name; those of the others by Incus project and name, such as ``default/web``. If the Incus
            project does not exist, the next request says so. Those of other Incus projects that Incus cannot describe are left out.
        :raises RepomanError: Incus cannot describe one of the Incus project.
        """
        own: dict[str, dict[str, Any]] = {}
        others: dict[str, dict[str, Any]] = {}
        for instance in self._read_instances(api_path("/1.0/instances", recursion=1, **{"all-projects": "true"})):
            project = _project_of(instance)
            if project == self.incus_project:
                own[instance["name"]] = self._described(instance)
            elif not _is_undescribed(instance):
                others[f"{project}/{instance['name']}"] = instance
        return own, others

    def read_other_instances(self) -> dict[str, dict[str, Any]]:
        """Read the instances of all other Incus projects; see :meth:`read_all_instances`."""
        query = {"all-projects": "true", "filter": f"project ne {self.incus_project}"}
        instances = self._read_instances(api_path("/1.0/instances", recursion=1, **query))
        return {f"{_project_of(instance)}/{instance['name']}": instance for instance in instances if not _is_undescribed(instance)}

    def _read_instances(self, target: str) -> list[dict[str, Any]]:
        read = self.client.read_or_none if self.predict else self.client.read
        try:
            response = read(target, [shapes.OTHER_INSTANCE])
        except incus.IncusError as error:
            raise (self.missing_project_error() if NO_PROJECT in error.reason.lower() else error) from error
        return list(response.data) if response else []

    def _described(self, instance: dict[str, Any]) -> dict[str, Any]:
        """Return an instance of the Incus project.

        :raises RepomanError: Incus cannot describe it.
        """
        if _is_undescribed(instance):
            place = f" on the cluster member {instance['location']!r}" if instance.get("location") not in (None, "", "none") else ""
            raise RepomanError(
                f"incus cannot describe the container {instance['name']!r}{place}: its state is {instance['status']!r}.",
                client_command(self.client.path, f"cluster list {LOCAL}   # shows which members are offline")
                if place
                else self.instance_command("info", instance["name"]),
            )
        described: dict[str, Any] = shapes.checked(instance, shapes.INSTANCE, self.client.path)
        return described

    def read_images(self) -> images.Images:
        """Read the images of this Incus.

        :raises NotFoundError: the Incus project does not exist.
        """
        target = api_path("/1.0/images", recursion=1, project=self.incus_project)
        response = self.client.read_or_none(target, [shapes.IMAGE]) if self.predict else None
        # a project that an earlier task has yet to create will share the images of the default one
        project = incus.DEFAULT_PROJECT if self.predict and response is None else self.incus_project
        try:
            data: images.Images = (response or self.client.read(api_path("/1.0/images", recursion=1, project=project), [shapes.IMAGE])).data
        except incus.IncusError as error:
            raise (self.missing_project_error() if NO_PROJECT in error.reason.lower() else error) from error
        return data

    def instance_command(self, verb: str, name: str, arguments: str = "") -> str:
        """Return a command of the ``incus`` client about an instance, for a hint.

        :param verb: such as ``config show``.
        :param arguments: the rest of the command.
        """
        return instance_command(self.client.path, self.incus_project, verb, name, arguments)

    def missing_project_error(self) -> NotFoundError:
        """Return the error for an Incus project that does not exist."""
        return NotFoundError(f"incus has no project {self.incus_project!r} for the containers.", "repoman setup")


def _project_of(instance: Mapping[str, Any]) -> str:
    return str(instance.get("project") or incus.DEFAULT_PROJECT)


def _is_undescribed(instance: Mapping[str, Any]) -> bool:
    """Return whether Incus gives only the name, the place and the state of an instance."""
    return instance["status"] == UNKNOWN_STATE and instance.get("config") is None


@dataclass
class Snapshot:
    """The state that was read, at once for all projects of a run.

    :param instances: of the Incus project, by name.
    :param profiles: the installed profiles, by name; empty if projects are removed.
    :param registry_text: text of the registry after the steps planned so far.
    :param read_images: reads the images of this Incus when they are first needed.
    :param others: instances of other Incus projects, by Incus project and name, such as ``default/web``; empty if projects are removed.
    """

    instances: dict[str, dict[str, Any]]
    profiles: dict[str, Installed]
    registry_text: str
    read_images: Callable[[], images.Images]
    others: Mapping[str, dict[str, Any]] = field(default_factory=dict)

    @cached_property
    def mount_index(self) -> MountIndex:
        """The mounts of all containers, and of those that the run has planned so far."""
        # "list" starts faster without it
        from ansible_collections.homelab.repoman.plugins.module_utils.projects.mount_index import MountIndex

        return MountIndex({name: expanded_devices(instance) for name, instance in {**self.others, **self.instances}.items()})


def load_context(params: dict[str, Any], predict: bool = False) -> RunContext:
    """Return the context of a run, from the module's parameters.

    :param predict: check mode only: use the option ``registry_text`` instead of the file, if it is set.
    :raises NotFoundError: the account or the registry does not exist.
    :raises RepomanError: the file system of ``repos_root`` does not answer.
    """
    account = get_account(params["user"])
    path = account.expand(params["registry_path"] or store.default_path(account.home))
    registry = store.load_predicted(path, params, account) if predict else store.load(path)
    check_answers(account.expand(registry.defaults.repos_root))
    client = incus.Client(incus.find_socket(params["socket"]), params["timeout"])
    return RunContext(account, path, registry, client, predict)
