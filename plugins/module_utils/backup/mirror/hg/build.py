# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A ``.hg`` directory under construction next to the mirror's: links to the mirror's files, and copies of changed ones."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import RevlogIndex
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import CHANGELOG, data_file, is_revlog_index
from ansible_collections.homelab.repoman.plugins.module_utils.files.append import append


class HgBuild:
    """A ``.hg`` under construction. Paths and entries are relative to it.

    :param mirrored: the mirror's entries.
    :param mirror_path: the mirror's ``.hg``.
    :param path: the build's directory; the mirror's own for a first copy.
    """

    def __init__(self, mirrored: dict[bytes, Entry], mirror_path: bytes, path: bytes) -> None:
        self.mirrored, self.mirror_path, self.path = mirrored, mirror_path, path
        self.files: dict[bytes, Entry] = {}
        """Files in the build directory; other attempts may have left some that the current one does not use."""
        self.directories: set[bytes] = set()
        self.entries: dict[bytes, Entry] = {}
        """Files and directories of the current attempt."""
        self.linked: set[bytes] = set()
        """Files that are hard links to the mirror's."""
        self.rewritten: set[bytes] = set()
        """Files that differ from the source's: truncated, or begun with the mirror's contents."""
        self.from_mirror: set[bytes] = set()
        """Files that come from the mirror, in part or completely, instead of from the source."""
        self.changes = 0
        """How often a file of the build was removed or written."""
        self.is_behind = False
        """Other revlogs continue after the last changeset of the changelog."""

    @property
    def is_first_copy(self) -> bool:
        """Whether the mirror does not exist yet."""
        return self.path == self.mirror_path

    def build_path(self, path: bytes) -> bytes:
        """Return the absolute path of a file in the build."""
        return os.path.join(self.path, path)

    def start_attempt(self) -> None:
        """Forget the entries of the previous attempt; its files stay, to be used again if they have not changed."""
        self.entries = {}
        self.from_mirror.clear()

    def end_attempt(self) -> None:
        """Remove files that the current attempt does not use."""
        for path in self.files.keys() - self.entries.keys():
            self.unlink(path)

    def discard(self) -> None:
        """Delete the build, unless it is the only copy."""
        if not self.is_first_copy:
            shutil.rmtree(self.path, ignore_errors=True)

    def unlink(self, path: bytes) -> None:
        """Delete a file or directory from the build, also before another one takes its place."""
        self.changes += 1
        self._forget(path)
        if path not in self.directories:
            with suppress(FileNotFoundError, NotADirectoryError):
                os.unlink(self.build_path(path))
            return
        shutil.rmtree(self.build_path(path))
        prefix = path + b"/"
        self.directories = {inner for inner in self.directories if inner != path and not inner.startswith(prefix)}
        for inner in [inner for inner in self.entries if inner.startswith(prefix)]:
            del self.entries[inner]
            self._forget(inner)

    def _forget(self, path: bytes) -> None:
        self.files.pop(path, None)
        self.linked.discard(path)
        self.rewritten.discard(path)

    def changesets(self) -> int:
        """Return the number of changesets in the changelog; -1 if its format is unknown."""
        if CHANGELOG not in self.entries or self.entries[CHANGELOG].type != "f":
            return 0
        index = RevlogIndex(self.build_path(CHANGELOG))
        return index.count if index.is_known else -1

    # The end of each revlog

    def truncate_revlogs(self, changesets: int) -> tuple[bytes, str] | None:
        """Remove the revisions of later changesets from all revlogs, and check that the remaining ones have their data.

        :param changesets: number of changesets to keep.
        :return: the first file that lacks data, and what is wrong with it; None if all are complete.
        """
        problem = None
        self.is_behind = False
        for path in [each for each, entry in self.entries.items() if is_revlog_index(each) and entry.type == "f"]:
            if self._is_mirrors(path):
                continue
            index = RevlogIndex(self.build_path(path))
            if not index.is_known:
                continue
            keep = index.revisions_before(changesets) if path != CHANGELOG else min(changesets, index.count)
            index_size, data_size = index.sizes_for(keep)
            if not index.is_inline and data_size:
                data = data_file(path)
                current = self._size(data)
                if current < data_size:
                    problem = problem or (data, "it is missing" if current < 0 else "it is too short")
                elif current > data_size and keep < index.count:
                    self.truncate(data, data_size)
            self.is_behind |= keep < index.count
            if index_size < self._size(path):
                self.truncate(path, index_size)
        return problem

    def _is_mirrors(self, path: bytes) -> bool:
        """Return whether a revlog and the changelog are links to the mirror's."""
        files = (CHANGELOG, path, data_file(path))
        return all(each in self.linked for each in files if each in self.entries or each in self.mirrored)

    def _size(self, path: bytes) -> int:
        return os.stat(self.build_path(path)).st_size if path in self.entries else -1

    def truncate(self, path: bytes, size: int) -> None:
        """Shorten a file; one of length 0 is deleted."""
        build_path = self.build_path(path)
        if not size:
            self.unlink(path)
            self.entries.pop(path, None)
            return
        if path in self.linked or self.entries[path].nlink > 1:
            _replace_link(build_path, size)
            self.linked.discard(path)
        else:
            os.truncate(build_path, size)
        self._record_written(path)

    def _record_written(self, path: bytes) -> None:
        """Update the entry of a file that was written here; its change time is 0, so that it never equals a source file's."""
        self.changes += 1
        status = os.stat(self.build_path(path))
        self.entries[path] = self.files[path] = entry_from_stat(path, status)._replace(ctime_ns=0)
        self.rewritten.add(path)

    # Files of the mirror

    def link_from_mirror(self, path: bytes) -> bool:
        """Create a hard link to the mirror's file; return False if that is not possible."""
        if self.is_first_copy:
            return False
        try:
            os.link(os.path.join(self.mirror_path, path), self.build_path(path), follow_symlinks=False)
        except OSError:
            return False
        self.linked.add(path)
        return True

    def take_from_mirror(self, path: bytes) -> bool:
        """Replace a file by the mirror's; return False if the mirror has none."""
        previous = self.mirrored.get(path)
        if previous is None or previous.type != "f" or self.is_first_copy:
            return False
        self.unlink(path)
        os.makedirs(os.path.dirname(self.build_path(path)), exist_ok=True)
        if not self.link_from_mirror(path):  # another file system, or one without hard links
            with open(os.path.join(self.mirror_path, path), "rb") as file, open(self.build_path(path), "xb") as out:
                status = os.fstat(file.fileno())
                append(out.fileno(), file.fileno(), 0, status.st_size)
                os.fchmod(out.fileno(), status.st_mode & 0o777)
        self.entries[path] = self.files[path] = previous._replace(ctime_ns=0)
        self.from_mirror.add(path)
        return True

    def overlay_from_mirror(self, path: bytes) -> bool:
        """Replace the beginning of a file by the mirror's contents; a file that is not longer becomes the mirror's.

        :return: False if the mirror has no such file.
        """
        mirrored_path, build_path = os.path.join(self.mirror_path, path), self.build_path(path)
        if self.is_first_copy or path not in self.mirrored:
            return False
        entry = self.entries.get(path)
        if entry is None or entry.type != "f" or os.stat(build_path).st_size <= os.stat(mirrored_path).st_size:
            return self.take_from_mirror(path)
        with open(build_path, "rb") as current, open(mirrored_path, "rb") as beginning:
            os.unlink(build_path)
            with open(build_path, "xb") as out:
                done = append(out.fileno(), beginning.fileno(), 0, os.fstat(beginning.fileno()).st_size)
                append(out.fileno(), current.fileno(), done, os.fstat(current.fileno()).st_size - done)
        self.linked.discard(path)
        self._record_written(path)
        self.from_mirror.add(path)
        return True


def _replace_link(path: bytes, size: int) -> None:
    """Replace a hard link by a copy of the beginning of its file."""
    with open(path, "rb") as file:
        os.unlink(path)
        with open(path, "xb") as part:
            append(part.fileno(), file.fileno(), 0, size)
