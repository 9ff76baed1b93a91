# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The plan of a run: made from one read of source and target, shown in check mode, and applied otherwise."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.selection import Selected, UnitSelection
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.steps import Expiry, Initialization, KilledRestores
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.take_over import TakeOver, plan_take_over
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.unit_locks import lock_units
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.probe import check_access
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan


@dataclass
class SyncPlan:
    """The plan of a run, without the mirrors of its units, which are planned in waves.

    :param selected: the units to work on.
    :param busy: failed tasks of units that other runs work on.
    :param excluded: the directories that are not backed up.
    :param restores: leftovers of killed restores.
    :param initialization: None if the target has a marker.
    :param take_over: None if the target belongs to this host and user already.
    :param expiry: the expired versions.
    :param warnings: warnings about the clock.
    :ivar source: steps that change only the source; applied before it is scanned.
    :ivar target: steps that change the target; applied before the first unit is mirrored.
    """

    selected: list[Selected]
    busy: list[UnitTask]
    excluded: Iterable[str]
    restores: KilledRestores
    initialization: Initialization | None
    take_over: TakeOver | None
    expiry: Expiry
    warnings: list[str]
    source: Plan = field(init=False)
    target: Plan = field(init=False)

    def __post_init__(self) -> None:
        """Put the steps in order: expired versions may fill the target, so they are removed before anything is written there."""
        self.source = Plan(self.restores.steps())
        owner = self.initialization or self.take_over
        self.target = Plan([*([owner.step()] if owner else []), *self.expiry.steps()])

    def applied_steps(self, changed_target: bool) -> list[str]:
        """Return the descriptions of the steps that were applied.

        :param changed_target: whether those of the target were.
        """
        if not changed_target:
            return self.restores.finished
        owner = self.initialization or self.take_over
        return [
            *self.restores.finished,
            *([owner.step().description] if owner else []),
            *(self.expiry.description(name) for name in self.expiry.removed),
        ]

    def predicted_steps(self, changes_target: bool) -> list[str]:
        """Return the descriptions of the steps, as check mode shows them.

        :param changes_target: whether those of the target would be applied.
        """
        return [*self.source.descriptions, *(self.target.descriptions if changes_target else [])]


def make_plan(run: SyncContext) -> SyncPlan:
    """Read source and target, and return the plan, without changing them. With locks, also lock the units.

    :raises RepomanError: the run is not possible with these options.
    """
    run.records.read()
    take_over = plan_take_over(run)
    if take_over is not None:
        run.takes_over = run.records.full = True  # this host may have manifests of an earlier time when the target was its own
    check_access(run.backup.roots, run.target)
    restores = KilledRestores(run)
    selection = UnitSelection(run)
    selected = selection.select(restores.units())
    busy: list[UnitTask] = []
    if run.locks is not None:
        selected, busy = lock_units(run, selected)
    past = history.load(run.target, run.now.timestamp())
    clock, keep_days = run.records.current.clock, run.options.keep_days
    return SyncPlan(
        selected,
        busy,
        selection.backup.excluded,
        restores,
        Initialization(run) if run.target_state.is_new else None,
        take_over,
        Expiry(run, past.expired(clock, keep_days)),
        past.warnings(clock, keep_days),
    )


def has_work(planned: Iterable[UnitTask], everything: Iterable[UnitTask]) -> bool:
    """Return whether planned units are a reason to change the target: one of them was not refused, or the run has no units at all.

    :param everything: all units of the run.
    """
    return any(not task.is_refused for task in planned) or not any(True for _task in everything)
