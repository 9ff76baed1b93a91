# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The version that a run adds to the history: the files that it replaces or removes, and the list of files that it creates."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import AT_FDCWD, temporarily_writable
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import make_private


class RunVersion:
    """The version that one run makes, once it needs one."""

    def __init__(self, run: SyncContext) -> None:
        self.run = run
        self.name = ""
        self._created: dict[str, list[str] | None] = {}
        """Paths that this run created, by unit; None means everything."""

    def begin(self, settings: MirrorOptions, tasks: Iterable[UnitTask]) -> MirrorOptions:
        """Create the version at the first call, and record the paths that the tasks will create; return the settings that use it.

        All units of the run are locked by now, so the versions of a unit are in the order of the runs that changed it.
        """
        self._create()
        created: dict[str, list[str] | None] = {
            task.name: None
            if task.changes.is_first_copy
            else [os.fsdecode(path) for change_type, path in task.changes.items() if change_type == "created"]
            for task in tasks
            if task.changes is not None and task.changes.created
        }
        self._created |= created
        if created:  # before anything is created: a restore of an earlier time leaves it out, even if this run is killed
            self._write(created)
        return replace(settings, history=str(self._path()))

    def begin_settings(self, created: list[str] | None) -> Path:
        """Create the version if it does not exist, and record the settings that the run will create (None: all); return their directory.

        The caller has locked the settings, so their versions are in the order of the runs that changed them, too.
        """
        self._create()
        if created is None or created:
            self._created[SETTINGS] = created
            self._write({SETTINGS})
        return self._path() / SETTINGS

    def _create(self) -> None:
        if not self.name:
            with self.run.held_locks.metadata_lock():
                self.name = history.create_version(self.run.target, self.run.now, self.run.backup.account)

    def add_created(self, name: str, paths: Iterable[str]) -> None:
        """Record more paths that the run created in a unit."""
        planned = self._created.get(name, [])
        if planned is not None:
            self._created[name] = [*planned, *paths]
            self._write({name})

    def retire(self, name: str) -> None:
        """Move the whole mirror of a unit to the history.

        :raises OSError: it cannot be moved.
        """
        mirror = self.run.target.mirror(name)
        make_private(str(self._path()))
        with temporarily_writable((AT_FDCWD, os.fsencode(mirror))):
            os.rename(mirror, self._path() / name)

    def _path(self) -> Path:
        return self.run.target.internal_path("kept", self.name)

    def _write(self, changed: Collection[str]) -> None:
        with self.run.held_locks.metadata_lock():
            history.write_created(self.run.target, self.name, self._created, self.run.backup.account, changed)
