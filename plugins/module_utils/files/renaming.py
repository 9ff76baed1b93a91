# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Renaming between open directories: exchange two names in one step, or take a name only if it is free."""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import REACH

AT_FDCWD = -100
"""Used instead of a descriptor: the path is absolute, or relative to the working directory."""
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
    """Rename an entry to an unused name.

    :raises FileExistsError: the name is in use.
    """
    if _renameat2(one_fd, one, other_fd, other, _NOREPLACE):
        return
    with suppress(FileNotFoundError):
        os.stat(other, dir_fd=other_fd, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), os.fsdecode(other))
    os.rename(one, other, src_dir_fd=one_fd, dst_dir_fd=other_fd)


@contextmanager
def temporarily_writable(*directories: tuple[int, bytes]) -> Iterator[None]:
    """Allow changing and moving directories inside a ``with``, even if their mode forbids it; the mode is restored afterwards.

    :param directories: pairs of descriptor and relative name; anything but directories of this user is skipped.
    """
    with ExitStack() as stack:
        for directory_fd, name in directories if os.geteuid() else ():
            with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                fd = os.open(name, REACH, dir_fd=directory_fd)
                stack.callback(os.close, fd)
                status = os.fstat(fd)
                mode = stat.S_IMODE(status.st_mode)
                if mode & 0o300 != 0o300 and status.st_uid == os.geteuid():  # noqa: PLR2004
                    itself = b"/proc/self/fd/%d" % fd
                    os.chmod(itself, mode | 0o300)
                    stack.callback(os.chmod, itself, mode)
        yield
