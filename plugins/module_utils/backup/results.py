# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of a backup run: one for each unit, and that of the whole run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word

_logger = get_logger("backup")


class Action(StrEnum):
    """Actions of a backup or restore on a unit, done or predicted."""

    SYNCED = "synced"
    UNCHANGED = "unchanged"
    RETIRED = "retired"
    """Its source is gone; its mirror was moved to the history."""
    RESTORED = "restored"
    SAME = "same"
    DIFFERS = "differs"
    BUSY = "busy"
    FAILED = "failed"
    SKIPPED = "skipped"
    """Only of the settings: the run refused all units, so it did not change the target."""


SUCCESS = (Action.SYNCED, Action.UNCHANGED, Action.RETIRED)
"""Actions after which the mirror is up to date."""

BAD = (Action.FAILED, Action.BUSY, Action.DIFFERS)
"""Actions that make the run a failure."""


def differences_hints(names: Iterable[str]) -> list[str]:
    """Return the remedy for units that differ from their mirrors. A run without ``--full`` does not find a mirror that changed by itself."""
    words = " ".join(shell_word(name) for name in names)
    return [f"repoman sync --full {words}   # if the repositories are right; what it replaces goes to the history"] if words else []


MAX_HINTS = 4
"""Hints of the whole run, of which each failure may have several."""

ACTION_LABELS: Mapping[str, str] = {
    Action.SYNCED: "synced",
    Action.UNCHANGED: "up to date",
    Action.RETIRED: "retired",
    Action.RESTORED: "restored",
    Action.SAME: "same",
    Action.DIFFERS: "differs",
    Action.BUSY: "too busy",
    Action.FAILED: "failed",
    Action.SKIPPED: "skipped",
}
"""Actions as the command shows them."""


@dataclass
class UnitResult:
    """The result of one unit; the fields are documented in the module ``repoman_sync``. Fields that are None are left out."""

    name: str
    action: Action = Action.UNCHANGED
    files: int = 0
    bytes: int = 0
    kept_bytes: int = 0
    first: bool | None = None
    created: int | None = None
    changed: int | None = None
    removed: int | None = None
    notes: list[str] | None = None
    damaged: list[str] | None = None
    differences: list[str] | None = None
    msg: str | None = None
    hints: list[str] | None = None
    exit_code: int | None = None
    sync_age: int | None = None

    def fail(self, error: RepomanError, action: Action = Action.FAILED) -> None:
        """Make it a failure."""
        _logger.debug("%s: %s: %s", self.name, action, error.message)
        self.action = action
        self.msg, self.hints, self.exit_code = error.message, error.hints, error.exit_code

    def as_dict(self) -> dict[str, Any]:
        """Return the result in the form that modules return."""
        values = {field_.name: getattr(self, field_.name) for field_ in fields(self)}
        return {key: value for key, value in values.items() if value is not None} | {"action": str(self.action)}


@dataclass
class SyncReport:
    """The report of a run, or of a prediction.

    :param target: directory of the backup, links resolved.
    :param steps: other steps than those of units, one sentence each.
    :param expired: versions removed from the history; None if the run removes none, as with ``verify``.
    :param settings: the result of the host's settings, which are not a unit; None if the run does not reach them.
    :param diff: changed paths of each unit, in the form that Ansible shows.
    :param previous_owner: of a target that was taken over: ``host``, ``user`` and ``last_run``.
    :param unverified: number of repositories that are backed up but cannot be verified.
    """

    target: str
    units: list[UnitResult]
    steps: list[str] = field(default_factory=list)
    expired: list[str] | None = None
    warnings: list[str] = field(default_factory=list)
    diff: list[dict[str, str]] | None = None
    unverified: int = 0
    previous_owner: dict[str, str] | None = None
    settings: UnitResult | None = None

    @property
    def changed(self) -> bool:
        """True if the backup was changed."""
        return bool(self.steps) or any(unit.action in (Action.SYNCED, Action.RETIRED) for unit in self.units)

    def as_result(self, seconds: float) -> dict[str, Any]:
        """Return the result of the module: a failure if a unit failed.

        :param seconds: duration of the run.
        """
        result: dict[str, Any] = {
            "changed": self.changed,
            "steps": self.steps,
            "units": [unit.as_dict() for unit in self.units],
            "target": self.target,
            "warnings": self.warnings,
            "summary": self._summary(seconds),
        }
        settings = None if self.settings is None else self.settings.as_dict()
        optional = {"expired": self.expired, "previous_owner": self.previous_owner, "diff": self.diff, "settings": settings}
        result |= {key: value for key, value in optional.items() if value is not None}
        return result | self._failure()

    def _summary(self, seconds: float) -> dict[str, Any]:
        actions = [str(unit.action) for unit in self.units]
        counts = {action: actions.count(action) for action in sorted(set(actions))}
        if Action.RETIRED in counts:
            counts["gone"] = counts[Action.RETIRED]  # the key of earlier releases
        return counts | {
            "files": sum(unit.files for unit in self.units),
            "bytes": sum(unit.bytes for unit in self.units),
            "kept_bytes": sum(unit.kept_bytes for unit in self.units),
            "seconds": round(seconds, 2),
            "unverified": self.unverified,
        }

    def _failure(self) -> dict[str, Any]:
        """Return the keys that make the result a failure; empty if neither a unit nor the settings failed."""
        failures = [failure for failure in (self._unit_failure(), self._settings_failure()) if failure]
        if not failures:
            return {}
        return {
            "failed": True,
            "msg": " ".join(failure["msg"] for failure in failures),
            "hints": [hint for failure in failures for hint in failure["hints"]][:MAX_HINTS],
            "exit_code": max(failure["exit_code"] for failure in failures),
        }

    def _unit_failure(self) -> dict[str, Any]:
        bad = [unit for unit in self.units if unit.action in BAD]
        if not bad:
            return {}
        is_verification = any(unit.differences is not None for unit in self.units)
        verb = "differ from their mirrors, or cannot be compared" if is_verification else "were not backed up"
        names = ", ".join(unit.name for unit in bad)
        return {
            "failed": True,
            "msg": bad[0].msg if len(bad) == 1 and bad[0].msg else f"{len(bad)} of {len(self.units)} {verb}: {names}.",
            "hints": differences_hints(unit.name for unit in bad if unit.action == Action.DIFFERS)
            + [hint for unit in bad for hint in unit.hints or ()],
            "exit_code": max(1 if unit.exit_code is None else unit.exit_code for unit in bad),
        }

    def _settings_failure(self) -> dict[str, Any]:
        if self.settings is None or self.settings.action not in BAD:
            return {}
        return {
            "failed": True,
            "msg": self.settings.msg,
            "hints": self.settings.hints or [],
            "exit_code": self.settings.exit_code or 1,
        }
