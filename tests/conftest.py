# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What all tests share: where their helpers are, and the marks.

``ansible-test units`` runs the tests without the configuration in pyproject.toml, so it is here.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "unit")]

if HERE.parents[2].name == "ansible_collections":
    # Programs that the tests start must find the collection: the loader that ansible-test installs serves its own process.
    COLLECTIONS = str(HERE.parents[3])
    sys.path.append(COLLECTIONS)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), COLLECTIONS)))

MARKS = (
    "engine: tables that drive the backup engine through hundreds of repositories; `make test-unit` leaves them out",
    "disk: tmp_path is on the disk, also where temporary files are in memory",
    "xdist_group(name): tests of a group run one after the other, in one process",  # pytest-xdist may be absent
)


def pytest_configure(config: pytest.Config) -> None:
    """Tell pytest the marks."""
    for mark in MARKS:
        config.addinivalue_line("markers", mark)
