# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write files so that at any moment they have either their old or their new content."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Protocol

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import make_private

_NAMELESS = os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC
"""Flags that open a new file without a name in a directory."""


class Owner(Protocol):
    """The owner of new files if this process is root, such as a ``host.account.Account``."""

    @property
    def uid(self) -> int:
        """User ID."""

    @property
    def gid(self) -> int:
        """ID of the primary group."""


def ensure_private_directory(path: str, owner: Owner) -> None:
    """Do the same as :func:`files.tree.make_private` for a directory of repoman's own; a failure is an error for the user.

    :param owner: owner of new directories, if this process is root.
    :raises RepomanError: it cannot be created.
    """
    try:
        make_private(path, (owner.uid, owner.gid) if os.geteuid() == 0 else None)
    except OSError as error:
        raise RepomanError(f"cannot create the directory {path}: {error.strerror}.", f"ls -ld {Path(path).parent}") from error


def write_atomic(path: str, text: str, owner: Owner) -> None:
    """Write ``text`` so that at any moment ``path`` has its old or its new content; mode and owner of an existing file are kept.

    The caller holds a lock on it. Leftovers of a write that was killed are removed.

    :param owner: owner of a new file if this process is root.
    :raises RepomanError: it cannot be written; the message says whether the old file is unchanged.
    """
    write_atomic_bytes(path, text.encode(), owner)


def write_atomic_bytes(
    path: str, data: bytes, owner: Owner, *, mtime_ns: int | None = None, mode: int | None = None, directory_fd: int | None = None
) -> None:
    """Do the same as :func:`write_atomic` with bytes.

    :param mtime_ns: modification time of the file; None for now.
    :param mode: permissions of the file, also of an existing one; None to keep those of an existing one.
    :param directory_fd: of the open directory that the file is in, which is then not looked up again; ``path`` is for messages.
    :raises RepomanError: as :func:`write_atomic`.
    """
    with _open_parent(path, directory_fd) as parent_fd:
        stage_bytes(path, data, owner, mtime_ns=mtime_ns, mode=mode, directory_fd=parent_fd)
        commit_staged(path, directory_fd=parent_fd)


def write_new_bytes(path: str, data: bytes, owner: Owner, *, mtime_ns: int | None = None) -> None:
    """Write a file that does not exist yet: it appears with its whole content.

    A process that is killed leaves nothing else, if the file system knows files without a name; otherwise it is :func:`write_atomic_bytes`.
    So this is for files whose names no later run uses: no run would remove what a killed one left.

    :param mtime_ns: as for :func:`write_atomic_bytes`.
    :raises RepomanError: it cannot be written.
    """
    with _open_parent(path, None) as parent_fd:
        try:
            with open(".", "wb", opener=lambda name, _flags: os.open(name, _NAMELESS, 0o600, dir_fd=parent_fd)) as file:
                if os.geteuid() == 0:
                    os.fchown(file.fileno(), owner.uid, owner.gid)
                _write_synced(file, data, mtime_ns)
                os.link(f"/proc/self/fd/{file.fileno()}", os.path.basename(path), dst_dir_fd=parent_fd, follow_symlinks=True)
            os.fsync(parent_fd)
        except FileExistsError as error:
            raise _cannot_write(path, error, "it was not changed") from error
        except OSError:  # it cannot be done this way, or not at all
            write_atomic_bytes(path, data, owner, mtime_ns=mtime_ns, directory_fd=parent_fd)


def staged_name(name: str) -> str:
    """Return the name of the temporary file that will replace a file."""
    return f".{name}.new"


def staged_path(path: str) -> str:
    """Return the path of the temporary file that will replace the file at ``path``."""
    return os.path.join(os.path.dirname(path), staged_name(os.path.basename(path)))


def stage_bytes(
    path: str, data: bytes, owner: Owner, *, mtime_ns: int | None = None, mode: int | None = None, directory_fd: int | None = None
) -> None:
    """Write the new content of a file next to it, under :func:`staged_name`; :func:`commit_staged` needs no more space.

    The parameters are those of :func:`write_atomic_bytes`. If it fails, no temporary file is left.

    :raises RepomanError: it cannot be written; the file is unchanged.
    """
    name = os.path.basename(path)
    staged = staged_name(name)
    try:
        with _open_parent(path, directory_fd) as parent_fd:
            with suppress(FileNotFoundError):
                os.unlink(staged, dir_fd=parent_fd)
            try:
                with open(staged, "xb", opener=lambda name, flags: os.open(name, flags, 0o600, dir_fd=parent_fd)) as file:
                    _copy_owner_and_mode(file.fileno(), name, owner, parent_fd)
                    if mode is not None:
                        os.fchmod(file.fileno(), mode)
                    _write_synced(file, data, mtime_ns)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(staged, dir_fd=parent_fd)
                raise
    except OSError as error:
        raise _cannot_write(path, error, "it was not changed") from error


def discard_staged(path: str) -> None:
    """Remove the staged content of a file if a killed run has left any."""
    with suppress(OSError):
        os.unlink(staged_path(path))


def commit_staged(path: str, *, directory_fd: int | None = None) -> None:
    """Replace a file by its staged content.

    :param directory_fd: as for :func:`write_atomic_bytes`.
    :raises RepomanError: it cannot be replaced; the message says whether the old file is unchanged.
    """
    outcome = "it was not changed"
    name = os.path.basename(path)
    try:
        with _open_parent(path, directory_fd) as parent_fd:
            try:
                os.rename(staged_name(name), name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
            except BaseException:
                with suppress(FileNotFoundError):
                    os.unlink(staged_name(name), dir_fd=parent_fd)
                raise
            outcome = "it has its new content, which a power failure may undo"
            os.fsync(parent_fd)
    except OSError as error:
        raise _cannot_write(path, error, outcome) from error


def _write_synced(file: BinaryIO, data: bytes, mtime_ns: int | None) -> None:
    file.write(data)
    file.flush()
    if mtime_ns is not None:
        os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
    os.fsync(file.fileno())


def _cannot_write(path: str, error: OSError, outcome: str) -> RepomanError:
    return RepomanError(f"cannot write {path}: {error.strerror}; {outcome}.", f"df -h {shell_word(os.path.dirname(path) or '.')}")


@contextmanager
def _open_parent(path: str, directory_fd: int | None) -> Iterator[int]:
    """Yield a descriptor of the directory that a file is in."""
    if directory_fd is not None:
        yield directory_fd
        return
    try:
        parent_fd = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _cannot_write(path, error, "it was not changed") from error
    try:
        yield parent_fd
    finally:
        os.close(parent_fd)


def _copy_owner_and_mode(handle: int, name: str, owner: Owner, parent_fd: int) -> None:
    """Give an open file the mode and owner of the file that it replaces; if that does not exist, or is a link, only the owner ``owner``."""
    uid, gid = owner.uid, owner.gid
    with suppress(FileNotFoundError):
        status = os.stat(name, dir_fd=parent_fd, follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            uid, gid = status.st_uid, status.st_gid
            os.fchmod(handle, stat.S_IMODE(status.st_mode))
    if os.geteuid() == 0:
        os.fchown(handle, uid, gid)
