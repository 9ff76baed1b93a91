# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The environment of the command in tests without Incus."""

from __future__ import annotations

import os
from pathlib import Path

from repoman import cli, installation

SOURCES = Path(cli.__file__).parents[2]


def environment(home: Path) -> dict[str, str]:
    """Return the environment of a command with a home directory, without Incus."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "PYTHONPATH": f"{SOURCES}:{installation.collection_root()}",
        "INCUS_SOCKET": str(home / "none"),
        "LANG": "C.UTF-8",
    }
