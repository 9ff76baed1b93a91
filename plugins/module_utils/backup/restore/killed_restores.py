# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Clean up after killed restores, next to the destination of a restore or inside it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack, nullcontext

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Identity, clean_up_abandoned, identity
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RESTORES, RunLocks
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path


class KilledRestores:
    """Cleans up while no other restore does; each directory once.

    :param locks: of this run; None if it has none.
    """

    def __init__(self, locks: RunLocks | None) -> None:
        self.locks = locks
        self._seen: set[Identity] = set()

    def clean_up(self, destinations: Iterable[Destination], stack: ExitStack) -> list[str]:
        """Clean up, then lock the directories until the stack is closed; return a note for each directory that had been replaced."""
        with self.locks.exclusive(RESTORES) if self.locks else nullcontext(False) as alone:
            saved_paths = [path for destination in destinations for path in self._clean_up(destination, alone)]
        if self.locks:
            stack.enter_context(self.locks.shared(RESTORES))
        return [
            f"A restore that was killed had replaced a directory; its previous contents are in {escape_path(path)}." for path in saved_paths
        ]

    def _clean_up(self, destination: Destination, alone: bool) -> list[bytes]:
        """Clean up next to a destination, and inside it if it is a separate file system; return the directories that were replaced.

        :param alone: no other restore is running.
        """
        saved_paths: list[bytes] = []
        if not destination.missing:
            saved_paths += self._clean_up_in(destination.parent_fd, os.path.dirname(destination.path), alone)
        status = destination.status
        if status is not None and stat.S_ISDIR(status.st_mode):
            saved_paths += self._clean_up_in(destination.fd, destination.path, alone)
        return saved_paths

    def _clean_up_in(self, directory_fd: int, path: bytes, alone: bool) -> list[bytes]:
        directory = identity(os.fstat(directory_fd))
        if directory in self._seen:
            return []
        self._seen.add(directory)
        return [os.path.join(path, name) for name in clean_up_abandoned(directory_fd, alone)]
