# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirror what belongs to no repository."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import diff_manifests
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import UnwritableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hard_links import identity
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import kind_in
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import change_type
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_task import UnitTask

FAR_BATCH = 512


class PlainFiles(UnitTask):
    """Mirrors the files of one unit that belong to no repository."""

    def _others(self) -> Iterator[tuple[bytes, list[tuple[Entry | None, Entry | None]]]]:
        """Yield directories that differ, with those pairs of entries that no repository looks after."""
        for directory, pairs in diff_manifests(self.changes.before, self.changes.now):
            store = self._store(directory)
            if store is None:
                yield directory, pairs
            elif self.stores[store] == "hg" or not (directory + b"/").startswith(store + b"/objects/" if store else b"objects/"):
                yield directory, [pair for pair in pairs if self._is_plain(store, pair[1] or pair[0])]

    def _is_plain(self, store: bytes, entry: Entry | None) -> bool:
        return entry is not None and not self._ours(store, entry) and kind_in(self.stores, store, entry.path) != "passing"

    def _plain(self) -> None:
        """Mirror the rest: directories and files as they come, then files with several names, then what is gone."""
        copier = self.copier
        removed: list[Entry] = []
        linked: dict[tuple[int, ...], list[tuple[Entry, Entry | None]]] = {}
        mounts = bool(self.unit.rules.mounts)
        waiting: list[tuple[Entry, Entry | None]] = []
        for directory, pairs in self._others():
            begun = len(waiting)
            for old, new in pairs:
                entry = new or old
                if entry is None:
                    continue
                if new is None:
                    removed.append(entry)
                elif new.type == "d":
                    self._own_directory(new, old)
                elif new.nlink > 1 or (old is not None and old.nlink > 1 and old.type != "d"):
                    linked.setdefault(identity(new, mounts), []).append((new, old))
                else:
                    waiting.append((new, old))
            if len(waiting) > begun:
                self.dirty_directories.add(directory)
                if self.pool is None:
                    with copier.keep_open(directory):
                        copier.each(self._one, waiting)
                    waiting.clear()
                elif len(waiting) > FAR_BATCH:
                    copier.each(self._one, waiting)
                    waiting.clear()
        copier.each(self._one, waiting)
        for group in linked.values():
            self._linked(group)
        self._removed(removed)

    def _own_directory(self, new: Entry, old: Entry | None) -> None:
        if not new.path:
            self.dirty_directories.add(b"")
        elif old is None or old.type != "d":
            self.copier.mkdir(new)
            self.dirty_directories |= {new.path, new.parent}
        elif change_type(old, new, attributes=self.changes.attributes):
            self.dirty_directories.add(new.path)

    def _one(self, pair: tuple[Entry, Entry | None]) -> Entry | None:
        entry = pair[0]
        if entry.type == "f":
            return self._file(pair)
        try:
            (self.copier.copy_symlink if entry.type == "l" else self.copier.copy_special)(*pair)
        except UnwritableError as error:
            self.unreadable.append(error)
            self.actual_entries[entry.path] = pair[1]
            return None
        return entry

    def _file(self, pair: tuple[Entry, Entry | None]) -> Entry | None:
        entry, old = pair
        try:
            got = self.copier.copy_file(entry.path, old)
        except (UnreadableError, UnwritableError) as error:
            self.unreadable.append(error)
            got = None
        if got != entry:
            self.actual_entries[entry.path] = got or old
        return got

    def _linked(self, group: list[tuple[Entry, Entry | None]]) -> None:
        """Copy hard-linked files: the first with its contents, the rest as links to it.

        If the target's limit of links per file is lower than the source's, the next name becomes a new file, and later names are linked to it.
        """
        leader: Entry | None = None
        for entry, old in group:
            self.dirty_directories.add(entry.parent)
            if leader is None or not self.copier.link_to(leader.path, entry, old):
                alike = old is not None and old.nlink == entry.nlink and old.inode == entry.inode
                got = self._one((entry, old if old is None or alike else old._replace(size=-1, link=b"")))
                leader = got if got is not None and got.inode == entry.inode else leader
            elif leader.ctime_ns != entry.ctime_ns:
                self.actual_entries[entry.path] = leader._replace(path=entry.path)

    def _removed(self, removed: list[Entry]) -> None:
        """Set aside what the source has no more: whole directories where all of them is gone."""
        trees = {entry.path for entry in removed if entry.type == "d"}
        hold_repositories = {b""} if self.stores else set()
        for store in self.stores:
            while store not in hold_repositories:
                hold_repositories.add(store)
                store = store.rpartition(b"/")[0]  # noqa: PLW2901 - up to one that is known
        gone = trees - hold_repositories
        tops = [entry for entry in removed if entry.parent not in gone and (entry.type != "d" or entry.path in gone)]
        if self.unit.is_top_level:  # a directory has that name now: its mirror, once it is whole, puts the file aside
            tops = [entry for entry in tops if not self.copier.has_source_directory(entry.path)]
        self.dirty_directories |= {entry.parent for entry in tops}
        self.copier.each(lambda entry: self.copier.move_to_history(entry.path, entry), tops)
        for each in sorted(trees - gone, reverse=True):
            self.copier.remove_directory(each)
            self.dirty_directories.add(each.rpartition(b"/")[0])
