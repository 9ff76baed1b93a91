# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Setup, against a daemon that answers by script."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.registry import setup

MISSING = {"status": 404, "kind": "error", "error": "Project not found", "error_code": 404}
REFUSED = {"status": 500, "kind": "error", "error": "no", "error_code": 500}


def test_only_its_own_project_is_undone(daemon: Any, reply: Any) -> None:
    """A project with other features, which another program made in the meantime, stays."""
    daemon.say(reply(**MISSING))
    steps = setup.incus_project_steps("repoman", Client(daemon.path))
    daemon.say(reply(**REFUSED), reply({"name": "repoman", "config": {"features.images": "true"}}))
    with pytest.raises(IncusError):
        Plan(steps).apply()
    assert "DELETE" not in [method for method, _target in daemon.requests]


def test_what_may_fail_is_read_before_anything_changes(tmp_path: Path, daemon: Any, reply: Any) -> None:
    """A profile that cannot be read fails the run while there is nothing to undo."""
    path = tmp_path / "repoman.toml"
    daemon.say(reply(**MISSING), reply(**REFUSED))
    params = {"user": None, "registry_path": str(path), "socket": daemon.path, "timeout": 5.0, "output": None, "defaults": None}
    result = run_logic(setup.run, params | {"host": {"lan_ip": "192.0.2.1"}, "predict": False}, False)
    assert result["failed"] and result["hints"]
    assert [method for method, _target in daemon.requests] == ["GET", "GET"] and not path.exists()
