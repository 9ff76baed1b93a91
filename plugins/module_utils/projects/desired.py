# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The configuration and devices that repoman gives an instance."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import check_answers
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.installed import Installed
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import mounts_host_path
from ansible_collections.homelab.repoman.plugins.module_utils.projects import protect
from ansible_collections.homelab.repoman.plugins.module_utils.projects.git_share import GIT_DEVICE, GitShare, share_git_directory
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import (
    APPLIED_KEY,
    KEY_PREFIX,
    OWNER_KEY,
    OWNER_UID_KEY,
    PROJECT_KEY,
    PROTECTED_KEY,
    REPO_DEVICE,
    REPO_KEY,
    host_mount,
)
from ansible_collections.homelab.repoman.plugins.module_utils.projects.protected_record import protected_record
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import EffectiveSettings, ProjectSettings

Devices = dict[str, dict[str, str]]
"""Device names to their settings."""


@dataclass(frozen=True)
class DesiredInstance:
    """The desired state of a project's instance.

    :param settings: the project's configuration, from all sources.
    :param requested: the part of ``settings`` that a task requested.
    :param repository: the project's repository.
    :param profiles: the profiles installed in Incus, by name.
    :param account: the user that the instance is for.
    """

    settings: EffectiveSettings
    requested: ProjectSettings
    repository: Repository
    profiles: Mapping[str, Installed]
    account: Account

    @property
    def name(self) -> str:
        """Name of the instance."""
        return self.settings.name

    def check_reserved_names(self) -> None:
        """Check that no setting conflicts with those that repoman itself makes.

        :raises ConflictError: a device or key is reserved.
        """
        if REPO_DEVICE in self.settings.devices:
            raise ConflictError(
                f"project {self.name!r} cannot have a device {REPO_DEVICE!r}: that name is reserved for the repository.",
                f"give the device another name in repos.d/{self.name}.toml",
                "another repository: repo = 'DIR' there, or --repo DIR",
            )
        if GIT_DEVICE in self.settings.devices and GIT_DEVICE in self.git_share.devices:
            raise ConflictError(
                f"project {self.name!r} cannot have a device {GIT_DEVICE!r}: that name is reserved for the repository.",
                f"give the device another name in repos.d/{self.name}.toml",
            )
        for key in (*self.settings.config, *self.settings.unset):
            if key.startswith(KEY_PREFIX):
                raise ConflictError(
                    f"project {self.name!r} cannot set {key!r}: keys that start with {KEY_PREFIX} are reserved.", "leave it out"
                )
        path = self.repository.container_path
        for device, options in self.with_profile_devices(self.settings.devices).items():
            if options.get("type") == "disk" and os.path.normpath(options.get("path", "/")) == path:
                raise ConflictError(
                    f"the device {device!r} of project {self.name!r} would be mounted over the repository at {path}.",
                    "give it another path, or leave it out",
                )

    def config_and_devices(self) -> tuple[dict[str, str], Devices]:
        """Return the configuration and devices that repoman gives the instance.

        :raises RepomanError: the repository cannot be protected as ``protect`` asks.
        """
        config, devices = self._config_and_devices
        return dict(config), dict(devices)

    @cached_property
    def _config_and_devices(self) -> tuple[dict[str, str], Devices]:
        repository, settings = self.repository, self.settings
        devices = settings.devices | self.git_share.devices
        other_devices = self.with_profile_devices(devices).values()
        protecting = protect.devices(repository.host_path, repository.container_path, settings.protect, other_devices)
        devices |= protecting | {REPO_DEVICE: self.repository_device()}
        own_config = {
            PROJECT_KEY: self.name,
            REPO_KEY: repository.host_path,
            OWNER_KEY: self.account.name,
            OWNER_UID_KEY: str(self.account.uid),
            APPLIED_KEY: self.applied_record(devices),
        }
        if protecting:
            own_config[PROTECTED_KEY] = protected_record(protecting)
        return settings.config | own_config, devices

    def applied_record(self, devices: Iterable[str]) -> str:
        """Return the value of :data:`APPLIED_KEY`.

        :param devices: names of the devices that repoman gives the instance.
        """
        devices = list(devices)
        record = {"config": sorted(self.settings.config), "devices": sorted(devices), "profiles": list(self.settings.profiles)}
        requested = {
            "asked_config": sorted(self.requested.config),
            "asked_devices": sorted(name for name in devices if name in self.requested.devices),
            "asked_unset": sorted(self.requested.unset),
        }
        return json.dumps(record | {field: names for field, names in requested.items() if names}, sort_keys=True)

    def config_keys(self) -> set[str]:
        """Return the configuration keys that the instance has from its project and its profiles."""
        return set(self.settings.config).union(*(self.profiles[name].body["config"] for name in self.settings.profiles))

    @cached_property
    def git_share(self) -> GitShare:
        """How git works in the container."""
        return share_git_directory(self.name, self.repository, self.with_profile_devices(self.settings.devices).values())

    def repository_device(self) -> dict[str, str]:
        """Return the device that mounts the repository."""
        repository = self.repository
        return host_mount(repository.host_path, repository.container_path)

    def check_sources(self) -> None:
        """Check that the file systems of the host directories that the instance is to mount answer.

        :raises RepomanError: one does not.
        """
        for device in self.with_profile_devices(self.settings.devices).values():
            if mounts_host_path(device):
                check_answers(device["source"])

    def with_profile_devices(self, devices: Devices, profiles: Iterable[str] | None = None) -> Devices:
        """Return ``devices`` together with those of the profiles.

        :param profiles: other profiles than those of the project.
        """
        merged: Devices = {}
        for name in self.settings.profiles if profiles is None else profiles:
            merged |= self.profiles[name].body["devices"] if name in self.profiles else {}
        return merged | devices
