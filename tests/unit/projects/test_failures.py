# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors of Incus, of each version, as sentences with the cause."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.projects.context import RunContext
from ansible_collections.homelab.repoman.plugins.module_utils.projects.failures import start_error
from ansible_collections.homelab.repoman.plugins.module_utils.projects.repository import Repository
from ansible_collections.homelab.repoman.plugins.module_utils.registry.parser import parse

LOG = "lxc demo 20261130132545.849 ERROR    utils - ../src/lxc/utils.c:mount_entry:2214 - No such file or directory - Failed to mount /nosuch\n"


@pytest.mark.parametrize("helper", ["forkstart", "forklxc"])  # Incus 6.0; Incus 7.0
def test_the_log_of_the_container_has_the_cause(daemon: Any, reply: Any, me: Account, tmp_path: Path, helper: str) -> None:
    """If LXC failed, Incus only quotes its own command: the message has the end of the log instead."""
    daemon.default = lambda _seen: reply(raw=b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(LOG), LOG.encode()))
    context = RunContext(me, "", parse("[repoman]\nschema = 3\n", ""), Client(daemon.path))
    reason = f"Failed to run: /usr/libexec/incus/incusd {helper} repoman_demo /var/lib/incus/containers /run/lxc.conf: exit status 1"
    error = start_error(context, IncusError(400, reason, ""), "demo", Repository("x", "x", str(tmp_path)))
    log = "No such file or directory - Failed to mount /nosuch"
    assert error.message == f"cannot start 'demo': incus reports: LXC failed; the log of the container ends with: {log}."
