# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: options, verbs, help, and the action of each verb."""

from __future__ import annotations

import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the console script ``repoman``.

    :param argv: the arguments; default: those of this process.
    :returns: the exit code.
    """
    from repoman.cli.command import run

    return run(sys.argv[1:] if argv is None else argv)
