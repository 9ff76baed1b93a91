# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirror files that belong to no repository."""

from __future__ import annotations

from collections.abc import Iterator

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import differing_entries
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import UnwritableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hard_links import identity
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import kind_in
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import change_type
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_task import UnitTask

REMOTE_BATCH = 512


class PlainFiles(UnitTask):
    """Mirrors the files of one unit that belong to no repository."""

    def _plain_differences(self) -> Iterator[tuple[bytes, list[tuple[Entry | None, Entry | None]]]]:
        """Yield directories that differ, with the pairs of entries that belong to no repository."""
        for directory, old, new in self.changes.differing():
            store = self._store(directory)
            if store is None:
                yield differing_entries(directory, old, new)
            elif self.stores[store] == "hg" or not (directory + b"/").startswith(store + b"/objects/" if store else b"objects/"):
                _directory, pairs = differing_entries(directory, old, new)
                yield directory, [pair for pair in pairs if self._is_plain(store, pair[1] or pair[0])]

    def _is_plain(self, store: bytes, entry: Entry | None) -> bool:
        return entry is not None and not self._is_repository_data(store, entry) and kind_in(self.stores, store, entry.path) != "transient"

    def _copy_plain(self) -> None:
        """Mirror the rest: directories and files in order, then hard-linked files, then removals."""
        copier = self.copier
        removed: list[Entry] = []
        linked: dict[tuple[int, ...], list[tuple[Entry, Entry | None]]] = {}
        mounts = bool(self.unit.rules.mounts)
        waiting: list[tuple[Entry, Entry | None]] = []
        for directory, pairs in self._plain_differences():
            waiting_before = len(waiting)
            for old, new in pairs:
                entry = new or old
                if entry is None:
                    continue
                if new is None:
                    removed.append(entry)
                elif new.type == "d":
                    self._copy_directory(new, old)
                elif new.nlink > 1 or (old is not None and old.nlink > 1 and old.type != "d"):
                    linked.setdefault(identity(new, mounts), []).append((new, old))
                else:
                    waiting.append((new, old))
            if len(waiting) > waiting_before:
                self.dirty_directories.add(directory)
                if self.pool is None:
                    with copier.keep_open(directory):
                        copier.for_each(self._copy_entry, waiting)
                    waiting.clear()
                elif len(waiting) > REMOTE_BATCH:
                    copier.for_each(self._copy_entry, waiting)
                    waiting.clear()
        copier.for_each(self._copy_entry, waiting)
        for group in linked.values():
            self._copy_hardlinks(group)
        self._remove_entries(removed)

    def _copy_directory(self, new: Entry, old: Entry | None) -> None:
        if not new.path:
            self.dirty_directories.add(b"")
        elif old is None or old.type != "d":
            self.copier.mkdir(new)
            self.dirty_directories |= {new.path, new.parent}
        elif change_type(old, new, attributes=self.changes.attributes):
            self.dirty_directories.add(new.path)

    def _copy_entry(self, pair: tuple[Entry, Entry | None]) -> Entry | None:
        entry = pair[0]
        if entry.type == "f":
            return self._copy_file(pair)
        try:
            (self.copier.copy_symlink if entry.type == "l" else self.copier.copy_special)(*pair)
        except UnwritableError as error:
            self.errors.append(error)
            self.actual_entries[entry.path] = pair[1]
            return None
        return entry

    def _copy_file(self, pair: tuple[Entry, Entry | None]) -> Entry | None:
        entry, old = pair
        try:
            got = self.copier.copy_file(entry.path, old)
        except (UnreadableError, UnwritableError) as error:
            self.errors.append(error)
            got = None
        if got != entry:
            self.actual_entries[entry.path] = got or old
        return got

    def _copy_hardlinks(self, group: list[tuple[Entry, Entry | None]]) -> None:
        """Copy hard-linked files: the first with its contents, the rest as links to it.

        If the target's limit of links per file is lower than the source's, the next name becomes a new file, and later names are linked to it.
        """
        leader: Entry | None = None
        for entry, old in group:
            self.dirty_directories.add(entry.parent)
            if leader is None or not self.copier.link_to(leader.path, entry, old):
                alike = old is not None and old.nlink == entry.nlink and old.inode == entry.inode
                got = self._copy_entry((entry, old if old is None or alike else old._replace(size=-1, link=b"")))
                leader = got if got is not None and got.inode == entry.inode else leader
            elif leader.ctime_ns != entry.ctime_ns:
                self.actual_entries[entry.path] = leader._replace(path=entry.path)

    def _remove_entries(self, removed: list[Entry]) -> None:
        """Move entries to the history that are no longer in the source; a missing directory moves as a whole."""
        trees = {entry.path for entry in removed if entry.type == "d"}
        hold_repositories = {b""} if self.stores else set()
        for store in self.stores:
            while store not in hold_repositories:
                hold_repositories.add(store)
                store = store.rpartition(b"/")[0]  # noqa: PLW2901 - up to one that is known
        removed_trees = trees - hold_repositories
        tops = [entry for entry in removed if entry.parent not in removed_trees and (entry.type != "d" or entry.path in removed_trees)]
        if self.unit.is_top_level:  # a directory has that name now: when its mirror is complete, it moves the file to the history
            tops = [entry for entry in tops if not self.copier.has_source_directory(entry.path)]
        self.dirty_directories |= {entry.parent for entry in tops}
        self.copier.for_each(lambda entry: self.copier.move_to_history(entry.path), tops)
        for path in sorted(trees - removed_trees, reverse=True):
            self.copier.remove_directory(path)
            self.dirty_directories.add(path.rpartition(b"/")[0])
