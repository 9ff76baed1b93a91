# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The times of the last backups, also of directories without a project."""

from __future__ import annotations

import stat
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.projects.mirrors import find_mirror, last_sync_of_mirror
from ansible_collections.homelab.repoman.plugins.module_utils.registry import sync_times
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Defaults

ONE, TWO = "2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"


def test_times_of_one_target(tmp_path: Path, me: Account) -> None:
    """A later run replaces those of its directories only; another target has none; the file is private."""
    log = str(tmp_path / "log")
    assert sync_times.read(log, "/b") == {}
    sync_times.write(log, "/b", ["isurus", "lamna"], ONE, me)
    sync_times.write(log, "/b", ["lamna"], TWO, me)
    assert sync_times.read(log, "/b") == {"isurus": ONE, "lamna": TWO} and sync_times.read(log, "/c") == {}
    file = tmp_path / "log/times/last_sync.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"/b": 1}', '{"/b": {"isurus": 1}}', "\0"])
def test_a_damaged_file_is_replaced(tmp_path: Path, me: Account, text: str) -> None:
    """It has no times, and the next run writes it anew."""
    file = tmp_path / "times/last_sync.json"
    file.parent.mkdir()
    file.write_text(text, encoding="utf-8")
    assert sync_times.read(str(tmp_path), "/b") == {}
    sync_times.write(str(tmp_path), "/b", ["isurus"], ONE, me)
    assert sync_times.read(str(tmp_path), "/b") == {"isurus": ONE}


def test_the_last_backup_of_a_project_that_was_removed(tmp_path: Path, me: Account) -> None:
    """It is known as long as the mirror exists; a project below another directory has the mirror of that one."""
    target = tmp_path / "target"
    defaults = replace(Defaults(), backup_root=str(target), logdir=str(tmp_path / "log"))
    context: Any = SimpleNamespace(account=me, registry=SimpleNamespace(defaults=defaults))
    sync_times.write(defaults.logdir, str(target), ["sharks", "isurus"], ONE, me)
    (target / "sharks").mkdir(parents=True)
    assert (find_mirror(context, "sharks/lamna"), last_sync_of_mirror(context, "sharks/lamna")) == (str(target / "sharks"), ONE)
    assert (find_mirror(context, "isurus"), last_sync_of_mirror(context, "isurus")) == ("", "")
    assert (find_mirror(context, "/elsewhere"), last_sync_of_mirror(context, "/elsewhere")) == ("", "")
