# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state that the parts of one run share."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.early_scan import EarlyScans
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.options import SyncOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.records import RunRecords
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RunLocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import LeftOut


@dataclass(frozen=True)
class TargetState:
    """The target before the run.

    :param is_new: this run writes its marker.
    :param is_remote: it takes long to answer, so more is done at once.
    """

    target: Target
    is_new: bool
    is_remote: bool


@dataclass
class SyncContext:
    """The state that the parts of one run share, in the child process that may touch the target.

    :param check: predict only, and write nothing.
    :param now: when the run began.
    :param state: local state directory of the target; a temporary one if that cannot be written.
    :param takes_over: this run changes the owner of the target.
    :param locks: the locks of this run; None before it has any.
    :param early: scans that were made before the run began.
    """

    backup: BackupContext
    options: SyncOptions
    check: bool
    now: datetime
    target_state: TargetState
    state: Path
    takes_over: bool = False
    locks: RunLocks | None = None
    early: EarlyScans = field(default_factory=EarlyScans)
    warnings: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """The target."""
        return self.target_state.target

    @property
    def repos_root(self) -> str:
        """The directory that is backed up."""
        return self.backup.roots.repos_root

    @property
    def held_locks(self) -> RunLocks:
        """The locks of this run, which must have some."""
        if self.locks is None:
            raise RuntimeError("this run holds no locks")
        return self.locks

    @cached_property
    def records(self) -> RunRecords:
        """The records of the mirrors."""
        return RunRecords(self.target, self.state, self.backup.account, self.now.timestamp(), self.options.full)

    @cached_property
    def left_out(self) -> LeftOut:
        """The record of files and mounts that the last run left out of units."""
        return LeftOut(self.state)

    def mirror_settings(self, scratch: str) -> MirrorOptions:
        """Return the settings of the mirror engine, for a run that has no version in the history yet.

        :param scratch: private local directory.
        """
        return MirrorOptions(
            target=self.target.root,
            history=str(self.target.internal_path("kept", "none")),
            work=str(self.target.internal_path("work")),
            scratch=scratch,
            full=self.options.full,
            xattrs=self.options.xattrs,
            acls=self.options.acls,
            is_remote=self.target_state.is_remote,
            jobs=self.options.jobs,
            lose_repositories=self.options.may_lose,
            started_ns=int(min(self.now.timestamp(), self.early.started or math.inf) * 1e9),
        )
