# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The contents of a repository at some time: the mirror, overlaid with what later runs replaced or removed, newest first.

Files that those runs created are left out. Paths are opened one component at a time, starting at the unit.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Item, Items, Layer, parents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import walk_beneath


@dataclass(frozen=True)
class Version:
    """A layer, and which files of the newer layers did not exist yet.

    :param created: paths that the run created; None if the run created the unit.
    """

    layer: Layer
    created: list[bytes] | None


def versions_of(target: Target, unit: str, from_version: str | None) -> list[Version]:
    """Return the layers of a unit: the mirror, then the history from the newest run back.

    :param from_version: the oldest run to take back; None for the mirror alone.
    """
    mirror = target.root if unit == TOP_LEVEL_FILES else str(target.mirror(unit))
    versions = [Version(Layer(os.fsencode(mirror), ""), [])]
    if from_version is not None:
        for name in reversed(history.load(target, time.time()).versions_since(from_version)):
            layer = Layer(os.fsencode(target.internal_path("kept", name, unit)), name)
            versions.append(Version(layer, history.created_of(target, name, unit)))
    return versions


def merge_layers(versions: Iterable[Version], top_level_files: bool, known_names: Container[bytes] | None = None) -> Items:
    """Overlay layers, later ones over earlier ones; the parents of a path are always directories.

    :param top_level_files: the unit is the files directly in ``repos_root``: leave out directories.
    :param known_names: take only these from the mirror; None for all.
    :raises RepomanError: a directory of the backup cannot be read.
    """
    items: Items = {}
    for version in versions:
        if version.created is None:
            items.clear()
        elif version.created:
            created = set(version.created)
            items = {path: item for path, item in items.items() if path not in created and created.isdisjoint(parents(path))}
        _overlay(items, version.layer, top_level_files, known_names)
    return items


def _overlay(items: Items, layer: Layer, top_level_files: bool, known_names: Container[bytes] | None) -> None:
    """Put a layer over the items."""
    for path, status in _walk_layer(layer, top_level_files):
        if known_names is not None and not layer.name and path not in known_names:
            continue
        below = items.get(path)
        if layer.name and below is not None and below.is_directory and stat.S_ISDIR(status.st_mode):
            continue  # in the history it only holds saved files; the mirror's directory has the attributes
        if below is not None and below.is_directory:
            _drop(items, path)
        items[path] = Item(layer, path, status)
        for parent in parents(path) if layer.name else ():
            if parent in items and not items[parent].is_directory:
                del items[parent]


def _drop(items: Items, path: bytes) -> None:
    """Remove a directory and everything below it."""
    del items[path]
    for nested in [nested for nested in items if nested.startswith(path + b"/")]:
        del items[nested]


def _walk_layer(layer: Layer, top_level_files: bool) -> Iterable[tuple[bytes, os.stat_result]]:
    """Yield path and status of everything in a layer, directories before their contents; nothing if the layer does not exist.

    Symbolic links are not followed.

    :raises RepomanError: a directory cannot be read.
    """
    try:
        root_fd = os.open(layer.root, LIST)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _unreadable(layer.root, error) from error
    try:
        if not top_level_files:
            yield b"", os.fstat(root_fd)
        unreadable: dict[bytes, OSError] = {}
        yield from _top_level_files(root_fd) if top_level_files else walk_beneath(root_fd, unreadable)
        for path, reason in unreadable.items():
            raise _unreadable(os.path.join(layer.root, path), reason) from reason
    finally:
        os.close(root_fd)


def _top_level_files(root_fd: int) -> Iterable[tuple[bytes, os.stat_result]]:
    with os.scandir(root_fd) as entries:
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                yield os.fsencode(entry.name), entry.stat(follow_symlinks=False)


def _unreadable(path: bytes, error: OSError) -> RepomanError:
    return RepomanError(
        f"{escape_path(path)} in the backup cannot be read: {error.strerror}; nothing was restored.", f"ls -ld {shell_word(path)}"
    )
