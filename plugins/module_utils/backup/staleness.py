# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find for ``status`` and ``doctor`` which backups are too old or missing.

``sync`` notes the times on this host. The records on the target are only read if one is missing: for a new directory, or after a reinstallation.
"""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.state import read_sync_times
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import SyncState, seconds_since, sync_state
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount
from ansible_collections.homelab.repoman.plugins.module_utils.registry import sync_times


@dataclass(frozen=True)
class BackupTimes:
    """When the projects, and the directories without a project, were last backed up.

    :param target: state of the target, see :func:`target_state`.
    :param now: the time from which ages are counted.
    """

    backup: BackupContext
    target: dict[str, Any]
    now: datetime

    @cached_property
    def is_readable(self) -> bool:
        """False if ``repos_root`` is on a file system that does not answer, so that nothing in it is known."""
        return not hung_mount(self.backup.roots.repos_root)

    @cached_property
    def of_directories(self) -> dict[str, str]:
        """The time of the last backup of each directory of ``repos_root``, ISO 8601; also of some that do not exist any more."""
        root = self.backup.roots.backup_root
        times = sync_times.read(str(self.backup.logdir), root)
        is_complete = bool(times) and all(name in times for name in self._names)
        return times if is_complete or self.target["state"] != "ready" else read_sync_times(root, self.backup.account) | times

    def of_project(self, name: str, repository: str = "") -> str:
        """Return the time of the last backup of a project, ISO 8601; empty if there was none.

        :param repository: its absolute path, if it is not in the registry.
        """
        entry = self.backup.registry.projects.get(name)
        if entry and entry.last_sync:
            return entry.last_sync
        if not self.is_readable:
            return ""
        path = self.backup.paths[name] if entry else os.path.relpath(repository, self.backup.roots.repos_root)
        return self.of_directories.get(path.split("/")[0], "")

    @cached_property
    def newest(self) -> str:
        """The time of the newest backup of anything, ISO 8601; empty if there was none."""
        times = [*self.of_directories.values(), *(project.last_sync for project in self.backup.registry.projects.values())]
        ages = {time: seconds_since(time, self.now) for time in times}
        future = [time for time in ages if self.state(time) is SyncState.FUTURE]
        known = {time: age for time, age in ages.items() if age is not None}
        return max(future) if future else min(known, key=lambda time: known[time], default="")

    @cached_property
    def other_directories(self) -> dict[str, str]:
        """The time of the last backup of each directory that ``sync`` backs up and that holds no project with a backup."""
        if not self._names:
            return {}
        projects = {self.backup.project_directory(name) for name, project in self.backup.projects.items() if project.backup}
        return {name: self.of_directories.get(name, "") for name in self._names if name not in projects}

    @cached_property
    def _names(self) -> list[str]:
        """The names of the units that ``sync`` backs up."""
        if self.is_readable:
            with suppress(OSError):
                units = list_units(self.backup.roots.repos_root)
                return [unit.name for unit in units if unit.name not in self.backup.excluded]
        return []

    def state(self, time: str) -> SyncState:
        """Return how recent a backup is."""
        return sync_state(time, self.now, self.backup.registry.defaults.stale_seconds)

    def describe(self, time: str) -> dict[str, Any]:
        """Return the keys of results about a backup: its time, age and state."""
        return {"last_sync": time, "sync_age": seconds_since(time, self.now), "sync_state": self.state(time).value}


def add_to_status(result: dict[str, Any], times: BackupTimes) -> None:
    """Add to the result of ``status`` when everything was last backed up: the host, its directories without a project, and the projects."""
    host = result["host"]
    host["directories"] = [
        {"name": escape_path(os.fsencode(name)), **times.describe(time)} for name, time in times.other_directories.items()
    ]
    for project in result["projects"]:
        if project["backup"]:
            project.update(times.describe(times.of_project(project["name"], project["repo"])))
    is_needed = host["directories"] or any(project.backup for project in times.backup.projects.values())
    host["backup"] |= times.describe(times.newest) | ({} if times.newest or is_needed else {"sync_state": SyncState.OK.value})
