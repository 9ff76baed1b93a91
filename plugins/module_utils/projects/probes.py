# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The probe files with which :mod:`projects.instance_setup` checks that the container writes to the intended repository."""

from __future__ import annotations

import os
import re
import stat
import time
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

PROBE_NAME = re.compile(r"\.repoman-probe-[0-9a-f]{16}")
PROBE_TIMEOUT = 60.0
"""Seconds that the container may take to create one."""
PROBE_LIFETIME = 2 * PROBE_TIMEOUT
"""Seconds after which a probe cannot belong to a run that is still checking."""


def remove_leftover_probes(directory: str, account: Account, min_age: float) -> None:
    """Remove the probes that killed runs left in a repository, if it can be read.

    :param min_age: see :func:`leftover_probes`.
    """
    with suppress(OSError):
        for path in leftover_probes(directory, account, min_age):
            os.unlink(path)


def leftover_probes(directory: str, account: Account, min_age: float) -> list[str]:
    """Return the paths of the probes that killed runs left in a repository.

    :param min_age: minimum age in seconds: newer ones may belong to another run.
    :raises OSError: the directory cannot be read.
    """
    paths = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if PROBE_NAME.fullmatch(entry.name):
                status = entry.stat(follow_symlinks=False)
                is_probe = stat.S_ISREG(status.st_mode) and not status.st_size and status.st_uid == account.uid
                if is_probe and status.st_mtime <= time.time() - min_age:
                    paths.append(entry.path)
    return paths
