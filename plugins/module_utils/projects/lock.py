# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time works on a project: a lock next to the registry, which the kernel releases if its run is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.names import INSTANCE_NAME
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory
from ansible_collections.homelab.repoman.plugins.module_utils.files.lock import FileLock, remove_abandoned
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

SUFFIX = ".lock"
MIN_TIMEOUT = 0.5
"""Seconds that every run waits, because another one may be looking whether the file was abandoned."""


@contextmanager
def project_lock(registry_path: str, name: str, owner: Account, timeout: float) -> Iterator[bool]:
    """Hold project ``name``; yields whether it had to wait for another run, which may have changed the project.

    :param timeout: seconds to wait for that run.
    :raises ConflictError: another run still works on it.
    :raises RepomanError: the lock file cannot be created.
    """
    directory = _directory(registry_path)
    ensure_private_directory(directory, owner)
    path = os.path.join(directory, f"{name}{SUFFIX}")
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(FileLock(path, owner))
            waited = lock.acquire(max(timeout, MIN_TIMEOUT))
        except TimeoutError:
            raise ConflictError(
                f"another run is working on the project {name!r} right now.", f"see which: fuser -v {path}", "repoman list"
            ) from None
        except OSError as error:
            raise RepomanError(f"cannot lock {path}: {error.strerror}.", f"ls -ld {os.path.dirname(path)}") from error
        stack.callback(lock.remove)
        yield waited


def remove_abandoned_locks(registry_path: str, owner: Account) -> None:
    """Remove lock files that no run holds. Killed runs leave them, also for projects that this run does not lock."""
    remove_abandoned(
        _directory(registry_path), owner.uid, lambda name: name.endswith(SUFFIX) and bool(INSTANCE_NAME.match(name[: -len(SUFFIX)]))
    )


def _directory(registry_path: str) -> str:
    return os.path.join(os.path.dirname(os.path.realpath(registry_path)), "locks")
