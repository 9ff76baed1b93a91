# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A play that becomes root serves root, unless it names a user: that is rarely intended, so one warning says so."""

from __future__ import annotations

import os
import pwd
import sys
from pathlib import Path
from typing import Any

import pytest
from real_ansible import play

VARIABLE = "set repoman_user"
USER = pwd.getpwuid(os.getuid()).pw_name
TASK = {"homelab.repoman.repoman_profile_info": {"names": ["dotfiles"], "raw": True}}
ROLE = {"role": "homelab.repoman.sync", "repoman_registry_path": "/nonexistent/x"}
"""In check mode, the role warns of the registry that is missing."""


def warnings(place: Path, **keywords: Any) -> int:
    """Run a play on two hosts, and return how often it warns."""
    book = {"hosts": "all", "gather_facts": False, "tasks": [TASK, TASK]} | keywords
    inventory = place / "hosts"
    inventory.write_text(f"one\ntwo\n[all:vars]\nansible_connection=local\nansible_python_interpreter={sys.executable}\n")
    shown = play(
        place, [book], "-i", str(inventory), "--check", ANSIBLE_BECOME_METHOD="su", ANSIBLE_BECOME_FLAGS="-s /bin/sh", COLUMNS="1000"
    )
    assert shown.count("failed=0") == 2, shown
    return shown.count(VARIABLE)


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes root without a password")
@pytest.mark.parametrize(
    ("keywords", "number"),
    [
        ({"become": True}, 1),
        ({"become": True, "become_user": "root"}, 1),
        ({"become": True, "tasks": [], "roles": [ROLE, ROLE]}, 1),
        ({"become": True, "vars": {"repoman_user": "root"}, "tasks": [], "roles": [ROLE]}, 0),
        ({"become": True, "module_defaults": {"group/homelab.repoman.repoman": {"user": USER}}}, 0),
        ({"become": True, "become_user": "nobody", "tasks": [TASK | {"ignore_errors": True}]}, 0),
        ({}, 0),
        ({"environment": {"ANYTHING": "1"}}, 0),
    ],
)
def test_root_is_served_with_one_warning(tmp_path: Path, keywords: dict[str, Any], number: int) -> None:
    """The warning names the variable; a user who is named, or become, needs none."""
    for directory in (tmp_path, *tmp_path.parents[:2]):
        directory.chmod(directory.stat().st_mode | 0o055)
    assert warnings(tmp_path, **keywords) == number
