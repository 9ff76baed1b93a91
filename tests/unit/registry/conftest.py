# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry in an empty home."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry


@pytest.fixture
def path(me: Account) -> str:
    """Return the path of a registry in an empty home; its directory exists."""
    found = Path(registry.default_path(me.home))
    found.parent.mkdir(parents=True)
    return str(found)
