# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Fixtures of the tests of profiles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.changes import ProfileContext
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.install_record import InstallRecord
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import Library
from profile_fixtures import HOST


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """Return a library of two empty directories."""
    for name in ("users", "vendors"):
        (tmp_path / name).mkdir()
    return Library(user_dir=str(tmp_path / "users"), vendor_dir=str(tmp_path / "vendors"))


@pytest.fixture
def context(library: Library, client: incus.Client, me: Account) -> ProfileContext:
    """Return the context of a run."""
    state = f"{me.home}/state"
    return ProfileContext(library, HOST, client, me, saved_dir=f"{state}/replaced", record=InstallRecord(state, me))


@pytest.fixture
def client(daemon: Any) -> Iterator[incus.Client]:
    """Yield a client of the scripted daemon."""
    connection = incus.Client(daemon.path)
    yield connection
    connection.close()
