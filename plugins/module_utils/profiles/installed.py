# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The profiles that Incus has.

They are installed into Incus's project ``default``, where every project that does not have separate profiles sees them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import api_path
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Body


@dataclass(frozen=True)
class Installed:
    """A profile of Incus.

    :param body: ``description``, ``config`` and ``devices``: the part that is compared.
    :param used_by: API paths of the instances and profiles that use it.
    :param etag: for ``If-Match``.
    """

    body: Body
    used_by: list[str]
    etag: str

    def users(self) -> list[tuple[str, str]]:
        """Return name and Incus project of each instance and profile that uses it."""
        paths = [urlsplit(path) for path in self.used_by]
        return [(unquote(path.path.rsplit("/", 1)[-1]), parse_qs(path.query).get("project", [incus.DEFAULT_PROJECT])[0]) for path in paths]


def read_installed(client: incus.Client) -> dict[str, Installed]:
    """Read all profiles of Incus's default project, by name, in one request."""
    response = client.read(api_path("/1.0/profiles", recursion=1, project=incus.DEFAULT_PROJECT), [shapes.PROFILE])
    return {profile["name"]: _installed(profile) for profile in response.data}


def read_one(name: str, client: incus.Client) -> dict[str, Installed]:
    """Read one profile, with the ETag from Incus; the result is like that of :func:`read_installed`."""
    response = client.read_or_none(_profile_path(name), shapes.PROFILE)
    return {} if response is None else {name: _installed(response.data, response.etag)}


def create_profile(name: str, body: Body, client: incus.Client) -> None:
    """Create a profile.

    :raises ConcurrentChangeError: it exists by now.
    """
    try:
        client.post(api_path("/1.0/profiles", project=incus.DEFAULT_PROJECT), {"name": name} | body)
    except incus.IncusError as error:
        if error.code == incus.HTTP_CONFLICT or "already exists" in error.reason:
            raise ConcurrentChangeError(error.message) from error
        raise


def update_profile(name: str, body: Body, etag: str, client: incus.Client) -> None:
    """Replace a profile.

    :param etag: of the profile when it was read.
    :raises ConcurrentChangeError: it has changed since then.
    """
    client.put(_profile_path(name), body, if_match=etag)


def delete_profile(name: str, client: incus.Client) -> None:
    """Delete a profile."""
    client.delete(_profile_path(name))


def _installed(profile: dict[str, Any], etag: str = "") -> Installed:
    config, devices, description = profile.get("config") or {}, profile.get("devices") or {}, profile.get("description", "")
    return Installed(
        body={"description": description, "config": config, "devices": devices},
        used_by=profile.get("used_by") or [],
        etag=etag or incus.etag(config, description, devices),
    )


def _profile_path(name: str) -> str:
    return api_path("/1.0/profiles/{}", name, project=incus.DEFAULT_PROJECT)
