# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Numbers as people read them."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import (
    format_age,
    format_duration,
    shorten,
    shorten_home,
)


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


def test_age() -> None:
    """A duration ago; less than a minute is now."""
    assert [format_age(seconds) for seconds in (0, 59, 60, 90000)] == ["just now", "just now", "1 minute ago", "1 day ago"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("/home/me/a", "~/a"),
        ("/home/me", "~"),
        ("/home/me (missing)", "~ (missing)"),
        ("/home/mercury/a", "/home/mercury/a"),
        ("/srv/home/me/a", "/srv/home/me/a"),
        ("mount /home/me/a at /home/me/b (/home/me/c)", "mount ~/a at ~/b (~/c)"),
        ("cannot read /home/me, /home/me: no", "cannot read ~, ~: no"),
        ("cd '/home/me/a b'", "cd '/home/me/a b'"),
        ("x=/home/me/a", "x=/home/me/a"),
    ],
)
def test_home(text: str, expected: str) -> None:
    """Paths below the home directory begin with ``~``, but not where a shell would leave it as it is."""
    assert shorten_home(text, "/home/me") == shorten_home(text, "/home/me/") == expected
    assert shorten_home(text, "") == shorten_home(text, "/") == text


def test_shorten() -> None:
    """Text that fits stays; an ellipsis counts as a column."""
    assert (shorten("abcdef", 6), shorten("abcdef", 5), shorten("abc def", 5), shorten("/a/b/c", 4, keep_end=True)) == (
        "abcdef",
        "abcd…",
        "abc…",
        "…b/c",
    )
