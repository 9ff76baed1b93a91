# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes of the host for ``status``: its address, and the files that devices need."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import LAN_INTERFACE, Account, detect_lan_ip
from ansible_collections.homelab.repoman.plugins.module_utils.process.python_probe import run_python
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError

STAT_SCRIPT = """
import json, os, sys
def code(path):
    try:
        os.stat(path)
    except OSError as error:
        return error.errno
    return 0
print(json.dumps([code(path) for path in sys.argv[1:]]))
"""
"""Prints the error number of ``stat`` for each path."""


def missing_paths(paths: Iterable[str], account: Account) -> frozenset[str]:
    """Return the paths that do not exist. A path that cannot be read does not count as missing."""
    sorted_paths = sorted(paths)
    if not sorted_paths:
        return frozenset()
    try:
        codes = run_python(account, STAT_SCRIPT, *sorted_paths)
    except CommandError:
        return frozenset()
    return frozenset(path for path, code in zip(sorted_paths, codes, strict=True) if code in (errno.ENOENT, errno.ENOTDIR))


def probe_address(registered: str) -> dict[str, Any]:
    """Compare the host's address with the one in the registry.

    :returns: ``registry``, ``detected``, ``interface``, and ``matches``, which is ``None`` if one of the addresses is unknown.
    """
    try:
        detected = detect_lan_ip()
    except RepomanError:
        detected = ""
    matches = detected == registered if detected and registered else None
    return {"registry": registered, "detected": detected, "interface": LAN_INTERFACE, "matches": matches}
