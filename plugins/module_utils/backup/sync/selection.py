# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Choose the units of a run."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES, Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import with_rules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units, top_level_unit
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import is_lost_and_found_at
from ansible_collections.homelab.repoman.plugins.module_utils.registry.override import override_path


@dataclass(frozen=True)
class Selected:
    """A unit of the run.

    :param has_source: False if only its mirror, or its record, is left.
    """

    unit: Unit
    has_source: bool = True

    @property
    def name(self) -> str:
        """The unit's name."""
        return self.unit.name


class UnitSelection:
    """Chooses the units of a run: the named ones, or all that the registry does not exclude; none if only the settings are named."""

    def __init__(self, run: SyncContext) -> None:
        self.run, self.backup = run, run.backup

    def select(self, renamed: Iterable[Unit] = ()) -> list[Selected]:
        """Return the units to work on. Add warnings of projects whose ``backup`` setting cannot be followed.

        :param renamed: units that exist once this run has finished killed restores.
        :raises ConflictError: a named one is not backed up.
        :raises NotCreatedYetError: a name is unknown.
        """
        units_found = sorted([*list_units(self.run.repos_root), *renamed], key=lambda unit: (unit.is_top_level, unit.name))
        present = {unit.name: unit for unit in units_found}
        if TOP_LEVEL_FILES in self.run.records.current.units:
            present.setdefault(TOP_LEVEL_FILES, top_level_unit(self.run.repos_root))
        names = self._names([*present, *self._missing(present)])
        self.run.warnings += self._ignored_backup_settings(names)
        ruled = with_rules([present[name] for name in names if name in present], self.backup, self.run.target.root, self.run.options.rules)
        units = {unit.name: unit for unit in ruled}
        return [
            Selected(units[name]) if name in units else Selected(Unit(name, os.path.join(self.run.repos_root, name)), has_source=False)
            for name in names
        ]

    def _missing(self, present: Iterable[str]) -> list[str]:
        """Return the names of mirrors whose source is gone."""
        present_names = set(present)
        return [
            name
            for name in self.run.records.current.units
            if name not in present_names and os.path.lexists(path := self.run.target.mirror(name)) and not is_lost_and_found_at(path)
        ]

    def _names(self, available: list[str]) -> list[str]:
        """Return the names of the units to work on, each once."""
        if not self.run.options.names:
            return [name for name in available if name not in self.backup.excluded]
        names = []
        for name in self.run.options.unit_names:
            directory = self.backup.resolve_directory(name, available)
            if directory in self.backup.excluded:
                raise ConflictError(
                    f"{self.backup.excluded[directory]!r} has backup = false, so {directory} is not backed up.",
                    f"change it in {self.backup.path}, or in {override_path(self.backup.path, self.backup.excluded[directory])}",
                )
            names.append(directory)
        return list(dict.fromkeys(names))

    def _ignored_backup_settings(self, names: Iterable[str]) -> list[str]:
        """Return warnings of projects whose ``backup`` cannot be followed, because a directory is backed up or left out as a whole."""
        warnings: list[str] = []
        units = set(names)
        for name, project in self.backup.projects.items():
            directory = self.backup.project_directory(name)
            if not project.backup and directory in units:
                warnings.append(f"backup = false of {name!r} cannot be honoured: {directory} is backed up as one.")
            elif project.backup and directory in self.backup.excluded and not self.run.options.names:
                warnings.append(
                    f"{name!r} is not backed up: {self.backup.excluded[directory]!r} has backup = false, and {directory} is left out as one."
                )
        return warnings
