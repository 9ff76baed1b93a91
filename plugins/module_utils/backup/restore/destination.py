# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The destination of a restore: resolved once, then accessed only through open directories.

Inside a repository, its container can exchange any directory for a link at any time. So links are followed only on the way to a
repository, never inside one, and no path is opened a second time.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layer_copier import write_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Identity, free_name, identity
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, REACH, is_mount_point
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

MAX_LINKS = 40


@dataclass(frozen=True)
class Boundaries:
    """Directories that limit the way to a destination.

    :param roots: directories of repositories. Containers can change anything inside the repositories.
    :param repositories: other repositories.
    :param backup: backup targets: nothing is restored to one, or below it.
    """

    roots: frozenset[Identity] = frozenset()
    repositories: frozenset[Identity] = frozenset()
    backup: frozenset[Identity] = frozenset()


@dataclass
class Destination:
    """A directory to restore to; it may not exist yet.

    :param path: absolute, with its parents' links resolved; for messages.
    :param parent_fd: the nearest existing parent directory.
    :param missing: names of the directories to create below that one.
    :param name: of the directory itself.
    """

    path: bytes
    parent_fd: int
    missing: list[bytes]
    name: bytes
    boundaries: Boundaries
    _created: list[tuple[int, bytes]] = field(default_factory=list)
    _fd: int = -1

    def close(self) -> None:
        """Close the directories."""
        for fd in {self.parent_fd, *(fd for fd, _name in self._created), *([self._fd] if self._fd >= 0 else [])}:
            os.close(fd)

    def keep_open(self, stack: ExitStack) -> Destination:
        """Return another instance for the same directory, open until the stack is closed."""
        other = Destination(self.path, os.dup(self.parent_fd), list(self.missing), self.name, self.boundaries)
        stack.callback(other.close)
        return other

    @property
    def status(self) -> os.stat_result | None:
        """Its current status; None if it does not exist."""
        if self.missing:
            return None
        try:
            return os.stat(self.name, dir_fd=self.parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @property
    def fd(self) -> int:
        """The directory itself, which must exist; opened once."""
        if self._fd < 0:
            self._fd = os.open(self.name, REACH, dir_fd=self.parent_fd)
        return self._fd

    @property
    def is_filled(self) -> bool:
        """Whether it is a directory that is not empty; a file system's own ``lost+found`` does not count."""
        status = self.status
        if status is None or not stat.S_ISDIR(status.st_mode):
            return False
        try:
            list_fd = os.open(b".", LIST, dir_fd=self.fd)
        except PermissionError:
            return True
        try:
            return any(not is_lost_found(name, list_fd) for name in map(os.fsencode, os.listdir(list_fd)))
        finally:
            os.close(list_fd)

    @property
    def is_mount_point(self) -> bool:
        """Whether it is a mount point or a subvolume, which cannot be exchanged for another directory."""
        return self.status is not None and is_mount_point(self.parent_fd, self.fd)

    @property
    def can_create_siblings(self) -> bool:
        """Whether entries can be created next to it."""
        return os.access(b".", os.W_OK | os.X_OK, dir_fd=self.parent_fd, effective_ids=True)

    def create_parents(self) -> None:
        """Create the missing directories above it."""
        while self.missing:
            name, above_fd = self.missing[0], self.parent_fd
            with suppress(FileExistsError):
                try:
                    os.mkdir(name, 0o700, dir_fd=above_fd)
                except OSError as error:
                    if error.errno == errno.EEXIST:
                        raise
                    raise write_error(self.path, error) from error
            self._created.append((above_fd, name))
            try:
                self.parent_fd = os.open(name, REACH, dir_fd=above_fd)
            except OSError as error:
                raise in_the_way(name, self.path) from error
            del self.missing[0]

    def remove_parents(self) -> None:
        """Remove the directories that :meth:`create_parents` created, if they are empty."""
        for fd, name in reversed(self._created):
            with suppress(OSError):
                os.rmdir(name, dir_fd=fd)

    def check_unmoved(self) -> None:
        """Check that its path still leads to the same directory.

        :raises ConflictError: it does not.
        """
        current = resolve(self.path, self.boundaries)
        try:
            moved = bool(current.missing) or identity(os.fstat(current.parent_fd)) != identity(os.fstat(self.parent_fd))
        finally:
            current.close()
        if moved:
            raise ConflictError(
                f"{escape_path(self.path)}: one of its parent directories was moved during the restore; nothing was restored.",
                "run the command again",
            )

    def saved_name(self) -> bytes:
        """Return an unused name, next to it, for its previous contents."""
        return free_name(self.parent_fd if not self.missing else None, self.name)


def resolve(path: bytes, boundaries: Boundaries) -> Destination:
    """Open the parent of a directory, following links only above repositories: containers can create links inside.

    :param path: absolute.
    :raises ConflictError: it is the root directory or lies in the backup, or part of the path is a link in a repository or a file.
    """
    name = os.path.basename(path)
    if not name:
        raise ConflictError(
            f"{escape_path(path)} is the root directory; nothing can be restored to it.", "restore to another directory: --to DIR"
        )
    walk = _PathWalk(path, boundaries)
    try:
        missing = walk.descend()
        real = b"/" + b"/".join([part for part, _fd in walk.entered[1:]] + missing + [name])
        destination = Destination(real, os.dup(walk.fd), missing, name, boundaries)
    finally:
        walk.close()
    status = destination.status
    if status is not None and identity(status) in boundaries.backup:
        destination.close()
        raise in_backup(path)
    return destination


class _PathWalk:
    """Descends from the root directory to the parent of a path, holding each directory open.

    :param path: absolute.
    """

    def __init__(self, path: bytes, boundaries: Boundaries) -> None:
        self.path, self.boundaries = path, boundaries
        self.entered: list[tuple[bytes, int]] = [(b"", os.open(b"/", REACH))]
        self._remaining = [(part, True) for part in os.path.dirname(path).split(b"/") if part]
        self._links = 0

    @property
    def fd(self) -> int:
        """The last directory."""
        return self.entered[-1][1]

    def close(self, depth: int = 0) -> None:
        """Close the directories below a depth."""
        for _name, fd in self.entered[depth:]:
            os.close(fd)
        del self.entered[depth:]

    def descend(self) -> list[bytes]:
        """Descend through existing directories; return the names of the missing ones."""
        while self._remaining:
            part, trusted = self._remaining.pop(0)
            current = identity(os.fstat(self.fd))
            if current in self.boundaries.backup:
                raise in_backup(self.path)
            if current in self.boundaries.roots or current in self.boundaries.repositories:
                self._remaining = [(name, False) for name, _trusted in self._remaining]
                trusted = trusted and current not in self.boundaries.repositories
            if part == b"..":
                self.close(max(1, len(self.entered) - 1))
            elif not self._enter(part, trusted):
                missing = [part, *(name for name, _trusted in self._remaining)]
                if b".." in missing:
                    raise in_the_way(part, self.path)
                return missing
        if identity(os.fstat(self.fd)) in self.boundaries.backup:
            raise in_backup(self.path)
        return []

    def _enter(self, part: bytes, trusted: bool) -> bool:
        """Open a directory, or prepend the target of a link to the rest of the path; return False if it does not exist.

        :param trusted: no container can change the directory that holds it, so that links may be followed.
        """
        try:
            fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError:
            return False
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            self.entered.append((part, fd))
            return True
        try:
            self._links += 1
            if not stat.S_ISLNK(mode) or not trusted or self._links > MAX_LINKS:
                raise in_the_way(part, self.path)
            link = os.readlink(b"", dir_fd=fd)
        finally:
            os.close(fd)
        if link.startswith(b"/"):
            self.close(1)
        self._remaining[:0] = [(name, True) for name in link.split(b"/") if name not in (b"", b".")]
        return True


def in_backup(path: bytes) -> ConflictError:
    """Return the error for a destination in the backup."""
    return ConflictError(f"{escape_path(path)} is inside the backup.", "restore to another directory: --to DIR")


def in_the_way(part: bytes, path: bytes) -> ConflictError:
    """Return the error for part of a path that is not a directory."""
    return ConflictError(
        f"{escape_path(part)!r} on the way to {escape_path(path)} is not a directory.", f"ls -ld {shell_word(path)}", "elsewhere: --to DIR"
    )


def is_lost_found(name: bytes, directory_fd: int) -> bool:
    """Whether an entry is the ``lost+found`` that mkfs created."""
    if name != b"lost+found":
        return False
    status = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    directory, parent = os.stat(b".", dir_fd=directory_fd), os.stat(b"..", dir_fd=directory_fd)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and directory.st_dev != parent.st_dev
