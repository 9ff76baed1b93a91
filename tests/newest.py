# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest git and Mercurial, and the oldest Mercurial that is supported, which ``make newest`` puts beside those of the machine."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

NEWEST = Path(__file__).parents[1] / ".dev/newest"


def newest(name: str) -> Path:
    """Return the program, or skip the test where this machine cannot have it; automated runs have to have it.

    :param name: ``git``, ``hg`` or ``oldest-hg``.
    """
    program = NEWEST / name / "bin" / name.rpartition("-")[2]
    if (NEWEST / name / ".done").exists():
        return program
    if (absent := NEWEST / name / "absent").exists():
        pytest.skip(f"needs another {name}: {absent.read_text().strip()}")
    if os.environ.get("CI"):
        pytest.fail(f"{program} is missing: run 'make newest' in a checkout")
    pytest.skip(f"needs another {name}: run 'make newest' in a checkout")
