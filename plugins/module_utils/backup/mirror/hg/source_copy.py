# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copies a ``.hg`` from the source into a build, in the order in which hg's files must be read."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import (
    BLOCK_HEADER,
    Entry,
    entry_from_stat,
    unpack_block,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter, TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.build import HgBuild
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import common_length
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import (
    AFTER_CHANGELOG,
    CHANGELOG,
    is_transaction_backup,
    is_transient,
    read_order,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import split_path


class SourceCopy:
    """Copies a source's ``.hg`` into a build.

    :param copier: of the unit.
    :param skip: unreadable directories, relative to the ``.hg``: their contents are left out.
    """

    def __init__(self, copier: Copier, build: HgBuild, skip: frozenset[bytes]) -> None:
        self.copier, self.build, self.skip = copier, build, skip
        self.unreadable: dict[bytes, UnreadableError] = {}
        """Files of the source that could not be read."""
        self.listed: dict[bytes, Entry] = {}
        """The source's entries when they were last listed."""
        self._hardlink_leaders: dict[int, bytes] = {}
        """First path for each inode with several names."""
        self._build_copier: Copier | None = None

    def close(self) -> None:
        """Add the copied files to the unit's counters."""
        if self._build_copier is not None:
            self._build_copier.close()
            self.copier.add_counts(self._build_copier.files, 0, self._build_copier.kept_bytes)
            self.copier.bytes += self._build_copier.bytes
            self.copier.notes |= self._build_copier.notes
            self._build_copier = None

    def list_entries(self, path: bytes) -> dict[bytes, Entry]:
        """Return the entries of a ``.hg``, without transient files.

        :param path: of the ``.hg``.
        """
        entries = {}
        for block in walk_blocks(path, skip=self.skip, tree=TreeFilter(TreeRules(follow_mounts=True))):
            size, _more = BLOCK_HEADER.unpack_from(block)
            for entry in unpack_block(block[BLOCK_HEADER.size : BLOCK_HEADER.size + size], block[BLOCK_HEADER.size + size :]):
                if entry.path:
                    entries[entry.path] = entry
        in_transaction = b"store/journal" in entries
        return {
            each: entry
            for each, entry in entries.items()
            if not is_transient(each) and not (in_transaction and is_transaction_backup(each))
        }

    def copy(self, source: bytes) -> int:
        """Copy the files that name changesets, then the changelog, then whatever is listed after these were read.

        :return: the number of changesets in the copied changelog; -1 if that is unknown.
        """
        if self._build_copier is None:
            self._build_copier = self._make_copier(source)
        self.build.start_attempt()
        self._hardlink_leaders.clear()
        self.unreadable.clear()
        early = self.list_entries(source)
        self._copy_entries(early, (path for path in early if read_order(path) < AFTER_CHANGELOG))
        if CHANGELOG in self.unreadable:
            return -1
        changesets = self.build.changesets()
        self.listed = self.list_entries(source)
        later = {path: entry for path, entry in self.listed.items() if read_order(path) >= AFTER_CHANGELOG or entry.type == "d"}
        self._copy_entries(later, later)
        self.build.end_attempt()
        return changesets

    def _make_copier(self, source: bytes) -> Copier:
        unit = self.copier
        return Copier(
            source,
            self.build.path,
            history=None,
            work=unit.work_path,
            is_first_copy=True,
            xattrs=unit.xattrs,
            acls=unit.acls,
            pool=unit.pool,
            on_progress=unit.on_progress,
        )

    def _copy_entries(self, listed: dict[bytes, Entry], paths: Iterable[bytes]) -> None:
        """Create all listed directories, and link or copy some paths in the order in which they must be read."""
        copier, build = self._build_copier, self.build
        if copier is None:
            raise RuntimeError("the copier is missing")
        for path in sorted(each for each, entry in listed.items() if entry.type == "d"):
            build.entries[path] = listed[path]
            if path not in build.directories:
                copier.mkdir(listed[path])
                build.directories.add(path)
        files = sorted((each for each in paths if listed[each].type != "d"), key=lambda each: (read_order(each), each))
        for path in files:
            if listed[path].nlink > 1:
                self._hardlink_leaders.setdefault(listed[path].inode, path)

        def is_leader(path: bytes) -> bool:
            return self._hardlink_leaders.get(listed[path].inode, path) == path

        def copy_entry(path: bytes) -> None:
            self._copy_entry(copier, path, listed[path])

        for position in sorted({read_order(each) for each in files}):
            group = [each for each in files if read_order(each) == position]
            copier.for_each(copy_entry, [each for each in group if is_leader(each)])
            copier.for_each(copy_entry, [each for each in group if not is_leader(each)])

    def _copy_entry(self, copier: Copier, path: bytes, entry: Entry) -> None:
        """Keep what the previous attempt copied, or link or copy a file."""
        build = self.build
        if build.files.get(path) == entry and path not in build.rewritten:
            build.entries[path] = entry
            return
        build.unlink(path)
        copied: Entry | None = entry
        if self._link_unchanged(path, entry) or self._link_duplicate(path, entry) or self._link_equal(copier, path, entry):
            pass
        elif entry.type == "f":
            try:
                copied = copier.copy_file(path, None, wait_for_tick=False)
            except UnreadableError as error:
                self.unreadable[path] = error
                copied = build.mirrored.get(path)
                if copied is not None and not build.link_from_mirror(path):
                    copied = None
        else:
            (copier.copy_symlink if entry.type == "l" else copier.copy_special)(entry, None)
        if copied is not None:
            build.entries[path] = build.files[path] = copied

    def _link_unchanged(self, path: bytes, entry: Entry) -> bool:
        """Link the mirror's file if the source's has not changed."""
        return entry.type == "f" and self.build.mirrored.get(path) == entry and self.build.link_from_mirror(path)

    def _link_equal(self, copier: Copier, path: bytes, entry: Entry) -> bool:
        """Link the mirror's file if only the source's link count has changed, as when a clone was made."""
        build = self.build
        previous = build.mirrored.get(path)
        if build.is_first_copy or previous is None or entry.type != "f" or previous.type != "f":
            return False
        if (previous.mode, previous.uid, previous.gid, previous.size, previous.mtime_ns) != (
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            entry.mtime_ns,
        ):
            return False
        parent, name = split_path(path)
        with suppress(FileNotFoundError, NotADirectoryError, UnreadableError, PermissionError), copier.source_directory(parent) as fd:
            source = b"/proc/self/fd/%d/%s" % (fd, name)
            is_equal = common_length(source, os.path.join(build.mirror_path, path)) == entry.size
            return is_equal and entry_from_stat(path, os.lstat(source)) == entry and build.link_from_mirror(path)
        return False

    def _link_duplicate(self, path: bytes, entry: Entry) -> bool:
        """Create a hard link that exists in the source."""
        build = self.build
        leader = self._hardlink_leaders.get(entry.inode, path)
        copied = build.entries.get(leader)
        if entry.nlink == 1 or entry.type != "f" or leader == path or copied is None or leader in build.linked:
            return False
        if (copied.inode, copied.ctime_ns) != (entry.inode, entry.ctime_ns):
            return False
        with suppress(OSError):
            os.link(build.build_path(leader), build.build_path(path), follow_symlinks=False)
            return True
        return False
