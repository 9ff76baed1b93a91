# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore repositories, or some paths of one, from their mirrors or from an earlier version.

An earlier version is assembled from layers (``layers``). Everything is first copied to a staging directory next to the destination
(``layer_copier``), which then takes its place at once (``directory_restore``), or path by path if the destination cannot be exchanged
(``paths_restore``). Nothing in the repository is executed or read as configuration.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext, load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import space
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.all_units import RestoreProgress, SeveralRestore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.killed_restores import KilledRestores
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.objects import restore_objects
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import RestoreOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.selection import all_names
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.unit_restore import UnitRestore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import open_for_reading
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RunLocks, no_lock_note, unit_locked
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import check_mirror, file_name_of, list_mirrors
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report


def _predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result on a host that has not been set up; only then the code for it is imported."""
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.prediction import predict

    return predict(params)


@predicting(_predict)
def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Run the module ``repoman_restore``; return its result.

    :raises RepomanError: the restore is not possible or failed; source and destination are unchanged.
    """
    if params["settings"]:
        from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.host_settings import run as run_settings

        return run_settings(params, check)
    context = load_context(params, check and params["predict"])
    options = RestoreOptions.from_params(params)
    target_and_warning: tuple[Target, str] = context.run_on_target(lambda report: open_for_reading(context.roots), options.probe_timeout)

    def work(report: Report) -> dict[str, Any]:
        with ExitStack() as stack:
            if options.is_several:
                return SeveralRestore(context, target_and_warning[0], options, stack, report, check).run()
            restore = RestoreRun(context, target_and_warning[0], options, stack)
            return restore.run_objects(check) if options.objects else restore.run(check, report)

    result: dict[str, Any] = context.run_on_target(work, options.idle_timeout, check_liveness=True, on_report=_show_progress)
    progress.clear()
    if warnings := [warning for warning in (target_and_warning[1], *result.pop("notes")) if warning]:
        result["warnings"] = warnings
    return result


def _show_progress(message: str | RestoreProgress) -> None:
    if isinstance(message, RestoreProgress):
        progress.update(message.line())
    else:
        progress.start_phase(message)


class RestoreRun:
    """One restore, in the process that may access the target.

    :param stack: closes what the run opens.
    """

    def __init__(self, context: BackupContext, target: Target, options: RestoreOptions, stack: ExitStack) -> None:
        self.context, self.target, self.options, self.stack = context, target, options, stack
        self.notes: list[str] = []
        self.locks: RunLocks | None = None

    def run(self, check: bool, report: Report) -> dict[str, Any]:
        """Plan the restore, and apply it unless ``check``; return the module's result."""
        options = self.options
        path = self.context.resolve_path(options.name, all_names(self.target))
        if not check:
            self._lock(path.partition("/")[0])
        restore = UnitRestore(self.context, self.target, options, path, self.stack)
        restore.plan(lambda destination: None if check else self._clean_up_killed(destination))
        space.check(restore.space_needs, f"to another file system: {options.command(('--to', 'DIR'))}")
        if not check and restore.planned.changed:
            restore.apply(report)
        return {
            "changed": restore.planned.changed,
            "steps": [*restore.saving_steps, *restore.planned.descriptions],
            "notes": [*self.notes, *restore.notes],
            "diff": restore.diff,
            "restored": {"name": restore.name, "to": restore.to, "from": options.from_version or ""} | restore.facts(),
        }

    def run_objects(self, check: bool) -> dict[str, Any]:
        """Plan to restore objects, and apply it unless ``check``; return the module's result."""
        path = self.context.resolve_path(self.options.name, list_mirrors(self.target))
        check_mirror(self.target, path.partition("/")[0])
        if not check:
            self._lock(path.partition("/")[0])
        result = restore_objects(self.context, self.target, self.options.name, path, check=check, diff=self.options.diff)
        return result | {"notes": [*self.notes, *result["notes"]]}

    def _lock(self, unit: str) -> None:
        """Lock the unit against other runs if this machine has a state directory; a restore does not need one."""
        state = self.context.state(self.target)
        try:
            if state.is_dir():
                self.locks = self.stack.enter_context(unit_locked(self.target, state, self.context.account, unit))
                self.stack.callback(_touch, state / "manifests" / file_name_of(unit))  # before it is unlocked: scans of what was there end
        except OSError as error:
            self.notes.append(no_lock_note(state, error))

    def _clean_up_killed(self, destination: Destination) -> None:
        """Clean up after killed restores next to the destination, or inside it if it is a separate file system."""
        self.notes += KilledRestores(self.locks).clean_up([destination], self.stack)


def _touch(path: Path) -> None:
    """Give a file, if it is there, the current time."""
    with suppress(OSError):
        os.utime(path)
