# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Incus's refusals, as sentences with a hint."""

from __future__ import annotations

import re

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.idmap import id_mapping_hints
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import client_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import NO_PROJECT, RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository

FAILED_DEVICE = re.compile(r'device "([^"]+)"')
"""The name of a device in Incus's errors."""
NO_IMAGE = re.compile(r"\bimage\b[^:]*(?:: )?(?:not found|not provided|couldn't be found)", re.IGNORECASE)
"""Incus's errors if an image does not exist."""


def creation_error(context: RunContext, error: incus.IncusError, name: str, image: str, target: str | None) -> RepomanError:
    """Return why an instance cannot be created.

    :param target: the requested cluster member.
    """
    reason = error.reason.lower()
    if "already exists" in reason:
        return ConcurrentChangeError(f"another run is creating the container {name!r} at the same time.", "repoman list")
    if target and "cluster" in reason:
        return NotFoundError(
            f"the container {name!r} cannot be created on {target!r}: incus reports: {error.reason}.",
            client_command(context.client.path, "cluster list local:"),
        )
    if NO_PROJECT in reason:
        return context.missing_project_error()
    if NO_IMAGE.search(error.reason):
        return NotFoundError(
            f"there is no image {image!r}: incus reports: {error.reason}.",
            client_command(context.client.path, "image list local:"),
            "incus image list images:   # what the public server has",
        )
    return RepomanError(
        f"cannot create the container {name!r} from {image!r}: incus reports: {error.reason}.",
        "everything was rolled back; fix the cause and run the command again",
    )


def start_error(context: RunContext, error: incus.IncusError, name: str, repository: Repository) -> RepomanError:
    """Return why an instance cannot be started."""
    reason = error.reason.lower()
    if "already running" in reason:
        return ConcurrentChangeError(f"another run started the container {name!r} at the same time.", "run the command again")
    if "idmap" in reason:
        device = FAILED_DEVICE.search(error.reason)
        is_other = device is not None and device[1] != REPO_DEVICE
        hints = [f"look at the source of the device {device[1]!r}"] if device and is_other else id_mapping_hints(repository.host_path)
        return RepomanError(f"cannot map ids for {name!r}: incus reports: {error.reason}.", *hints)
    return RepomanError(
        f"cannot start {name!r}: incus reports: {error.reason}.",
        "if a source may be missing, set required: 'false' on its device in the profile",
        client_command(context.client.path, f"operation list --project {shell_word(context.incus_project)} local:"),
    )
