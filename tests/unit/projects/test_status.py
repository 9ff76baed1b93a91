# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What status finds out beside Incus: sources, the backup's target, ages."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.projects import status


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is asked has time to answer on a busy machine too."""
    monkeypatch.setattr(status, "PROBE_SECONDS", 60)


def test_missing(me: Account) -> None:
    """Only what certainly does not exist is missing."""
    home = Path(me.home)
    (home / "file").write_text("")
    (home / "dangling").symlink_to("nowhere")
    paths = [str(home / name) for name in ("file", "file/below", "gone", "dangling", ".")]
    assert status.missing(paths, me) == {paths[1], paths[2], paths[3]}
    assert status.missing([], me) == frozenset()


def test_backup_target(me: Account) -> None:
    """Its states, one after the other."""
    root = Path(me.home, "backup")
    assert status.look_at_backup(str(root), me) == {"path": str(root), "state": "missing", "detail": "", "free": None}
    (root / ".repoman").mkdir(parents=True)
    found = status.look_at_backup(str(root), me)
    assert found["state"] == "unmarked" and found["free"] > 0
    mark = root / ".repoman/mirror.toml"
    mark.write_text(f'host = "{socket.gethostname()}"\nuser = "{me.name}"\n')
    assert status.look_at_backup(str(root), me)["state"] == "ready"
    mark.write_text(f'host = "{socket.gethostname()}"\nuser = "x\\u001b"\n')
    assert status.look_at_backup(str(root), me) | {"free": 0} == {
        "path": str(root),
        "state": "foreign",
        "detail": "of user 'x\\x1b'",
        "free": 0,
    }
    mark.unlink()
    mark.symlink_to("/etc/hostname")
    assert status.look_at_backup(str(root), me)["state"] == "unreadable"
    mark.unlink()
    os.mkfifo(mark)
    assert status.look_at_backup(str(root), me)["state"] == "unreadable"


def test_backup_target_that_does_not_answer(me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is given up on, and what else there is is told."""
    monkeypatch.setattr(status, "PROBE_SECONDS", 0.3)
    for name in ("LOOK_AT_BACKUP", "STAT"):
        monkeypatch.setattr(status, name, "import time; time.sleep(300)")
    assert status.look_at_backup("/b", me) == {"path": "/b", "state": "unreachable", "detail": "did not answer within 0.3 s", "free": None}
    assert status.missing(["/gone"], me) == frozenset()


@pytest.mark.parametrize(
    ("last", "seconds"),
    [
        ("2026-01-01T00:00:00Z", 60),
        ("2026-01-01T01:00:00+01:00", 60),
        ("2026-01-01T00:00:00", 60),
        ("2027-01-01T00:00:00Z", 0),
        ("", None),
        ("x", None),
    ],
)
def test_age(last: str, seconds: int | None) -> None:
    """A time of the registry, which people may edit, becomes an age, or none."""
    assert status.age(last, datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc)) == seconds


def test_addresses() -> None:
    """Those at which the container can be reached, IPv4 first."""
    network = {
        "lo": {"addresses": [{"family": "inet", "address": "127.0.0.1", "scope": "local"}]},
        "eth0": {
            "addresses": [
                {"family": "inet6", "address": "fd00::2", "scope": "global"},
                {"family": "inet6", "address": "fe80::2", "scope": "link"},
                {"family": "inet", "address": "10.0.0.2", "scope": "global"},
            ]
        },
    }
    assert status.addresses({"state": {"network": network}}) == ["10.0.0.2", "fd00::2"]
    assert status.addresses({"state": {"network": None}}) == status.addresses(None) == []


def test_what_only_reads_does_not_load_what_mirrors() -> None:
    """The engine of backups is a third of all code: ``list`` and ``status`` begin without it."""
    program = (
        "import sys\n"
        "from ansible_collections.homelab.repoman.plugins.module_utils.backup import context, left_out\n"
        "from ansible_collections.homelab.repoman.plugins.module_utils.projects import status\n"
        "engine = ('backup.mirror.unit_mirror', 'backup.mirror.git.git_mirror', 'backup.mirror.hg', 'backup.sync', 'backup.restore')\n"
        "print([name for name in sys.modules if any('.module_utils.' + part in name for part in engine)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout == "[]\n"
