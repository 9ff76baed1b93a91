# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the module ``repoman_project``, checked and typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import check_project_name

OPTIONS = ("name", "repo", "image", "profiles", "backup", "config", "devices", "target", "adopt")
"""The module's options for one project."""


@dataclass(frozen=True)
class ProjectRequest:
    """The request for one project; ``None`` for settings that are not requested.

    :param repo: directory of the repository, relative to ``repos_root`` or absolute.
    :param image: image of a new container.
    :param profiles: Incus profiles, in order.
    :param backup: whether the repository is backed up.
    :param config: configuration keys of the instance.
    :param devices: device names to their settings.
    :param target: cluster member for a new container.
    :param adopt: whether to take over an existing container that has no marks of repoman and mounts the repository.
    :param accept_protected: whether changes of what an override protects are accepted.
    """

    name: str
    repo: str | None = None
    image: str | None = None
    profiles: tuple[str, ...] | None = None
    backup: bool | None = None
    config: dict[str, str] | None = None
    devices: dict[str, dict[str, str]] | None = None
    target: str | None = None
    adopt: bool = False
    accept_protected: bool = True


def requested_projects(params: dict[str, Any]) -> list[ProjectRequest]:
    """Return the requests for all projects.

    :raises UsageError: a name is invalid or appears twice.
    """
    entries = params["projects"] if params["projects"] is not None else [{key: params[key] for key in OPTIONS}]
    names = [check_project_name(options["name"]) for options in entries]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise UsageError(f"the project {duplicates[0]!r} is named twice.", "name each project once")
    accept_protected = params.get("accept_protected", True)
    return [_request(options, accept_protected) for options in entries]


def _request(options: dict[str, Any], accept_protected: bool) -> ProjectRequest:
    profiles, config, devices = options.get("profiles"), options.get("config"), options.get("devices")
    return ProjectRequest(
        name=options["name"],
        repo=options.get("repo"),
        image=options.get("image"),
        profiles=None if profiles is None else tuple(profiles),
        backup=options.get("backup"),
        config=None if config is None else _strings(config),
        devices=None if devices is None else {name: _strings(device) for name, device in devices.items()},
        target=options.get("target"),
        adopt=bool(options.get("adopt")),
        accept_protected=accept_protected,
    )


def _strings(mapping: dict[str, Any]) -> dict[str, str]:
    """Return a mapping as Incus takes it: all values are strings."""
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in mapping.items()}
