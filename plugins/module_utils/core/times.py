# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times as text, in UTC."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from enum import StrEnum

FORMAT = "%Y-%m-%dT%H:%M:%SZ"
"""ISO 8601, as in the registry, on the target and in results."""
UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
"""Seconds in the units of a duration."""
NEVER = "never"
CLOCK_TOLERANCE = 600
"""Seconds by which a time may be in the future before the clock counts as wrong."""


class SyncState(StrEnum):
    """How recent a backup is. Results have the ``value``."""

    OK = "ok"
    OLD = "old"
    NEVER = "never"
    """It is missing."""
    FUTURE = "future"
    """It is dated in the future: the clock went back, or was ahead when it was made."""


def iso_time(when: datetime | float | None = None) -> str:
    """Return a time in ISO 8601, such as ``2026-11-28T21:04:00Z``.

    :param when: with a time zone, or seconds since the epoch; without it, now.
    :raises ValueError: the seconds are out of range; also :class:`OverflowError` or :class:`OSError`.
    """
    if not isinstance(when, datetime):
        when = datetime.now(timezone.utc) if when is None else datetime.fromtimestamp(when, timezone.utc)
    return when.astimezone(timezone.utc).strftime(FORMAT)


def seconds_since(time: str, now: datetime) -> int | None:
    """Return the age of a time of the registry; ``None`` if it is empty or cannot be read. A time in the future has the age 0."""
    age = _age(time, now)
    return None if age is None else max(0, int(age))


def _age(time: str, now: datetime) -> float | None:
    """Return the seconds since a time of the registry, negative if it is in the future; ``None`` if it is empty or cannot be read."""
    try:
        timestamp = datetime.fromisoformat(time)
    except ValueError:
        return None
    return (now - (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=timezone.utc))).total_seconds()


def parse_duration(text: str) -> int | None:
    """Return the seconds of a duration: a number from 1 and a unit (s, m, h, d or w), such as ``3d``; ``None`` for ``never``.

    A number without a unit is refused, because people mean days, and Ansible's module ``find`` takes seconds.

    :raises ValueError: it is something else.
    """
    if text == NEVER:
        return None
    match = re.fullmatch(r"([0-9]{1,9})([smhdw])", text)
    if match is None or not int(match[1]):
        raise ValueError(text)
    return int(match[1]) * UNITS[match[2]]


def is_in_future(time: str, now: datetime) -> bool:
    """Return whether a time of the registry is later than the clock allows: the clock went back, or was ahead when the time was written."""
    age = _age(time, now)
    return age is not None and -age > CLOCK_TOLERANCE


def sync_state(time: str, now: datetime, stale_after: int | None) -> SyncState:
    """Return how recent a backup is.

    :param time: of the last one, ISO 8601; empty if there was none.
    :param stale_after: seconds after which it is old; ``None`` if neither an old nor a missing one matters.
    """
    if is_in_future(time, now):
        return SyncState.FUTURE
    if stale_after is None:
        return SyncState.OK
    age = seconds_since(time, now)
    if age is None:
        return SyncState.NEVER
    return SyncState.OLD if age > stale_after else SyncState.OK
