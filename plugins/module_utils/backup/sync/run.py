# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Back up all of ``repos_root``: the entry of the module ``repoman_sync``.

A target may hang with its server, so the work is done in a child process; see ``child.py``. This process shows the progress, and
writes to the registry which projects have been backed up.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext, load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.progress_display import ProgressDisplay
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import SUCCESS, SyncReport
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext, TargetState
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.job import SyncJob
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.options import SyncOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.planner import load_engine
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import inspect_target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import nearest_directory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.probe import is_remote
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import predicting
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time, seconds_since
from ansible_collections.homelab.repoman.plugins.module_utils.core.warnings import warn
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report
from ansible_collections.homelab.repoman.plugins.module_utils.registry import sync_times
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Data
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import edit_file


def _predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result on a host that has not been set up; only then the code for it is imported."""
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.prediction import predict

    return predict(params)


@predicting(_predict)
def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Run the module ``repoman_sync``; see its documentation.

    :raises RepomanError: the run as a whole failed or was interrupted. Failures of single units are in the result.
    """
    options = SyncOptions.from_params(params)
    context = load_context(params, check and params["predict"])
    started = time.monotonic()
    if options.list_versions is not None:
        from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.versions import list_versions

        name = options.list_versions
        versions: dict[str, Any] = context.run_on_target(
            lambda _report: list_versions(context, name), options.idle_timeout, check_liveness=True
        )
        return versions
    now = datetime.now(timezone.utc)
    state: TargetState = context.run_on_target(lambda _report: _inspect(context, options), options.probe_timeout)
    sync = SyncContext(context, options, check, now, state, context.state(state.target))
    return _run_in_child(sync).as_result(time.monotonic() - started)


def _run_in_child(sync: SyncContext) -> SyncReport:
    """Do the work in a child process, and note in the registry what was backed up, also if the run fails or is interrupted."""
    work: Callable[[Report], SyncReport]
    if os.geteuid() == 0 and sync.backup.account.uid:
        # The child drops its privileges, and a module that Ansible ships lies in an archive that only root can read.
        load_engine()
    if sync.options.verify:
        # Comparing trees is a large part of the engine that only this needs.
        from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.verify import VerifyJob

        work = VerifyJob(sync).verify
    else:
        work = SyncJob(sync).sync
    done: list[str] = []
    with ProgressDisplay(sync.check) as display:

        def on_report(message: Any) -> None:
            if isinstance(message, tuple):
                name, result = message
                display.unit_finished(result)
                if result.action in SUCCESS:
                    done.append(name)
            else:
                display.update(message)

        try:
            report: SyncReport = sync.backup.run_on_target(work, sync.options.idle_timeout, check_liveness=True, on_report=on_report)
        finally:
            if not sync.check and not sync.options.verify:
                _note_last_sync(sync.backup, done, sync.now)
    _add_ages(sync, report)
    return report


def _add_ages(sync: SyncContext, report: SyncReport) -> None:
    """Add to units that failed the seconds since the last backup of their project, the longest if there are several."""
    registry = sync.backup.registry
    for unit in report.units:
        if unit.exit_code:
            projects = [project for name, project in registry.projects.items() if sync.backup.project_directory(name) == unit.name]
            ages = [age for project in projects if (age := seconds_since(project.last_sync, sync.now)) is not None]
            unit.sync_age = max(ages, default=None)


def _inspect(context: BackupContext, options: SyncOptions) -> TargetState:
    """Check the target, and measure how long it takes to answer."""
    target, is_new = inspect_target(context.roots, options.init, options.allow_local, options.take_over)
    return TargetState(target, is_new, is_remote(str(nearest_directory(target.root))))


def _note_last_sync(context: BackupContext, units: Iterable[str], now: datetime) -> None:
    """Write to the registry that the projects in these units are backed up, and all units to ``last_sync.json``."""
    directories = set(units)
    if directories:
        with suppress(RepomanError, OSError):  # a convenience: the backup is complete without it
            sync_times.write(str(context.logdir), context.roots.backup_root, directories, iso_time(now), context.account)
    names = {name for name in context.registry.projects if context.project_directory(name) in directories and context.projects[name].backup}
    if not names:
        return
    when = iso_time(now)

    def edit(data: Data) -> None:
        for entry in data.get("project", []):
            if entry.get("name") in names:
                entry["last_sync"] = when

    try:
        edit_file(context.path, edit, context.account)
    except (RepomanError, OSError) as error:  # neither the report nor another error of this run may be lost
        problem = RepomanError.from_os_error(error) if isinstance(error, OSError) else error
        warn(f"the backup of {', '.join(sorted(names))} is complete, but the registry does not have its time: {problem.message}")
