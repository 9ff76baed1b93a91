# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The results of a run that works on several things."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any


class Action(StrEnum):
    """The change of a project or profile; in check mode, the predicted one. Results have the ``value``: Ansible takes plain strings only."""

    CREATED = "created"
    INSTALLED = "installed"
    UPDATED = "updated"
    STARTED = "started"
    STOPPED = "stopped"
    RESTARTED = "restarted"
    REMOVED = "removed"
    COPIED = "copied"
    UNCHANGED = "unchanged"
    ABSENT = "absent"
    """It did not exist, so there was nothing to remove."""
    FAILED = "failed"
    """Nothing changed; the result has ``msg``, ``hints`` and ``exit_code``."""


def merge_failures(results: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return the keys of a failed module's result: all messages, with hints and exit code of the worst failure; empty if none failed.

    A result with an ``exit_code`` has failed; its action is that of what was changed nevertheless.
    """
    failures = [result for result in results if result.get("exit_code")]
    if not failures:
        return {}
    worst = max(failures, key=lambda result: int(result["exit_code"]))
    return {
        "failed": True,
        "msg": " ".join(result["msg"] for result in failures),
        "hints": worst["hints"],
        "exit_code": worst["exit_code"],
    }
