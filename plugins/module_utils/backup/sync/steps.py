# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The steps of a run that do not belong to units: finish killed restores, make a directory the target, remove expired versions.

Each class is made from the state that the run has read; its steps are applied later, or in check mode not at all.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.target_traits import FILE as TRAITS_FILE
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Leftover, find_leftovers, finish_leftover
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import HISTORY, RESTORES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import initialize, marker_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import remove_directory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Step
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path


class KilledRestores:
    """Leftovers of killed restores in the repositories. A directory that a restore had replaced is renamed, and becomes a unit."""

    def __init__(self, run: SyncContext) -> None:
        self.run = run
        names = [unit.name for unit in list_units(run.repos_root) if not unit.is_top_level]
        if run.locks is None:  # without locks, only a directory that is not locked by a running restore is certainly abandoned
            self._leftovers = find_leftovers(run.repos_root, names, alone=False)
        else:
            with run.locks.exclusive(RESTORES) as alone:
                self._leftovers = find_leftovers(run.repos_root, names, alone)
        self.finished: list[str] = []
        """Descriptions of the applied steps."""

    def units(self) -> list[Unit]:
        """Return the new units; in check mode with the current names of their directories."""
        root = self.run.repos_root
        return [
            Unit(os.fsdecode(leftover.saved), os.path.join(root, os.fsdecode(leftover.name if self.run.check else leftover.saved)))
            for leftover in self._leftovers
            if leftover.saved and not leftover.unit
        ]

    def steps(self) -> list[Step]:
        """Return a step for each directory."""
        return [Step(self._description(leftover), partial(self._finish, leftover)) for leftover in self._leftovers]

    def _path(self, leftover: Leftover, name: bytes) -> str:
        return escape_path(os.path.join(os.fsencode(self.run.repos_root), os.fsencode(leftover.unit), name))

    def _description(self, leftover: Leftover) -> str:
        """Return the step's description, without the new name: it contains the time, which differs in check mode."""
        return f"{'rename' if leftover.saved else 'remove'} {self._path(leftover, leftover.name)}, which a killed restore left"

    def _finish(self, leftover: Leftover) -> None:
        with self.run.held_locks.exclusive(RESTORES) as alone:
            was_renamed = finish_leftover(self.run.repos_root, leftover, alone)
        path = os.path.join(self.run.repos_root, leftover.unit, os.fsdecode(leftover.name))
        if not os.path.lexists(path):
            self.finished.append(self._description(leftover))
        if was_renamed:
            saved_path = self._path(leftover, leftover.saved)
            self.run.warnings.append(f"A restore that was killed had replaced a directory; its previous contents are in {saved_path}.")


class Initialization:
    """Makes a directory the target."""

    def __init__(self, run: SyncContext) -> None:
        self.run, self.target = run, run.target
        self._made: list[Path] = []
        """Directories that the step has made, the innermost first."""
        self._is_undone = False

    def step(self) -> Step:
        """Return the step."""
        return Step(f"make {self.target.root} the backup of {self.run.repos_root}", self._apply, undo=self._undo, target=self.target.root)

    def _apply(self) -> None:
        directory = self.target.internal_path()
        self._made = [path for path in (directory, *directory.parents) if not path.exists()]
        initialize(self.run.backup.roots, self.target)

    def _undo(self) -> None:
        """Remove the marker. The directories still contain those of this run, so they are removed at its end."""
        marker_path(self.target.root).unlink(missing_ok=True)
        self._is_undone = True

    def clean_up(self) -> None:
        """Remove the created directories if the step was undone; a directory that is not empty stays."""
        if not self._is_undone or not self._made:
            return
        with suppress(OSError):
            self.target.internal_path(TRAITS_FILE).unlink(missing_ok=True)
        for directory in (self.target.internal_path("work", "new"), self.target.internal_path("work"), *self._made):
            with suppress(OSError):
                directory.rmdir()


class Expiry:
    """Removes expired versions from the history, the oldest first.

    A version is only complete together with all later ones, so none is removed while an earlier one stays: if one cannot be removed,
    or another run reads the history, the remaining ones are left alone.

    :param names: the expired versions, oldest first.
    :ivar removed: those that are removed.
    """

    def __init__(self, run: SyncContext, names: Sequence[str]) -> None:
        self.run, self.names = run, list(names)
        self.removed: list[str] = []
        self._is_blocked = False

    def steps(self) -> list[Step]:
        """Return a step for each version. Applied, it leaves a version that cannot be removed to :meth:`finish`."""
        return [Step(self.description(name), partial(self._try_remove, name)) for name in self.names]

    def description(self, name: str) -> str:
        """Return the description of the step for a version."""
        return f"remove the versions saved at {name}, older than {self.run.options.keep_days} days"

    def finish(self) -> None:
        """Try again to remove the remaining versions: the obstacle may be gone now.

        :raises OSError: one cannot be removed.
        """
        self._is_blocked = False
        for name in self.names:
            if name not in self.removed and not self._is_blocked:
                self._remove(name)

    def _try_remove(self, name: str) -> None:
        if not self._is_blocked:
            try:
                self._remove(name)
            except OSError:
                self._is_blocked = True

    def _remove(self, name: str) -> None:
        target = self.run.target
        with self.run.held_locks.exclusive(HISTORY) as alone:
            if not alone:
                self._is_blocked = True
                return
            if target.internal_path("kept", name).is_dir():
                remove_directory(target.internal_path("kept", name))
            history.remove_created(target, name)
        self.removed.append(name)
