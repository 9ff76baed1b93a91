# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files and directories of the host that devices mount: a container starts without those that are missing only if they are optional."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Mapping

from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount

TRUE = ("true", "1", "yes", "on")
"""How Incus writes a true value."""
MISSING = (errno.ENOENT, errno.ENOTDIR)
"""Error numbers of a path that does not exist."""


def is_true(value: str) -> bool:
    """Return whether a value of a key or device is true; an empty one is not."""
    return value.lower() in TRUE


def mounts_host_path(device: Mapping[str, str]) -> bool:
    """Return whether a device mounts a file or directory of the host, and not a volume of Incus."""
    return device.get("type") == "disk" and os.path.isabs(device.get("source", "")) and not device.get("pool")


def is_required(device: Mapping[str, str]) -> bool:
    """Return whether an instance cannot start if the source of a disk device is missing."""
    return is_true(device.get("required") or "true")


def missing_sources(devices: Mapping[str, Mapping[str, str]]) -> dict[str, str]:
    """Return the host paths that do not exist although devices require them, by device."""
    required = {name: device["source"] for name, device in devices.items() if mounts_host_path(device) and is_required(device)}
    return {name: path for name, path in required.items() if not hung_mount(path) and _is_missing(path)}


def _is_missing(path: str) -> bool:
    """Return whether a path certainly does not exist."""
    try:
        os.stat(path)
    except OSError as error:
        return error.errno in MISSING
    return False


def optional_hints(profile: str, devices: Iterable[str], has_user_file: bool) -> list[str]:
    """Return the commands that make devices of a profile optional.

    :param has_user_file: the user has a template for it; if not, the vendor's is copied first.
    """
    name = shell_word(profile)
    return [
        *([] if has_user_file else [f"repoman profile copy {name}"]),
        f"""repoman profile edit {name}   # set required: "false" on {", ".join(devices)}""",
        f"repoman profile install {name}",
    ]
