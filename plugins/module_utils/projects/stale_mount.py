# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether the repository that a running container shows is the one that is there.

If a directory is deleted and made again, or restored, the mount in the container keeps the deleted one. The kernel tells which directory
a mount shows in ``/proc/PID/mountinfo``, which every user may read, so this needs no request to Incus and no program in the container.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import parse_mountinfo
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import DEFAULT_PROJECT, SYSTEM_SOCKETS
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import REPO_DEVICE

PROC = Path("/proc")
MONITOR = b"[lxc monitor] "
"""Beginning of the title of the process that watches a container: then come the directory of all containers, and the container's name."""
SYSTEM_DIRECTORY = "/var/lib/incus"
DELETED = b"//deleted"
"""End of the root of a mount whose directory was deleted."""


@dataclass(frozen=True)
class MountedDirectory:
    """A directory as the kernel names it.

    :param device: of its file system, as ``MAJOR:MINOR``.
    :param path: from the root of the file system.
    """

    device: bytes
    path: bytes


def stale_mounts(socket: str, incus_project: str, instances: Iterable[Mapping[str, Any]]) -> set[str]:
    """Return the names of the running containers whose repository is mounted, but is not the directory that is there.

    A container whose mounts cannot be read, such as one on another member of a cluster, is not among them.

    :param socket: of Incus.
    :param instances: as Incus describes them.
    """
    running = {
        instance["name"]: instance["devices"][REPO_DEVICE]
        for instance in instances
        if instance["status"] == "Running" and REPO_DEVICE in (instance.get("devices") or {})
    }
    if not running:
        return set()
    prefix = "" if incus_project == DEFAULT_PROJECT else f"{incus_project}_"
    inits = _find_inits(socket, {f"{prefix}{name}" for name in running})
    return {name for name, device in running.items() if _is_stale(inits.get(f"{prefix}{name}", []), device)}


def _is_stale(pids: Iterable[int], device: Mapping[str, str]) -> bool:
    """Return whether a container sees another directory than the source of a device.

    :param pids: init processes that may be the container's: the one that has the mount is. If several have it, nothing is known.
    """
    shown = [directory for pid in pids if (directory := _mounted_at(pid, os.path.normpath(device.get("path", ""))))]
    source = device.get("source", "")
    return len(shown) == 1 and not hung_mount(source) and (shown[0].path.endswith(DELETED) or shown[0] != directory_at(source))


def _mounted_at(pid: int, path: str) -> MountedDirectory | None:
    """Return the directory that is mounted at a path in the container of a process; ``None`` if there is no mount."""
    try:
        text = (PROC / str(pid) / "mountinfo").read_bytes()
    except OSError:
        return None
    directories = [MountedDirectory(mount.device, mount.root) for mount in parse_mountinfo(text) if mount.mount_point == os.fsencode(path)]
    return directories[-1] if directories else None


def directory_at(path: str) -> MountedDirectory | None:
    """Return the directory at a path of the host, as the kernel names it; ``None`` if it does not exist."""
    try:
        fd = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        mount_id = re.search(rb"^mnt_id:\s*(\d+)$", (PROC / f"self/fdinfo/{fd}").read_bytes(), re.MULTILINE)
        real_path = os.fsencode(os.readlink(PROC / f"self/fd/{fd}"))
        for mount in parse_mountinfo((PROC / "self/mountinfo").read_bytes()):
            if mount_id and mount.mount_id == mount_id[1]:
                relative = os.path.relpath(real_path, mount.mount_point)
                return MountedDirectory(mount.device, mount.root if relative == b"." else os.path.join(mount.root, relative))
        return None
    finally:
        os.close(fd)


def _find_inits(socket: str, names: set[str]) -> dict[str, list[int]]:
    """Return the process IDs of the init processes of containers: the first children of their monitors.

    :param socket: of their Incus. If it is a relay, the containers of all Incus with these names are candidates.
    :param names: with their Incus project, as in ``repoman_isurus``.
    """
    directory = SYSTEM_DIRECTORY if socket in SYSTEM_SOCKETS else os.path.dirname(os.path.realpath(socket))
    monitors, children = _scan_processes(names)
    own: dict[str, list[int]] = {}
    others: dict[str, list[int]] = {}
    for monitor, (containers, name) in monitors.items():
        if monitor in children:
            found = own if containers == os.path.join(directory, "containers") else others
            found.setdefault(name, []).append(children[monitor])
    return own if own or socket in SYSTEM_SOCKETS else others


def _scan_processes(names: set[str]) -> tuple[dict[int, tuple[str, str]], dict[int, int]]:
    """Return the monitors of containers, with the directory of containers and the name, and the lowest child of each process."""
    monitors: dict[int, tuple[str, str]] = {}
    children: dict[int, int] = {}
    directory = str(PROC)  # as text: with Path, a host with 1000 processes would take 20 ms longer
    for pid in sorted(int(entry) for entry in os.listdir(directory) if entry.isdigit()):
        with suppress(OSError, ValueError, IndexError):  # it may end meanwhile
            parent = int(_read(f"{directory}/{pid}/stat").rpartition(b")")[2].split()[1])
            children.setdefault(parent, pid)
            title = _read(f"{directory}/{pid}/cmdline").rstrip(b"\0 ")
            if title.startswith(MONITOR) and os.stat(f"{directory}/{pid}").st_uid == 0:  # a program in a container is not root's
                containers, _space, name = os.fsdecode(title.removeprefix(MONITOR)).rpartition(" ")
                if name in names:
                    monitors[pid] = containers, name
    return monitors, children


def _read(path: str) -> bytes:
    """Return the content of a file of the kernel's."""
    with open(path, "rb", buffering=0) as file:
        return file.read()
