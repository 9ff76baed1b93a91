# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write files so that at any moment they have either their old or their new content."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Protocol

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import make_private


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


def write_atomic_bytes(path: str, data: bytes, owner: Owner, *, mtime_ns: int | None = None, mode: int | None = None) -> None:
    """Do the same as :func:`write_atomic` with bytes.

    :param mtime_ns: modification time of the file; None for now.
    :param mode: permissions of the file, also of an existing one; None to keep those of an existing one.
    :raises RepomanError: as :func:`write_atomic`.
    """
    outcome = "it was not changed"
    target = Path(path)
    temporary = target.with_name(f".{target.name}.new")
    try:
        temporary.unlink(missing_ok=True)
        try:
            with open(temporary, "xb", opener=_private) as file:
                _copy_owner_and_mode(file.fileno(), target, owner)
                if mode is not None:
                    os.fchmod(file.fileno(), mode)
                file.write(data)
                file.flush()
                if mtime_ns is not None:
                    os.utime(file.fileno(), ns=(mtime_ns, mtime_ns))
                os.fsync(file.fileno())
            os.rename(temporary, target)
            outcome = "it has its new content, which a power failure may undo"
        finally:
            temporary.unlink(missing_ok=True)
        directory = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise RepomanError(f"cannot write {path}: {error.strerror}; {outcome}.", f"df -h {shell_word(str(target.parent))}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _copy_owner_and_mode(handle: int, old: Path, owner: Owner) -> None:
    """Give an open file the mode and owner of the file ``old``; if that does not exist, only the owner ``owner``."""
    uid, gid = owner.uid, owner.gid
    if old.exists():
        status = old.stat()
        uid, gid = status.st_uid, status.st_gid
        os.fchmod(handle, stat.S_IMODE(status.st_mode))
    if os.geteuid() == 0:
        os.fchown(handle, uid, gid)
