# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probes of the host for ``status``: its address, and the files that devices need."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, LanAddress, detect_lan_address
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount
from ansible_collections.homelab.repoman.plugins.module_utils.process.python_probe import run_python
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import MISSING

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


def path_errors(paths: Iterable[str], account: Account) -> dict[str, int]:
    """Return the error number of ``stat`` for each path, 0 if it exists.

    :param paths: none behind a file system that does not answer: it would cost the results of all others.
    :raises CommandError: they cannot be read in time.
    """
    sorted_paths = sorted(paths)
    codes: list[int] = run_python(account, STAT_SCRIPT, *sorted_paths) if sorted_paths else []
    return dict(zip(sorted_paths, codes, strict=True))


def missing_paths(paths: Iterable[str], account: Account) -> frozenset[str]:
    """Return the paths that do not exist. A path that cannot be read does not count as missing."""
    try:
        errors = path_errors((path for path in paths if not hung_mount(path)), account)
    except CommandError:
        return frozenset()
    return frozenset(path for path, code in errors.items() if code in MISSING)


def probe_address(registered: str) -> dict[str, Any]:
    """Compare the host's address with the one in the registry.

    :returns: ``registry``, ``detected``, its ``interface``, and ``matches``, which is ``None`` if one of the addresses is unknown.
    """
    try:
        detected = detect_lan_address(registered)
    except RepomanError:
        detected = LanAddress()
    matches = detected.ip == registered if detected.ip and registered else None
    return {"registry": registered, "detected": detected.ip, "interface": detected.interface, "matches": matches}
