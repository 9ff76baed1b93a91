# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The state of a repository, for tests of what is printed about it."""

from __future__ import annotations

from typing import Any

CLEAN: dict[str, Any] = {
    "kind": "git",
    "branch": "main",
    "bookmark": "",
    "commit": "0123456789abcdef",
    "detached": False,
    "bare": False,
    "staged": 0,
    "unstaged": 0,
    "conflicts": 0,
    "untracked": 0,
    "upstream": "origin/main",
    "ahead": 0,
    "behind": 0,
    "last_commit": "2026-01-02T00:00:00Z",
    "problem": "",
}
"""A git repository without changes, whose branch is that of its upstream."""
