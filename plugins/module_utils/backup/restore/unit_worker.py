# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore one of several units in a worker process; its outcome goes to the process that waits for all."""

from __future__ import annotations

import os
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import NotInBackupError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.objects import restore_objects
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import RestoreOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.selection import UnitRequest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.space import SpaceNeeds
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.unit_restore import UnitRestore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

_logger = get_logger("restore")


@dataclass
class UnitOutcome:
    """What became of one of several units, or would.

    :param name: escaped.
    :param facts: keys of the result that a single restore has, too.
    :param objects: the restored objects, if only these were requested.
    :param needs: the space that a planned restore needs.
    :param is_missing: the failure is that the backup does not have it.
    """

    name: str
    action: Action = Action.SAME
    facts: dict[str, Any] = field(default_factory=dict)
    objects: list[str] | None = None
    notes: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] = field(default_factory=list)
    needs: SpaceNeeds = field(default_factory=dict)
    error: dict[str, Any] = field(default_factory=dict)
    is_missing: bool = False

    @classmethod
    def of(cls, request: UnitRequest) -> UnitOutcome:
        """Return the outcome of a unit with which nothing has happened yet."""
        return cls(escape_path(os.fsencode(request.name)))

    def fail(self, error: RepomanError, action: Action = Action.FAILED) -> UnitOutcome:
        """Make it a failure, and return it."""
        _logger.debug("%s: %s: %s", self.name, action, error.message)
        self.action, self.steps, self.diff = action, [], []
        message = error.message.replace("; nothing was restored.", "; it was not restored.")  # others may have been
        self.error = {"msg": message, "hints": error.hints, "exit_code": error.exit_code}
        self.is_missing = isinstance(error, NotInBackupError)
        return self

    def as_dict(self) -> dict[str, Any]:
        """Return the outcome in the form that the module returns."""
        facts = {"to": "", "files": 0, "bytes": 0, "saved": "", "has_container": False, "replaces_directory": False} | self.facts
        objects = {} if self.objects is None else {"objects": self.objects}
        return {"name": self.name, "action": str(self.action), **facts, **objects, **self.error}


class UnitWorker:
    """Plans units and, unless ``check``, restores them. Nothing of a unit's plan outlives the call, so memory is needed for one only."""

    def __init__(self, context: BackupContext, target: Target, options: RestoreOptions, check: bool) -> None:
        self.context, self.target, self.options, self.check = context, target, options, check

    def restore(self, request: UnitRequest) -> UnitOutcome:
        """Return the outcome of a unit.

        :raises RunInterruptedError: the run was interrupted; the unit is unchanged.
        """
        outcome = UnitOutcome.of(request)
        options = self.options.of_unit(request.name, request.path)
        try:
            with ExitStack() as stack:
                if options.objects:
                    self._restore_objects(request, options, outcome)
                else:
                    self._restore(UnitRestore(self.context, self.target, options, request.path, stack), outcome)
        except RunInterruptedError:
            raise
        except Exception as error:  # whatever it is, it is this unit's alone
            known = RepomanError.from_exception(error)
            if known is None:
                _logger.debug("%s", outcome.name, exc_info=True)
                known = RepomanError(f"{outcome.name} was not restored: {type(error).__name__}: {error}.", options.command())
            outcome.fail(known)
        return outcome

    def _restore(self, restore: UnitRestore, outcome: UnitOutcome) -> None:
        restore.plan()
        outcome.needs = restore.space_needs
        if not self.check and restore.planned.changed:
            restore.apply(lambda _message: None)
        outcome.facts = restore.facts()
        if restore.unit == TOP_LEVEL_FILES:  # whether other units have created the directory in the meantime makes no difference
            outcome.facts["replaces_directory"] = False
        outcome.notes, outcome.diff = restore.notes, restore.diff
        if restore.planned.changed:
            outcome.action = Action.RESTORED
            outcome.steps = [*restore.saving_steps, f"restore {restore.name} to {restore.to} ({plural(restore.files)})"]

    def _restore_objects(self, request: UnitRequest, options: RestoreOptions, outcome: UnitOutcome) -> None:
        result = restore_objects(self.context, self.target, request.name, request.path, check=self.check, diff=options.diff)
        facts = result["restored"]
        outcome.objects = facts.pop("objects")
        outcome.facts = {key: value for key, value in facts.items() if key not in ("name", "from")}
        outcome.notes, outcome.diff, outcome.steps = result["notes"], result["diff"], result["steps"]
        if result["changed"]:
            outcome.action = Action.RESTORED
