# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The status of a project."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from datetime import datetime, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import seconds_since
from ansible_collections.homelab.repoman.plugins.module_utils.projects import status


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
def test_seconds_since(last: str, seconds: int | None) -> None:
    """A time of the registry, which may be edited by hand, becomes an age or ``None``."""
    assert seconds_since(last, datetime(2026, 1, 1, 0, 1, tzinfo=timezone.utc)) == seconds


def test_addresses() -> None:
    """Only addresses at which the container can be reached, IPv4 first."""
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
    assert status.addresses({"state": {"network": {"eth0": {}, "eth1": {"addresses": None}}}}) == []
    assert status.addresses({"state": {"network": None}}) == status.addresses(None) == []


@pytest.mark.parametrize(
    ("settings", "is_optional"),
    [
        ({"required": "false"}, True),
        ({"required": "No"}, True),
        ({"required": "true"}, False),
        ({"required": ""}, False),
        ({}, False),
        ({"required": "false", "pool": "default"}, False),
        ({"required": "false", "source": "tmpfs:"}, False),
        ({"required": "false", "type": "unix-char"}, False),
    ],
)
def test_optional_sources(settings: dict[str, str], is_optional: bool) -> None:
    """Only mounts of the host that need not exist, as Incus reads the value."""
    instance = {"expanded_devices": {"data": {"type": "disk", "source": "/data", "path": "/x", **settings}}}
    assert status.optional_sources({}, instance, {}) == ({"data": "/data"} if is_optional else {})


def test_reading_does_not_load_the_backup_engine() -> None:
    """The backup is a third of all code: ``list`` does not load it, and ``status`` only loads its rules."""
    program = (
        "import sys\n"
        "def loaded(*parts): return [name for name in sys.modules if any('.module_utils.' + part in name for part in parts)]\n"
        "engine = ('backup.mirror.unit_mirror', 'backup.mirror.git.git_mirror', 'backup.mirror.hg', 'backup.sync', 'backup.restore')\n"
        "from ansible_collections.homelab.repoman.plugins.modules import repoman_project_info\n"
        "print(loaded('backup.'))\n"
        "from ansible_collections.homelab.repoman.plugins.module_utils.backup import context, left_out\n"
        "print(loaded(*engine))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout == "[]\n[]\n"


def test_projects_are_compared_while_repositories_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them is waiting for other programs, so it need not be over first."""
    compared = threading.Event()

    def read(paths: dict[str, str], *_how: Any) -> dict[str, Any]:
        assert compared.wait(60)
        return dict.fromkeys(paths, "state")

    def compare(_context: Any, summary: dict[str, Any], *_how: Any) -> dict[str, Any]:
        compared.set()
        return {"differences": [summary["name"]]}

    nothing = dict[str, Any]()
    for name, value in (
        ("read_states", read),
        ("project_details", compare),
        *((name, lambda *_any: nothing) for name in ("read_installed", "status_overlaps", "missing_paths", "probe_address")),
        *((name, lambda *_any: []) for name in ("library_of", "list_all", "root_disk_warnings")),
    ):
        monkeypatch.setattr(status, name, value)
    account = SimpleNamespace(name="me", home="/")
    version = SimpleNamespace(data={"environment": {"server_version": "6.0"}})
    context: Any = SimpleNamespace(
        account=account,
        registry=SimpleNamespace(lan_ip=""),
        registry_path="/r",
        repos_root="/",
        incus_project="repoman",
        client=SimpleNamespace(path="/s", read=lambda *_any: version),
        read_other_instances=dict,
    )
    summaries = [{"name": name, "state": "missing", "repo": f"/{name}", "repo_exists": True, "profiles": []} for name in "ab"]
    result = status.read_status(context, summaries, {}, {"vcs_timeout": 5.0})
    assert [(each["name"], each["differences"], each["vcs"]) for each in result["projects"]] == [
        ("a", ["a"], "state"),
        ("b", ["b"], "state"),
    ]
