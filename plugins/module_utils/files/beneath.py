# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Open directories, and read small files, beneath an open directory without following a symbolic link anywhere in the path."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterable

from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import REACH
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_bytes_limited

_OPENAT2 = 437
"""The number of the system call, on every architecture that Linux 5.6 and later run on except Alpha."""
_NO_LINKS = 0x02 | 0x04 | 0x08
"""RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS and RESOLVE_BENEATH."""
_HOW = struct.Struct("=QQQ")
_LOOP_INSTEAD = (errno.ENOSYS, errno.EPERM, errno.EAGAIN, errno.EINVAL, errno.E2BIG, errno.ENAMETOOLONG, errno.EXDEV)
"""Errors after which the path is opened part by part: an old kernel, a filter of system calls, a path that is too long for one call."""
_syscall = getattr(ctypes.CDLL(None, use_errno=True), "syscall", None)


def open_beneath(top_fd: int, path: bytes, flags: int) -> int:
    """Open a directory below an open one, following no link.

    :param flags: with ``O_DIRECTORY`` and ``O_NOFOLLOW``.
    :raises FileNotFoundError: it does not exist.
    :raises NotADirectoryError: a part of the path is not a directory (or is a link).
    """
    if b"/" in path and _syscall is not None:
        how = _HOW.pack(flags, 0, _NO_LINKS)
        fd = int(_syscall(ctypes.c_long(_OPENAT2), ctypes.c_long(top_fd), path, how, ctypes.c_long(_HOW.size)))
        if fd >= 0:
            return fd
        code = ctypes.get_errno()
        if code == errno.ELOOP:
            raise NotADirectoryError(errno.ENOTDIR, "a link is in the way", path)
        if code not in _LOOP_INSTEAD:
            raise OSError(code, os.strerror(code), path)
    return open_parts(top_fd, path, flags)


def open_parts(top_fd: int, path: bytes, flags: int) -> int:
    """Do the same with one call for each part of the path, so that it may have any length."""
    fd = top_fd
    for part in path.split(b"/") if path else (b".",):
        try:
            next_fd = os.open(part, flags, dir_fd=fd)
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise NotADirectoryError(errno.ENOTDIR, "a link is in the way", path) from error
            raise
        finally:
            if fd != top_fd:
                os.close(fd)
        fd = next_fd
    return fd


def read_beneath(root: str, path: str, limit: int) -> tuple[bytes, os.stat_result]:
    """Return the bytes of a regular file, and its status, following no link from ``root`` on.

    :param root: absolute path of a directory.
    :param path: of the file, relative to it.
    :raises OSError: as :func:`files.small_files.read_limited`; it names the whole path.
    """
    directory, _slash, name = path.rpartition("/")
    try:
        root_fd = os.open(root, REACH)
        try:
            directory_fd = open_beneath(root_fd, os.fsencode(directory), REACH)
        finally:
            os.close(root_fd)
        try:
            return read_bytes_limited(name, limit, directory_fd=directory_fd)
        finally:
            os.close(directory_fd)
    except OSError as error:
        error.filename = os.path.join(root, path)
        raise


def close_all(fds: Iterable[int]) -> None:
    """Close all descriptors, even if the server of one reports an error.

    :raises OSError: the first error.
    """
    errors = []
    for fd in fds:
        try:
            os.close(fd)
        except OSError as error:
            errors.append(error)
    if errors:
        raise errors[0]
