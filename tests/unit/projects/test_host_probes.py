# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What status finds out about the host: sources of devices and the backup's target."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.projects import host_probes


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give probes time to answer on a busy machine, too."""
    monkeypatch.setattr(host_probes, "PROBE_TIMEOUT", 60)


def test_missing_paths(me: Account) -> None:
    """Only a path that certainly does not exist is missing."""
    home = Path(me.home)
    (home / "file").write_text("")
    (home / "dangling").symlink_to("nowhere")
    paths = [str(home / name) for name in ("file", "file/below", "gone", "dangling", ".")]
    assert host_probes.missing_paths(paths, me) == {paths[1], paths[2], paths[3]}
    assert host_probes.missing_paths([], me) == frozenset()


def test_backup_target(me: Account) -> None:
    """Its states, one after the other."""
    root = Path(me.home, "backup")
    assert host_probes.probe_backup(str(root), me) == {"path": str(root), "state": "missing", "detail": "", "free": None}
    (root / ".repoman").mkdir(parents=True)
    found = host_probes.probe_backup(str(root), me)
    assert found["state"] == "unmarked" and found["free"] > 0
    mark = root / ".repoman/mirror.toml"
    mark.write_text(f'host = "{socket.gethostname()}"\nuser = "{me.name}"\n')
    assert host_probes.probe_backup(str(root), me)["state"] == "ready"
    mark.write_text(f'host = "{socket.gethostname()}"\nuser = "x\\u001b"\n')
    assert host_probes.probe_backup(str(root), me) | {"free": 0} == {
        "path": str(root),
        "state": "foreign",
        "detail": "of user 'x\\x1b'",
        "free": 0,
    }
    mark.unlink()
    mark.symlink_to("/etc/hostname")
    assert host_probes.probe_backup(str(root), me)["state"] == "unreadable"
    mark.unlink()
    os.mkfifo(mark)
    assert host_probes.probe_backup(str(root), me)["state"] == "unreadable"


def test_backup_target_that_does_not_answer(me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe gives up on it; status still works."""
    monkeypatch.setattr(host_probes, "PROBE_TIMEOUT", 0.3)
    for name in ("BACKUP_SCRIPT", "STAT_SCRIPT"):
        monkeypatch.setattr(host_probes, name, "import time; time.sleep(300)")
    assert host_probes.probe_backup("/b", me) == {
        "path": "/b",
        "state": "unreachable",
        "detail": "did not answer within 0.3 s",
        "free": None,
    }
    assert host_probes.missing_paths(["/gone"], me) == frozenset()
