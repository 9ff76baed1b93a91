# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers as people read them."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import format_duration


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "less than a minute"),
        (59, "less than a minute"),
        (60, "1 minute"),
        (7199, "1 hour"),
        (7200, "2 hours"),
        (3 * 86400 + 5, "3 days"),
    ],
)
def test_duration(seconds: float, expected: str) -> None:
    """The largest unit counts, rounded down."""
    assert format_duration(seconds) == expected
