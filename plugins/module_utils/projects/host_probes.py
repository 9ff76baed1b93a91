# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What ``status`` finds out about the host: its address, the backup target, and files that devices need.

A file system whose server is down may never answer, so a child process looks at it, with a time limit.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import sys
import tomllib
from collections.abc import Iterable
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import LAN_INTERFACE, Account, detect_lan_ip
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import PATH, CommandError, CommandRunner

PROBE_TIMEOUT = 3.0
"""Seconds that a file system may take to answer."""
MARKER = os.path.join(".repoman", "mirror.toml")
MAX_MARKER_BYTES = 1 << 16

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
BACKUP_SCRIPT = """
import json, os, sys
root, marker, max_bytes = sys.argv[1:]
answer = {"errno": 0, "free": None, "marker": None}
try:
    os.stat(root)
    space = os.statvfs(root)
    answer["free"] = space.f_bavail * space.f_frsize
    with open(os.open(os.path.join(root, marker), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8", errors="replace") as file:
        answer["marker"] = file.read(int(max_bytes))
except OSError as error:
    answer["errno"] = error.errno
print(json.dumps(answer))
"""
"""Prints the free space and the marker of a backup target."""


def missing_paths(paths: Iterable[str], account: Account) -> frozenset[str]:
    """Return the paths that do not exist. A path that cannot be read does not count as missing."""
    listed = sorted(paths)
    if not listed:
        return frozenset()
    try:
        codes = _run_probe(account, STAT_SCRIPT, *listed)
    except CommandError:
        return frozenset()
    return frozenset(path for path, code in zip(listed, codes, strict=True) if code in (errno.ENOENT, errno.ENOTDIR))


def probe_address(registered: str) -> dict[str, Any]:
    """Compare the host's address with the one in the registry.

    :returns: ``registry``, ``detected``, ``interface``, and ``matches``, which is ``None`` if one of the addresses is not known.
    """
    try:
        detected = detect_lan_ip()
    except RepomanError:
        detected = ""
    matches = detected == registered if detected and registered else None
    return {"registry": registered, "detected": detected, "interface": LAN_INTERFACE, "matches": matches}


def probe_backup(path: str, account: Account) -> dict[str, Any]:
    """Return the state of the backup target.

    :returns: ``path``; ``state``: ``ready``, ``missing``, ``unmarked``, ``foreign`` (of another host or user), ``unreadable``, or
        ``unreachable`` if it did not answer in time; ``detail``; and ``free``, in bytes.
    """
    try:
        answer = _run_probe(account, BACKUP_SCRIPT, path, MARKER, str(MAX_MARKER_BYTES))
    except CommandError as error:
        detail = error.message.removeprefix(f"{os.path.basename(sys.executable)} ")
        return {"path": path, "state": "unreachable", "detail": detail, "free": None}
    state, detail = "ready", ""
    if answer["marker"] is not None:
        state, detail = _judge_marker(answer["marker"], account)
    elif answer["errno"] in (errno.ENOENT, errno.ENOTDIR):
        state = "missing" if answer["free"] is None else "unmarked"
    else:
        state, detail = "unreadable", os.strerror(answer["errno"])
    return {"path": path, "state": state, "detail": detail, "free": answer["free"]}


def _judge_marker(text: str, account: Account) -> tuple[str, str]:
    """Return the state of a backup target with a marker, and the detail."""
    try:
        marker = tomllib.loads(text)
    except ValueError:
        return "unreadable", f"{MARKER} is not TOML"
    if "host" not in marker:
        return "unreadable", f"{MARKER} names no host"
    for key, own in (("host", socket.gethostname()), ("user", account.name)):
        if marker.get(key) != own:
            return "foreign", f"of {key} {marker.get(key)!r}"
    return "ready", ""


def _run_probe(account: Account, script: str, *arguments: str) -> Any:
    """Run a small Python program as the account, with a time limit; return the JSON that it prints.

    :raises CommandError: it failed, or did not end in time.
    """
    command = [sys.executable, "-IS", "-c", script, *arguments]
    done = CommandRunner(account, PROBE_TIMEOUT).run(command, {"PATH": PATH, "LC_ALL": "C.UTF-8"}, "/")
    try:
        return json.loads(done.out)
    except ValueError:
        raise CommandError(done.error_summary()) from None
