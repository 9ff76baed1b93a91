# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Incus's refusals, as sentences with a hint."""

from __future__ import annotations

import re

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, NotFoundError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.module_utils.host.idmap import id_mapping_hints, incus_hints
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import client_command
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import NO_PROJECT, RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository

FAILED_DEVICE = re.compile(r'device "([^"]+)"')
"""The name of a device in Incus's errors."""
NO_IMAGE = re.compile(r"\bimage\b[^:]*(?:: )?(?:not found|not provided|couldn't be found)", re.IGNORECASE)
"""Incus's errors if an image does not exist."""


LOG_PREFIX = re.compile(r"^lxc \S+ \S+ +(?P<level>[A-Z]+) +\S+ - (?:\S+:\S+:\d+ - )?")
CONSEQUENCE = re.compile(
    r"Received container state|An error occurred in another process|Failed to spawn container|Failed to setup container"
)
"""Errors in the log of an instance that follow from another one."""
LOG_LINES = 4
"""Number of lines of an instance's log to show."""
LOG_LINE_LENGTH = 200
LXC_FAILED = re.compile(r"Failed to run: \S+ fork(?:start|lxc) .*")
"""The error of Incus 6 and 7 if LXC failed; only the log has the reason."""
UNDONE_HINT = "everything was rolled back; fix the cause and run the command again"


def _cause_hints(context: RunContext, text: str) -> list[str]:
    """Return hints for the cause that Incus, or the log of an instance, gives."""

    def client(command: str) -> str:
        return client_command(context.client.path, command)

    causes: tuple[tuple[str, list[str]], ...] = (
        (r"idmap|id ?map|newuidmap", ["grep root: /etc/subuid /etc/subgid   # the ids that raw.idmap may use"]),
        (r"\bGPU\b", [client("info --resources local:") + "   # shows the GPUs of this host"]),
        (
            r"root (?:disk|device)",
            [
                client("storage list local:"),
                client("profile device add --project default local:default root disk path=/ pool=default") + "   # pool: one of that list",
            ],
        ),
        (r"\bnetwork\b|parent device", [client("network list --project default local:")]),
        (r"storage pool", [client("storage list local:")]),
        (r"source path|device path", ["if a source may be missing, set required: 'false' on its device in the profile"]),
    )
    return next((hints for pattern, hints in causes if re.search(pattern, text, re.IGNORECASE)), [])


def _last_log_lines(context: RunContext, name: str) -> list[str]:
    """Return the last errors in the log of an instance, or its last lines, without the times; nothing if it cannot be read."""
    try:
        text = context.client.get_text(context.instance_path(name, "/logs/lxc.log"))
    except RepomanError:
        return []
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if (match := LOG_PREFIX.match(line)) and match["level"] == "ERROR"]
    causes = [line for line in errors if not CONSEQUENCE.search(line)]
    chosen = (causes or errors or lines)[-LOG_LINES:]
    return [escape_control_characters(LOG_PREFIX.sub("", line)).rstrip(".")[:LOG_LINE_LENGTH] for line in chosen]


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
        *(_cause_hints(context, error.reason) or [UNDONE_HINT]),
    )


def _incus_version(context: RunContext) -> str:
    try:
        version: str = context.client.read("/1.0", shapes.SERVER).data["environment"]["server_version"]
    except RepomanError:
        return ""
    return version


def start_error(context: RunContext, error: incus.IncusError, name: str, repository: Repository) -> RepomanError:
    """Return why an instance cannot be started."""
    reason = error.reason.lower()
    if "already running" in reason:
        return ConcurrentChangeError(f"another run started the container {name!r} at the same time.", "run the command again")
    if "idmap" in reason:
        device = FAILED_DEVICE.search(error.reason)
        is_other = device is not None and device[1] != REPO_DEVICE
        look = client_command(context.client.path, "info local:")
        hints = [f"look at the source of the device {device[1]!r}"] if device and is_other else id_mapping_hints(repository.host_path, look)
        hints = incus_hints(_incus_version(context)) or hints
        return RepomanError(f"cannot map ids for {name!r}: incus reports: {error.reason}.", *hints)
    log = _last_log_lines(context, name) if LXC_FAILED.search(error.reason) else []
    hints = _cause_hints(context, " ".join([error.reason, *log]))
    if log:
        cause = LXC_FAILED.sub("LXC failed", error.reason)
        return RepomanError(
            f"cannot start {name!r}: incus reports: {cause}; the log of the container ends with: {'; '.join(log)}.",
            *(hints or [UNDONE_HINT]),
        )
    return RepomanError(f"cannot start {name!r}: incus reports: {error.reason}.", *(hints or [UNDONE_HINT]))
