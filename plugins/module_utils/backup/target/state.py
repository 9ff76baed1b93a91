# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of the backup target, for ``status``. It may be on a server that is down, so a child process checks it, with a time limit."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.host_lock import MAX_LOCK_BYTES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import MAX_MARKER_BYTES, Owner, marker_path, owner_of
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import INTERNAL_DIRECTORY
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.records import MAX_RECORDS_BYTES, RECORDS
from ansible_collections.homelab.repoman.plugins.module_utils.core.bounded_toml import load_toml
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.host.machine import host_name
from ansible_collections.homelab.repoman.plugins.module_utils.process.python_probe import run_python
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import CommandError

TARGET_SCRIPT = """
import json, os, sys
root, path, max_bytes = sys.argv[1:]
answer = {"errno": 0, "free": None, "marker": None}
try:
    os.stat(root)
    space = os.statvfs(root)
    answer["free"] = space.f_bavail * space.f_frsize
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8", errors="replace") as file:
        answer["marker"] = file.read(int(max_bytes))
except OSError as error:
    answer["errno"] = error.errno
print(json.dumps(answer))
"""
"""Prints the free space and the marker of a backup target."""


LOCK_SCRIPT = """
import json, os, sys
path, max_bytes = sys.argv[1:]
text, problem = "", ""
try:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8", errors="replace") as file:
        text = file.read(int(max_bytes)) or "empty"
except FileNotFoundError:
    pass
except OSError as error:
    problem = os.strerror(error.errno)
print(json.dumps([text, problem]))
"""
"""Prints the text of the lock file of a backup target, empty without one, and why it cannot be read."""


RUN_SCRIPT = """
import json, os, sys
path, max_bytes = sys.argv[1:]
run, times = 0.0, {}
try:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), encoding="utf-8", errors="replace") as file:
        data = json.loads(file.read(int(max_bytes)))
    run = float(data["run"])
    times = {name: float(record.get("time") or run) for name, record in data["units"].items() if record["digest"]}
except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
    pass
print(json.dumps(times if run else {}))
"""
"""Prints when each mirror of a backup target was last made complete, as a UNIX time, according to its records. A record has a
time of its own only until its data is certainly on the disk; after that, the time of the last run replaces it."""


def target_state(path: str, account: Account) -> dict[str, Any]:
    """Return the state of the backup target at ``path``.

    :returns: ``path``; ``state``: ``ready``, ``missing``, ``unmarked``, ``foreign`` (of another host or user), ``unreadable``, or
        ``unreachable`` if it did not answer in time; ``detail``; and ``free``, in bytes.
    """
    try:
        probe = run_python(account, TARGET_SCRIPT, path, str(marker_path(path)), str(MAX_MARKER_BYTES))
    except CommandError as error:
        return {"path": path, "state": "unreachable", "detail": error.message, "free": None}
    state, detail = "ready", ""
    if probe["marker"] is not None:
        state, detail = _judge_marker(path, probe["marker"], account)
    elif probe["errno"] in (errno.ENOENT, errno.ENOTDIR):
        state = "missing" if probe["free"] is None else "unmarked"
    else:
        state, detail = "unreadable", os.strerror(probe["errno"])
    return {"path": path, "state": state, "detail": detail, "free": probe["free"]}


def lock_path(root: str) -> str:
    """Return the path of the lock file of the backup target at ``root``."""
    return os.path.join(root, INTERNAL_DIRECTORY, "lock")


def read_lock(path: str, account: Account) -> str:
    """Return the text of a lock file on a backup target; empty if it does not exist.

    :raises CommandError: it cannot be read, or the target did not answer in time; the message is a phrase.
    """
    text, problem = run_python(account, LOCK_SCRIPT, path, str(MAX_LOCK_BYTES))
    if problem:
        raise CommandError(problem)
    return str(text)


def read_sync_times(root: str, account: Account) -> dict[str, str]:
    """Return when each unit was last backed up, ISO 8601, from the records on the backup target at ``root``.

    It is empty if they cannot be read, or if the target does not answer in time.
    """
    times: dict[str, str] = {}
    with suppress(CommandError):
        for name, seconds in run_python(
            account, RUN_SCRIPT, os.path.join(root, INTERNAL_DIRECTORY, RECORDS), str(MAX_RECORDS_BYTES)
        ).items():
            with suppress(ValueError, OverflowError, OSError):
                times[name] = iso_time(seconds)
    return times


def _judge_marker(root: str, text: str, account: Account) -> tuple[str, str]:
    """Return the state of a backup target with a marker, and the detail."""
    name = marker_path(root).relative_to(root)
    try:
        marker = load_toml(text)
    except ValueError:
        return "unreadable", f"{name} is not TOML"
    if "host" not in marker:
        return "unreadable", f"{name} names no host"
    owner = owner_of(marker)
    if owner != Owner(host_name(), account.name):
        return "foreign", f"of {owner}"
    return "ready", ""
