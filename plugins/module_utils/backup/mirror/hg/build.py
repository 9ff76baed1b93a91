# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds a ``.hg`` beside the mirror's: links to what did not change, copies of what did, in the order in which hg's files must be read."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import BLOCK_HEADER, Entry, entry_of, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter, TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import Log, common_length
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import split_path

CHANGELOG = b"store/00changelog.i"
COPY = 1 << 20

_PASSING = re.compile(rb"^(store/)?w?lock$|^store/(journal|00changelog\.i\.a)$|(^|/)\.[^/]+-\w{6,8}~$")
_JOURNAL = re.compile(rb"^(store/)?journal\.")


def passing(path: bytes) -> bool:
    """Tell whether a path in ``.hg`` is a lock, a journal or a file that is not whole yet."""
    return _PASSING.search(path) is not None


def journal(path: bytes) -> bool:
    """Tell whether a path in ``.hg`` is of a transaction, while one is under way: never mirrored then."""
    return _JOURNAL.search(path) is not None


def rank(path: bytes) -> int:
    """Return a file's place in the reading order: bookmarks and the like, the changelog, the other logs, the list of files."""
    if not path.startswith(b"store/") or path in {b"store/phaseroots", b"store/obsstore"}:
        return 0
    if path.startswith(b"store/00changelog"):
        return 1
    if path == b"store/fncache":
        return 9
    return 3 if path.endswith(b".d") else 2


def data_of(index: bytes) -> bytes:
    """Return the path of the data file that belongs to an index."""
    return index[:-1] + b"d"


def is_log(path: bytes) -> bool:
    """Tell whether a path in ``.hg`` is the index of a revision log."""
    return path.startswith(b"store/") and path.endswith(b".i")


