# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking over a target whose marker names another host or user."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.host_lock import HostLock
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import (
    became_another_error,
    check_uid,
    marker_path,
    our_owner,
    owner_of,
    read_marker,
    read_marker_text,
    with_new_owner,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_mirrors
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_duration
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic


def plan_take_over(run: SyncContext) -> TakeOver | None:
    """Return the change of the target's owner; None without the option ``take_over``, or if the target belongs to this host and user already.

    The records of the mirrors must have been read.

    :raises ConflictError: the other host is at work, or the target belongs to another UID.
    """
    roots, root = run.backup.roots, run.target.root
    if not run.options.take_over:
        return None
    marker, text = read_marker(root), read_marker_text(root)
    if marker is None or text is None or owner_of(marker) == our_owner(roots):
        return None
    mirrors = [str(run.target.mirror(name)) for name in list_mirrors(run.target, run.records.current.units)]
    check_uid(root, (root, str(run.target.internal_path()), *mirrors), os.R_OK | os.W_OK | os.X_OK)
    HostLock(run.target, str(run.state)).check()
    return TakeOver(run, text, marker)


class TakeOver:
    """Makes this host and this user the owner of a target.

    :param text: of the marker.
    :param marker: its contents.
    """

    def __init__(self, run: SyncContext, text: str, marker: dict[str, Any]) -> None:
        self.run, self.text = run, text
        self.previous = owner_of(marker)
        self.last_run = run.records.current.run
        self.new_text = with_new_owner(text, our_owner(run.backup.roots), run.now)
        self._path = str(marker_path(run.target.root))
        self._is_written = False

    @property
    def description(self) -> str:
        """The step as a sentence."""
        age = max(0.0, self.run.now.timestamp() - self.last_run)  # the clock of the other host may be ahead
        last_run = f"{format_duration(age)} ago" if self.last_run > 0 else "never"
        return f"take over the backup of {self.previous} (last run {last_run})"

    @property
    def diff(self) -> list[dict[str, str]]:
        """The change of the marker, as Ansible's ``diff``."""
        return Plan([self.step()]).diff

    def result(self) -> dict[str, str]:
        """Return the previous owner, as the module returns it."""
        last_run = iso_time(self.last_run) if self.last_run > 0 else ""
        return {"host": self.previous.host, "user": self.previous.user, "last_run": last_run}

    def step(self) -> Step:
        """Return the step."""
        return Step(self.description, self._apply, undo=self._undo, target=self._path, before=self.text, after=self.new_text)

    def _apply(self) -> None:
        """Change the marker, with the lock against other hosts: of several hosts that take the target over, one succeeds.

        :raises ConflictError: another host works on the target, or was quicker.
        """
        run = self.run
        run.held_locks.acquire_host_lock()
        with run.held_locks.metadata_lock():
            text = read_marker_text(run.target.root)
            if text == self.text:
                write_atomic(self._path, self.new_text, run.backup.account)
                self._is_written = True
            elif text is None or owner_of(read_marker(run.target.root) or {}) != our_owner(run.backup.roots):
                raise became_another_error(run.backup.roots)

    def _undo(self) -> None:
        """Name the previous owner again."""
        with self.run.held_locks.metadata_lock():
            if self._is_written and read_marker_text(self.run.target.root) == self.new_text:
                write_atomic(self._path, self.text, self.run.backup.account)
