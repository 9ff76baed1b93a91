# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The destination of a restore: resolved once, then used only through open descriptors.

Below a repository its container may exchange any directory for a link at any time. So links are followed only on the way to a
repository, never inside one, and nothing is opened by its path a second time.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layer_copier import write_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Identity, free_name, identity
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, REACH, is_own_place
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

MAX_LINKS = 40


@dataclass(frozen=True)
class Boundaries:
    """Directories that say what is below them.

    :param roots: what lies two levels below, in the repositories they hold, is a container's work.
    :param repositories: what lies below is a container's work.
    :param backup: nothing is restored to it or below.
    """

    roots: frozenset[Identity] = frozenset()
    repositories: frozenset[Identity] = frozenset()
    backup: frozenset[Identity] = frozenset()


@dataclass
class Destination:
    """A directory to restore to, which may not be there yet.

    :param path: absolute, its parents' links resolved; for messages.
    :param parent_fd: the nearest existing parent directory.
    :param missing: the directories to make below that one.
    :param name: its own.
    """

    path: bytes
    parent_fd: int
    missing: list[bytes]
    name: bytes
    boundaries: Boundaries
    _made: list[tuple[int, bytes]] = field(default_factory=list)
    _fd: int = -1

    def close(self) -> None:
        """Let go of the directories."""
        for fd in {self.parent_fd, *(fd for fd, _name in self._made), *([self._fd] if self._fd >= 0 else [])}:
            os.close(fd)

    @property
    def status(self) -> os.stat_result | None:
        """What is there now; None for nothing."""
        if self.missing:
            return None
        try:
            return os.stat(self.name, dir_fd=self.parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    @property
    def fd(self) -> int:
        """The directory itself, open to reach what is in it, from the first look on; it must be there."""
        if self._fd < 0:
            self._fd = os.open(self.name, REACH, dir_fd=self.parent_fd)
        return self._fd

    @property
    def is_filled(self) -> bool:
        """Whether it is a directory that holds something; a file system's own ``lost+found`` does not count."""
        found = self.status
        if found is None or not stat.S_ISDIR(found.st_mode):
            return False
        try:
            list_fd = os.open(b".", LIST, dir_fd=self.fd)
        except PermissionError:
            return True
        try:
            return any(not is_lost_found(each, list_fd) for each in map(os.fsencode, os.listdir(list_fd)))
        finally:
            os.close(list_fd)

    @property
    def is_own_place(self) -> bool:
        """Whether it is a mount point or a subvolume: it cannot be exchanged for another directory."""
        return self.status is not None and is_own_place(self.parent_fd, self.fd)

    @property
    def takes_neighbours(self) -> bool:
        """Whether entries can be created next to it."""
        return os.access(b".", os.W_OK | os.X_OK, dir_fd=self.parent_fd, effective_ids=True)

    def make_parents(self) -> None:
        """Make the directories above it."""
        while self.missing:
            name, above = self.missing[0], self.parent_fd
            with suppress(FileExistsError):
                try:
                    os.mkdir(name, 0o700, dir_fd=above)
                except OSError as error:
                    if error.errno == errno.EEXIST:
                        raise
                    raise write_error(self.path, error) from error
            self._made.append((above, name))
            try:
                self.parent_fd = os.open(name, REACH, dir_fd=above)
            except OSError as error:
                raise in_the_way(name, self.path) from error
            del self.missing[0]

    def remove_parents(self) -> None:
        """Remove the directories that were made above it, if nothing is in them."""
        for fd, name in reversed(self._made):
            with suppress(OSError):
                os.rmdir(name, dir_fd=fd)

    def check_unmoved(self) -> None:
        """Refuse to go on if its path leads to another directory by now.

        :raises ConflictError: it does.
        """
        again = resolve(self.path, self.boundaries)
        try:
            moved = bool(again.missing) or identity(os.fstat(again.parent_fd)) != identity(os.fstat(self.parent_fd))
        finally:
            again.close()
        if moved:
            raise ConflictError(
                f"{escape_path(self.path)}: one of its parent directories was moved during the restore; nothing was restored.",
                "run the command again",
            )

    def saved_name(self) -> bytes:
        """Return an unused name next to it for its previous contents."""
        return free_name(self.parent_fd if not self.missing else None, self.name)


def resolve(path: bytes, boundaries: Boundaries) -> Destination:
    """Open the way to a directory, following links as far as no container can make them.

    :param path: absolute.
    :raises ConflictError: it is the root directory, lies in the backup, or something on the way is no directory or a link in a repository.
    """
    name = os.path.basename(path)
    if not name:
        raise ConflictError(f"{escape_path(path)} holds everything, and is not restored to.", "restore to another directory: --to DIR")
    way = _Way(path, boundaries)
    try:
        missing = way.go()
        real = b"/" + b"/".join([part for part, _fd in way.held[1:]] + missing + [name])
        found = Destination(real, os.dup(way.here), missing, name, boundaries)
    finally:
        way.close()
    status = found.status
    if status is not None and identity(status) in boundaries.backup:
        found.close()
        raise in_backup(path)
    return found


class _Way:
    """The directories from the top to the one that a path lies in, each open.

    :param path: absolute.
    """

    def __init__(self, path: bytes, boundaries: Boundaries) -> None:
        self.path, self.boundaries = path, boundaries
        self.held: list[tuple[bytes, int]] = [(b"", os.open(b"/", REACH))]
        self._waiting = [(part, True) for part in os.path.dirname(path).split(b"/") if part]
        self._links = 0

    @property
    def here(self) -> int:
        """The last directory."""
        return self.held[-1][1]

    def close(self, depth: int = 0) -> None:
        """Let go of directories, down to a depth."""
        for _name, fd in self.held[depth:]:
            os.close(fd)
        del self.held[depth:]

    def go(self) -> list[bytes]:
        """Descend through existing directories; return the names of the missing ones."""
        while self._waiting:
            part, trusted = self._waiting.pop(0)
            own = identity(os.fstat(self.here))
            if own in self.boundaries.backup:
                raise in_backup(self.path)
            if own in self.boundaries.roots or own in self.boundaries.repositories:
                self._waiting = [(each, False) for each, _trusted in self._waiting]
                trusted = trusted and own not in self.boundaries.repositories
            if part == b"..":
                self.close(max(1, len(self.held) - 1))
            elif not self._enter(part, trusted):
                missing = [part, *(each for each, _trusted in self._waiting)]
                if b".." in missing:
                    raise in_the_way(part, self.path)
                return missing
        if identity(os.fstat(self.here)) in self.boundaries.backup:
            raise in_backup(self.path)
        return []

    def _enter(self, part: bytes, trusted: bool) -> bool:
        """Descend to a directory or the target of a link; return False if it does not exist."""
        try:
            fd = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.here)
        except FileNotFoundError:
            return False
        mode = os.fstat(fd).st_mode
        if stat.S_ISDIR(mode):
            self.held.append((part, fd))
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
        self._waiting[:0] = [(each, True) for each in link.split(b"/") if each not in (b"", b".")]
        return True


def in_backup(path: bytes) -> ConflictError:
    """Return the error for a destination in the backup."""
    return ConflictError(f"{escape_path(path)} is inside the backup.", "restore to another directory: --to DIR")


def in_the_way(part: bytes, path: bytes) -> ConflictError:
    """Return the error for something on the way that is not a directory."""
    return ConflictError(
        f"{escape_path(part)!r} on the way to {escape_path(path)} is not a directory.", f"ls -ld {shell_word(path)}", "elsewhere: --to DIR"
    )


# ---- places ---------------------------------------------------------------------------------------------------------------------


def is_lost_found(name: bytes, directory_fd: int) -> bool:
    """Whether an entry is the ``lost+found`` that mkfs created."""
    if name != b"lost+found":
        return False
    found = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    here, above = os.stat(b".", dir_fd=directory_fd), os.stat(b"..", dir_fd=directory_fd)
    return stat.S_ISDIR(found.st_mode) and found.st_uid == 0 and here.st_dev != above.st_dev
