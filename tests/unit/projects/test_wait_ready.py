# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The script that waits in a container until its system has started: it sees what process 1 is, however early it runs."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.projects.account_scripts import READY_MARK, WAIT_READY_SCRIPT


@pytest.mark.parametrize(
    ("program", "started_as", "is_asked"),
    [
        ("systemd", "systemd", True),
        ("systemd", "init", True),  # until it has given itself its name
        ("busybox", "init", False),
        ("app", "app", False),
    ],
)
def test_systemd_is_waited_for(tmp_path: Path, program: str, started_as: str, is_asked: bool) -> None:
    """Process 1 is this program, started with this name; only systemd is asked whether everything has started."""
    asked = tmp_path / "asked"
    shell = shutil.which("dash") or "/bin/sh"
    (tmp_path / "lib").mkdir()
    shutil.copy(shell, tmp_path / "lib" / program)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / started_as).symlink_to(tmp_path / "lib" / program)
    systemctl = tmp_path / "bin/systemctl"
    systemctl.write_text(f"#!/bin/sh\n: >'{asked}'\necho running\n")
    systemctl.chmod(0o755)
    boot = 'mount -t tmpfs run /run && mkdir /run/systemd && : >/run/systemd/private && sh -c "limit=9 boot=9; $0"; exit'
    done = subprocess.run(
        ["unshare", "--pid", "--fork", "--mount-proc", tmp_path / "bin" / started_as, "-c", boot, WAIT_READY_SCRIPT],
        env={"PATH": f"{tmp_path}/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in done.stderr:
        pytest.skip(f"needs namespaces of its own: {done.stderr.strip()}")
    assert done.stdout == f"{READY_MARK}\n", done.stderr
    assert asked.exists() == is_asked
