# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lock the units of a run; those that other runs work on are busy."""

from __future__ import annotations

from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.selection import Selected
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import another_run, busy_error


def lock_units(run: SyncContext, selected: list[Selected]) -> tuple[list[Selected], list[UnitTask]]:
    """Lock units; return the locked ones, and failed tasks for those that other runs work on.

    :raises ConflictError: other runs work on all of them.
    """
    locked_since = run.held_locks.try_lock([selection.name for selection in selected], record_time=not run.options.verify)
    if locked_since and len(locked_since) == len(selected):
        raise busy_error(*next(iter(locked_since.items())), run.state) if len(locked_since) == 1 else another_run(run.target, run.state)
    run.records.read()
    busy = []
    for selection in selected:
        if selection.name in locked_since:
            task = UnitTask.of(selection.unit)
            task.is_absent = True
            task.result.fail(busy_error(selection.name, locked_since[selection.name], run.state), Action.BUSY)
            busy.append(task)
    return [selection for selection in selected if selection.name not in locked_since], busy
