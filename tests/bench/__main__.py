# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure and report. usage: python -m bench [options]; see --help."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "integration")]

from bench.command import main  # noqa: E402 - the helpers of the tests are found only now

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
