# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Instances as Incus describes them: the configuration keys that repoman sets, and properties that it reads."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import is_true
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import ProjectSettings

KEY_PREFIX = "user.repoman."
"""Prefix of the configuration keys that repoman itself sets."""
PROJECT_KEY = "user.repoman.project"
STATE_KEY = "user.repoman.state"
REPO_KEY = "user.repoman.repo"
OWNER_KEY = "user.repoman.owner"
"""Login name of the user that repoman made the instance for."""
OWNER_UID_KEY = "user.repoman.uid"
IMAGE_KEY = "user.repoman.image"
"""The image that the instance was made from, as it was requested."""
APPLIED_KEY = "user.repoman.applied"
"""Names of everything repoman gave the instance; see :func:`applied_settings`."""
RUN_KEY = "user.repoman.run"
"""ID of the run that created the instance; a rollback deletes only instances with its own ID."""
PROTECTED_KEY = "user.repoman.protected"
"""What the hooks and settings under an override's ``protect`` were at the last ``new``."""
APPLIED_FIELDS = ("config", "devices", "profiles", "asked_config", "asked_devices", "asked_unset")
"""Fields of :data:`APPLIED_KEY`; the last three name the settings that only a task requested, and no file."""
CREATING, READY = "creating", "ready"
"""Values of :data:`STATE_KEY`."""
REPO_DEVICE = "repo"
PROTECTION_KEY = "security.protection.delete"
ENVIRONMENT_PREFIX = "environment."
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def host_mount(source: str, path: str) -> dict[str, str]:
    """Return the device with which repoman mounts a path of the host, so that its owner on the host is its owner in the instance.

    :param path: in the instance.
    """
    return {"type": "disk", "source": source, "path": path, "shift": "true"}


def is_read_only(device: Mapping[str, str]) -> bool:
    """Return whether the instance cannot write to what a device mounts."""
    return is_true(device.get("readonly", ""))


def is_unfinished(instance: Mapping[str, Any]) -> bool:
    """Return whether a killed run left an instance before it was ready."""
    return bool(instance["config"].get(STATE_KEY) == CREATING)


def made_from(instance: Mapping[str, Any], recorded: str = "") -> str:
    """Return the image that an instance was made from, as it was requested.

    :param recorded: the image in the registry, for instances of earlier versions; if it is empty, the image's own description.
    """
    config = instance["config"]
    return str(config.get(IMAGE_KEY) or recorded or config.get("image.description") or config.get("volatile.base_image", "")[:12])


def is_protected(instance: Mapping[str, Any]) -> bool:
    """Return whether Incus refuses to delete an instance."""
    return is_true(instance["expanded_config"].get(PROTECTION_KEY, ""))


def applied_settings(instance: Mapping[str, Any], unset: str = "") -> dict[str, list[str]]:
    """Return the names of everything repoman gave an instance, by :data:`APPLIED_KINDS`; empty lists without :data:`APPLIED_KEY`.

    :param unset: command that removes the key, for the hint.
    :raises ConflictError: the key was edited by hand and cannot be read.
    """
    applied: Any = None
    with suppress(ValueError, RecursionError):
        applied = json.loads(instance["config"].get(APPLIED_KEY) or "{}")
    if isinstance(applied, dict):
        by_field = {field: applied.get(field, []) for field in APPLIED_FIELDS}
        if all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in by_field.values()):
            return by_field
    raise ConflictError(
        f"the key {APPLIED_KEY} of the container {instance['name']!r} was edited by hand and cannot be read.",
        *([unset] if unset else []),
    )


def previously_requested(instance: Mapping[str, Any], unset: str = "") -> ProjectSettings:
    """Return the current values of the keys and devices that an earlier task requested; no file has them.

    :param unset: see :func:`applied_settings`.
    :raises ConflictError: see :func:`applied_settings`.
    """
    applied = applied_settings(instance, unset)
    return ProjectSettings(
        config={key: value for key, value in instance["config"].items() if key in applied["asked_config"]},
        devices={name: device for name, device in instance["devices"].items() if name in applied["asked_devices"]},
        unset=tuple(applied["asked_unset"]),
    )


def environment_names(keys: Iterable[str]) -> list[str]:
    """Return the environment variables that configuration keys set, as far as their names are valid in a shell."""
    names = {key.removeprefix(ENVIRONMENT_PREFIX) for key in keys if key.startswith(ENVIRONMENT_PREFIX)}
    return sorted(name for name in names if IDENTIFIER.fullmatch(name))


def expanded_devices(instance: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Return the devices of an instance, with those of its profiles."""
    return instance.get("expanded_devices") or instance.get("devices") or {}


def mount_targets(devices: Iterable[Mapping[str, str]]) -> list[str]:
    """Return the paths in the container at which disk devices are mounted, without its root."""
    paths = [os.path.normpath(device.get("path", "/")) for device in devices if device.get("type") == "disk"]
    return [path for path in paths if path != "/"]
