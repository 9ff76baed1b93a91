# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Incus's own profile needs a root disk: without one, no container can be created from it."""

from __future__ import annotations

from collections.abc import Mapping

from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import DEFAULT_PROJECT, Client, api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import client_command

PROFILE = "default"


def root_disk_warnings(devices: Mapping[str, Mapping[str, str]] | None, socket: str) -> list[str]:
    """Return a warning if the devices of the profile have no root disk.

    :param devices: by name; ``None`` if the profile is not known.
    :param socket: path of the Incus socket.
    """
    if devices is None or any(device.get("type") == "disk" and device.get("path") == "/" for device in devices.values()):
        return []
    command = client_command(socket, "profile device add local:default root disk path=/ pool=POOL")
    return [f"Incus's profile {PROFILE!r} has no root disk, so no container can be created with it alone: {command}"]


def read_default_devices(client: Client) -> dict[str, dict[str, str]] | None:
    """Read the devices of the profile; ``None`` if there is none."""
    response = client.read_or_none(api_path("/1.0/profiles/{}", PROFILE, project=DEFAULT_PROJECT), shapes.PROFILE)
    return None if response is None else response.data.get("devices") or {}
