# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times as text."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import is_in_future, iso_time, parse_duration


def test_a_time_is_written_in_utc() -> None:
    """Whatever time zone it has."""
    there = timezone(timedelta(hours=2))
    assert iso_time(datetime(2026, 5, 8, 1, 30, tzinfo=there)) == "2026-05-07T23:30:00Z"
    assert iso_time(0) == "1970-01-01T00:00:00Z"
    assert iso_time(1.9) == "1970-01-01T00:00:01Z"


def test_without_a_time_it_is_now() -> None:
    """Later than the one before and earlier than the one after."""
    before = iso_time(datetime.now(timezone.utc))
    assert before <= iso_time() <= iso_time(datetime.now(timezone.utc))


def test_seconds_that_are_no_date_are_an_error() -> None:
    """Repositories may have such times."""
    with pytest.raises((ValueError, OverflowError, OSError)):
        iso_time(1 << 62)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("5m", 300), ("36h", 129600), ("3d", 259200), ("2w", 1209600), ("999999999w", 604799999395200), ("never", None)],
)
def test_duration(text: str, seconds: int | None) -> None:
    """Each unit, and the word for none."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "3", "d", "0d", "-1d", "3 d", "3D", "1.5d", "3d\n", "1d2h", "\u0663d", "Never", "1234567890d", "3y"])
def test_wrong_duration(text: str) -> None:
    """Also a number without a unit: people mean days, and other programs take seconds."""
    with pytest.raises(ValueError, match=rf"\A{re.escape(text)}\Z"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("time", "expected"),
    [
        ("2026-01-03T00:00:00Z", False),
        ("2026-01-03T00:10:00Z", False),
        ("2026-01-03T00:10:01Z", True),
        ("2027-01-01T00:00:00Z", True),
        ("2026-01-03T01:00:00+02:00", False),
        ("2026-01-03T00:30:00", True),
        ("", False),
        ("soon", False),
    ],
)
def test_times_in_the_future(time: str, expected: bool) -> None:
    """Clocks may differ by some minutes; a time without a zone is UTC."""
    assert is_in_future(time, datetime(2026, 1, 3, tzinfo=timezone.utc)) is expected
