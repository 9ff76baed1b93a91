# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host for status: sources of devices."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.process import python_probe
from ansible_collections.homelab.repoman.plugins.module_utils.projects import host_probes


@pytest.fixture(autouse=True)
def enough_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give probes time to answer on a busy machine, too."""
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 60)


def test_missing_paths(me: Account) -> None:
    """Only a path that certainly does not exist is missing."""
    home = Path(me.home)
    (home / "file").write_text("")
    (home / "dangling").symlink_to("nowhere")
    paths = [str(home / name) for name in ("file", "file/below", "gone", "dangling", ".")]
    assert host_probes.missing_paths(paths, me) == {paths[1], paths[2], paths[3]}
    assert host_probes.missing_paths([], me) == frozenset()


def test_file_system_that_does_not_answer(me: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe gives up on it: what cannot be read does not count as missing."""
    monkeypatch.setattr(python_probe, "PROBE_TIMEOUT", 0.3)
    monkeypatch.setattr(host_probes, "STAT_SCRIPT", "import time; time.sleep(300)")
    assert host_probes.missing_paths(["/gone"], me) == frozenset()
