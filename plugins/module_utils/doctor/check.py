# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A check of ``doctor``, its result, and the run of all checks."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import first_of
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.doctor.context import DoctorContext, MissingRequirementError, Requirement
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import UnreachableError

MAX_NAMED = 3
"""Names that one message lists."""
MAX_HINTS = 5
"""Hints of the same kind that one result has."""


class Status(StrEnum):
    """The result of a check in one word. Results have the ``value``."""

    OK = "ok"
    WARN = "warn"
    """It works, but something should be looked at."""
    FAIL = "fail"
    """Something does not work."""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a check.

    :param message: a phrase without a full stop.
    :param hints: remedies, each a command or a sentence.
    """

    status: Status
    message: str
    hints: tuple[str, ...] = ()


@dataclass(frozen=True)
class Check:
    """A check.

    :param name: its name in results.
    :param subject: the subject, for the line about checks that could not be made.
    :param run: makes the check.
    """

    name: str
    subject: str
    run: Callable[[DoctorContext], Outcome]


def ok(message: str) -> Outcome:
    """Return an outcome without a problem."""
    return Outcome(Status.OK, message)


def warn(message: str, *hints: str) -> Outcome:
    """Return an outcome that should be looked at."""
    return Outcome(Status.WARN, message, hints)


def fail(message: str, *hints: str) -> Outcome:
    """Return an outcome that needs a remedy."""
    return Outcome(Status.FAIL, message, hints)


def failure(error: RepomanError) -> Outcome:
    """Return the outcome for an error."""
    return fail(error.message.rstrip("."), *error.hints)


def listing(names: Iterable[str]) -> str:
    """Return the first names of a list, and how many more there are."""
    return first_of(list(names), MAX_NAMED)


def run_checks(checks: Iterable[Check], context: DoctorContext) -> list[dict[str, Any]]:
    """Make all checks, and return their results in order.

    A check that raises an error fails. Checks that lack a requirement, such as Incus, are listed at the end, in one result for each
    requirement.
    """
    results: list[dict[str, Any]] = []
    not_made: dict[Requirement, list[str]] = {}
    for check in checks:
        try:
            outcome = _make(check, context)
        except MissingRequirementError as missing:
            not_made.setdefault(missing.requirement, []).append(check.subject)
            continue
        get_logger("doctor").debug("%s: %s: %s", check.name, outcome.status, outcome.message)
        results.append(_as_result(check.name, outcome))
    for requirement, subjects in not_made.items():
        message = f"not checked without {requirement.value}: {', '.join(subjects)}"
        results.append(_as_result(f"without_{requirement.name.lower()}", warn(message)))
    return results


def summary(results: Iterable[dict[str, Any]]) -> dict[str, int]:
    """Return the number of results of each status."""
    statuses = [result["status"] for result in results]
    return {status.value: statuses.count(status.value) for status in Status}


def _make(check: Check, context: DoctorContext) -> Outcome:
    """Make a check; an error becomes its outcome.

    :raises MissingRequirementError: it cannot be made.
    """
    try:
        return check.run(context)
    except UnreachableError as error:
        context.note_unreachable(error)
        return failure(error)
    except RepomanError as error:
        return failure(error)
    except OSError as error:
        return failure(RepomanError.from_os_error(error))


def _as_result(name: str, outcome: Outcome) -> dict[str, Any]:
    return {"name": name, "status": outcome.status.value, "message": outcome.message, "hints": list(outcome.hints)}
