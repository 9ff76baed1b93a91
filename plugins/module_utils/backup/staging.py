# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The staging directories of a restore: their names, and the cleanup after a killed restore."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import RESTORING_PREFIX
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, is_mount_point
from ansible_collections.homelab.repoman.plugins.module_utils.files.lock import try_flock
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import rename_new
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree

NAME_MAX = 255
LOCK_ATTEMPTS = 100
LOCK_POLL_SECONDS = 0.01
STAGING = os.fsencode(RESTORING_PREFIX)
_STAGING = re.compile(re.escape(STAGING) + rb"(?P<inode>[0-9a-f]+)-[0-9a-f]+-(?P<name>.+)\Z", re.DOTALL)

Identity = tuple[int, int]
"""Device and inode of a directory."""


def identity(status: os.stat_result) -> Identity:
    """Return the identity of a file."""
    return status.st_dev, status.st_ino


def free_name(directory_fd: int | None, base: bytes, used: Container[bytes] = ()) -> bytes:
    """Return an unused name for replaced files.

    :param directory_fd: the directory it will lie in; None if that does not exist yet.
    :param base: how the name begins; shortened if necessary.
    :param used: further names that are in use.
    :raises ConflictError: there are a thousand such names.
    """
    when = b".before-" + datetime.now(timezone.utc).strftime(history.VERSION_FORMAT).encode()
    for number in range(1, 1000):
        end = when + (b"-%d" % number if number > 1 else b"")
        name = shortened(base, NAME_MAX - len(end)) + end
        if name in used:
            continue
        try:
            if directory_fd is None:
                return name
            os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            return name
    raise ConflictError(f"there are already a thousand saved copies of {escape_path(base)}.", "remove some of them")


def shortened(name: bytes, size: int) -> bytes:
    """Return the beginning of a name, at most ``size`` bytes; valid UTF-8 stays valid."""
    if len(name) <= size:
        return name
    prefix = name[:size]
    with suppress(UnicodeDecodeError):
        name.decode()
        prefix = prefix.decode(errors="ignore").encode()
    return prefix


