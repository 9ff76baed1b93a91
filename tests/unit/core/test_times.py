# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Times as text."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time


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
