# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mounts of containers, indexed by directory, to find those that lie inside what another container can write; see ``overlap``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import MAX_LINKS, hung_mount
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import mounts_host_path
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import is_read_only

K = TypeVar("K")
Devices = Mapping[str, Mapping[str, str]]
"""Device names to their settings."""


@dataclass(frozen=True)
class Overlap:
    """A mount whose source another mount leads to.

    :param container: the container with the mount that can be replaced.
    :param device: its device.
    :param source: the path of the host that the device mounts.
    :param writer: the container that can replace it.
    :param directory: the directory of the host that the writer can write to.
    :param writer_device: the device of the writer that mounts it.
    """

    container: str
    device: str
    source: str
    writer: str
    directory: str
    writer_device: str = field(default="", compare=False)

    @property
    def error(self) -> ConflictError:
        """The danger as an error, without hints."""
        return ConflictError(
            f"{self.source}, which the container {self.container!r} mounts, is inside {self.directory}, which the container"
            f" {self.writer!r} can write: it could replace it by a link to any directory of this host."
        )


class MountIndex:
    """The mounts of containers. Links are resolved when a container is added, so that many containers take little time.

    :param devices_of: the devices of each container, with those of its profiles.
    """

    def __init__(self, devices_of: Mapping[str, Devices]) -> None:
        self._devices: dict[str, Devices] = {}
        self._writable: dict[str, dict[tuple[str, str], None]] = {}
        """Directories that containers can write, to container and device."""
        self._below: dict[str, dict[tuple[str, str, str], None]] = {}
        """Directories above mounts, to container, device, and the source that leads through the directory."""
        for name, devices in devices_of.items():
            self.add(name, devices)

    def add(self, name: str, devices: Devices) -> None:
        """Add a container, in place of one with that name."""
        self._change(name, self._devices.pop(name, {}), add=False)
        self._devices[name] = devices
        self._change(name, devices, add=True)

    def devices(self, name: str) -> Devices:
        """Return the devices of a container; empty if there is none."""
        return self._devices.get(name, {})

    def overlaps(self, name: str) -> list[Overlap]:
        """Return the overlaps of a container with others, and inside it, both ways."""
        found: dict[tuple[str, str, str, str], Overlap] = {}
        for device, settings in _host_mounts(self.devices(name)):
            for directory, source in _ancestors(settings["source"]):
                for writer in self._writable.get(directory, ()):
                    self._note(found, (name, device, source), writer, directory)
            if not is_read_only(settings):
                for directory in _places(settings["source"]):
                    for mount in self._below.get(directory, ()):
                        self._note(found, mount, (name, device), directory)
        return list(found.values())

    def _note(
        self, found: dict[tuple[str, str, str, str], Overlap], mount: tuple[str, str, str], writer: tuple[str, str], directory: str
    ) -> None:
        name, device, source = mount
        if name == writer[0] and _is_in_place(self._devices[name][device], source, self._devices[name][writer[1]], directory):
            return
        overlap = Overlap(name, device, source, writer[0], directory, writer[1])
        found.setdefault((name, device, *writer), overlap)

    def _change(self, name: str, devices: Devices, add: bool) -> None:
        for device, settings in _host_mounts(devices):
            for directory, source in _ancestors(settings["source"]):
                _set(self._below, directory, (name, device, source), add)
            if not is_read_only(settings):
                for path in _places(settings["source"]):
                    _set(self._writable, path, (name, device), add)


def find_overlaps(devices_of: Mapping[str, Devices]) -> list[Overlap]:
    """Return the overlaps between containers, and inside each of them.

    :param devices_of: the devices of each container, with those of its profiles.
    """
    index = MountIndex(devices_of)
    return list(dict.fromkeys(overlap for name in devices_of for overlap in index.overlaps(name)))


def _set(index: dict[str, dict[K, None]], directory: str, value: K, add: bool) -> None:
    if add:
        index.setdefault(directory, {})[value] = None
    else:
        index.get(directory, {}).pop(value, None)


def _host_mounts(devices: Devices) -> Iterator[tuple[str, Mapping[str, str]]]:
    return ((device, settings) for device, settings in devices.items() if mounts_host_path(settings))


def _places(source: str) -> set[str]:
    """Return the source of a mount as the device has it, and with links resolved."""
    _spellings, place = _resolve(source)
    return {os.path.normpath(source), place}


def _resolve(source: str) -> tuple[set[str], str]:
    """Return every spelling of a path at which a link is followed, and the path without links.

    Each of them can be replaced by who can write to a directory above it. Links behind a mount that does not answer are not known.
    """
    hung = hung_mount(source)
    path, rest = "/", [part for part in reversed(source.split("/")) if part not in ("", ".")]
    spellings: set[str] = set()
    links = 0
    while rest:
        part = rest.pop()
        if part == "..":
            path = os.path.dirname(path)
            continue
        path = os.path.join(path, part)
        if hung and path == hung:
            return spellings, os.path.join(path, *reversed(rest))
        try:
            target = os.readlink(path)
        except OSError:  # it is no link, or does not exist
            continue
        spellings.add(path)
        links += 1
        if links > MAX_LINKS:
            break
        path = "/" if target.startswith("/") else os.path.dirname(path)
        rest += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return spellings, path


def _ancestors(source: str) -> Iterator[tuple[str, str]]:
    """Yield the directories above a path, each with the spelling of the path that leads through it, innermost first."""
    spellings, place = _resolve(source)
    for path in sorted({os.path.normpath(source), place, *spellings}):
        directory = path
        while directory != "/":
            directory = os.path.dirname(directory)
            yield directory, path


def _is_in_place(settings: Mapping[str, str], source: str, writer: Mapping[str, str], directory: str) -> bool:
    """Return whether a mount is at the same place in a container as its source is in another mount of that container.

    Then a link in its place is a link at the mount's target, too, and nothing is mounted over links.

    :param directory: the source of the other mount.
    """
    path = os.path.normpath(writer.get("path", "/")).rstrip("/") + source.removeprefix(directory.rstrip("/"))
    return os.path.normpath(settings.get("path", "")) == path