class HgBuild:
    """A ``.hg`` that is being built.

    :param prefix: path of the mirror's in the unit, with a slash.
    :param have: the mirror's entries.
    :param closed: directories that cannot be read, relative to the ``.hg``: what is in them is left out.
    :param place: the mirror's ``.hg``.
    :param path: directory for the new store; the mirror's own for a first copy.
    """

    def __init__(
        self, copier: Copier, prefix: bytes, *, have: dict[bytes, Entry], closed: frozenset[bytes], place: bytes, path: bytes
    ) -> None:
        self.copier, self.prefix, self.have, self.closed, self.place, self.path = copier, prefix, have, closed, place, path
        self.files: dict[bytes, Entry] = {}
        self.directories: set[bytes] = set()
        self.linked: set[bytes] = set()
        self.cut: set[bytes] = set()
        self.mended: set[bytes] = set()
        """Files that come from the mirror, in part or completely, instead of from the source."""
        self.is_behind = False
        """The changelog has fewer changesets than other logs know of."""
        self.unreadable: dict[bytes, UnreadableError] = {}
        self.found: dict[bytes, Entry] = {}
        self.listed: dict[bytes, Entry] = {}
        """What the source was last seen to hold."""
        self._leaders: dict[int, bytes] = {}
        self._inner: Copier | None = None

    @property
    def is_first(self) -> bool:
        """Whether this is the first copy."""
        return self.path == self.place

    def drop(self) -> None:
        """Remove what was built, unless it is all there is."""
        self.close()
        if not self.is_first:
            shutil.rmtree(self.path, ignore_errors=True)

    def close(self) -> None:
        """Add what was copied to the unit's counters."""
        if self._inner is not None:
            self._inner.close()
            self.copier.add_counts(self._inner.files, 0, self._inner.kept_bytes)
            self.copier.bytes += self._inner.bytes
            self.copier.notes |= self._inner.notes
            self._inner = None

    def look(self, source: bytes) -> dict[bytes, Entry]:
        """Return the entries of a ``.hg`` to be mirrored."""
        found = {}
        for block in walk_blocks(source, skip=self.closed, tree=TreeFilter(TreeRules(follow_mounts=True))):
            size, _more = BLOCK_HEADER.unpack_from(block)
            for entry in unpack_block(block[BLOCK_HEADER.size : BLOCK_HEADER.size + size], block[BLOCK_HEADER.size + size :]):
                if entry.path:
                    found[entry.path] = entry
        under_way = b"store/journal" in found
        return {each: entry for each, entry in found.items() if not passing(each) and not (under_way and journal(each))}

    def copy(self, source: bytes) -> int:
        """Bring what the source holds: what names changesets and the changelog, then what is listed after these were read.

        :return: how many changesets the copied changelog has; -1 if that is not known.
        """
        inner = self._inner
        if inner is None:
            self._inner = inner = Copier(
                source,
                self.path,
                history=None,
                work=self.copier.work_path,
                is_first_copy=True,
                xattrs=self.copier.xattrs,
                acls=self.copier.acls,
                pool=self.copier.pool,
                on_progress=self.copier.on_progress,
            )
        self.found = {}
        self.mended.clear()
        self._leaders.clear()
        self.unreadable.clear()
        early = self.look(source)
        self._bring(inner, early, lambda path: rank(path) < 2)  # noqa: PLR2004
        if CHANGELOG in self.unreadable:
            return -1
        changesets = self.changesets()
        self.listed = late = self.look(source)
        self._bring(inner, {each: entry for each, entry in late.items() if rank(each) > 1 or entry.kind == "d"}, lambda _path: True)
        for path in self.files.keys() - self.found.keys():
            self.unlink(path)
        return changesets

    def changesets(self) -> int:
        """Return how many changesets the copied changelog has; -1 if its format is not known."""
        if CHANGELOG not in self.found or self.found[CHANGELOG].kind != "f":
            return 0
        log = Log(os.path.join(self.path, CHANGELOG))
        return log.count if log.known else -1

    def _bring(self, inner: Copier, listed: dict[bytes, Entry], wanted: Callable[[bytes], bool]) -> None:
        """Link or copy what was listed, in the order in which it must be read."""
        for path in sorted(each for each, entry in listed.items() if entry.kind == "d"):
            self.found[path] = listed[path]
            if path not in self.directories:
                inner.mkdir(listed[path])
                self.directories.add(path)

        def bring(path: bytes) -> None:
            entry = listed[path]
            if self.files.get(path) == entry and path not in self.cut:
                self.found[path] = entry
                return
            self.unlink(path)
            got: Entry | None = entry
            if self._link(path, entry) or self._twin(path, entry) or self._link_same(inner, path, entry):
                pass
            elif entry.kind == "f":
                try:
                    got = inner.copy_file(path, None, patient=False)
                except UnreadableError as error:
                    self.unreadable[path] = error
                    old = self.have.get(self.prefix + path)
                    got = old._replace(path=path) if old is not None and self._link_old(path) else None
            else:
                (inner.copy_symlink if entry.kind == "l" else inner.copy_special)(entry, None)
            if got is not None:
                self.found[path] = self.files[path] = got

        paths = sorted((each for each, entry in listed.items() if entry.kind != "d" and wanted(each)), key=lambda each: (rank(each), each))
        for each in paths:
            if listed[each].nlink > 1:
                self._leaders.setdefault(listed[each].inode, each)
        for number in sorted({rank(each) for each in paths}):
            ranked = [each for each in paths if rank(each) == number]
            inner.each(bring, [each for each in ranked if self._leaders.get(listed[each].inode, each) == each])
            inner.each(bring, [each for each in ranked if self._leaders.get(listed[each].inode, each) != each])

    def _link(self, path: bytes, entry: Entry) -> bool:
        """Take the mirror's file if the source's has not changed."""
        if entry.kind != "f" or self.have.get(self.prefix + path) != entry._replace(path=self.prefix + path):
            return False
        return self._link_old(path)

    def _link_same(self, inner: Copier, path: bytes, entry: Entry) -> bool:
        """Take the mirror's file where only the number of the source's names has changed, as when a clone was made."""
        old = self.have.get(self.prefix + path)
        if self.is_first or old is None or entry.kind != "f" or old.kind != "f":
            return False
        if (old.mode, old.uid, old.gid, old.size, old.mtime_ns) != (entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns):
            return False
        parent, name = split_path(path)
        with suppress(FileNotFoundError, NotADirectoryError, UnreadableError, PermissionError), inner.source_directory(parent) as held:
            place = b"/proc/self/fd/%d/%s" % (held, name)
            is_same = common_length(place, os.path.join(self.place, path)) == entry.size
            return is_same and entry_of(path, os.lstat(place)) == entry and self._link_old(path)
        return False

    def _link_old(self, path: bytes) -> bool:
        if self.is_first:
            return False
        try:
            os.link(os.path.join(self.place, path), os.path.join(self.path, path), follow_symlinks=False)
        except OSError:
            return False
        self.linked.add(path)
        return True

    def _twin(self, path: bytes, entry: Entry) -> bool:
        """Create a hard link that exists in the source."""
        other = self._leaders.get(entry.inode, path)
        twin = self.found.get(other)
        if entry.nlink == 1 or entry.kind != "f" or other == path or twin is None or other in self.linked:
            return False
        if (twin.inode, twin.ctime_ns) != (entry.inode, entry.ctime_ns):
            return False
        with suppress(OSError):
            os.link(os.path.join(self.path, other), os.path.join(self.path, path), follow_symlinks=False)
            return True
        return False

    def unlink(self, path: bytes) -> None:
        """Take a file out of what is built."""
        self.linked.discard(path)
        self.cut.discard(path)
        self.files.pop(path, None)
        place = os.path.join(self.path, path)
        if path in self.directories:
            shutil.rmtree(place)
            inside = path + b"/"
            self.directories = {each for each in self.directories if each != path and not each.startswith(inside)}
            for each in [each for each in self.found if each.startswith(inside)]:
                del self.found[each]
                self.files.pop(each, None)
                self.linked.discard(each)
                self.cut.discard(each)
            return
        with suppress(FileNotFoundError):
            os.unlink(place)

    # What the logs have of later changesets

    def cut_off(self, changesets: int) -> tuple[bytes, str] | None:
        """Cut off what the logs have of later changesets, and see that they have their data.

        :return: the file that lacks data, and what is wrong; None if none does.
        """
        wrong = None
        self.is_behind = False
        for path in [each for each in self.found if is_log(each) and self.found[each].kind == "f" and not self._is_old(each)]:
            log = Log(os.path.join(self.path, path))
            if not log.known:
                continue
            keep = log.before(changesets) if path != CHANGELOG else min(changesets, log.count)
            size, data_size = log.sizes(keep)
            data = data_of(path)
            if not log.inline and data_size:
                have = self._size(data)
                if have < data_size:
                    wrong = wrong or (data, "it is missing" if have < 0 else "it is too short")
                elif have > data_size and keep < log.count:
                    self.truncate(data, data_size)
            self.is_behind |= keep < log.count
            if size < self._size(path):
                self.truncate(path, size)
        return wrong

    def _is_old(self, path: bytes) -> bool:
        """Tell whether a log, and the changelog, are the mirror's own."""
        needed = {CHANGELOG, path, data_of(path)} & {*self.found, *(each[len(self.prefix) :] for each in self._mirrored(path))}
        return needed <= self.linked

    def _mirrored(self, path: bytes) -> list[bytes]:
        return [each for each in (self.prefix + name for name in (CHANGELOG, path, data_of(path))) if each in self.have]

    def _size(self, path: bytes) -> int:
        return os.stat(os.path.join(self.path, path)).st_size if path in self.found else -1

    def truncate(self, path: bytes, size: int) -> None:
        """Shorten a file; one of no length is not there any more."""
        place = os.path.join(self.path, path)
        if path in self.linked or self.found[path].nlink > 1:
            if size:
                self._copy_out(place, size)
                self.linked.discard(path)
        elif size:
            os.truncate(place, size)
        if size:
            self.changed(path)
            self.cut.add(path)
        else:
            self.unlink(path)
            self.found.pop(path, None)

    @staticmethod
    def _copy_out(place: bytes, size: int) -> None:
        """Replace a hard link by a copy of the beginning of its file."""
        with open(place, "rb") as whole:
            os.unlink(place)
            with open(place, "xb") as part:
                append(part.fileno(), whole.fileno(), 0, size)

    def changed(self, path: bytes) -> None:
        """Take over a file that was written here: no file of the source has its time."""
        self.found[path] = self.files[path] = entry_of(path, os.stat(os.path.join(self.path, path)))._replace(ctime_ns=0)

    # What the mirror has and the source has not

    def take_old(self, path: bytes) -> bool:
        """Put the mirror's file in the place of the source's."""
        old = self.have.get(self.prefix + path)
        if old is None or old.kind != "f" or self.is_first:
            return False
        self.unlink(path)
        os.makedirs(os.path.dirname(os.path.join(self.path, path)), exist_ok=True)
        if not self._link_old(path):  # another file system, or one without hard links
            with open(os.path.join(self.place, path), "rb") as file, open(os.path.join(self.path, path), "xb") as out:
                found = os.fstat(file.fileno())
                append(out.fileno(), file.fileno(), 0, found.st_size)
                os.fchmod(out.fileno(), found.st_mode & 0o777)
        self.found[path] = self.files[path] = old._replace(path=path, ctime_ns=0)
        self.mended.add(path)
        return True

    def overlay(self, path: bytes) -> bool:
        """Begin a file as the mirror's does, and go on with what the source has beyond that; a shorter one becomes the mirror's."""
        old, new = os.path.join(self.place, path), os.path.join(self.path, path)
        if self.is_first or self.prefix + path not in self.have:
            return False
        if path not in self.found or self.found[path].kind != "f" or os.stat(new).st_size <= os.stat(old).st_size:
            return self.take_old(path)
        with open(new, "rb") as whole, open(old, "rb") as begin:
            os.unlink(new)
            with open(new, "xb") as out:
                done = append(out.fileno(), begin.fileno(), 0, os.fstat(begin.fileno()).st_size)
                append(out.fileno(), whole.fileno(), done, os.fstat(whole.fileno()).st_size - done)
        self.linked.discard(path)
        self.changed(path)
        self.cut.add(path)
        self.mended.add(path)
        return True


def append(out: int, source: int, start: int, size: int) -> int:
    """Append a part of a file to another, with its holes; return how much there was."""
    base = os.lseek(out, 0, os.SEEK_CUR)
    end = max(start, min(start + size, os.fstat(source).st_size))
    at = start
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
            data_end = min(os.lseek(source, at, os.SEEK_HOLE), end)
        except OSError:  # only a hole follows
            break
        while at < data_end:
            chunk = os.pread(source, min(COPY, data_end - at), at)
            view = memoryview(chunk)
            while view:
                done = os.pwrite(out, view, base + at - start)
                view, at = view[done:], at + done
            if not chunk:
                end = at
                break
    os.ftruncate(out, base + end - start)
    os.lseek(out, 0, os.SEEK_END)
    return end - start
