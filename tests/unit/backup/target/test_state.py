# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of the backup target, for status."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import state
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process import python_probe


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give probes time to answer on a busy machine, too."""
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 60)


def test_backup_target(me: Account) -> None:
    """Its states, one after the other."""
    root = Path(me.home, "backup")
    assert state.target_state(str(root), me) == {"path": str(root), "state": "missing", "detail": "", "free": None}
    (root / ".repoman").mkdir(parents=True)
    found = state.target_state(str(root), me)
    assert found["state"] == "unmarked" and found["free"] > 0
    mark = root / ".repoman/mirror.toml"
    mark.write_text(f'host = "{socket.gethostname()}"\nuser = "{me.name}"\n')
    assert state.target_state(str(root), me)["state"] == "ready"
    mark.write_text(f'host = "{socket.gethostname()}"\nuser = "x\\u001b"\n')
    assert state.target_state(str(root), me) | {"free": 0} == {
        "path": str(root),
        "state": "foreign",
        "detail": f"of x\\x1b on {socket.gethostname()}",
        "free": 0,
    }
    mark.unlink()
    mark.symlink_to("/etc/hostname")
    assert state.target_state(str(root), me)["state"] == "unreadable"
    mark.unlink()
    os.mkfifo(mark)
    assert state.target_state(str(root), me)["state"] == "unreadable"


def test_target_that_does_not_answer(me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe gives up on it; status still works."""
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 0.3)
    monkeypatch.setattr(state, "TARGET_SCRIPT", "import time; time.sleep(300)")
    assert state.target_state("/b", me) == {"path": "/b", "state": "unreachable", "detail": "did not answer within 0.3 s", "free": None}
