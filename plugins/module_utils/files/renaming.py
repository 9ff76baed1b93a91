# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renaming between open directories: exchanging two names at once, and taking a name only if it is free."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import REACH

_NOREPLACE, _EXCHANGE = 1, 2
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP)


def _renameat2(one_fd: int, one: bytes, other_fd: int, other: bytes, flags: int) -> bool:
    """Call renameat2; return False if the file system or the C library has no such flag."""
    function = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if function is None:
        return False
    if function(one_fd, ctypes.c_char_p(one), other_fd, ctypes.c_char_p(other), flags) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), os.fsdecode(one), None, os.fsdecode(other))


def exchange_names(one_fd: int, one: bytes, other_fd: int, other: bytes) -> bool:
    """Exchange two names in one step; return False if the file system cannot."""
    return _renameat2(one_fd, one, other_fd, other, _EXCHANGE)


def rename_new(one_fd: int, one: bytes, other_fd: int, other: bytes) -> None:
    """Rename something to a name that nothing has.

    :raises FileExistsError: something has it.
    """
    if _renameat2(one_fd, one, other_fd, other, _NOREPLACE):
        return
    with suppress(FileNotFoundError):
        os.stat(other, dir_fd=other_fd, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(other))
    os.rename(one, other, src_dir_fd=one_fd, dst_dir_fd=other_fd)


@contextmanager
def made_writable(*places: tuple[int, bytes]) -> Iterator[None]:
    """Let directories be changed, and moved, inside a ``with``, even if their mode forbids it to their owner; afterwards it does again.

    :param places: pairs of descriptor and relative name; anything but our own directories is skipped.
    """
    with ExitStack() as stack:
        for directory_fd, name in places if os.geteuid() else ():
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                fd = os.open(name, REACH, dir_fd=directory_fd)
                stack.callback(os.close, fd)
                found = os.fstat(fd)
                mode = stat.S_IMODE(found.st_mode)
                if mode & 0o300 != 0o300 and found.st_uid == os.geteuid():  # noqa: PLR2004
                    itself = b"/proc/self/fd/%d" % fd
                    os.chmod(itself, mode | 0o300)
                    stack.callback(os.chmod, itself, mode)
        yield


_AT_FDCWD = -100
_RENAME_EXCHANGE = 2


@contextmanager
def temporarily_writable(*paths: bytes) -> Iterator[None]:
    """Let directories be moved to other parents inside a ``with``, whatever their modes forbid their owner; afterwards they have those again."""
    with ExitStack() as stack:
        for path in paths if os.geteuid() else ():
            with suppress(FileNotFoundError, NotADirectoryError):
                held = os.open(path, REACH)
                stack.callback(os.close, held)
                mode = stat.S_IMODE(os.fstat(held).st_mode)
                if not mode & stat.S_IWUSR:
                    itself = b"/proc/self/fd/%d" % held
                    os.chmod(itself, mode | stat.S_IWUSR)
                    stack.callback(os.chmod, itself, mode)
        yield


def rename_exchange(one: bytes, other: bytes, there: int | None = None) -> bool:
    """Exchange two names in one step; return False if the file system does not support it.

    :param there: directory that ``other`` is relative to.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, ctypes.c_char_p(one), _AT_FDCWD if there is None else there, ctypes.c_char_p(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        return False
    raise OSError(code, os.strerror(code), os.fsdecode(other))
