# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Results of a backup run, as the module returns them."""

from __future__ import annotations

import json

from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import ACTION_LABELS, Action, SyncReport, UnitResult
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError


def report(*units: UnitResult) -> SyncReport:
    """Return a report of these units."""
    return SyncReport("/backup", list(units))


def test_a_unit_that_did_nothing_has_only_the_common_fields() -> None:
    """Fields without a value are left out, and the action is plain text."""
    found = UnitResult("isurus").as_dict()
    assert found == {"name": "isurus", "action": "unchanged", "files": 0, "bytes": 0, "kept_bytes": 0}
    assert not isinstance(found["action"], Action)


def test_a_failure_keeps_message_hints_and_exit_code() -> None:
    """A unit that fails has the error's fields; a busy one keeps its action."""
    unit = UnitResult("isurus")
    unit.fail(ConflictError("no.", "try"), Action.BUSY)
    assert unit.as_dict() | {"msg": "no.", "hints": ["try"], "exit_code": 4, "action": "busy"} == unit.as_dict()


def test_a_run_with_one_failure_has_its_message_and_the_worst_exit_code() -> None:
    """One failure speaks for the run; several are counted and named."""
    bad, worse = UnitResult("a"), UnitResult("b")
    bad.fail(RepomanError("a failed.", "hint a"))
    one = report(bad, UnitResult("c")).as_result(1.234)
    assert (one["failed"], one["msg"], one["hints"], one["exit_code"]) == (True, "a failed.", ["hint a"], 1)
    worse.fail(ConflictError("b failed."))
    two = report(bad, worse, UnitResult("c")).as_result(1.234)
    assert (two["msg"], two["exit_code"]) == ("2 of 3 were not backed up: a, b.", 4)
    assert two["summary"] == {"failed": 2, "unchanged": 1, "files": 0, "bytes": 0, "kept_bytes": 0, "seconds": 1.23, "unverified": 0}
    json.dumps(two)


def test_differences_fail_a_verification() -> None:
    """A unit that differs fails the run, with its own sentence; nothing was changed."""
    units = [UnitResult(name, Action.DIFFERS, differences=[">f x"]) for name in "ab"]
    found = report(*units).as_result(0)
    assert (found["changed"], found["msg"]) == (False, "2 of 2 differ from their mirrors, or cannot be compared: a, b.")
    assert found["hints"] == ["repoman sync --full a b   # if the repositories are right; what it replaces goes to the history"]
    assert "expired" not in found and "diff" not in found


def test_what_a_run_changed() -> None:
    """Synced and retired units, and steps, are changes; each action has a label."""
    assert not report(UnitResult("a")).changed
    assert report(UnitResult("a", Action.RETIRED)).changed and report(UnitResult("a", Action.SYNCED)).changed
    assert SyncReport("/backup", [], steps=["make it the backup"]).changed
    assert set(ACTION_LABELS) == set(Action)


def test_a_retired_mirror_is_also_counted_under_the_key_of_earlier_releases() -> None:
    """Playbooks may read either."""
    summary = report(UnitResult("a", Action.RETIRED), UnitResult("b")).as_result(0)["summary"]
    assert (summary["retired"], summary["gone"], summary["unchanged"]) == (1, 1, 1)
