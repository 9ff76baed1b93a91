# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shapes of Incus's responses, as far as repoman reads them.

A response of another shape comes from a program that is not Incus. It must end in an error, and never look like an Incus without
projects. A shape is a type; ``Optional`` of a shape; a list with the shape of its elements; ``Mapping`` with the shape of its values; or a
dictionary with the shapes of keys, which are required unless ``Optional``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError


@dataclass(frozen=True)
class Optional:
    """The shape, or ``null``, or, as the value of a key, nothing."""

    shape: Any


@dataclass(frozen=True)
class Mapping:
    """A dictionary with any keys."""

    shape: Any


DOCUMENT = {"type": str, "error": Optional(str), "error_code": Optional(int), "status_code": Optional(int)}
"""What every response has."""
TEXTS = Mapping(str)
DEVICES = Mapping(TEXTS)
INSTANCE = {
    "name": str,
    "status": str,
    "config": TEXTS,
    "devices": DEVICES,
    "profiles": [str],
    "expanded_config": TEXTS,
    "expanded_devices": DEVICES,
    "state": Optional(
        {"network": Optional(Mapping({"addresses": Optional([{"address": str, "family": str, "scope": str}])}))},
    ),
}
OTHER_INSTANCE = {
    "name": str,
    "status": str,
    "project": Optional(str),
    "location": Optional(str),
    "config": Optional(TEXTS),
    "devices": Optional(DEVICES),
    "expanded_devices": Optional(DEVICES),
}
"""An instance of any Incus project, or one that Incus cannot describe: its ``config`` and ``devices`` are ``null``."""
PROFILE = {
    "name": str,
    "description": Optional(str),
    "config": Optional(TEXTS),
    "devices": Optional(DEVICES),
    "used_by": Optional([str]),
}
PROJECT = {"name": str, "description": Optional(str), "config": Optional(TEXTS), "used_by": Optional([str])}
IMAGE = {"fingerprint": str, "aliases": Optional([{"name": str}])}
SERVER = {"environment": {"server_version": str, "server_name": Optional(str), "server_clustered": Optional(bool)}}
SERVER_FEATURES = {"environment": SERVER["environment"] | {"kernel_features": Optional(TEXTS)}}
STORAGE_POOL = {"name": str, "driver": str, "status": Optional(str)}
STORAGE_SPACE = {"space": Optional({"total": Optional(int), "used": Optional(int)})}
NETWORK = {"name": str, "type": str, "managed": bool}
OPERATION = {
    "id": str,
    "status_code": int,
    "err": Optional(str),
    "metadata": Optional(Mapping(object)),
    "resources": Optional(Mapping(Optional([str]))),
}
OPERATIONS = Optional(Mapping(Optional([OPERATION])))
"""Operations by their status."""
STARTED_COMMAND = {"id": str, "metadata": {"fds": TEXTS}}
"""An operation that runs a command."""
COMMAND_RESULT = {"return": int}
"""The metadata of such an operation that has ended."""


def has_shape(value: Any, shape: Any) -> bool:
    """Return whether a value of a JSON document has a shape."""
    if isinstance(shape, Optional):
        return value is None or has_shape(value, shape.shape)
    if isinstance(shape, Mapping):
        return isinstance(value, dict) and all(has_shape(element, shape.shape) for element in value.values())
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(element, shape[0]) for element in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(has_shape(value.get(key), element) for key, element in shape.items())
    return isinstance(value, shape) and (shape is not int or not isinstance(value, bool))


def checked(value: Any, shape: Any, socket: str) -> Any:
    """Return a value that has a shape.

    :param socket: path of the socket that it was read from.
    :raises RepomanError: it has another shape.
    """
    if not has_shape(value, shape):
        raise protocol_error(socket)
    return value


def protocol_error(socket: str) -> RepomanError:
    """Return the error for a program that is not Incus."""
    return RepomanError(f"the server at {socket} does not speak Incus's protocol.", "set INCUS_SOCKET to Incus's socket")
