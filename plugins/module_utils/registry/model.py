# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The data of a registry, and the effective settings of a project."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.times import parse_duration

Data = dict[str, Any]
SCHEMA = 3
OUTPUTS = ("quiet", "normal", "verbose")
"""How much the command prints; the first is the default."""


@dataclass(frozen=True)
class Defaults:
    """Defaults for projects. Paths are as stored: ``~`` is not expanded.

    :param stale_after: the age at which a backup is too old, as :func:`parse_duration` takes it.
    """

    repos_root: str = "~/repos"
    backup_root: str = "/nfs/repos"
    logdir: str = "~/.local/state/repoman"
    incus_project: str = "repoman"
    default_image: str = "images:ubuntu/26.04/cloud"
    profiles: tuple[str, ...] = ("default",)
    exclude: tuple[str, ...] = ()
    exclude_caches: bool = False
    follow_mounts: bool = False
    stale_after: str = "3d"

    @property
    def stale_seconds(self) -> int | None:
        """The age in seconds at which a backup is too old; ``None`` if none is."""
        return parse_duration(self.stale_after)


@dataclass(frozen=True)
class Project:
    """An entry of the registry.

    :param name: name of the project and of its instance.
    :param repo: directory in ``repos_root``.
    :param image: empty for the default.
    :param profiles: ``None`` for the default.
    :param created: UTC time, ISO 8601.
    :param last_sync: UTC time of the last successful backup, ISO 8601; empty if there was none.
    :param backup: whether ``sync`` backs it up.
    :param exclude: patterns of files that ``sync`` leaves out, in addition to those of the defaults; ``None`` if it has none.
    :param exclude_caches: whether ``sync`` leaves out the contents of directories with a cache tag; ``None`` for the default.
    :param follow_mounts: whether ``sync`` backs up file systems mounted in the repository; ``None`` for the default.
    """

    name: str
    repo: str
    image: str = ""
    profiles: tuple[str, ...] | None = None
    created: str = ""
    last_sync: str = ""
    backup: bool = True
    exclude: tuple[str, ...] | None = None
    exclude_caches: bool | None = None
    follow_mounts: bool | None = None


@dataclass(frozen=True)
class Registry:
    """The registry as read.

    :param path: of the file.
    :param text: of the file.
    :param schema: schema of the file; the data in memory always has schema 3.
    :param output: how much the command prints: ``quiet``, ``normal`` or ``verbose``.
    :param lan_ip: address of the host for its containers; empty if unknown.
    :param defaults: defaults for projects.
    :param projects: by name, in the file's order.
    :param warnings: of keys that are probably misspelled.
    """

    path: str
    text: str
    schema: int
    output: str
    lan_ip: str
    defaults: Defaults
    projects: dict[str, Project]
    warnings: tuple[str, ...] = ()

    def referencing(self, profile: str) -> list[str]:
        """Return the names of projects that use a profile, and ``[defaults]`` if it is a default."""
        names = [name for name, project in self.projects.items() if profile in (project.profiles or ())]
        return names + (["[defaults]"] if profile in self.defaults.profiles else [])


@dataclass(frozen=True)
class ProjectSettings:
    """Settings of a project from one source: its entry, its override or the command line. ``None`` is not set.

    :param unset: configuration keys that earlier sources have, and the instance must not have.
    """

    repo: str | None = None
    image: str | None = None
    profiles: tuple[str, ...] | None = None
    backup: bool | None = None
    protect: tuple[str, ...] | None = None
    sudo: bool | None = None
    exclude: tuple[str, ...] | None = None
    exclude_caches: bool | None = None
    follow_mounts: bool | None = None
    config: dict[str, str] = field(default_factory=dict)
    devices: dict[str, dict[str, str]] = field(default_factory=dict)
    unset: tuple[str, ...] = ()


@dataclass(frozen=True)
class EffectiveSettings:
    """The settings of a project after merging the defaults, its entry, its override and the command line, in this order.

    :param repo: as stored: a directory in ``repos_root``, or an absolute path.
    :param sudo: whether the account in the container may become root.
    :param exclude: the project's own patterns, relative to its repository: they come after those of the defaults.
    :param unset: configuration keys that the instance must not have.
    """

    name: str
    repo: str
    image: str
    profiles: tuple[str, ...]
    backup: bool
    protect: tuple[str, ...]
    sudo: bool
    exclude: tuple[str, ...]
    exclude_caches: bool
    follow_mounts: bool
    config: dict[str, str]
    devices: dict[str, dict[str, str]]
    unset: tuple[str, ...] = ()


def effective_settings(name: str, defaults: Defaults, *sources: ProjectSettings) -> EffectiveSettings:
    """Return the settings of a project: the defaults, overridden by each source in turn.

    Lists replace lists, except ``exclude``, whose patterns add up; ``config`` and ``devices`` are merged by key.
    """
    config: dict[str, str] = {}
    devices: dict[str, dict[str, str]] = {}
    for source in sources:
        config = {key: value for key, value in config.items() if key not in source.unset} | source.config
        devices |= source.devices

    def pick(key: str, default: Any) -> Any:
        return next((getattr(source, key) for source in reversed(sources) if getattr(source, key) is not None), default)

    return EffectiveSettings(
        name=name,
        repo=pick("repo", name),
        image=pick("image", defaults.default_image),
        profiles=pick("profiles", defaults.profiles),
        backup=pick("backup", True),
        protect=pick("protect", ()),
        sudo=pick("sudo", False),
        exclude=tuple(pattern for source in sources for pattern in source.exclude or ()),
        exclude_caches=pick("exclude_caches", defaults.exclude_caches),
        follow_mounts=pick("follow_mounts", defaults.follow_mounts),
        config=config,
        devices=devices,
        unset=tuple(key for source in sources for key in source.unset if key not in config),
    )


def settings_of(project: Project) -> ProjectSettings:
    """Return the settings in an entry of the registry."""
    return ProjectSettings(
        repo=project.repo,
        image=project.image or None,
        profiles=project.profiles,
        backup=project.backup,
        exclude=project.exclude,
        exclude_caches=project.exclude_caches,
        follow_mounts=project.follow_mounts,
    )
