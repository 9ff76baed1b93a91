# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read files of an untrusted directory without being led out of it: no link leaves it, no FIFO is waited for."""

from __future__ import annotations

import math
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import IO

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError

FILE_BYTES = 16 << 20
COPY_BYTES = 256 << 20
"""What may be copied of one repository."""
PATH_LENGTH = 4096
LINKS = 40
"""How many links on a path the kernel follows."""
ENTRIES = 2000
"""What a directory that is listed may have in it; where git keeps its state there are some dozens."""
SHOWN_LENGTH = 300


class VcsError(RepomanError):
    """A repository cannot be looked at; the message is the error_summary, without a full stop."""


class ConfinedTree:
    """Files below a directory, read without being led out of it.

    :param root: the directory. A path that, its links resolved, is not below it is refused.
    :param seconds: after which it refuses all.
    """

    def __init__(self, root: str, seconds: float = math.inf) -> None:
        self.root = os.path.realpath(root)
        self.seconds, self.deadline = seconds, time.monotonic() + seconds
        self.remaining_bytes = COPY_BYTES

    def resolve(self, path: str) -> str:
        """Return an absolute ``path`` with its links resolved.

        :raises VcsError: it is not inside the root, is too long, has more links than the kernel follows, or time is up.
        """
        if time.monotonic() > self.deadline:
            raise VcsError(f"looking at it took longer than {self.seconds:g} s")
        try:
            real = resolve_path(path)
        except ValueError as error:
            raise VcsError(f"{path} cannot be resolved: {error}") from error
        if real != self.root and not real.startswith(f"{self.root.rstrip('/')}/"):
            raise VcsError(f"{path} leads outside {self.root}")
        return real

    @contextmanager
    def open(self, path: str, max_bytes: int = FILE_BYTES) -> Iterator[IO[bytes] | None]:
        """Open a file for reading; ``None`` where there is none.

        :param max_bytes: bytes that it may have.
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
        """Return what a file holds; ``None`` where there is none. Raises as :meth:`open`."""
        with self.open(path, max_bytes) as file:
            return None if file is None else file.read(max_bytes)

    def copy(self, path: str, target: Path, max_bytes: int = FILE_BYTES) -> bool:
        """Copy a file with its times; return whether there is one. Raises as :meth:`open`.

        :raises VcsError: it is too much, with all that was copied before.
        """
        with self.open(path, max_bytes) as file:
            if file is None:
                return False
            left = os.fstat(file.fileno()).st_size
            self.remaining_bytes -= left
            if self.remaining_bytes < 0:
                raise VcsError(f"its state is larger than {COPY_BYTES >> 20} MiB")
            target.parent.mkdir(parents=True, exist_ok=True)
            with target.open("wb") as copied:
                while part := file.read(min(left, 1 << 20)):  # it may grow meanwhile
                    copied.write(part)
                    left -= len(part)
            found = os.fstat(file.fileno())
            os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))  # git tells by it which entries of an index may lie
            return True

    def names(self, path: str) -> list[str]:
        """Return the names in a directory; none where there is none.

        :raises VcsError: it is outside, cannot be read, or has too many.
        """
        try:
            with os.scandir(self.resolve(path)) as entries:
                found = sorted(entry.name for entry in islice(entries, ENTRIES + 1))
            if len(found) > ENTRIES:
                raise VcsError(f"{path} has more than {ENTRIES} entries")
            return found
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise VcsError(f"cannot read {path}: {error.strerror}") from error

    def _handle(self, path: str) -> int:
        """Open the resolved path step by step, so that nothing swapped for a link meanwhile is followed."""
        real = self.resolve(path)
        handle = os.open(self.root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in Path(real).relative_to(self.root).parts:
                inner = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=handle)
                os.close(handle)
                handle = inner
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise VcsError(f"{path} is not a file")
            return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # somebody may hold a lease on it
        finally:
            os.close(handle)


def resolve_path(path: str) -> str:
    """Return an absolute path with its links resolved; from what is missing on, it stays as it is.

    ``os.path.realpath`` follows as many links as there are.

    :raises VcsError: it has more links than the kernel follows, or is too long.
    """
    if len(path) > PATH_LENGTH:
        raise VcsError(f"a path in it is too long: {path[:SHOWN_LENGTH]}…")
    real, followed = "/", 0
    left = path.split("/")[::-1]
    while left:
        part = left.pop()
        if part == "..":
            real = os.path.dirname(real)
        elif part not in ("", "."):
            inner = os.path.join(real, part)
            try:
                target = os.readlink(inner)
            except OSError:
                real = inner
                continue
            followed += 1
            if followed > LINKS:
                raise VcsError(f"{path} has more than {LINKS} symbolic links on its path")
            real = "/" if target.startswith("/") else real
            left += target.split("/")[::-1]
    return real