class Staging:
    """A private directory to copy files to, before they are moved into place.

    Its name contains its inode number. After a kill, a directory with that number is an unfinished copy, and one with another number is
    the previous directory, for which the copy was exchanged. It stays locked as long as its restore runs.

    :param parent_fd: the directory to create it in.
    :param base: the name of the restored directory.
    """

    def __init__(self, parent_fd: int, base: bytes) -> None:
        self.parent_fd = parent_fd
        token = secrets.token_hex(4).encode()
        draft = STAGING + token
        self.fd = -1
        try:
            os.mkdir(draft, 0o700, dir_fd=parent_fd)
            self.fd = os.open(draft, LIST, dir_fd=parent_fd)
            with suppress(OSError):  # network file systems cannot lock directories
                _lock_staging(self.fd)
            self.identity = identity(os.fstat(self.fd))
            start = STAGING + b"%x-%s-" % (self.identity[1], token)
            self.name = start + shortened(base, NAME_MAX - len(start))
            os.rename(draft, self.name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
        except BaseException:
            for name in (draft, getattr(self, "name", draft)):
                with suppress(OSError):
                    os.rmdir(name, dir_fd=parent_fd)
            if self.fd >= 0:
                os.close(self.fd)
            raise

    def in_place(self) -> bool:
        """Return whether its name still refers to it."""
        try:
            return identity(os.stat(self.name, dir_fd=self.parent_fd, follow_symlinks=False)) == self.identity
        except FileNotFoundError:
            return False

    def end(self, saved: bytes) -> bool:
        """Remove it. If it was exchanged for another directory, rename that to ``saved`` and return True."""
        try:
            return finish(self.parent_fd, self.name, saved)
        except RunInterruptedError:  # a signal: clean up first; a second one does not interrupt again
            finish(self.parent_fd, self.name, saved)
            raise
        finally:
            os.close(self.fd)


def _lock_staging(fd: int) -> None:
    """Lock a new staging directory. A run that looks for abandoned ones may hold the lock for a moment.

    :raises OSError: the file system has no locks.
    """
    for _attempt in range(LOCK_ATTEMPTS):
        if try_flock(fd):
            return
        time.sleep(LOCK_POLL_SECONDS)


def finish(parent_fd: int, name: bytes, saved: bytes) -> bool:
    """Remove an unfinished copy that has a staging directory's name, or rename the directory that a copy was exchanged for.

    :return: whether a directory was renamed.
    """
    try:
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    match = _STAGING.match(name)
    if match and int(match["inode"], 16) != status.st_ino:
        rename_new(parent_fd, name, parent_fd, saved)
        return True
    if match or stat.S_ISDIR(status.st_mode):
        with suppress(FileNotFoundError):
            remove_tree(name, parent_fd)
    return False


@dataclass(frozen=True)
class Leftover:
    """A directory that a killed restore left in a directory.

    :param name: its name.
    :param saved: the name that it gets if a copy was exchanged for it; empty for an unfinished copy, which is removed.
    :param unit: the directory of ``repos_root`` that it lies in; empty if it lies in ``repos_root`` itself.
    """

    name: bytes
    saved: bytes = b""
    unit: str = ""


def find_abandoned(directory_fd: int, alone: bool) -> list[Leftover]:
    """Return the leftovers of killed restores in a directory, without changing them.

    :param alone: no other restore of this user can be under way.
    """
    leftovers: list[Leftover] = []
    try:
        list_fd = os.open(b".", LIST, dir_fd=directory_fd)
    except OSError:
        return leftovers
    try:
        for name in sorted(map(os.fsencode, os.listdir(list_fd))):
            if name.startswith(STAGING):
                with suppress(OSError):
                    if _is_abandoned(name, list_fd, alone):
                        match = _STAGING.match(name)
                        status = os.stat(name, dir_fd=list_fd, follow_symlinks=False)
                        was_exchanged = match is not None and int(match["inode"], 16) != status.st_ino
                        used = {leftover.saved for leftover in leftovers}
                        leftovers.append(Leftover(name, free_name(list_fd, match["name"], used) if match and was_exchanged else b""))
    finally:
        os.close(list_fd)
    return leftovers


def clean_up_abandoned(directory_fd: int, alone: bool) -> list[bytes]:
    """Clean up after killed restores in a directory; return the new names of the directories that they had replaced.

    :param alone: no other restore of this user can be under way.
    """
    return [leftover.saved for leftover in find_abandoned(directory_fd, alone) if _finish_leftover(directory_fd, leftover, alone)]


def find_leftovers(repos_root: str, names: Iterable[str], alone: bool) -> list[Leftover]:
    """Return the leftovers of killed restores in ``repos_root``, and in repositories that are separate file systems, without changing them.

    :param names: of directories in ``repos_root``.
    :param alone: no other restore of this user can be under way.
    """
    root_fd = os.open(repos_root, LIST & ~os.O_NOFOLLOW)
    try:
        leftovers = find_abandoned(root_fd, alone)
        for name in names:
            with suppress(OSError), _open_unit(root_fd, name) as fd:
                leftovers += [replace(leftover, unit=name) for leftover in find_abandoned(fd, alone)]
    finally:
        os.close(root_fd)
    return leftovers


def finish_leftover(repos_root: str, leftover: Leftover, alone: bool) -> bool:
    """Remove or rename the leftover of a killed restore, unless another run has already done so; return whether it was renamed."""
    root_fd = os.open(repos_root, LIST & ~os.O_NOFOLLOW)
    try:
        if not leftover.unit:
            return _finish_leftover(root_fd, leftover, alone)
        with suppress(OSError), _open_unit(root_fd, leftover.unit) as fd:
            return _finish_leftover(fd, leftover, alone)
        return False
    finally:
        os.close(root_fd)


@contextmanager
def _open_unit(root_fd: int, name: str) -> Iterator[int]:
    """Open a directory in ``repos_root`` that is a separate file system.

    :raises OSError: it cannot be opened, or is not a separate file system.
    """
    fd = os.open(name, LIST, dir_fd=root_fd)
    try:
        if not is_mount_point(root_fd, fd):
            raise NotADirectoryError(errno.ENOTDIR, "not a mount point", name)
        yield fd
    finally:
        os.close(fd)


def _finish_leftover(directory_fd: int, leftover: Leftover, alone: bool) -> bool:
    with suppress(OSError):
        return _is_abandoned(leftover.name, directory_fd, alone) and finish(directory_fd, leftover.name, leftover.saved)
    return False


def _is_abandoned(name: bytes, directory_fd: int, alone: bool) -> bool:
    """Return whether a staging directory belongs to no running restore."""
    fd = os.open(name, LIST, dir_fd=directory_fd)
    try:
        if os.geteuid() not in (0, os.fstat(fd).st_uid):
            return False
        return try_flock(fd)
    except OSError:
        return alone
    finally:
        os.close(fd)
