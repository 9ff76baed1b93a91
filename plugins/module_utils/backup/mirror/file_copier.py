# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Copy regular files into a mirror, and check them on the way."""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import (
    Check,
    CheckRun,
    DamagedFileError,
    problem_of,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import (
    BLOCK,
    SourceReadError,
    equal,
    is_sparse,
    transfer,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.history_store import HistoryStore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import (
    DirectoryFd,
    split_path,
)

ATTEMPTS = 3
TIMESTAMP_GRANULARITY_NS = 20_000_000
"""Two changes within this time may leave the same timestamp: kernels use the time of the last tick."""
LEASE_SECONDS = 2.0
"""Seconds to wait for a file on which another program has a lease."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)


class FileCopier(HistoryStore):
    """Copies regular files: complete, checked, and in a state that they had at one moment."""

    def copy_file(
        self, path: bytes, old: Entry | None, *, wait_for_tick: bool = True, check: Callable[[], Check] | None = None
    ) -> Entry | None:
        """Copy a regular file.

        :param old: the mirror's entry of this path.
        :param wait_for_tick: if the file has just changed, wait for the clock's next tick, so that the returned entry identifies the
            copied contents.
        :param check: creates the check of the contents, which sees each byte once, while it is copied.
        :return: the entry that was copied, with ``ctime_ns`` 0 if the file kept changing; None if the file is gone.
        :raises DamagedFileError: the contents did not pass the check; the mirror was not changed.
        """
        if old is None and self.is_first_copy and (entry := self._copy_new(path, check, wait_for_tick=wait_for_tick)) is not None:
            return entry
        source = self._open_source(path)
        if source is None:
            return None
        try:
            return self._copy_file(path, old, source, wait_for_tick=wait_for_tick, check=check)
        except SourceReadError as error:
            raise UnreadableError(os.path.join(self.source_path, path), error) from error
        except OSError as error:
            raise self._located(error, path) from error
        finally:
            os.close(source)

    def _copy_new(self, path: bytes, check: Callable[[], Check] | None, *, wait_for_tick: bool) -> Entry | None:
        """Copy a usual file of a first copy with the fewest calls; return None if it must be copied the general way, or is gone.

        The whole file is read and checked before anything is written. Unusual files take the general way, which also raises the errors.
        """
        parent, name = split_path(path)
        directories = self.kept_open.get(parent)
        if directories is None or self.xattrs or self.acls:
            return None
        try:
            source = os.open(name, _READ, dir_fd=directories[0].descriptor)
        except OSError:
            return None
        try:
            status = os.fstat(source)
            size = status.st_size
            if not stat.S_ISREG(status.st_mode) or size > BLOCK or is_sparse(status) or (wait_for_tick and recently_changed(status)):
                return None
            data = os.pread(source, size, 0)
            if len(data) < size or (check and problem_of(check, data)):
                return None
            if not is_unchanged(status, os.fstat(source)) or not status.st_nlink:
                return None
        except OSError:
            return None
        finally:
            os.close(source)
        if not self._write_new(name, directories[1].descriptor, status, data):
            return None
        self.add_counts(1, size)
        return entry_from_stat(path, status)

    def _write_new(self, name: bytes, directory_fd: int, status: os.stat_result, data: bytes) -> bool:
        """Write a file of a first copy; return False, and leave nothing, if that fails."""
        uid = status.st_uid
        try:
            out = os.open(name, _CREATE, status.st_mode & 0o777 if uid == self._uid else 0o600, dir_fd=directory_fd)
        except OSError:
            return False
        try:
            try:
                write_all(out, data)
                self._apply_owner_and_mode(out, uid, status.st_gid, status.st_mode)
                os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
            finally:
                os.close(out)
        except BaseException as error:
            with suppress(OSError):
                os.unlink(name, dir_fd=directory_fd)
            if not isinstance(error, OSError):
                raise
            return False
        return True

    def _open_source(self, path: bytes) -> int | None:
        """Open a file of the source to be read; None if it is gone.

        :raises UnreadableError: it cannot be read.
        """
        parent, name = split_path(path)
        deadline = 0.0
        while True:
            try:
                with self.source_directory(parent) as parent_fd:
                    return os.open(name, _READ, dir_fd=parent_fd)
            except OSError as error:
                if error.errno in _GONE:
                    return None
                # Another process has a lease on the file; the kernel has just asked it to release it.
                deadline = deadline or time.monotonic() + LEASE_SECONDS
                if error.errno != errno.EWOULDBLOCK or time.monotonic() > deadline:
                    raise UnreadableError(os.path.join(self.source_path, path), error) from error
                time.sleep(0.02)

    def _copy_file(
        self, path: bytes, old: Entry | None, source: int, *, wait_for_tick: bool, check: Callable[[], Check] | None
    ) -> Entry | None:
        temporary = b"" if self.is_first_copy and old is None else self.temporary_name()
        for attempt in range(ATTEMPTS):
            status = os.fstat(source)
            if not stat.S_ISREG(status.st_mode):
                return None
            early = status.st_ctime_ns + TIMESTAMP_GRANULARITY_NS - time.time_ns()
            if wait_for_tick and 0 < early <= TIMESTAMP_GRANULARITY_NS:
                time.sleep(early / 1e9)
                status = os.fstat(source)
            try:
                commit = self._write_contents(path, old, source, status, temporary, is_retry=attempt > 0, check=check)
            except DamagedFileError:
                if attempt < ATTEMPTS - 1 and not is_unchanged(status, os.fstat(source)):
                    continue
                raise
            after = os.fstat(source)
            if is_unchanged(status, after) and status.st_nlink:
                commit(status)
                return entry_from_stat(path, status)
        commit(after)
        return entry_from_stat(path, after)._replace(size=status.st_size, ctime_ns=0)

    def _write_contents(
        self,
        path: bytes,
        old: Entry | None,
        source: int,
        status: os.stat_result,
        temporary: bytes,
        *,
        is_retry: bool,
        check: Callable[[], Check] | None = None,
    ) -> Callable[[os.stat_result], None]:
        """Write a file's contents next to the mirror, and return a function that puts the file in its place.

        :raises DamagedFileError: they did not pass the check, and were deleted again.
        """
        judge = CheckRun(check) if check else None
        if old is not None and old.type == "f" and old.size == status.st_size:
            if self._equal(path, source, status, judge):
                if judge and (reason := judge.finish()):
                    raise DamagedFileError(path, reason, is_mirrored=True)
                return lambda final_status: self._attributes_only(path, old, final_status)
            judge = CheckRun(check) if check else None
        parent, name = split_path(path)
        direct = self.is_first_copy and old is None
        temporary = name if direct else temporary
        with self._new_file_directory(parent, direct=direct) as directory_fd:
            if is_retry:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=directory_fd)
            out = self.with_write_permission(
                parent if direct else None, lambda: self._create(temporary, status.st_uid, status.st_mode, directory_fd)
            )
            try:
                size = self._fill(path, source, out, status, judge)
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=directory_fd)
                raise
            finally:
                os.close(out)

        def commit(final_status: os.stat_result) -> None:
            if final_status is not status:
                with self._new_file_directory(parent, direct=direct) as directory_fd:
                    os.utime(temporary, ns=(final_status.st_atime_ns, final_status.st_mtime_ns), dir_fd=directory_fd, follow_symlinks=False)
            if not direct:
                self.install(temporary, path, old)
            self.add_counts(1, size)

        return commit

    def _new_file_directory(self, parent: bytes, *, direct: bool) -> DirectoryFd:
        """Open the directory that a file is written in: its own in a first copy, ``work`` otherwise."""
        return self.mirror_directory(parent) if direct else DirectoryFd(self.work_fd, closes=False)

    def _fill(self, path: bytes, source: int, out: int, status: os.stat_result, judge: CheckRun | None) -> int:
        """Copy contents and attributes to an open file; return how many bytes were written."""
        size = transfer(source, out, status, judge, self._tick)
        if judge and (reason := judge.finish()):
            raise DamagedFileError(path, reason)
        self._apply_metadata_fd(out, status, source)
        os.utime(out, ns=(status.st_atime_ns, status.st_mtime_ns))
        return size

    def _tick(self) -> None:
        """Report that a large file is still being read."""
        self.on_progress(0, 0)

    def _equal(self, path: bytes, source: int, status: os.stat_result, judge: CheckRun | None = None) -> bool:
        """Return whether the mirror's file has the contents of the source's."""
        parent, name = split_path(path)
        try:
            with self.mirror_directory(parent) as parent_fd:
                mirrored = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent_fd)
        except OSError:
            return False
        try:
            if not stat.S_ISREG(os.fstat(mirrored).st_mode):
                return False
            return equal(source, mirrored, status.st_size, judge, self._tick)
        finally:
            os.close(mirrored)

    def _create(self, name: bytes, uid: int, mode: int, directory_fd: int) -> int:
        """Create a file and open it for writing; it is private until its owner is set."""
        mode = stat.S_IMODE(mode) & 0o777 if uid == self._uid else 0o600
        try:
            return os.open(name, _CREATE, mode, dir_fd=directory_fd)
        except PermissionError:  # perhaps one is there that may not be written
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory_fd)
            return os.open(name, _CREATE, mode, dir_fd=directory_fd)

    def _attributes_only(self, path: bytes, old: Entry, status: os.stat_result) -> None:
        entry = entry_from_stat(path, status)
        self.apply_attributes(entry)
        if (old.mode, old.uid, old.gid, old.mtime_ns) != (entry.mode, entry.uid, entry.gid, entry.mtime_ns):
            self.add_counts(1)


def is_unchanged(one: os.stat_result, other: os.stat_result) -> bool:
    """Return whether a file did not change between two calls of ``stat``."""
    return (one.st_ctime_ns, one.st_mtime_ns, one.st_size, one.st_ino, one.st_mode) == (
        other.st_ctime_ns,
        other.st_mtime_ns,
        other.st_size,
        other.st_ino,
        other.st_mode,
    )


def recently_changed(status: os.stat_result) -> bool:
    """Return whether a file changed so recently that another change could leave the same timestamp."""
    return 0 <= time.time_ns() - status.st_ctime_ns < TIMESTAMP_GRANULARITY_NS


def write_all(out: int, data: bytes) -> None:
    """Write bytes to an open file, with one call if the file takes them all at once."""
    done = os.write(out, data) if data else 0
    if done == len(data):
        return
    view = memoryview(data)[done:]
    while view:
        view = view[os.write(out, view) :]
