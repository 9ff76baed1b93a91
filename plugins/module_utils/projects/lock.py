# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time works on a project: a lock beside the registry, which the kernel takes away from a run that is killed."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry

POLL_SECONDS = 0.05


@contextmanager
def claim(registry_path: str, name: str, owner: Account, seconds: float) -> Iterator[bool]:
    """Hold project ``name``; yields whether another run had to be waited for, and so the world may have changed.

    :param seconds: how long to wait for that run.
    :raises ConflictError: another run works on it. :class:`RepomanError`: the lock cannot be made.
    """
    directory = os.path.join(os.path.dirname(os.path.realpath(registry_path)), "locks")
    registry.make_directory(directory, owner)
    path = os.path.join(directory, f"{name}.lock")
    deadline = time.monotonic() + seconds
    waited = False
    while (handle := _try(path, owner)) is None:
        if time.monotonic() > deadline:
            raise ConflictError(f"another run works on the project {name!r} right now.", f"see which: fuser -v {path}", "repoman list")
        waited = True
        time.sleep(POLL_SECONDS)
    try:
        yield waited
    finally:
        with suppress(OSError):
            os.unlink(path)
        os.close(handle)


def _try(path: str, owner: Account) -> int | None:
    """Return the locked file, or ``None`` where another process holds it, or has just taken it away."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RepomanError(f"cannot lock {path}: {error.strerror}.", f"ls -ld {os.path.dirname(path)}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(handle), os.stat(path, follow_symlinks=False)):
            if os.geteuid() == 0:
                os.fchown(handle, owner.uid, owner.gid)
            return handle
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        os.close(handle)
        raise
    os.close(handle)
    return None
