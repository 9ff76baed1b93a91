# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units that a restore is asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS, Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.records import read_records
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import has_top_level_files, is_nested_target, list_directories
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path


@dataclass(frozen=True)
class UnitRequest:
    """A repository to restore.

    :param name: name of the unit, or of its project, as the user gave it.
    :param path: in ``repos_root``; empty if it does not exist.
    :param error: why it was not found.
    """

    name: str
    path: str
    error: RepomanError | None = None

    @property
    def unit(self) -> str:
        """The directory directly in ``repos_root`` that contains the repository; the name if it was not found."""
        return self.path.partition("/")[0] or self.name

    def holds(self, other: UnitRequest) -> bool:
        """Return whether the repository is, or contains, another one."""
        return bool(self.path) and f"{other.path}/".startswith(f"{self.path}/")


def all_names(target: Target) -> list[str]:
    """Return the names of all units that a target may have, also in its history; a directory that is a backup itself is refused later."""
    return [*list_directories(target), *units_in_history(target), TOP_LEVEL_FILES]


def units_in_history(target: Target) -> set[str]:
    """Return the units that have anything in the history."""
    units: set[str] = set()
    for name in history.version_names(target):
        with suppress(FileNotFoundError, NotADirectoryError):
            units.update(os.listdir(target.internal_path("kept", name)))
    return units - {SETTINGS}


def named_requests(context: BackupContext, names: Iterable[str], known_names: Iterable[str]) -> list[UnitRequest]:
    """Return a request for each name, without those that another one includes.

    :param known_names: of the units that the target may have.
    """
    known = list(known_names)
    requests = []
    for name in dict.fromkeys(names):
        try:
            requests.append(UnitRequest(name, context.resolve_path(name, known)))
        except RepomanError as error:
            requests.append(UnitRequest(name, "", error))
    return [request for number, request in enumerate(requests) if not _is_included(request, number, requests)]


def _is_included(request: UnitRequest, number: int, requests: list[UnitRequest]) -> bool:
    """Return whether another request includes one; of two equal ones, the second is included."""
    return any(
        other.holds(request) and (not request.holds(other) or position < number)
        for position, other in enumerate(requests)
        if position != number and request.path
    )


def all_requests(target: Target, with_history: bool) -> tuple[list[UnitRequest], list[str]]:
    """Return a request for each unit of a target, and warnings about directories that are left out.

    :param with_history: also units of which only the history has anything.
    """
    known = read_records(target).units
    directories = set(list_directories(target))
    backups = {name for name in directories if is_nested_target(target, name, known)}
    units = directories - backups
    if with_history:
        units |= units_in_history(target)
    if has_top_level_files(target):
        units.add(TOP_LEVEL_FILES)
    warnings = [
        f"{escape_path(os.fsencode(unit))} is a backup itself, so it was left out. To restore from it, make it [defaults].backup_root."
        for unit in sorted(backups)
    ]
    return [UnitRequest(unit, unit) for unit in sorted(units - backups)], warnings
