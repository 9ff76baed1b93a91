# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a repository was at some time: the mirror, and over it what each later run replaced or removed, newest first.

What those runs created is left out. Paths are opened one component at a time, starting at the unit.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass
from datetime import datetime, timezone

from ansible_collections.homelab.repoman.plugins.module_utils.backup import context as backup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import shown
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotKnownError, RepomanError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, walk_beneath


@dataclass(frozen=True)
class Layer:
    """A directory that files are taken from.

    :param root: absolute.
    :param name: the run that kept it; empty for the mirror.
    """

    root: bytes
    name: str


@dataclass(frozen=True)
class Item:
    """A file to restore.

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


def parse_time(text: str) -> str:
    """Return the name that a run at that time has.

    :param text: ISO 8601, or as ``--list-kept`` prints it; without a zone it is local time.
    :raises UsageError: it is not a valid time.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a valid time.",
            "as 'repoman sync --list-kept NAME' prints it: 20261125T120000Z",
            "or 2026-11-25, which means its start in local time, or '2026-11-25 12:00'",
        ) from None
    return when.astimezone(timezone.utc).strftime(history.STATE_FORMAT)


def validate_path(path: str) -> bytes:
    """Return a path in a repository, normalised.

    :raises UsageError: the path leads out of the repository.
    """
    normal = os.path.normpath(path)
    if not path or os.path.isabs(path) or ".." in normal.split("/") or "\0" in path:
        raise UsageError(f"{path!r} is not a path inside a repository.", "give it relative to the repository: src/main.c")
    return b"" if normal == "." else os.fsencode(normal)


def layers_of(found: Target, unit: str, since: str | None) -> list[tuple[Layer, list[bytes] | None]]:
    """Return the layers of a unit, the mirror first, then runs from the newest back; each with what it created.

    ``None`` for what it created is everything.

    :param since: the first run to take back; None takes back none.
    """
    mirror = found.root if unit == backup.LOOSE else str(found.mirror(unit))
    layers: list[tuple[Layer, list[bytes] | None]] = [(Layer(os.fsencode(mirror), ""), [])]
    if since is not None:
        for name in reversed(history.load(found, time.time()).since(since)):
            layers.append((Layer(os.fsencode(found.ours("kept", name, unit)), name), history.created_of(found, name, unit)))
    return layers


def merge_layers(layers: Iterable[tuple[Layer, list[bytes] | None]], loose: bool, ours: Container[bytes] | None = None) -> Items:
    """Merge the layers, later ones over earlier ones; the parents of a path are always directories.

    :param loose: take no directories.
    :param ours: take only these from the mirror; None for all.
    """
    items: Items = {}
    for layer, created in layers:
        if created is None:
            items.clear()
        elif created:
            new = set(created)
            items = {path: item for path, item in items.items() if path not in new and new.isdisjoint(parents(path))}
        for path, status in walk_layer(layer, loose):
            if ours is not None and not layer.name and path not in ours:
                continue
            old = items.get(path)
            if layer.name and old is not None and old.is_directory and stat.S_ISDIR(status.st_mode):
                continue  # a directory of a kept file: the mirror's own is nearer to what it was
            if old is not None and old.is_directory:
                _drop(items, path)
            items[path] = Item(layer, path, status)
            for parent in parents(path) if layer.name else ():
                if parent in items and not items[parent].is_directory:
                    del items[parent]
    return items


def _drop(items: Items, path: bytes) -> None:
    """Take a path out, with what is below it."""
    item = items.pop(path, None)
    if item is not None and item.is_directory:
        for each in [each for each in items if each.startswith(path + b"/")]:
            del items[each]


def parents(path: bytes) -> Iterable[bytes]:
    """Yield the directories above a path, the nearest first, without the top."""
    while b"/" in path:
        path = path.rpartition(b"/")[0]
        yield path


def walk_layer(layer: Layer, loose: bool) -> Iterable[tuple[bytes, os.stat_result]]:
    """Yield what is in a layer, following no link, directories first; nothing if it is not there.

    :param loose: leave out directories, and the layer's own.
    :raises RepomanError: a directory cannot be read.
    """
    try:
        root_fd = os.open(layer.root, LIST)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise _unreadable(layer.root, error) from error
    try:
        if not loose:
            yield b"", os.fstat(root_fd)
        unreadable: dict[bytes, OSError] = {}
        yield from _top_level_files(root_fd) if loose else walk_beneath(root_fd, unreadable)
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
        f"{shown(path)} in the backup cannot be read: {error.strerror}; nothing was restored.", f"ls -ld {shell_word(path)}"
    )


def select_paths(items: Items, paths: list[bytes], name: str) -> Items:
    """Return of ``items`` those in ``paths`` or below them, with the directories above.

    :raises NotKnownError: a path is not in there.
    """
    if not paths or b"" in paths:
        return items
    chosen: set[bytes] = set()
    for path in paths:
        if path not in items:
            raise NotKnownError(
                f"{shown(path)!r} is not in this version of the backup of {name}.",
                f"see which versions there are: {repoman_command('sync', [], ('--list-kept', name))}",
            )
        chosen.update(parents(path), {path}, (each for each in items if each.startswith(path + b"/")))
    return {path: item for path, item in items.items() if path in chosen}


def subtree(items: Items, path: bytes) -> Items:
    """Return the items below a directory, relative to it; all items if the path is empty."""
    if not path:
        return items
    begin = path + b"/"
    return {each[len(begin) :]: item for each, item in items.items() if each == path or each.startswith(begin)}


def drop_nested(paths: list[bytes]) -> list[bytes]:
    """Return of some paths those that lie in no other of them, each once; none if all of the repository is among them."""
    named = set(paths)
    return [] if b"" in named else [path for path in dict.fromkeys(paths) if named.isdisjoint(parents(path))]
