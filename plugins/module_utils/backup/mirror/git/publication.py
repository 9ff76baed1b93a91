# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Publish the proven state, in an order that leaves a complete repository at every moment."""

from __future__ import annotations

import os
import time

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.file_copier import TIMESTAMP_GRANULARITY_NS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.proof import GitProof
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.staging import (
    Data,
    is_settled,
    same_data,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files

PUBLISHED = {b"config": 0, b"objects": 1, b"shallow": 2, b"reftable": 2, b"packed-refs": 3, b"refs": 4, b"worktrees": 5, b"HEAD": 6}
PLAIN_RANK = 7
LAST_RANK = 8


class GitPublication(GitProof):
    """Publishes the staged files, then removes objects that the source no longer has."""

    def publish(self) -> None:
        """Put the staged files in place, in an order that leaves a complete repository at every moment."""
        for path in sorted(path for path, (entry, _data) in self.staged.items() if entry.type == "d"):
            entry, old = self.staged[path][0], self.mirrored.get(path)
            if path not in self.directories or (old is not None and old.type != "d"):
                self.ensure_directory(entry.parent)
                self.copier.mkdir(entry)
                self.directories[path] = entry
                self.dirty_directories |= {path, entry.parent}
            elif old is None or (old[1:4], old.mtime_ns) != (entry[1:4], entry.mtime_ns):
                self.dirty_directories.add(path)

        def put(path: bytes) -> None:
            entry, data = self.staged[path]
            self.staged[path] = (self._put(entry, data, self.mirrored.get(path)) or entry._replace(ctime_ns=0), data)

        changed = [path for path, (entry, _data) in self.staged.items() if entry.type != "d" and self.mirrored.get(path) != entry]
        for path in changed:
            parent = path.rpartition(b"/")[0]
            self.ensure_directory(parent)
            self.dirty_directories.add(parent)
        for rank in range(LAST_RANK + 1):
            self.copier.for_each(put, sorted(path for path in changed if self._publishing_rank(path) == rank))
        for path, old in self.mirrored.items():
            if (
                path not in self.staged
                and path not in self.unreadable
                and path not in self.protected
                and old.type != "d"
                and (self._is(path, "reference") or self._is(path, "derived") or (old.type != "f" and self._is(path, "object")))
            ):
                self.copier.move_to_history(path)
                self.dirty_directories.add(old.parent)

    def _put(self, entry: Entry, data: Data | None, old: Entry | None) -> Entry | None:
        if entry.type == "l":
            self.copier.copy_symlink(entry, old)
        elif entry.type != "f":
            self.copier.copy_special(entry, old)
        elif data is None:
            return self.copier.copy_file(entry.path, old)
        elif old is not None and old.type == "f" and old.size == entry.size and self._has(self.copier.mirror_fd, entry.path, data):
            self.copier.apply_attributes(entry)
        else:
            self.copier.write(entry, data, old)
        return entry

    def _has(self, top_fd: int, path: bytes, data: Data) -> bool:
        """Return whether a file below an open directory has given contents."""
        with source_files.opened_regular(top_fd, path) as fd:
            return fd is not None and same_data(data, fd)

    def _publishing_rank(self, path: bytes) -> int:
        inner = path[len(self.prefix) :]
        if inner.endswith(b"reftable/tables.list"):
            return LAST_RANK
        first = inner.partition(b"/")[0]
        return PUBLISHED.get(first, PLAIN_RANK)

    def remove(self) -> None:
        """Remove objects that the source no longer has, unless a garbage collection may be running."""
        removed = [path for path in self.objects if path not in self.listed]
        if not self.defer_prune:
            removed.sort(key=lambda path: (not path.endswith(b".idx"), path))

            def aside(path: bytes) -> None:
                del self.objects[path]
                self.copier.move_to_history(path)

            self.dirty_directories |= {path.rpartition(b"/")[0] for path in removed}
            self.copier.for_each(aside, [path for path in removed if path.endswith(b".idx")])
            self.copier.for_each(aside, [path for path in removed if not path.endswith(b".idx")])
        stay = {path.rpartition(b"/")[0] for path in self.objects} | self.object_directories.keys() | self.staged.keys()
        for path in sorted((path for path in self.directories if path not in stay and path.startswith(self.prefix)), reverse=True):
            self.copier.remove_directory(path)
            self.dirty_directories.add(path.rpartition(b"/")[0])

    def recheck_fresh_files(self) -> None:
        """Read files again that were read just after they changed; if they are still the same, their entries are final."""
        doubtful = [each for each, (entry, data) in self.staged.items() if not entry.ctime_ns and data is not None]
        if doubtful:
            time.sleep(TIMESTAMP_GRANULARITY_NS / 1e9)
        for path in doubtful:
            entry, data = self.staged[path]
            if data is not None and (current := self._same_still(path, entry, data)) is not None:
                self.staged[path] = (current, data)

    def _same_still(self, path: bytes, entry: Entry, data: Data) -> Entry | None:
        """Return the entry of a source file if its contents are still the staged ones and it has not just changed; otherwise None."""
        with source_files.opened_regular(self.copier.source_fd, path) as fd:
            if fd is None:
                return None
            status = os.fstat(fd)
            current = entry_from_stat(path, status)
            if current._replace(ctime_ns=0) != entry or not same_data(data, fd):
                return None
            return current if is_settled(status, os.fstat(fd)) else None

    def resulting_entries(self) -> dict[bytes, Entry]:
        """Return the current entries of the mirror."""
        entries = {each: entry for each, entry in self.mirrored.items() if each in self.unreadable or each in self.protected}
        entries |= {each: entry for each, (entry, _data) in self.staged.items()}
        entries |= self.object_directories
        # The source may have reused the inode of a deleted object for another file.
        entries |= {each: entry if each in self.listed else entry._replace(inode=0, nlink=1) for each, entry in self.objects.items()}
        for path in list(self.objects):
            parent = path.rpartition(b"/")[0]
            if parent not in entries and parent in self.directories:
                entries[parent] = self.directories[parent]
        return entries

    def unchanged_entries(self) -> dict[bytes, Entry]:
        """Return the mirror's entries if nothing was published: its previous entries, and copied objects."""
        start = self.prefix + b"objects"
        return {**self.mirrored, **{each: entry for each, entry in self.directories.items() if each.startswith(start)}, **self.objects}
