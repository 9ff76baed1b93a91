# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks of single templates in the user's directory, whose files are removed again."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.homelab.repoman.plugins.module_utils.files.lock import remove_abandoned
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import locked

SUFFIX = ".lock"


@contextmanager
def template_lock(directory: str, name: str, owner: Account) -> Iterator[None]:
    """Hold the lock of the template ``name`` inside a ``with``.

    :param directory: of the user's templates.
    :raises RepomanError: as :func:`registry.store.locked`.
    """
    with locked(os.path.join(directory, f".{name}{SUFFIX}"), owner) as lock:
        try:
            yield
        finally:
            lock.remove()


def remove_abandoned_locks(directory: str, owner: Account) -> None:
    """Remove the lock files that killed runs left; one that another run holds stays."""
    remove_abandoned(directory, owner.uid, lambda name: name.startswith(".") and name.endswith(SUFFIX))
