# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Incus's own profile needs a root disk: without one, no container can be created from it."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import DEFAULT_PROJECT, Client, api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import instance_command

PROFILE = "default"

Devices = Mapping[str, Mapping[str, str]]
"""The devices of a profile, by name."""


def root_disk(devices: Devices) -> Mapping[str, str] | None:
    """Return the root disk among devices; ``None`` without one."""
    return next((device for device in devices.values() if device.get("type") == "disk" and device.get("path") == "/"), None)


def missing_root_disk_error(socket: str, profile: str = PROFILE, pool: str = "POOL") -> NotFoundError:
    """Return the error for a profile without a root disk.

    :param socket: path of the Incus socket.
    :param pool: the storage pool that the hint names.
    """
    return NotFoundError(
        f"Incus's profile {profile!r} has no root disk, so no container can be created with it alone.",
        instance_command(socket, DEFAULT_PROJECT, "profile device add", profile, f"root disk path=/ pool={shell_word(pool)}"),
    )


def root_disk_warnings(devices: Devices | None, socket: str) -> list[str]:
    """Return a warning if the devices of the profile have no root disk.

    :param devices: by name; ``None`` if the profile is not known.
    :param socket: path of the Incus socket.
    """
    if devices is None or root_disk(devices) is not None:
        return []
    error = missing_root_disk_error(socket)
    return [f"{error.message.rstrip('.')}: {error.hints[0]}"]


def read_default_devices(client: Client) -> dict[str, dict[str, str]] | None:
    """Read the devices of the profile; ``None`` if there is none."""
    response = client.read_or_none(api_path("/1.0/profiles/{}", PROFILE, project=DEFAULT_PROJECT), shapes.PROFILE)
    return None if response is None else response.data.get("devices") or {}
