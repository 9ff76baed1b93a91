# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Open directories of a source and of its mirror."""

from __future__ import annotations

import errno
import os
import stat
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack
from typing import Any, TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import (
    UnwritableError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import close_all, open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import shorten_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree

_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


def open_directory(top: int, path: bytes) -> int:
    """Open a directory below an open one, only to reach what is in it; raises as :func:`beneath.open_beneath` does."""
    return open_beneath(top, path, _DIRECTORY)


class DirectoryFd:
    """A directory that is open inside a ``with``, which gives its descriptor.

    :param descriptor: of the directory.
    :param closes: close it at the end; if false, another object owns it.
    """

    __slots__ = ("closes", "descriptor")

    def __init__(self, descriptor: int, *, closes: bool) -> None:
        self.descriptor, self.closes = descriptor, closes

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(self, *error: object) -> None:
        if self.closes:
            os.close(self.descriptor)


def directory(top: int, path: bytes) -> DirectoryFd:
    """Hold a directory open, as :func:`open_directory` opens it."""
    return DirectoryFd(open_directory(top, path), closes=True)


def split_path(path: bytes) -> tuple[bytes, bytes]:
    """Return directory and name."""
    parent, _slash, name = path.rpartition(b"/")
    return parent, name


class _KeptOpen:
    """A context manager that keeps a directory open, see :meth:`OpenTrees.keep_open`."""

    __slots__ = ("fds", "path", "trees")

    def __init__(self, trees: OpenTrees, path: bytes) -> None:
        self.trees, self.path = trees, path
        self.fds: list[int] = []

    def __enter__(self) -> None:
        trees, path = self.trees, self.path
        try:
            self.fds.append(trees.open(0, path))
            self.fds.append(trees.open(1, path))
        except (FileNotFoundError, NotADirectoryError):
            return
        except BaseException:
            self.__exit__()
            raise
        trees.kept_open[path] = (DirectoryFd(self.fds[0], closes=False), DirectoryFd(self.fds[1], closes=False))

    def __exit__(self, *error: object) -> None:
        self.trees.kept_open.pop(self.path, None)
        close_all(self.fds)


T = TypeVar("T")
_ENTRY_ALONE = (errno.EFBIG, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""Errors of a target that affect one entry: others can still be written."""


class OpenTrees:
    """The directories of a unit and of its mirror, and the counters of a run.

    :param source: the unit's directory.
    :param mirror: directory the mirror is written in.
    :param history: directory for replaced and removed files; None deletes them (in a first copy that is not in place yet).
    :param work: directory on the target for unfinished files.
    :param is_first_copy: the mirror is not in place yet: files may be written directly to their place.
    :param pool: threads for operations that wait for the target.
    :param unowned: directories that are mirrored as empty directories, so their owner does not matter.
    """

    def __init__(
        self,
        source: bytes,
        mirror: bytes,
        *,
        history: bytes | None,
        work: bytes,
        is_first_copy: bool,
        xattrs: bool = False,
        acls: bool = False,
        pool: ThreadPoolExecutor | None = None,
        on_progress: Callable[[int, int], None] = lambda _files, _bytes: None,
        unowned: frozenset[bytes] = frozenset(),
    ) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        with ExitStack() as stack:
            fds = []
            for path, flag in ((source, os.O_NOFOLLOW), (mirror, 0), (work, 0)):
                fds.append(os.open(path, flags | flag))
                stack.callback(os.close, fds[-1])
            stack.pop_all()
        self.source_fd, self.mirror_fd, self.work_fd = fds
        self.source_path, self.mirror_path, self.work_path, self.history, self.is_first_copy = source, mirror, work, history, is_first_copy
        self.xattrs, self.acls, self.pool, self.on_progress, self.unowned = xattrs, acls, pool, on_progress, unowned
        self.files = self.bytes = self.kept_bytes = 0
        self.notes: set[str] = set()
        self.widened_modes: dict[bytes, int] = {}
        self._history_names: set[bytes] = set()
        self._history_directories: set[bytes] = set()
        self.kept_open: dict[bytes, tuple[DirectoryFd, DirectoryFd]] = {}
        self._lock = threading.Lock()
        self._trees = False
        self.exchanged: set[bytes] = set()
        """Directories that were exchanged in one step: all that they had before is in the history."""
        self._count = 0
        self._prefix = b"%d.%d." % (os.getpid(), id(self))
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._groups = {self._gid, *os.getgroups()}

    def close(self) -> None:
        """Close the directories."""
        for fd in (self.source_fd, self.mirror_fd, self.work_fd):
            os.close(fd)

    def clear(self) -> None:
        """Remove unfinished files from ``work`` after an error: they may be what fills the target."""
        for name in map(os.fsencode, os.listdir(self.work_path)):
            if name.startswith(self._prefix):
                remove_tree(name, self.work_fd)

    def keep_open(self, path: bytes) -> _KeptOpen:
        """Keep a directory of both trees open while many of its files are copied; do nothing if it is missing in one of them."""
        return _KeptOpen(self, path)

    def open(self, side: int, path: bytes) -> int:
        """Open a directory of the source (0) or of the mirror (1), from the one above it if that is held."""
        above, name = split_path(path)
        if path and (pair := self.kept_open.get(above)):
            return os.open(name, _DIRECTORY, dir_fd=pair[side].descriptor)
        return open_directory((self.source_fd, self.mirror_fd)[side], path)

    def _directory_fd(self, side: int, path: bytes) -> DirectoryFd:
        if pair := self.kept_open.get(path):
            return pair[side]
        return DirectoryFd(self.open(side, path), closes=True)

    def source_directory(self, path: bytes) -> DirectoryFd:
        """Hold a directory of the source open, as :func:`open_directory` opens it."""
        return self._directory_fd(0, path)

    def mirror_directory(self, path: bytes) -> DirectoryFd:
        """Hold a directory of the mirror open, as :func:`open_directory` opens it."""
        return self._directory_fd(1, path)

    def source_status(self, path: bytes) -> os.stat_result:
        """Return the status of a directory of the source.

        :raises FileNotFoundError: it is not there.
        :raises NotADirectoryError: it, or a part of the path, is not a directory.
        """
        if not path:
            return os.fstat(self.source_fd)
        parent, name = split_path(path)
        with self.source_directory(parent) as parent_fd:
            status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "no directory", path)
        return status

    def has_source_directory(self, path: bytes) -> bool:
        """Return whether the source has a directory at a path."""
        try:
            self.source_status(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def for_each(self, do: Callable[[T], Any], items: Iterable[T]) -> None:
        """Call a function for each item; on a remote target, for many items at once."""
        if self.pool is None:
            for item in items:
                do(item)
            return
        futures = [self.pool.submit(do, item) for item in items]
        _done, pending = wait(futures, return_when=FIRST_EXCEPTION)
        for future in pending:
            future.cancel()
        wait(futures)
        for future in futures:
            if not future.cancelled():
                future.result()

    def add_counts(self, files: int = 0, size: int = 0, history_size: int = 0) -> None:
        """Add to the counters."""
        with self._lock:
            self.files += files
            self.bytes += size
            self.kept_bytes += history_size
        self.on_progress(files, size)

    def add_note(self, text: str) -> None:
        """Add a note about something that the target cannot store; each note is added once."""
        self.notes.add(text)

    def temporary_name(self) -> bytes:
        """Return an unused name in ``work``."""
        with self._lock:
            self._count += 1
            return b"%s%d" % (self._prefix, self._count)

    def with_write_permission(self, parent: bytes | None, do: Callable[[], T]) -> T:
        """Call a function that writes in a directory of the mirror (None: in ``work``); if its mode forbids that, change the mode first."""
        try:
            return do()
        except PermissionError:
            if parent is None:
                raise
            with self.mirror_directory(parent) as directory_fd:
                status = os.stat(b".", dir_fd=directory_fd)
                self.widened_modes[parent] = status.st_mode
                os.chmod(b".", stat.S_IMODE(status.st_mode) | 0o700, dir_fd=directory_fd)
            return do()

    def _located(self, error: OSError, path: bytes) -> Exception:
        """Return a write error of the target with the path; an error that affects only this entry has its own class."""
        mirror_path = os.path.join(self.mirror_path, path)
        if error.errno in _ENTRY_ALONE:
            return UnwritableError(
                f"{shorten_path(mirror_path)} cannot be written: {error.strerror}. The target does not support such a file."
            )
        error.filename, error.filename2 = os.fsdecode(mirror_path), None
        return error
