# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Move finished files into a mirror, and the files that they replace into the history."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import (
    SMALL_HOLES,
    data_size,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.metadata import MetadataCopier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import (
    split_path,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import make_private, remove_tree

CHUNK = 8 << 20
COPIED_TO_KEEP = 64 << 20
"""If the target has no hard links, files up to this size are copied to the history, so that their name is never without a file."""
NAME_MAX = 255
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK, errno.EXDEV)


class HistoryStore(MetadataCopier):
    """Installs finished files in the mirror in one step, and moves the files they replace to the history."""

    def install(self, temporary: bytes, path: bytes, old: Entry | None) -> None:
        """Move a finished file to its place in one step; the entry it replaces moves to the history."""
        parent, name = split_path(path)
        if old is not None and old.type == "d":
            self.move_to_history(path)
        with self.mirror_directory(parent) as parent_fd:
            if old is None and self.history is not None:  # not ours, or of a run that a crash of the machine cut off
                with suppress(FileNotFoundError):
                    old = entry_from_stat(path, os.stat(name, dir_fd=parent_fd, follow_symlinks=False))
            if old is not None and old.type != "d" and self.history is not None:
                self._link_to_history(path, name, parent_fd, old)
            try:
                self.with_write_permission(parent, lambda: os.rename(temporary, name, src_dir_fd=self.work_fd, dst_dir_fd=parent_fd))
            except (IsADirectoryError, NotADirectoryError, FileExistsError):
                self.move_to_history(path)
                os.rename(temporary, name, src_dir_fd=self.work_fd, dst_dir_fd=parent_fd)
        with suppress(FileNotFoundError):
            if old is not None and old.nlink > 1:
                os.unlink(temporary, dir_fd=self.work_fd)

    def _link_to_history(self, path: bytes, name: bytes, parent_fd: int, old: Entry) -> None:
        """Give a file that will be replaced a second name in the history."""
        history_path = self.history_path(path)
        try:
            os.link(name, history_path, src_dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if old.type == "f" and old.size <= COPIED_TO_KEEP:
                self._copy_to_history(name, parent_fd, history_path)
            else:
                self.with_write_permission(split_path(path)[0], lambda: os.rename(name, history_path, src_dir_fd=parent_fd))
        size = old.size if old.type == "f" else 0
        if size > SMALL_HOLES:
            with suppress(FileNotFoundError):
                size = data_size(os.lstat(history_path))
        self.add_counts(history_size=size)

    def _copy_to_history(self, name: bytes, parent_fd: int, history_path: bytes) -> None:
        """Copy a file to the history, so that its own name is never without a file: a repository needs its HEAD at every moment.

        The history gets only the complete copy, because a restore of an earlier version would take a part for the whole file.
        """
        temporary = self.temporary_name()
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd), "rb", buffering=0) as source:
            status = os.fstat(source.fileno())
            with open(temporary, "xb", buffering=0, opener=lambda name, flags: os.open(name, flags, 0o600, dir_fd=self.work_fd)) as file:
                while os.sendfile(file.fileno(), source.fileno(), None, CHUNK):
                    pass
                self._apply_metadata_fd(file.fileno(), status, source.fileno())
                os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))
        os.rename(temporary, history_path, src_dir_fd=self.work_fd)

    def move_to_history(self, path: bytes) -> None:
        """Move an entry, a directory with its contents, from the mirror to the history; do nothing if it does not exist."""
        parent, name = split_path(path)
        try:
            with self.mirror_directory(parent) as parent_fd:
                status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
                tree = stat.S_ISDIR(status.st_mode)
                if self.history is None:
                    self.with_write_permission(parent, lambda: remove_tree(name, parent_fd))
                    return
                history_path = self.history_path(path, tree=tree)
                if tree and (self._uid and status.st_mode & 0o700 != 0o700):  # noqa: PLR2004
                    os.chmod(name, 0o700, dir_fd=parent_fd)
                self.with_write_permission(parent, lambda: os.rename(name, history_path, src_dir_fd=parent_fd))
        except (FileNotFoundError, NotADirectoryError):
            return
        size = data_size(status) if stat.S_ISREG(status.st_mode) else 0
        if tree:
            size = sum(tree_sizes(history_path))
        self.add_counts(1, history_size=size)

    def remove_directory(self, path: bytes) -> None:
        """Remove a directory if it is empty, and create it in the history, so that a restore of an earlier version has it."""
        parent, name = split_path(path)
        with suppress(FileNotFoundError, NotADirectoryError), self.mirror_directory(parent) as parent_fd:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
            try:
                self.with_write_permission(parent, lambda: os.rmdir(name, dir_fd=parent_fd))
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            else:
                self.add_counts(1)
                if self.history is not None:
                    with self._lock, suppress(FileExistsError, NotADirectoryError):
                        self._make_history_directory(os.path.join(self.history, path), status)

    def history_path(self, path: bytes, *, tree: bool = False) -> bytes:
        """Return a free path in the history for the entry at ``path``, and make its directory.

        :param tree: it is a directory with its contents; afterwards the history may have names that this method did not return.
        """
        if self.history is None:
            raise RuntimeError("a first copy keeps nothing")
        history_path = os.path.join(self.history, path)
        with self._lock:
            parent = os.path.dirname(history_path)
            try:
                self._make_history_directory(parent)
            except (FileExistsError, NotADirectoryError):
                parent = unused_name(parent)
                make_private(parent)
                return os.path.join(parent, os.path.basename(history_path))
            if (
                history_path in self._history_names
                or history_path in self._history_directories
                or (self._trees and os.path.lexists(history_path))
            ):
                history_path = unused_name(history_path)
            self._history_names.add(history_path)
            self._trees |= tree
        return history_path

    def release_history_path(self, path: bytes) -> None:
        """Remove a path that :meth:`history_path` returned, if nothing is stored there, and its parents that are empty then."""
        with self._lock, suppress(OSError):
            self._history_names.discard(path)
            while path != self.history:
                path = os.path.dirname(path)
                if any(name.startswith(path + b"/") for name in self._history_names):  # something will be moved there
                    return
                os.rmdir(path)
                self._history_directories.discard(path)

    def _make_history_directory(self, path: bytes, status: os.stat_result | None = None) -> None:
        """Create a directory of the history, and its parents.

        :param status: of the removed directory, whose owner and mode it gets, because the mirror no longer has them; None if the
            mirror still has the directory.
        """
        missing = []
        while path not in self._history_directories:
            missing.append(path)
            if path == self.history:
                break
            path = os.path.dirname(path)
        for directory in reversed(missing):
            if directory == self.history:
                make_private(directory)
            else:
                try:
                    os.mkdir(directory, 0o700)
                except FileExistsError:
                    if not stat.S_ISDIR(os.lstat(directory).st_mode):
                        raise
            self._history_directories.add(directory)
        if status is not None:
            self.copy_directory_attributes(path, status)

    def copy_directory_attributes(self, path: bytes, status: os.stat_result) -> None:
        """Give a directory of the history the owner and mode of one of the mirror."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:  # an ordinary user must be able to delete the version when it expires
            self._apply_owner_and_mode(fd, status.st_uid, status.st_gid, status.st_mode | (0o700 if self._uid else 0))
        finally:
            os.close(fd)


def unused_name(path: bytes) -> bytes:
    """Return an unused path that resembles another one, in the same directory; a name that would be too long is cut."""
    parent, name = os.path.split(path)
    number = 1
    while True:
        suffix = b".~%d~" % number
        free = os.path.join(parent, name[: NAME_MAX - len(suffix)] + suffix)
        if not os.path.lexists(free):
            return free
        number += 1


def tree_sizes(path: bytes) -> Iterator[int]:
    """Yield the size, without holes, of each file below a directory, however deep it lies, as far as directories can be read."""
    waiting = [path]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as listing:
            for child in listing:
                if child.is_dir(follow_symlinks=False):
                    waiting.append(child.path)
                else:
                    yield data_size(child.stat(follow_symlinks=False))
