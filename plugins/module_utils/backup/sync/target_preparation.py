# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The first changes to the target: everything before the first unit is mirrored."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from dataclasses import replace

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.work_directories import prepare_directories
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.plan import SyncPlan
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import inspect_target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import became_another_error, check_marker, read_marker
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.probe import check_writable
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step


class TargetPreparation:
    """Applies the target's part of a plan, and prepares the target for this run.

    :param settings: of the mirror engine.
    :param stack: closes what the run opens.
    """

    def __init__(self, run: SyncContext, plan: SyncPlan, settings: MirrorOptions, stack: ExitStack) -> None:
        self.run, self.plan, self.settings, self.stack = run, plan, settings, stack
        self._planned = self._own_records()

    def apply(self) -> MirrorOptions:
        """Apply the plan, and return the settings with this run's directory. If that fails, a target that this run has initialized is reverted.

        :raises RepomanError: the target cannot be written, is a different one now, or another host works on it.
        """
        self._check_again()
        if self.plan.initialization:
            self.stack.callback(self.plan.initialization.clean_up)
        Plan([*self.plan.target.steps, Step(f"prepare {self.run.target.root} for this run", self._prepare)]).apply()
        return self.settings

    def _check_again(self) -> None:
        """Repeat the checks that allow writing: scanning takes time, and the target may be unmounted or in use by now."""
        run, options = self.run, self.run.options
        target, is_new = inspect_target(run.backup.roots, options.init, options.allow_local, options.take_over)
        if is_new != run.target_state.is_new or not (is_new or target == run.target):
            raise became_another_error(run.backup.roots)
        run.held_locks.check_other_hosts()

    def _prepare(self) -> None:
        """Make this run's directory, remove those of failed runs, and lock the target against other hosts.

        The lock comes last: on a full target it can be written only once there is space.

        :raises RepomanError: the target cannot be written, or another host works on it.
        """
        run = self.run
        try:
            temporaries = run.held_locks.private_directory(run.target.internal_path("work"), keep=("new",))
            self.settings = replace(self.settings, temporaries=self.stack.enter_context(temporaries))
            with suppress(OSError):
                names = {unit.name for unit in list_units(run.repos_root)} - set(self.plan.excluded)
                prepare_directories(self.settings, names)
        except OSError:
            check_writable(run.backup.roots, run.target)
            raise
        check_writable(run.backup.roots, run.target)
        run.held_locks.acquire_host_lock()
        self._check_owner()
        run.records.read()
        if self._own_records() != self._planned:  # the kernel's locks do not hold off runs of another machine
            raise ConflictError(f"another run has just started to work on {run.target.root}.", "wait for it to finish")

    def _check_owner(self) -> None:
        """Check, now that no other host can change the marker, that it is ours: another host may have taken the target over.

        :raises ConflictError: it has, or the target is a different one.
        """
        roots, target = self.run.backup.roots, self.run.target
        marker = read_marker(target.root)
        if marker is None or marker.get("id") != target.ident:
            raise became_another_error(roots)
        check_marker(roots, target.root, marker)

    def _own_records(self) -> dict[str, tuple[str, float]]:
        """Return the records of the mirrors that this run has locked: the plan relies on them."""
        names = {selection.name for selection in self.plan.selected}
        return {name: (record.digest, record.full) for name, record in self.run.records.current.units.items() if name in names}
