# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for what a backup leaves out: excluded paths, caches, other file systems, and mkfs's ``lost+found``.

A repository is backed up whole or not at all: no pattern and no cache tag takes away anything inside ``.git``, ``.hg`` or a bare
repository. A directory above one that is excluded is excluded with it.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.exclude import Patterns, compiled
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import PSEUDO, is_lost_and_found

CACHE_TAG = b"CACHEDIR.TAG"
CACHE_SIGNATURE = b"Signature: 8a477f597d28d172789f06886806bc55"
"""The first bytes of a cache tag, see https://bford.info/cachedir/."""
STORES = frozenset({b".git", b".hg"})
_BARE = frozenset({b"HEAD", b"objects", b"refs"})
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY

DirectoryEntry = tuple[bytes, os.stat_result, bytes]
"""Name, status and link target of an entry of a directory."""


@dataclass(frozen=True)
class TreeRules:
    """Rules for what one unit leaves out.

    :param exclude: lists of patterns, each with the directory in the unit that it is relative to; later ones over earlier ones.
    :param caches: leave out the contents of directories with a valid cache tag.
    :param follow_mounts: also back up file systems that are mounted inside the unit, and btrfs subvolumes.
    :param mounts: mount points inside the unit, with the type of the file system.
    :param target: device and inode of the backup's target, which is never followed into.
    """

    exclude: tuple[tuple[bytes, tuple[str, ...]], ...] = ()
    caches: bool = False
    follow_mounts: bool = False
    mounts: Mapping[bytes, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    target: tuple[int, int] | None = None

    def __reduce__(self) -> tuple[object, ...]:
        """Let it be pickled: a mapping proxy cannot."""
        return _rules, (self.exclude, self.caches, self.follow_mounts, dict(self.mounts), self.target)

    def excludes(self, path: bytes, *, is_directory: bool) -> bool:
        """Return whether patterns exclude a path of the unit, itself or with a directory above it."""
        parts = path.split(b"/")
        rules = _sections(self.exclude)
        for depth, name in enumerate(parts):
            if name in STORES:
                return False
            if _excluded(rules, b"/".join(parts[:depth]), name, depth < len(parts) - 1 or is_directory):
                return True
        return False

    def leaves_out(self, source: bytes, path: bytes, *, is_directory: bool = True) -> bool:
        """Return whether a path is left out now: patterns exclude it, or it lies in a cache.

        :param source: the unit's directory.
        """
        return self.excludes(path, is_directory=is_directory) or (self.caches and self._is_in_cache(source, path))

    def _is_in_cache(self, source: bytes, path: bytes) -> bool:
        parts = path.split(b"/")[:-1]
        try:
            fd = os.open(source, _LIST)
        except OSError:
            return False
        try:
            for name in parts:
                if name in STORES:
                    return False
                next_fd = os.open(name, _LIST, dir_fd=fd)
                os.close(fd)
                fd = next_fd
                if has_cache_tag(fd) and not _holds_repository(os.fsencode(entry_name) for entry_name in os.listdir(fd)):
                    return True
        except OSError:
            return False
        finally:
            os.close(fd)
        return False


def _rules(
    exclude: tuple[tuple[bytes, tuple[str, ...]], ...],
    caches: bool,
    follow_mounts: bool,
    mounts: dict[bytes, str],
    target: tuple[int, int] | None,
) -> TreeRules:
    return TreeRules(exclude, caches, follow_mounts, MappingProxyType(mounts), target)


class _Section(NamedTuple):
    base: bytes
    patterns: Patterns


def _sections(exclude: Iterable[tuple[bytes, tuple[str, ...]]]) -> tuple[_Section, ...]:
    return tuple(_Section(base, patterns) for base, lines in exclude if (patterns := compiled(lines)))


def _excluded(sections: Iterable[_Section], directory: bytes, name: bytes, is_directory: bool) -> bool:
    """Return whether the path itself is excluded: the last matching pattern decides."""
    verdict = False
    for base, patterns in sections:
        if base and directory != base and not directory.startswith(base + b"/"):
            continue
        decided = patterns.decide(directory[len(base) + 1 :] if base else directory, name, is_directory)
        if decided is not None:
            verdict = decided
    return verdict


class TreeFilter:
    """Applies the rules to a walk, which visits directories in manifest order.

    :ivar skipped: mount points and subvolumes that are not followed.
    :ivar followed: mount points and subvolumes that are followed.
    :ivar excluded: number of excluded entries.
    """

    def __init__(self, rules: TreeRules) -> None:
        self.rules = rules
        self.skipped: list[bytes] = []
        self.followed: list[bytes] = []
        self.excluded = 0
        self._sections = _sections(rules.exclude)
        self._above: list[tuple[bytes, str]] = []
        self._roots: set[bytes] = {b""}

    def keep(self, directory: bytes, directory_fd: int, entries: list[DirectoryEntry]) -> list[DirectoryEntry]:
        """Return the entries of an open directory that are backed up."""
        if directory in self._roots:
            entries = [entry for entry in entries if not is_lost_and_found(entry[0], entry[1])]
        if not self._sections and not self.rules.caches:
            return entries
        names = {entry[0] for entry in entries}
        if self._in_repository(directory, names):
            return entries
        included = entries
        if self.rules.caches and CACHE_TAG in names and directory and not _holds_repository(names) and has_cache_tag(directory_fd):
            included = [entry for entry in entries if entry[0] == CACHE_TAG]
        elif self._sections:
            included = [
                entry
                for entry in entries
                if entry[0] in STORES or not _excluded(self._sections, directory, entry[0], stat.S_ISDIR(entry[1].st_mode))
            ]
        self.excluded += len(entries) - len(included)
        return included

    def _in_repository(self, directory: bytes, names: set[bytes]) -> bool:
        """Return whether a directory is part of a repository's own data."""
        while self._above and not directory.startswith(self._above[-1][0] + b"/" if self._above[-1][0] else b""):
            self._above.pop()
        parent_type = self._above[-1][1] if self._above else ""
        directory_type = parent_type
        if directory.rpartition(b"/")[2] in STORES:
            directory_type = "store"
        elif not parent_type and names >= _BARE:
            directory_type = "bare"
        elif parent_type == "bare" and not names.isdisjoint(STORES):  # a work tree inside a bare repository
            directory_type = ""
        if directory_type != parent_type:
            self._above.append((directory, directory_type))
        return bool(directory_type)

    def enter(self, directory: bytes, on_same_device: list[bytes], on_other_devices: list[bytes]) -> list[bytes]:
        """Return the subdirectories that a walk enters.

        :param on_same_device: subdirectories with the device number of their parent; one of them may be a bind mount.
        :param on_other_devices: subdirectories with another device number.
        """
        mounts = self.rules.mounts
        if not on_other_devices and not mounts:
            return on_same_device
        prefix = directory + b"/" if directory else b""
        boundaries = set(on_other_devices)
        if mounts:
            boundaries |= {name for name in on_same_device if prefix + name in mounts}
        if not boundaries:
            return on_same_device
        inside = not STORES.isdisjoint(directory.split(b"/"))
        entered = []
        for name in sorted([*on_same_device, *on_other_devices]):
            path = prefix + name
            if name in boundaries:
                follows = self.rules.follow_mounts or inside or name in STORES
                if not follows or mounts.get(path) in PSEUDO:
                    self.skipped.append(path)
                    continue
                self.followed.append(path)
                self._roots.add(path)
            entered.append(name)
        return entered

    def is_followed(self, directory: bytes) -> bool:
        """Return whether a directory is on a file system that is mounted in the unit and followed."""
        return any(directory == path or directory.startswith(path + b"/") for path in self.followed)

    def is_target(self, directory: bytes, status: os.stat_result) -> bool:
        """Return whether a directory is the backup's own target, reached through a bind mount."""
        if self.rules.target != (status.st_dev, status.st_ino):
            return False
        self.skipped.append(directory)
        return True


def _holds_repository(names: Iterable[bytes]) -> bool:
    all_names = set(names)
    return not all_names.isdisjoint(STORES) or all_names >= _BARE


def has_cache_tag(directory_fd: int) -> bool:
    """Return whether an open directory has a valid cache tag."""
    try:
        tag_fd = os.open(CACHE_TAG, _READ, dir_fd=directory_fd)
    except OSError:
        return False
    try:
        return stat.S_ISREG(os.fstat(tag_fd).st_mode) and os.read(tag_fd, len(CACHE_SIGNATURE)) == CACHE_SIGNATURE
    except OSError:
        return False
    finally:
        os.close(tag_fd)
