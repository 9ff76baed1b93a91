# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times as text, in UTC."""

from __future__ import annotations

from datetime import datetime, timezone

FORMAT = "%Y-%m-%dT%H:%M:%SZ"
"""ISO 8601, as in the registry, on the target and in results."""


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
    try:
        timestamp = datetime.fromisoformat(time)
    except ValueError:
        return None
    return max(0, int((now - (timestamp if timestamp.tzinfo else timestamp.replace(tzinfo=timezone.utc))).total_seconds()))
