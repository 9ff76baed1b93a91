# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``LOGDIR/times/last_sync.json``: when each directory of ``repos_root`` was last backed up.

The registry has the same for its projects, but the entry of a project ends with it, and its mirror stays.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory, write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_json
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry.store import locked

FILE = "times/last_sync.json"
MAX_BYTES = 16 << 20


def read(logdir: str, backup_root: str) -> dict[str, str]:
    """Return the time of the last backup to ``backup_root`` of each directory, ISO 8601; empty if the file cannot be read."""
    try:
        times = read_json(Path(logdir, FILE), MAX_BYTES)[backup_root]
        return {name: time for name, time in times.items() if isinstance(time, str)}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def write(logdir: str, backup_root: str, names: Iterable[str], time: str, owner: Account) -> None:
    """Note that directories were backed up. Only the last target is kept.

    :param time: ISO 8601.
    :raises RepomanError: another process holds the lock. :class:`OSError`: the file cannot be written.
    """
    path = os.path.join(logdir, FILE)
    ensure_private_directory(os.path.dirname(path), owner)
    with locked(f"{path}.lock", owner):
        times = read(logdir, backup_root) | dict.fromkeys(names, time)
        write_atomic(path, json.dumps({backup_root: dict(sorted(times.items()))}, indent=1) + "\n", owner)
