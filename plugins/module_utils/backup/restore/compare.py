# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare a destination with the backup."""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.attributes import read_attributes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Item, Items, Layer
from ansible_collections.homelab.repoman.plugins.module_utils.files.common_prefix import common_length
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, DirectoryCursor

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


class Comparer:
    """Compares what a listing does not show: contents, link targets and extended attributes.

    :param root_fd: the destination.
    """

    def __init__(self, root_fd: int) -> None:
        self.root_fd = root_fd

    def is_equal(self, items: Items) -> bool:
        """Return whether the destination equals the items; something unreadable is not equal."""
        with ExitStack() as stack:
            destination = stack.enter_context(DirectoryCursor(self.root_fd))
            layers: dict[Layer, DirectoryCursor] = {}
            for item in items.values():
                if item.layer not in layers:
                    fd = os.open(item.layer.root, LIST)
                    stack.callback(os.close, fd)
                    layers[item.layer] = stack.enter_context(DirectoryCursor(fd))
            try:
                return all(_is_equal_item(path, item, destination, layers[item.layer]) for path, item in sorted(items.items()))
            except OSError:
                return False


def _is_equal_item(path: bytes, item: Item, destination: DirectoryCursor, layer: DirectoryCursor) -> bool:
    fd, name = destination.reach(path)
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
        current = read_attributes(one)
        if any(current.get(key) != value for key, value in read_attributes(other).items()):
            return False
        return stat.S_ISDIR(mode) or common_length(one, other) >= item.status.st_size
