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
    held = run.held_locks.try_lock([each.name for each in selected], noted=not run.options.verify)
    if held and len(held) == len(selected):
        raise busy_error(*next(iter(held.items())), run.state) if len(held) == 1 else another_run(run.target, run.state)
    run.records.read()
    busy = []
    for each in selected:
        if each.name in held:
            task = UnitTask.of(each.unit)
            task.is_absent = True
            task.result.fail(busy_error(each.name, held[each.name], run.state), Action.BUSY)
            busy.append(task)
    return [each for each in selected if each.name not in held], busy
