# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One run at a time works on a project: a lock next to the registry, which the kernel releases if its run is killed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory
from ansible_collections.homelab.repoman.plugins.module_utils.files.lock import FileLock
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account


@contextmanager
def project_lock(registry_path: str, name: str, owner: Account, timeout: float) -> Iterator[bool]:
    """Hold project ``name``; yields whether it had to wait for another run, which may have changed the project.

    :param timeout: seconds to wait for that run.
    :raises ConflictError: another run still works on it.
    :raises RepomanError: the lock file cannot be created.
    """
    directory = os.path.join(os.path.dirname(os.path.realpath(registry_path)), "locks")
    ensure_private_directory(directory, owner)
    path = os.path.join(directory, f"{name}.lock")
    with ExitStack() as stack:
        try:
            lock = stack.enter_context(FileLock(path, owner))
            waited = lock.acquire(timeout)
        except TimeoutError:
            raise ConflictError(
                f"another run is working on the project {name!r} right now.", f"see which: fuser -v {path}", "repoman list"
            ) from None
        except OSError as error:
            raise RepomanError(f"cannot lock {path}: {error.strerror}.", f"ls -ld {os.path.dirname(path)}") from error
        stack.callback(lock.remove)
        yield waited
