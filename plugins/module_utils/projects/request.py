# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the module ``repoman_project``, checked and typed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

try:
    import yaml
except ImportError:  # the module reports it before it uses the values; only a prediction of check mode gets here
    yaml = None  # type: ignore[assignment]

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import INSTANCE_NAME, check_project_name

OPTIONS = ("name", "repo", "image", "profiles", "add_profiles", "backup", "config", "devices", "target", "adopt")
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
YAML_EXAMPLES = {
    "user-data": "{packages: [git]}",
    "vendor-data": "{packages: [git]}",
    "network-config": "{version: 2, ethernets: {eth0: {dhcp4: true}}}",
    "meta-data": "{local-hostname: demo}",
}
"""Example values, by the end of the key."""
MULTI_FORMAT_KEYS = ("user-data", "vendor-data")
"""Ends of keys whose values may have one of several formats, which their first line names."""
CLOUD_CONFIG = "#cloud-config\n"
"""The first line of a mapping in them."""
ARCHIVE = "#cloud-config-archive"
"""The first line of the only list that cloud-init reads."""
DEVICE_EXAMPLE = "devices: {data: {type: disk, source: /srv/data, path: /data}}   # an example"


@dataclass(frozen=True)
class ProjectRequest:
    """The request for one project; ``None`` for settings that are not requested.

    :param repo: directory of the repository, relative to ``repos_root`` or absolute.
    :param image: image of a new container.
    :param profiles: Incus profiles, in order.
    :param add_profiles: profiles in addition to those.
    :param backup: whether the repository is backed up.
    :param config: configuration keys of the instance.
    :param unset: configuration keys that the instance must not have.
    :param devices: device names to their settings.
    :param target: cluster member for a new container.
    :param adopt: whether to take over an existing container that has no marks of repoman and mounts the repository.
    :param create: whether to create a container that does not exist.
    :param accept_protected: whether changes of what an override protects are accepted.
    :param error: what is wrong with ``config`` or ``devices``; it concerns only this project.
    """

    name: str
    repo: str | None = None
    image: str | None = None
    profiles: tuple[str, ...] | None = None
    add_profiles: tuple[str, ...] = ()
    backup: bool | None = None
    config: dict[str, str] | None = None
    unset: tuple[str, ...] = ()
    devices: dict[str, dict[str, str]] | None = None
    target: str | None = None
    adopt: bool = False
    create: bool = True
    accept_protected: bool = True
    error: UsageError | None = None

    def added_profiles(self, others: Sequence[str]) -> list[str]:
        """Return the names in ``add_profiles`` that the project does not have yet, in order."""
        return [name for name in dict.fromkeys(self.add_profiles) if name not in others]


def requested_projects(params: dict[str, Any]) -> list[ProjectRequest]:
    """Return the requests for the named projects.

    :raises UsageError: a name is invalid or appears twice.
    """
    entries = params["projects"] if params["projects"] is not None else [{key: params[key] for key in OPTIONS}]
    return _requests(entries, params)


def named_projects(params: dict[str, Any]) -> list[ProjectRequest]:
    """Return the requests for the named projects: none with ``all``, unless it comes with a list.

    :raises UsageError: see :func:`requested_projects`.
    """
    return [] if params.get("all") is not None and params["projects"] is None else requested_projects(params)


def requests_for(names: Iterable[str], params: dict[str, Any]) -> list[ProjectRequest]:
    """Return requests for projects by name, without options; names that are invalid for a container are left out."""
    return _requests([{"name": name} for name in names if INSTANCE_NAME.match(name)], params)


def _requests(entries: list[dict[str, Any]], params: dict[str, Any]) -> list[ProjectRequest]:
    names = [check_project_name(options["name"]) for options in entries]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise UsageError(f"the project {duplicates[0]!r} is named twice.", "name each project once")
    return [_request(options, params.get("create", True), params.get("accept_protected", True)) for options in entries]


def _request(options: dict[str, Any], create: bool, accept_protected: bool) -> ProjectRequest:
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
        add_profiles=tuple(options.get("add_profiles") or ()),
        backup=options.get("backup"),
        config=config,
        unset=tuple(key for key, value in options["config"].items() if _is_unset(value)) if config is not None else (),
        devices=devices,
        target=options.get("target"),
        adopt=bool(options.get("adopt")),
        create=create,
        accept_protected=accept_protected,
        error=error,
    )


def _config(options: dict[str, Any]) -> dict[str, str] | None:
    config: dict[str, Any] | None = options.get("config")
    if config is None:
        return None
    for key, value in config.items():
        _check_value(key, value, f"project {options['name']!r}: the key {key}")
    return {key: _yaml(key, value) if isinstance(value, dict) else _text(value) for key, value in config.items() if not _is_unset(value)}


def _devices(options: dict[str, Any]) -> dict[str, dict[str, str]] | None:
    devices: dict[str, Any] | None = options.get("devices")
    if devices is None:
        return None
    project = f"project {options['name']!r}"
    for device, settings in devices.items():
        if not isinstance(settings, dict | None):
            raise UsageError(
                f"{project}: the device {device!r} must be a mapping of its settings, and is {_kind(settings)}.", DEVICE_EXAMPLE
            )
        for key, value in (settings or {}).items():
            _check_text(value, f"{project}: the key {device}.{key}", DEVICE_EXAMPLE)
    return {
        device: {key: _text(value) for key, value in settings.items() if not _is_unset(value)}
        for device, settings in devices.items()
        if settings is not None
    }


def _is_unset(value: Any) -> bool:
    """Return whether a value unsets its key. Incus does not store an empty one; to expect it there would be a difference in every run."""
    return value is None or value == ""


def _check_value(key: str, value: Any, what: str) -> None:
    """Check the value of a configuration key.

    :param what: the key, at the start of the error's message.
    :raises UsageError: it is a mapping or a list that Incus or cloud-init cannot read.
    """
    if key not in YAML_KEYS:
        _check_text(value, what, f"only {', '.join(YAML_KEYS[:3])} take a mapping, as cloud-init's YAML")
    if key not in YAML_KEYS or not isinstance(value, list):
        return
    example = next(text for end, text in YAML_EXAMPLES.items() if key.endswith(end))
    archive = [f"a list of parts is text that begins with {ARCHIVE}"] if key.endswith(MULTI_FORMAT_KEYS) else []
    raise UsageError(f"{what} must be text or a mapping, and is {_kind(value)}.", f"{key}: {example}   # an example", *archive)


def _check_text(value: Any, what: str, hint: str) -> None:
    """Check that Incus can have a value as text.

    :raises UsageError: it is a mapping or a list.
    """
    if isinstance(value, dict | list):
        raise UsageError(f"{what} must be text, a number or a boolean, and is {_kind(value)}.", hint)


def _yaml(key: str, value: dict[str, Any]) -> str:
    """Return a mapping as YAML for cloud-init."""
    if yaml is None:
        return ""
    head = CLOUD_CONFIG if key.endswith(MULTI_FORMAT_KEYS) else ""
    return head + str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))


def _text(value: Any) -> str:
    """Return a value as Incus takes it."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _kind(value: Any) -> str:
    return {dict: "a mapping", list: "a list", str: "text", bool: "a boolean"}.get(type(value), "a number")
