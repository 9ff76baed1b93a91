# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks between processes of one host, which the kernel releases if their process ends (flock)."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Callable
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import Owner

POLL_SECONDS = 0.02


class FileLock:
    """A lock on a file, which is created for it.

    :param path: of the file; a symbolic link there is an error.
    :param owner: becomes the file's owner if this process is root.
    :ivar fd: the open file. A child process that has it keeps the lock until it closes it or :meth:`release` is called.
    :raises OSError: the file cannot be created or opened.
    """

    def __init__(self, path: str | os.PathLike[str], owner: Owner) -> None:
        self.path, self.owner = os.fspath(path), owner
        self.fd = self._open()

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _open(self) -> int:
        fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.geteuid() == 0:
                os.fchown(fd, self.owner.uid, self.owner.gid)
        except BaseException:
            os.close(fd)
            raise
        return fd

    def try_acquire(self, *, shared: bool = False) -> bool:
        """Take the lock if it is free, or turn one that this object has into a shared or exclusive one; return whether that succeeded."""
        return try_flock(self.fd, shared=shared)

    def acquire(self, timeout: float, *, poll: float = POLL_SECONDS) -> bool:
        """Wait for the exclusive lock; return whether it was held by another process.

        If that process removed the file with :meth:`remove`, it is created again.

        :param timeout: seconds.
        :raises TimeoutError: another process holds it all the time.
        """
        deadline = time.monotonic() + timeout
        waited = False
        while not (self.try_acquire() and self._is_in_place()):
            if time.monotonic() > deadline:
                raise TimeoutError
            waited = True
            time.sleep(poll)
            if not self._is_in_place():
                fd = self._open()
                self.close()
                self.fd = fd
        return waited

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(os.fstat(self.fd), os.stat(self.path, follow_symlinks=False))
        except FileNotFoundError:
            return False

    def remove(self) -> None:
        """Remove the file; call it only while the exclusive lock is held."""
        with suppress(OSError):
            os.unlink(self.path)

    def release(self) -> None:
        """Release the lock, also if children of this process still have the file open."""
        with suppress(OSError):
            fcntl.flock(self.fd, fcntl.LOCK_UN)

    def close(self) -> None:
        """Close the file."""
        os.close(self.fd)


def remove_abandoned(directory: str, uid: int, is_lock: Callable[[str], bool]) -> None:
    """Remove the lock files in a directory that no process holds, which killed runs left; errors are ignored.

    :param uid: owner of the directory and of the files; those of others stay, and a symbolic link in place of the directory is not followed.
    :param is_lock: returns whether a name is that of a lock file. Only empty regular files are.
    """
    with suppress(OSError):
        directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if os.fstat(directory_fd).st_uid == uid:
                for name in filter(is_lock, os.listdir(directory_fd)):
                    with suppress(OSError):
                        _remove_if_abandoned(name, directory_fd, uid)
        finally:
            os.close(directory_fd)


def _remove_if_abandoned(name: str, directory_fd: int, uid: int) -> None:
    status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    if not stat.S_ISREG(status.st_mode) or status.st_size or status.st_uid != uid:
        return
    fd = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory_fd)
    try:
        if try_flock(fd) and os.path.samestat(os.fstat(fd), os.stat(name, dir_fd=directory_fd, follow_symlinks=False)):
            os.unlink(name, dir_fd=directory_fd)
    finally:
        os.close(fd)


def try_flock(fd: int, *, shared: bool = False) -> bool:
    """Lock an open file or directory if it is free; return whether it was.

    :raises OSError: the file system has no locks.
    """
    try:
        fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
