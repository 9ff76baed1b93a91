# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore a repository, or some of its paths, from its mirror or from an earlier version.

An earlier version is assembled from layers (``layers``). Everything is first copied to a staging directory next to the destination
(``layer_copier``), which then takes its place at once (``directory_restore``), or path by path if the destination cannot be exchanged
(``paths_restore``). Nothing in the repository is executed or read as configuration.
"""

from __future__ import annotations

import os
import stat
from contextlib import ExitStack, nullcontext, suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext, load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import data_size
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.objects import restore_objects
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.operation import RestoreOperation
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import RestoreOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.planner import RestorePlanner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import clean_up_abandoned
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import open_for_reading
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RESTORES, RunLocks, unit_locked
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS, Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import check_mirror, list_mirrors
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_bytes, plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report

_logger = get_logger("restore")


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
    context = load_context(params)
    options = RestoreOptions.from_params(params)
    target_and_warning: tuple[Target, str] = context.run_on_target(lambda report: open_for_reading(context.roots), options.probe_timeout)

    def work(report: Report) -> dict[str, Any]:
        with ExitStack() as stack:
            restore = RestoreRun(context, target_and_warning[0], options, stack)
            return restore.run_objects(check) if options.objects else restore.run(check, report)

    result: dict[str, Any] = context.run_on_target(
        work, options.idle_timeout, check_liveness=True, on_report=lambda text: progress.start_phase(str(text))
    )
    progress.clear()
    if warnings := [warning for warning in (target_and_warning[1], *result.pop("notes")) if warning]:
        result["warnings"] = warnings
    return result


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
        path = self.context.resolve_path(options.name, [*list_mirrors(self.target), *_units_in_history(self.target), TOP_LEVEL_FILES])
        unit, _slash, subpath = path.partition("/")
        check_mirror(self.target, unit)
        if not check:
            self._lock(unit)
        planner = RestorePlanner(self.context, self.target, options, unit, os.fsencode(subpath))
        items = planner.read_items()
        destination = planner.resolve_destination()
        self.stack.callback(destination.close)
        if not check:
            self._clean_up_killed(destination)
        operation = planner.plan(items, destination, self.stack)
        self.notes += planner.notes
        plan = Plan()
        files = sum(not item.is_directory for item in operation.items.values())
        size = sum(data_size(item.status) for item in operation.items.values() if stat.S_ISREG(item.status.st_mode))
        if operation.differs:
            plan.add(
                Step(
                    operation.description(files),
                    operation.apply,
                    undo=operation.undo,
                    target=escape_path(destination.path),
                    before=operation.before,
                    after=operation.after,
                )
            )
        _logger.debug("planned: %s", "; ".join(plan.descriptions) or "nothing to do")
        if not check and plan.changed:
            _report_saving(operation, report)
            report(f"restoring {escape_path(os.fsencode(options.name))}: {plural(files)}, {format_bytes(size)}")
            plan.apply()
        return {
            "changed": plan.changed,
            "steps": [*(operation.saving_step() if plan.changed else []), *plan.descriptions],
            "notes": [*self.notes, *(operation.all_notes() if plan.changed else operation.place_notes())],
            "diff": plan.diff if options.diff else [],
            "restored": {
                "name": escape_path(os.fsencode(options.name)),
                "to": escape_path(os.path.join(destination.path, planner.subpath) if planner.subpath else destination.path),
                "from": options.from_version or "",
                "files": files,
                "bytes": size,
                "saved": operation.saved if plan.changed else "",
                "has_container": self._has_container(unit, destination, operation, bool(planner.subpath)),
                "replaces_directory": plan.changed and self._replaces_directory(operation, bool(planner.subpath)),
            },
        }

    def run_objects(self, check: bool) -> dict[str, Any]:
        """Plan to restore objects, and apply it unless ``check``; return the module's result."""
        path = self.context.resolve_path(self.options.name, list_mirrors(self.target))
        check_mirror(self.target, path.partition("/")[0])
        if not check:
            self._lock(path.partition("/")[0])
        result = restore_objects(self.context, self.target, self.options.name, path, check=check, diff=self.options.diff)
        return result | {"notes": [*self.notes, *result["notes"]]}

    def _has_container(self, unit: str, destination: Destination, operation: RestoreOperation, is_subpath: bool) -> bool:
        """Return whether the restore replaced a directory that a container may have mounted."""
        source = os.path.join(os.path.realpath(self.context.roots.repos_root), unit)
        return (
            self._replaces_directory(operation, is_subpath)
            and destination.path == os.fsencode(source)
            and unit in {self.context.project_directory(project) for project in self.context.projects}
        )

    def _replaces_directory(self, operation: RestoreOperation, is_subpath: bool) -> bool:
        """Return whether the restore replaces the directory itself, and not only files in it."""
        return operation.is_whole or (is_subpath and self.options.has_all_paths)

    def _lock(self, unit: str) -> None:
        """Lock the unit against other runs if this machine has a state directory; a restore does not need one."""
        state = self.context.state(self.target)
        try:
            if state.is_dir():
                self.locks = self.stack.enter_context(unit_locked(self.target, state, self.context.account, unit))
        except OSError as error:
            self.notes.append(f"{state} cannot be written ({error.strerror}): restored without a lock against other runs.")

    def _clean_up_killed(self, destination: Destination) -> None:
        """Clean up after killed restores next to the destination, or inside it if it is a separate file system."""
        with self.locks.exclusive(RESTORES) if self.locks else nullcontext(False) as alone:
            saved_paths = _clean_up_destination(destination, alone)
        if self.locks:
            self.stack.enter_context(self.locks.shared(RESTORES))
        self.notes += [
            f"A restore that was killed had replaced a directory; its previous contents are in {escape_path(path)}." for path in saved_paths
        ]


def _report_saving(operation: RestoreOperation, report: Report) -> None:
    """Report where existing files are going to be saved, before anything is replaced."""
    for step in operation.saving_step():
        report(step.replace("save ", "saving ", 1))


def _clean_up_destination(destination: Destination, alone: bool) -> list[bytes]:
    """Clean up after killed restores; return the directories that they had replaced.

    :param alone: no other restore is running.
    """
    saved_paths: list[bytes] = []
    if not destination.missing:
        parent = os.path.dirname(destination.path)
        saved_paths += [os.path.join(parent, name) for name in clean_up_abandoned(destination.parent_fd, alone)]
    status = destination.status
    if status is not None and stat.S_ISDIR(status.st_mode):
        saved_paths += [os.path.join(destination.path, name) for name in clean_up_abandoned(destination.fd, alone)]
    return saved_paths


def _units_in_history(target: Target) -> set[str]:
    """Return the units that have anything in the history."""
    units: set[str] = set()
    for name in history.version_names(target):
        with suppress(FileNotFoundError, NotADirectoryError):
            units.update(os.listdir(target.internal_path("kept", name)))
    return units - {SETTINGS}
