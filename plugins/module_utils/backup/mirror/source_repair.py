# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Replace single files of a source: the common part of the repairs of git objects and of Mercurial's files.

The source is hostile: directories are opened component by component without following links, and files are written under a temporary name
and renamed into place. Replaced files are saved outside the source; inside it, the next run would back them up.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import split_path
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.append import append
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

MISSING = "it is missing"
READ_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(frozen=True)
class Repair:
    """One file to put into the source.

    :param path: relative to the unit.
    :param reason: ``MISSING``, or a description of the damage.
    :param replaces: there is a damaged file, which is saved first.
    :param packed: the mirror has the git object in a pack.
    """

    path: bytes
    reason: str
    replaces: bool
    packed: bool = False


@dataclass
class RepairPlan:
    """The repairs of one repository.

    :param store: its git or ``.hg`` directory, relative to the unit.
    :param repairs: files to put into the source, in this order.
    :param unrepairable: damage that the mirror cannot repair: path relative to the unit, and description.
    """

    store: bytes
    repairs: list[Repair] = field(default_factory=list)
    unrepairable: list[tuple[bytes, str]] = field(default_factory=list)


def open_or_create_directory(top_fd: int, path: bytes, saved_dir: bytes = b"") -> int:
    """Open a directory below an open one. Missing directories are created with the owner and mode of the directory above.

    :param saved_dir: where to move a file that has the directory's name, under the same path; without it, that is an error.
    :raises NotADirectoryError: part of the path is not a directory.
    """
    try:
        return open_beneath(top_fd, path, LIST)
    except FileNotFoundError:
        if not path:
            raise
    except NotADirectoryError:
        if not saved_dir:
            raise
    parent, name = split_path(path)
    parent_fd = open_or_create_directory(top_fd, parent)
    try:
        if saved_dir and _is_obstacle(parent_fd, name):
            save_file(parent_fd, name, os.path.join(saved_dir, path))
            os.unlink(name, dir_fd=parent_fd)
        with suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent_fd)
            _copy_owner_and_mode(parent_fd, name)
        return os.open(name, LIST, dir_fd=parent_fd)
    finally:
        os.close(parent_fd)


def _is_obstacle(parent_fd: int, name: bytes) -> bool:
    """Return whether something other than a directory has a name."""
    try:
        return not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False


def _copy_owner_and_mode(parent_fd: int, name: bytes) -> None:
    """Give a new directory the owner and mode of the one above."""
    status = os.fstat(parent_fd)
    fd = os.open(name, LIST, dir_fd=parent_fd)
    try:
        if os.geteuid() == 0:
            os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, stat.S_IMODE(status.st_mode))
    finally:
        os.close(fd)


def replace_file(directory_fd: int, name: bytes, temporary: bytes, write: Callable[[int], None], saved_path: bytes) -> None:
    """Write a file under a temporary name, save the one that it replaces, and rename it into place.

    :param temporary: the name; always the same one for a file, so that what a killed run left under it is removed.
    :param write: writes contents, owner and mode to an open file.
    :param saved_path: where to save the replaced file.
    :raises RepomanError: a directory has the name and cannot be moved away.
    """
    with suppress(OSError):  # it does not exist, or it is in the way, which the next call says
        os.unlink(temporary, dir_fd=directory_fd)
    try:
        out = os.open(temporary, _CREATE_FLAGS, 0o600, dir_fd=directory_fd)
        try:
            write(out)
            os.fsync(out)
        finally:
            os.close(out)
        save_file(directory_fd, name, saved_path)
        os.rename(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        os.fsync(directory_fd)
    except BaseException:
        with suppress(OSError):
            os.unlink(temporary, dir_fd=directory_fd)
        raise


def save_file(directory_fd: int, name: bytes, saved_path: bytes) -> None:
    """Copy a file to an unused name next to ``saved_path``, so that its own path always exists; a directory is moved there.

    Nothing happens if nothing has the name. Devices, sockets and pipes are not saved.

    :raises RepomanError: it is a directory on another file system.
    """
    try:
        status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return
    os.makedirs(os.path.dirname(saved_path), mode=0o700, exist_ok=True)
    free_path, number = saved_path, 0
    while os.path.lexists(free_path):
        number += 1
        free_path = saved_path + b".~%d~" % number
    if stat.S_ISDIR(status.st_mode):
        try:
            os.rename(name, free_path, src_dir_fd=directory_fd)
        except OSError as error:
            raise RepomanError(
                f"{escape_path(saved_path)} is a directory, but the repository has a file of that name.", "look at it, then move it away"
            ) from error
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(name, dir_fd=directory_fd), free_path)
    elif stat.S_ISREG(status.st_mode):
        _save_regular(directory_fd, name, free_path)


def _save_regular(directory_fd: int, name: bytes, path: bytes) -> None:
    """Link a file to a path; copy it if the file system does not allow that."""
    try:
        os.link(name, path, src_dir_fd=directory_fd, follow_symlinks=False)
    except OSError:
        with open(os.open(name, READ_FLAGS, dir_fd=directory_fd), "rb") as file, open(os.open(path, _CREATE_FLAGS, 0o600), "wb") as out:
            append(out.fileno(), file.fileno(), 0, os.fstat(file.fileno()).st_size)
