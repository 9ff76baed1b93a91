# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read files of an untrusted directory: no link leads out of it, and reading never waits for a FIFO."""

from __future__ import annotations

import math
import os
import stat
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath

FILE_BYTES = 16 << 20
COPY_BYTES = 256 << 20
"""Maximum total size of the copies of one repository."""
PATH_LENGTH = 4096
LINKS = 40
"""Maximum number of links on a path, as in the kernel."""
ENTRIES = 2000
"""Maximum number of entries of a directory; those with git's state have some dozens."""
SHOWN_LENGTH = 300
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


class VcsError(RepomanError):
    """A repository cannot be read; the message is the reason, without a full stop."""


class TemporaryFilesError(VcsError):
    """The copies of a repository's files cannot be written, or are too large together."""


@contextmanager
def temporary_files() -> Iterator[None]:
    """Let every ``OSError`` inside a ``with`` that only writes temporary files be an error that names their directory.

    :raises TemporaryFilesError: there was one.
    """
    try:
        yield
    except OSError as error:
        raise TemporaryFilesError(f"cannot use temporary files in {tempfile.gettempdir()}: {error.strerror or error}") from error


@contextmanager
def _reading(path: str) -> Iterator[None]:
    """Let every ``OSError`` inside a ``with``, also one that names no file, be an error that names this one.

    :raises VcsError: there was one.
    """
    try:
        yield
    except OSError as error:
        raise VcsError(f"cannot read {path}: {error.strerror or error}") from error


class ConfinedTree:
    """Reads files below a directory; links are followed only inside it.

    :param root: the directory. A path that leads outside, after resolving its links, is an error.
    :param seconds: time after which every read is an error.
    """

    def __init__(self, root: str, seconds: float = math.inf) -> None:
        self.root = os.path.realpath(root)
        self.seconds, self.deadline = seconds, time.monotonic() + seconds
        self.remaining_bytes = COPY_BYTES

    def resolve(self, path: str) -> str:
        """Return an absolute ``path`` with its links resolved.

        :raises VcsError: it is not inside the root, is too long, has more links than the kernel follows, or the time is over.
        """
        if time.monotonic() > self.deadline:
            raise VcsError(f"reading it took longer than {self.seconds:g} s")
        try:
            real = resolve_path(path)
        except ValueError as error:
            raise VcsError(f"{path} cannot be resolved: {error}") from error
        if real != self.root and not real.startswith(f"{self.root.rstrip('/')}/"):
            raise VcsError(f"{path} leads outside {self.root}")
        return real

    @contextmanager
    def open(self, path: str, max_bytes: int = FILE_BYTES) -> Iterator[IO[bytes] | None]:
        """Open a file for reading; yield ``None`` if it does not exist.

        :param max_bytes: a larger file is an error.
        :raises VcsError: it is outside, is not a regular file, is too large, or cannot be read.
        """
        try:
            handle = self._handle(path)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        except OSError as error:
            raise VcsError(f"cannot read {path}: {error.strerror}") from error
        with os.fdopen(handle, "rb") as file:
            if os.fstat(handle).st_size > max_bytes:
                raise VcsError(f"{path} is larger than {max_bytes >> 20} MiB")
            yield file

    def read(self, path: str, max_bytes: int = FILE_BYTES) -> bytes | None:
        """Return the contents of a file; ``None`` if it does not exist. Raises as :meth:`open`."""
        with self.open(path, max_bytes) as file, _reading(path):
            return None if file is None else file.read(max_bytes)

    def copy(self, path: str, target: Path, max_bytes: int = FILE_BYTES) -> bool:
        """Copy a file with its times; return whether it exists. Raises as :meth:`open`.

        :raises TemporaryFilesError: the total size of all copies is too large.
        """
        with self.open(path, max_bytes) as file:
            if file is None:
                return False
            remaining = os.fstat(file.fileno()).st_size
            self.remaining_bytes -= remaining
            if self.remaining_bytes < 0:
                raise TemporaryFilesError(f"its state is larger than {COPY_BYTES >> 20} MiB")
            with temporary_files():
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("wb") as copied:
                    while part := self._part(file, path, remaining):
                        copied.write(part)
                        remaining -= len(part)
            status = os.fstat(file.fileno())
            with temporary_files():
                # git uses the time to decide which entries of the index to check again
                os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
            return True

    @staticmethod
    def _part(file: IO[bytes], path: str, remaining: int) -> bytes:
        """Return the next part of a file, which may grow during the copy."""
        with _reading(path):
            return file.read(min(remaining, 1 << 20))

    def names(self, path: str) -> list[str]:
        """Return the names in a directory; an empty list if it does not exist.

        :raises VcsError: it is outside, cannot be read, or has too many.
        """
        try:
            with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as directory_fd, os.scandir(directory_fd) as entries:
                names = sorted(entry.name for entry in islice(entries, ENTRIES + 1))
            if len(names) > ENTRIES:
                raise VcsError(f"{path} has more than {ENTRIES} entries")
            return names
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise VcsError(f"cannot read {path}: {error.strerror}") from error

    def _handle(self, path: str) -> int:
        """Open a file for reading, if it is a regular file: opening a pipe or a device may have effects."""
        with self._opened(path, os.O_PATH) as handle:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise VcsError(f"{path} is not a file")
            return os.open(
                f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
            )  # without O_NONBLOCK this waits for a lease to be released

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        """Open the resolved path, following no link: a part of it may have been replaced by one in the meantime."""
        parent, name = os.path.split(os.path.relpath(self.resolve(path), self.root))
        with ExitStack() as stack:
            root_fd = os.open(self.root, _DIRECTORY)
            stack.callback(os.close, root_fd)
            parent_fd = open_beneath(root_fd, os.fsencode(parent), _DIRECTORY | os.O_NOFOLLOW)
            stack.callback(os.close, parent_fd)
            fd = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent_fd)
            stack.callback(os.close, fd)
            yield fd


def resolve_path(path: str) -> str:
    """Return an absolute path with its links resolved; parts after a missing one are kept.

    ``os.path.realpath`` has no limit on links.

    :raises VcsError: it has more links than the kernel follows, or is too long.
    """
    if len(path) > PATH_LENGTH:
        raise VcsError(f"a path in it is too long: {path[:SHOWN_LENGTH]}…")
    real, followed = "/", 0
    remaining_parts = path.split("/")[::-1]
    while remaining_parts:
        part = remaining_parts.pop()
        if part == "..":
            real = os.path.dirname(real)
        elif part not in ("", "."):
            next_path = os.path.join(real, part)
            try:
                target = os.readlink(next_path)
            except OSError:
                real = next_path
                continue
            followed += 1
            if followed > LINKS:
                raise VcsError(f"{path} has more than {LINKS} symbolic links on its path")
            real = "/" if target.startswith("/") else real
            remaining_parts += target.split("/")[::-1]
    return real
