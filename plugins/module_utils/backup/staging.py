# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The private directories that a restore fills, their names, and what a killed restore left in them."""

from __future__ import annotations

import os
import re
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timezone

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import RESTORING_PREFIX
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, is_own_place
from ansible_collections.homelab.repoman.plugins.module_utils.files.lock import try_flock
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import rename_new
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree

NAME_MAX = 255
STAGING = os.fsencode(RESTORING_PREFIX)
_STAGING = re.compile(re.escape(STAGING) + rb"(?P<inode>[0-9a-f]+)-[0-9a-f]+-(?P<name>.+)\Z", re.DOTALL)

Identity = tuple[int, int]
"""Device and inode of a directory."""


def identity(status: os.stat_result) -> Identity:
    """Return what tells a directory from all others."""
    return status.st_dev, status.st_ino


def free_name(directory_fd: int | None, base: bytes) -> bytes:
    """Return a name for what a restore replaces, that nothing in a directory has; a long one is cut."""
    when = b".before-" + datetime.now(timezone.utc).strftime(history.VERSION_FORMAT).encode()
    for number in range(1, 1000):
        end = when + (b"-%d" % number if number > 1 else b"")
        name = shortened(base, NAME_MAX - len(end)) + end
        try:
            if directory_fd is None:
                return name
            os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
        except FileNotFoundError:
            return name
    raise ConflictError(f"there are already a thousand saved copies of {escape_path(base)}.", "remove some of them")


def shortened(name: bytes, size: int) -> bytes:
    """Return the beginning of a name; what is UTF-8 stays so."""
    if len(name) <= size:
        return name
    cut = name[:size]
    with suppress(UnicodeDecodeError):
        name.decode()
        cut = cut.decode(errors="ignore").encode()
    return cut


class Staging:
    """A private directory that is filled before it, or what is in it, takes its place.

    Its name contains its inode number, to recognize leftovers of a killed restore: a directory with that number is an
    unfinished copy, and one of another number is what the copy was exchanged for. A lock on it says that its restore still runs.

    :param parent_fd: the directory it is made in.
    :param base: the name of what is restored.
    """

    def __init__(self, parent_fd: int, base: bytes) -> None:
        self.parent_fd = parent_fd
        token = secrets.token_hex(4).encode()
        draft = STAGING + token
        self.fd = -1
        try:
            os.mkdir(draft, 0o700, dir_fd=parent_fd)
            self.fd = os.open(draft, LIST, dir_fd=parent_fd)
            with suppress(OSError):  # network file systems lock no directories
                try_flock(self.fd)
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
        """Tell whether its name still leads to it."""
        try:
            return identity(os.stat(self.name, dir_fd=self.parent_fd, follow_symlinks=False)) == self.identity
        except FileNotFoundError:
            return False

    def end(self, saved: bytes) -> bool:
        """Remove it; if it was exchanged for another directory, give that one the name ``saved``, and return True."""
        try:
            return settle(self.parent_fd, self.name, saved)
        except RunInterruptedError:  # what was asked to end does that first; it is not interrupted twice
            settle(self.parent_fd, self.name, saved)
            raise
        finally:
            os.close(self.fd)


def settle(parent_fd: int, name: bytes, saved: bytes) -> bool:
    """Finish with what has a staging directory's name: remove an unfinished copy, save what a copy was exchanged for.

    :return: whether something was saved.
    """
    try:
        found = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    match = _STAGING.match(name)
    if match and int(match["inode"], 16) != found.st_ino:
        rename_new(parent_fd, name, parent_fd, saved)
        return True
    if match or stat.S_ISDIR(found.st_mode):
        with suppress(FileNotFoundError):
            remove_tree(name, parent_fd)
    return False


def sweep(directory_fd: int, alone: bool) -> list[bytes]:
    """Finish with what killed restores left in a directory; return the names under which something was saved.

    :param alone: no other restore of this user can be under way.
    """
    saved: list[bytes] = []
    try:
        list_fd = os.open(b".", LIST, dir_fd=directory_fd)
    except OSError:
        return saved
    try:
        for name in map(os.fsencode, os.listdir(list_fd)):
            if name.startswith(STAGING):
                with suppress(OSError):
                    if _is_abandoned(name, list_fd, alone):
                        match = _STAGING.match(name)
                        free = free_name(list_fd, match["name"] if match else b"repository")
                        if settle(list_fd, name, free):
                            saved.append(free)
    finally:
        os.close(list_fd)
    return saved


def sweep_repositories(repos_root: str, names: Iterable[str], alone: bool) -> list[str]:
    """Clean up after killed restores in ``repos_root`` and in repositories that are separate file systems.

    :param names: of directories in ``repos_root``.
    :return: paths under which something was saved.
    """
    saved: list[str] = []
    root_fd = os.open(repos_root, LIST & ~os.O_NOFOLLOW)
    try:
        saved += [escape_path(os.path.join(os.fsencode(repos_root), name)) for name in sweep(root_fd, alone)]
        for name in names:
            with suppress(OSError):
                fd = os.open(name, LIST, dir_fd=root_fd)
                try:
                    if is_own_place(root_fd, fd):
                        saved += [escape_path(os.path.join(os.fsencode(repos_root), os.fsencode(name), each)) for each in sweep(fd, alone)]
                finally:
                    os.close(fd)
    finally:
        os.close(root_fd)
    return saved


def _is_abandoned(name: bytes, directory_fd: int, alone: bool) -> bool:
    """Tell whether no restore holds a staging directory any more."""
    fd = os.open(name, LIST, dir_fd=directory_fd)
    try:
        if os.geteuid() not in (0, os.fstat(fd).st_uid):
            return False
        return try_flock(fd)
    except OSError:
        return alone
    finally:
        os.close(fd)
