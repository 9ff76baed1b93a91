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
YAML_KEYS = (
    "cloud-init.user-data",
    "cloud-init.vendor-data",
    "cloud-init.network-config",
    "user.user-data",
    "user.vendor-data",
    "user.network-config",
    "user.meta-data",
)
"""Configuration keys whose values are YAML for cloud-init; those of ``user.`` are the old names, which many images still read."""
CLOUD_CONFIG = "#cloud-config\n"
"""The first line that cloud-init wants in ``user-data`` and ``vendor-data``."""


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
    :param error: what is wrong with ``config`` or ``devices``; it concerns only this project.
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
    error: UsageError | None = None


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
    profiles = options.get("profiles")
    config, devices, error = None, None, None
    try:
        config, devices = _config(options), _devices(options)
    except UsageError as wrong:
        error = wrong
    return ProjectRequest(
        name=options["name"],
        repo=options.get("repo"),
        image=options.get("image"),
        profiles=None if profiles is None else tuple(profiles),
        backup=options.get("backup"),
        config=config,
        devices=devices,
        target=options.get("target"),
        adopt=bool(options.get("adopt")),
        accept_protected=accept_protected,
        error=error,
    )


def _config(options: dict[str, Any]) -> dict[str, str] | None:
    config: dict[str, Any] | None = options.get("config")
    if config is None:
        return None
    return _strings({key: _yaml(key, value) for key, value in config.items()}, f"project {options['name']!r}: the key ")


def _devices(options: dict[str, Any]) -> dict[str, dict[str, str]] | None:
    devices: dict[str, Any] | None = options.get("devices")
    if devices is None:
        return None
    project = f"project {options['name']!r}"
    for device, settings in devices.items():
        if not isinstance(settings, dict | None):
            raise UsageError(
                f"{project}: the device {device!r} must be a mapping of its settings, and is {_kind(settings)}.",
                "devices: {data: {type: disk, source: /srv/data, path: /data}}   # an example",
            )
    return {device: _strings(settings, f"{project}: the key {device}.") for device, settings in devices.items() if settings is not None}


def _yaml(key: str, value: Any) -> Any:
    """Return the value of a configuration key. A mapping or list for cloud-init becomes YAML text."""
    if key not in YAML_KEYS or not isinstance(value, dict | list):
        return value
    import yaml

    head = CLOUD_CONFIG if key.endswith(("user-data", "vendor-data")) and isinstance(value, dict) else ""
    return head + str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _strings(mapping: dict[str, Any], what: str) -> dict[str, str]:
    """Return a mapping as Incus takes it: all values are strings; ``None`` unsets a key.

    :param what: start of the error message, before the key.
    :raises UsageError: a value is a mapping or a list.
    """
    for key, value in mapping.items():
        if isinstance(value, dict | list):
            raise UsageError(
                f"{what}{key} must be text, a number or a boolean, and is {_kind(value)}.",
                f"only {', '.join(YAML_KEYS[:3])} take a mapping, as cloud-init's YAML",
            )
    return {key: str(value).lower() if isinstance(value, bool) else str(value) for key, value in mapping.items() if value is not None}


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "text", bool: "a boolean"}.get(type(value), "a number")
