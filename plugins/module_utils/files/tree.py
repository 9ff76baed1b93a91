# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Walk and remove directory trees through open directories, following no symbolic link."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, DirectoryCursor


def walk_beneath(
    top_fd: int,
    unreadable: dict[bytes, OSError] | None = None,
    enters: Callable[[bytes, os.stat_result], bool] = lambda _path, _status: True,
) -> Iterator[tuple[bytes, os.stat_result]]:
    """Yield path and status of everything below an open directory, following no link, directories before their contents.

    Entries that vanish during the call are skipped.

    :param unreadable: gets the directories that cannot be read, with the reason; without it that is an error.
    :param enters: returns whether to enter a directory.
    """
    waiting = [b""]
    with DirectoryCursor(top_fd) as cursor:
        while waiting:
            directory = waiting.pop()
            subdirectories: list[bytes] = []
            try:
                entries = list(scan_fd(cursor.open(directory)))
            except (FileNotFoundError, NotADirectoryError):
                if directory:
                    continue
                raise
            except OSError as error:
                if unreadable is None:
                    raise OSError(error.errno, error.strerror, directory) from error
                unreadable[directory] = error
                continue
            for name, status in entries:
                path = directory + b"/" + name if directory else name
                yield path, status
                if stat.S_ISDIR(status.st_mode) and enters(path, status):
                    subdirectories.append(path)
            waiting += reversed(subdirectories)


def scan_fd(directory_fd: int) -> Iterable[tuple[bytes, os.stat_result]]:
    """Yield name and status of each entry of an open directory, sorted; entries that vanish are skipped."""
    list_fd = os.open(b".", LIST, dir_fd=directory_fd)
    try:
        for name in sorted(map(os.fsencode, os.listdir(list_fd))):
            with suppress(FileNotFoundError):
                yield name, os.stat(name, dir_fd=list_fd, follow_symlinks=False)
    finally:
        os.close(list_fd)


def remove_tree(name: bytes, parent_fd: int) -> None:
    """Remove a file, or a directory and its contents, following no link; the modes of directories are changed if necessary.

    :param parent_fd: of the directory that it is in.
    """
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent_fd)
        return
    with DirectoryCursor(parent_fd) as cursor:
        waiting, directories = [name], []
        while waiting:
            path = waiting.pop()
            directories.append(path)
            directory_fd = cursor.open(path)
            if os.geteuid() and os.fstat(directory_fd).st_mode & 0o700 != 0o700:  # noqa: PLR2004
                os.chmod(f"/proc/self/fd/{directory_fd}", 0o700)
            for entry_name, status in scan_fd(directory_fd):
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(path + b"/" + entry_name)
                else:
                    os.unlink(entry_name, dir_fd=directory_fd)
        for path in reversed(directories):
            above_fd, last = cursor.reach(path)
            os.rmdir(last, dir_fd=above_fd)


def make_private(path: str | bytes, owner: tuple[int, int] | None = None) -> None:
    """Create a directory and its missing parents, accessible only to one user.

    :param owner: uid and gid of that user; None for the user of this process.
    """
    missing = []
    path = os.fsencode(path)
    while path and not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for directory in reversed(missing):
        try:
            os.mkdir(directory, 0o700)
        except FileExistsError:
            if not os.path.isdir(directory):
                raise
        else:
            if owner is not None:
                os.chown(directory, *owner, follow_symlinks=False)


def is_directory(path: str | bytes) -> bool:
    """Return whether a path is a directory, and not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False
