# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy a git directory's object files to its mirror; damaged ones never replace what the mirror has.

Each file is checked while it is copied. A file that fails is copied only into a mirror that has nothing of the repository yet, where
a damaged store is better than none.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Protocol

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import DamagedFileError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import (
    DIGESTS,
    LOOSE,
    check_of,
    is_derived,
    problem_of_file,
    split_suffix,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import directory, split_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import TYPE_PHRASES
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
GIT_NAMES = (b"pack-", b"loose-")
"""How the names of packs begin that git writes."""
SOUND = "the mirror keeps its sound copy"
SAME = "the mirror's copy is damaged too"
OTHER = "the mirror keeps its own copy, which is damaged too"
ABSENT = "the mirror has no copy"
AS_IS = "it was mirrored unchanged"
STAYS = "the mirror keeps its copy"
MADE = "the mirror has one rebuilt from the pack"


@dataclass(frozen=True)
class Damage:
    """Damage in a source.

    :param path: relative to the unit; empty for an object without a file.
    :param what: description: ``object 1234…``, ``pack``, …
    :param reason: the problem.
    :param mirror: the state of the mirror's copy.
    :param entry: the damaged file.
    :param derived: git does not need the file, and recreates it.
    :param by_path: the mirror has an earlier copy of the file: restoring its path repairs the source.
    """

    path: bytes
    what: str
    reason: str
    mirror: str
    entry: Entry | None = None
    derived: bool = False
    by_path: bool = False

    @property
    def mends(self) -> bool:
        """Return whether the mirror has an object that repairs it."""
        return self.mirror in {SOUND, MADE} and not self.derived

    @property
    def is_object(self) -> bool:
        """Return whether it is an object or a pack, whose damage causes all other damage."""
        return self.what.startswith(("object", "pack"))

    def __str__(self) -> str:
        where = f" ({escape_path(self.path)})" if self.path else ""
        return f"{self.what}{where} is damaged: {self.reason}; {self.mirror}"


def kind_name(inner: bytes) -> str:
    """Return the description of a file of an object store in messages.

    :param inner: relative to the git directory.
    """
    if match := LOOSE.fullmatch(inner):
        return f"object {(match[1] + match[2]).decode()}"
    name = inner.rpartition(b"/")[2]
    return {b".pack": "pack", b".idx": "pack index"}.get(split_suffix(name)[1], escape_path(name))


def lone_pack_files(listed: Mapping[bytes, Entry], mirrored: Container[bytes], packs: bytes) -> set[bytes]:
    """Return the packs without an index, and indexes and other files without a pack that has one, among the listed entries.

    :param mirrored: files of the mirror: what was a pack with an index there is guarded if the source has lost one of them.
    :param packs: the directory of packs, with a slash at its end.
    """

    def is_complete(stem: bytes) -> bool:
        pair = [stem + b".pack", stem + b".idx"]
        return all(each in listed and listed[each].type in {"f", "l"} for each in pair) or all(each in mirrored for each in pair)

    return {each for each in listed if each.startswith(packs) and not is_complete(split_suffix(each)[0])}


class Store(Protocol):
    """The mirror of one git directory, as copying objects uses it."""

    prefix: bytes
    copier: Copier
    mirrored: dict[bytes, Entry]
    objects: dict[bytes, Entry]
    directories: dict[bytes, Entry]
    damage: dict[bytes, Damage]
    unreadable: dict[bytes, UnreadableError]
    dirty_directories: set[bytes]

    @property
    def algorithm(self) -> str:
        """The hash that names objects."""

    def ensure_directory(self, path: bytes, entry: Entry | None = None) -> None:
        """Make a directory of the mirror, and those above it.

        :param entry: the source's entry of the directory, if it was read already.
        """

    def retire(self, path: bytes) -> None:
        """Move what the mirror has at a path, a directory with its contents, to the history."""

    def index_of_pack(self, path: bytes) -> bytes | None:
        """Let git make the index of a pack in the mirror; None if it cannot."""


class ObjectCopy:
    """Copies the listed object files of one git directory that its mirror lacks."""

    def __init__(self, store: Store, listed: dict[bytes, Entry]) -> None:
        self.store, self.copier, self.listed = store, store.copier, listed
        self.is_first_copy = store.copier.is_first_copy or not store.mirrored
        self.algorithm = store.algorithm
        self.vanished = False
        self.packs = store.prefix + b"objects/pack/"
        self.lone = lone_pack_files(listed, store.objects, self.packs)
        """Packs, indexes and other files among packs that git does not read."""
        self.blocked: dict[bytes, Entry] = {}
        """Other kinds of entries at the paths of objects, or of directories of objects."""

    def run(self) -> bool:
        """Copy; return False if a file vanished during the copy."""
        store, copier = self.store, self.copier
        objects = store.prefix + b"objects"
        store.ensure_directory(objects)
        self._leave_what_blocks()
        self._retire_replaced()
        with copier.keep_open(objects):
            for path in sorted(each for each, entry in self.listed.items() if entry.type == "d"):
                store.ensure_directory(path, self.listed[path])
        changed = [each for each, entry in self.listed.items() if entry.type == "f" and store.objects.get(each) != entry]
        self._copy_loose(objects, [each for each in changed if not each.startswith(self.packs)])
        in_packs = [each for each in changed if each.startswith(self.packs)]
        # An index makes its pack visible, so it comes last; all others need the pack's hash.
        self._copy_all(each for each in in_packs if each.endswith(b".pack"))
        self._copy_all(each for each in in_packs if not each.endswith((b".pack", b".idx")) and self._has_pack(each))
        self._copy_all(each for each in in_packs if each.endswith(b".idx") and self._has_pack(each))
        self._make_indexes()
        return not self.vanished

    def _leave_what_blocks(self) -> None:
        """Leave out directories, links and pipes with the name of an object, and files with the name of a directory that holds some.

        The mirror keeps its objects of that name. A directory is never an object, but git may treat it as one.
        """
        store = self.store
        filled = {split_path(each)[0] for each in store.objects}
        for path, entry in self.listed.items():
            if entry.type == "f" and path not in filled:
                continue
            inner = path[len(store.prefix) :]
            if entry.type == "d" and path in filled:
                continue
            if path in filled and self._holds_objects(path):
                description, mirror = f"directory {escape_path(inner)}", SOUND
            elif (
                check_of(inner, self.algorithm) is None
                or (path not in store.objects and not self._blocks_loose(inner, entry))
                or self._is_ignored(path)
            ):
                continue
            else:
                description = kind_name(inner)
                mirror = ABSENT if path not in store.objects else SOUND if self._mirrored_is_sound(path) else OTHER
                if path in store.objects:  # so that every run judges it again
                    store.objects[path] = store.objects[path]._replace(ctime_ns=0, inode=0, nlink=1)
            self.blocked[path] = entry
            store.damage[path] = Damage(path, description, f"it is {TYPE_PHRASES[entry.type]}", mirror, entry)
        if self.blocked:
            for path in [each for each in self.listed if each in self.blocked or split_path(each)[0] in self.blocked]:
                del self.listed[path]

    def _holds_objects(self, path: bytes) -> bool:
        """Return whether the mirror has objects, or files that git computes from them, in a directory."""
        at = len(self.store.prefix)
        return any(each.startswith(path + b"/") and check_of(each[at:], self.algorithm) is not None for each in self.store.objects)

    def _retire_replaced(self) -> None:
        """Move entries of the mirror that are files or directories now and had another type, such as links, to the history.

        Links and pipes replace what the mirror has later, once git has found the copy sound.
        """
        store = self.store
        for path, entry in self.listed.items():
            if entry.type not in {"f", "d"}:
                continue
            if path in store.directories:
                mirrored = "d"
            elif path in store.objects:
                mirrored = "f"
            else:
                mirrored = store.mirrored[path].type if path in store.mirrored else entry.type
            if mirrored != entry.type:
                store.retire(path)

    @staticmethod
    def _blocks_loose(inner: bytes, entry: Entry) -> bool:
        """Return whether a directory has the name of a loose object, so that git treats it as one; git ignores unknown names among packs."""
        return entry.type == "d" and LOOSE.fullmatch(inner) is not None

    def _copy_loose(self, objects: bytes, paths: Sequence[bytes]) -> None:
        if self.copier.pool is not None:
            self.copier.for_each(self._copy_if_changed, paths)
            return
        by_directory: dict[bytes, list[bytes]] = {}
        for path in paths:
            by_directory.setdefault(split_path(path)[0], []).append(path)
        with self.copier.keep_open(objects):
            for parent, siblings in by_directory.items():
                with self.copier.keep_open(parent):
                    self.copier.for_each(self._copy_if_changed, siblings)

    def _copy_all(self, paths: Iterable[bytes]) -> None:
        if not self.vanished:
            self.copier.for_each(self._copy_if_changed, list(paths))

    def _make_indexes(self) -> None:
        """Rebuild the index of each sound pack if the source's index is damaged and the mirror has none."""
        for path, damage in list(self.store.damage.items()):
            pack = split_suffix(path)[0] + b".pack"
            if damage.entry is None or not path.endswith(b".idx") or damage.mirror != ABSENT or pack not in self.store.objects:
                continue
            data = self.store.index_of_pack(pack) if pack not in self.store.damage else None
            if data is not None:
                entry = damage.entry._replace(size=len(data), ctime_ns=0, inode=0, nlink=1)
                self.copier.write(entry, data, None)
                self.store.objects[path] = entry
                self.store.dirty_directories.add(entry.parent)
                self.store.damage[path] = replace(damage, mirror=MADE)

    def _has_pack(self, path: bytes) -> bool:
        """Return whether the mirror has the pack that a file belongs to, or the file belongs to none."""
        pack = split_suffix(path)[0] + b".pack"
        return pack not in self.store.damage or pack in self.store.objects

    def _copy_if_changed(self, path: bytes) -> None:
        """Copy one file if it has changed."""
        if self.vanished:
            return
        store = self.store
        entry, mirrored = self.listed[path], store.objects.get(path)
        damage = store.damage.get(path)
        if damage is not None and damage.entry == entry:
            return
        if (
            mirrored is not None
            and mirrored.ctime_ns
            and (mirrored.size, mirrored.mtime_ns, mirrored.inode) == (entry.size, entry.mtime_ns, entry.inode)
        ):
            if (mirrored.mode, mirrored.uid, mirrored.gid) != (entry.mode, entry.uid, entry.gid):
                self.copier.apply_attributes(entry)
            store.objects[path] = entry
            return
        store.ensure_directory(entry.parent)
        store.damage.pop(path, None)
        try:
            got = self._copy_checked(path, entry, mirrored)
        except UnreadableError as error:
            store.unreadable[path] = error
            return
        if path in store.damage and got is None:
            return
        if got is None:
            self.vanished = True
        else:
            store.dirty_directories.add(entry.parent)
            store.objects[path] = got if got.ctime_ns or path in store.damage else entry

    def _copy_checked(self, path: bytes, entry: Entry, mirrored: Entry | None) -> Entry | None:
        inner = path[len(self.store.prefix) :]
        check = check_of(inner, self.algorithm, self._recorded)
        if self._is_ignored(path):
            check = None
        try:
            return self.copier.copy_file(path, mirrored, wait_for_tick=False, check=check)
        except DamagedFileError as error:
            if mirrored is None and self.is_first_copy:
                mirror = AS_IS
            elif mirrored is None:
                mirror = ABSENT
            elif error.is_mirrored:
                mirror = SAME
            else:
                mirror = SOUND if self._mirrored_is_sound(path) else OTHER
            self.store.damage[path] = Damage(path, kind_name(inner), error.reason, mirror, entry, derived=is_derived(inner))
            if mirrored is not None:  # in the source, this inode may belong to a different file now
                self.store.objects[path] = mirrored._replace(ctime_ns=0, inode=0, nlink=1)
            if mirror != AS_IS:
                return None
        got = self.copier.copy_file(path, mirrored, wait_for_tick=False)
        return got and got._replace(ctime_ns=0)  # so that every run judges it again

    def _is_ignored(self, path: bytes) -> bool:
        """Return whether git does not read a file, so that it is one like any other.

        A pack with a name that git gives stays guarded while the mirror's is sound: its index may only be lost.
        """
        return path in self.lone and not (split_path(path)[1].startswith(GIT_NAMES) and self._mirrored_is_sound(path))

    def _mirrored_is_sound(self, path: bytes) -> bool:
        """Check the mirror's own file."""
        check = check_of(path[len(self.store.prefix) :], self.algorithm, self._recorded_in_mirror)
        if check is None:
            return False
        parent, name = split_path(path)
        with suppress(OSError), directory(self.copier.mirror_fd, parent) as parent_fd:
            file = os.open(name, READ, dir_fd=parent_fd)
            try:
                return not problem_of_file(file, check())
            finally:
                os.close(file)
        return False

    def _recorded(self, inner: bytes) -> bytes | None:
        """Return the hash of a pack in the mirror, or the hash recorded in its index in the source; None if neither exists."""
        path = self.store.prefix + inner
        if path.endswith(b".idx"):
            return recorded_hash(self.copier.source_fd, path, DIGESTS[self.algorithm])
        if path in self.store.damage and not self.store.damage[path].mends:
            return None
        return self._recorded_in_mirror(inner) if path in self.store.objects else None

    def _recorded_in_mirror(self, inner: bytes) -> bytes | None:
        return recorded_hash(self.copier.mirror_fd, self.store.prefix + inner, DIGESTS[self.algorithm])


def recorded_hash(top: int, path: bytes, size: int) -> bytes | None:
    """Return the hash at the end of a pack, or the pack hash recorded in an index; None if it cannot be read.

    :param top: open directory that the path is relative to.
    :param size: of a hash.
    """
    distance = size if path.endswith(b".pack") else 2 * size
    parent, name = split_path(path)
    try:
        with directory(top, parent) as parent_fd:
            file = os.open(name, READ, dir_fd=parent_fd)
    except OSError:
        return None
    try:
        end = os.fstat(file).st_size
        data = os.pread(file, size, end - distance) if end >= distance else b""
        return data if len(data) == size else None
    except OSError:
        return None
    finally:
        os.close(file)
