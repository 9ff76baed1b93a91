# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repositories that do not exist."""

from __future__ import annotations

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import existing_repository
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse


def test_the_backup_comes_before_an_empty_repository(me: Account) -> None:
    """The first hint brings the work back. After ``git init`` it could not: restore refuses a directory that exists."""
    context = RunContext(me, "/r.toml", parse("[repoman]\nschema = 3\n", "/r.toml"), Client("/nonexistent"))
    with pytest.raises(NotFoundError) as caught:
        existing_repository("my demo", context, "demo")
    path = f"'{context.repos_root}/my demo'"
    assert caught.value.hints[:2] == ["repoman restore demo   # if it was backed up", f"git init {path}   # if it is a new one"]
