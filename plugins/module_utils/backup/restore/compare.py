# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is at a destination before a restore, and whether that is what the backup holds."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import listing
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.copy import read_attributes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import in_the_way, is_lost_found
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layers import Item, Items, Layer
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import (
    LIST,
    DirectoryCursor,
    is_own_place,
    walk_beneath,
)

CHUNK = 1 << 20
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_OCTAL = re.compile(rb"\\([0-7]{3})")

Statuses = dict[bytes, os.stat_result]


@dataclass
class Present:
    """What is at the paths of a destination.

    :param statuses: by path relative to the destination.
    :param unreadable: directories that this user cannot read.
    :param places: directories that are mount points or subvolumes.
    """

    statuses: Statuses = field(default_factory=dict)
    unreadable: dict[bytes, OSError] = field(default_factory=dict)
    places: set[bytes] = field(default_factory=set)


def look(root_fd: int, paths: Iterable[bytes], known: Container[bytes]) -> Present:
    """Return the entries at and below some paths of an open directory; the empty path selects everything.

    :param known: what the backup holds: a mount point or subvolume of which it holds nothing is not looked into.
    """
    found = Present()
    with DirectoryCursor(root_fd) as cursor:
        for path in paths:
            try:
                parent_fd, name = cursor.reach(path) if path else (root_fd, b".")
                status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            except FileNotFoundError:
                continue
            except NotADirectoryError as error:
                raise in_the_way(path.rpartition(b"/")[0], path) from error
            if path:
                found.statuses[path] = status
            if stat.S_ISDIR(status.st_mode):
                fd = cursor.open(path)
                if path and is_own_place(parent_fd, fd):
                    found.places.add(path)
                _look_below(path, fd, status, found, known)
    found.places |= {path for path in _mounts_below(root_fd) if path in found.statuses}
    found.places = {path for path in found.places if not _is_lost_found(root_fd, path)}
    return found


def _look_below(path: bytes, fd: int, status: os.stat_result, found: Present, known: Container[bytes]) -> None:
    start = path + b"/" if path else b""
    unreadable: dict[bytes, OSError] = {}
    devices = {b"": status.st_dev}

    def enters(inner: bytes, each: os.stat_result) -> bool:
        devices[inner] = each.st_dev
        if each.st_dev == devices.get(inner.rpartition(b"/")[0]):
            return True
        found.places.add(start + inner)
        return start + inner in known

    for inner, each in walk_beneath(fd, unreadable, enters):
        found.statuses[start + inner] = each
    for inner, error in unreadable.items():
        found.unreadable[start + inner if inner else path] = error


def _is_lost_found(root_fd: int, path: bytes) -> bool:
    parent, _slash, name = path.rpartition(b"/")
    if name != b"lost+found":
        return False
    with DirectoryCursor(root_fd) as cursor, suppress(OSError):
        return is_lost_found(name, cursor.open(parent))
    return False


def _mounts_below(root_fd: int) -> set[bytes]:
    """Return what is mounted below an open directory, relative to it."""
    root = os.readlink(b"/proc/self/fd/%d" % root_fd)
    with open("/proc/self/mountinfo", "rb") as file:
        points = [_OCTAL.sub(lambda each: bytes([int(each[1], 8)]), line.split(b" ")[4]) for line in file]
    return {point[len(root) + 1 :] for point in points if point.startswith(root + b"/")}


def listed(statuses: Statuses) -> str:
    """Return what is there, sorted, one a line."""
    return "".join(f"{listing(path, status)}\n" for path, status in sorted(statuses.items()))


class Comparer:
    """Compares what a listing does not show: contents, link targets and attributes.

    :param root_fd: the destination.
    """

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd

    def is_equal(self, items: Items) -> bool:
        """Tell whether the destination has what the items have; something that cannot be read is not equal."""
        with ExitStack() as stack:
            here = stack.enter_context(DirectoryCursor(self.root_fd))
            layers: dict[Layer, DirectoryCursor] = {}
            for item in items.values():
                if item.layer not in layers:
                    fd = os.open(item.layer.root, LIST)
                    stack.callback(os.close, fd)
                    layers[item.layer] = stack.enter_context(DirectoryCursor(fd))
            try:
                return all(self._same(path, items[path], here, layers[items[path].layer]) for path in sorted(items))
            except OSError:
                return False

    @staticmethod
    def _same(path: bytes, item: Item, here: DirectoryCursor, layer: DirectoryCursor) -> bool:
        fd, name = here.reach(path)
        layer_fd, layer_name = layer.reach(item.path)
        mode = item.status.st_mode
        if stat.S_ISLNK(mode):
            return os.readlink(name, dir_fd=fd) == os.readlink(layer_name, dir_fd=layer_fd)
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            return os.stat(name, dir_fd=fd, follow_symlinks=False).st_rdev == item.status.st_rdev
        flags = LIST if stat.S_ISDIR(mode) else _READ
        with ExitStack() as stack:
            one = os.open(name, flags, dir_fd=fd)
            stack.callback(os.close, one)
            other = os.open(layer_name, flags, dir_fd=layer_fd)
            stack.callback(os.close, other)
            present = read_attributes(one)
            if any(present.get(key) != value for key, value in read_attributes(other).items()):
                return False
            return stat.S_ISDIR(mode) or same_contents(one, other, item.status.st_size)


def same_contents(one: int, other: int, size: int) -> bool:
    """Tell whether two open files have the same contents up to a size; what are holes in both is not read."""
    at = 0
    while at < size:
        data = [_next_data(file, at, size) for file in (one, other)]
        at = min(data)
        if at >= size:
            break
        parts = [os.pread(file, min(CHUNK, size - at), at) for file in (one, other)]
        if parts[0] != parts[1] or not parts[0]:
            return False
        at += len(parts[0])
    return True


def _next_data(file: int, at: int, size: int) -> int:
    try:
        return os.lseek(file, at, os.SEEK_DATA)
    except OSError:
        return size
