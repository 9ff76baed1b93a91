# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The files of a restore: which layer of the backup each comes from."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path


class NotInBackupError(NotFoundError):
    """The backup does not have a unit, or not in the requested version; or it has no repository in it."""


@dataclass(frozen=True)
class Layer:
    """A directory of the backup that files are restored from.

    :param root: absolute.
    :param name: the version in the history; empty for the mirror.
    """

    root: bytes
    name: str


@dataclass(frozen=True)
class Item:
    """A file or directory to restore.

    :param layer: the layer that has it.
    :param path: its path in the layer.
    """

    layer: Layer
    path: bytes
    status: os.stat_result

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return stat.S_ISDIR(self.status.st_mode)


Items = dict[bytes, Item]
"""What to restore, by path relative to the unit; the empty path is the unit's directory."""


def parents(path: bytes) -> Iterable[bytes]:
    """Yield the directories above a path, the nearest first, without the unit's directory."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def select_paths(items: Items, paths: list[bytes], name: str) -> Items:
    """Return the items at or below some paths, and the directories above them; all items if the paths include the whole unit.

    :param name: of the project, for the message.
    :raises NotFoundError: the items have no such path.
    """
    if not paths or b"" in paths:
        return items
    chosen: set[bytes] = set()
    for path in paths:
        if path not in items:
            raise NotFoundError(
                f"{escape_path(path)!r} is not in this version of the backup of {name}.",
                f"see which versions there are: {repoman_command('sync', [], ('--list-versions', name))}",
            )
        chosen.update(parents(path), {path}, (nested for nested in items if nested.startswith(path + b"/")))
    return {path: item for path, item in items.items() if path in chosen}


def subtree(items: Items, path: bytes) -> Items:
    """Return the items below a directory, relative to it; all items if the path is empty."""
    if not path:
        return items
    prefix = path + b"/"
    return {item_path[len(prefix) :]: item for item_path, item in items.items() if item_path == path or item_path.startswith(prefix)}


def drop_nested(paths: list[bytes]) -> list[bytes]:
    """Return the paths that are not inside another one, without repetitions; an empty list if they include the whole unit."""
    distinct = set(paths)
    return [] if b"" in distinct else [path for path in dict.fromkeys(paths) if distinct.isdisjoint(parents(path))]
