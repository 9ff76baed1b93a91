# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Name and identity of this machine, identity of its current boot, and of its processes."""

from __future__ import annotations

import socket
from pathlib import Path

ZOMBIE = "Z"


def host_name() -> str:
    """Return the name of this host, as the kernel has it: with a domain only if the host is called so.

    Markers and lock files of backups hold it, and ``{host}`` in ``backup_root`` stands for it.
    """
    return socket.gethostname()


def machine_id() -> str:
    """Return the ID of this installation; empty if it has none."""
    return _first_line(Path("/etc/machine-id"))


def boot_id() -> str:
    """Return the ID of the current boot; empty if it cannot be read."""
    return _first_line(Path("/proc/sys/kernel/random/boot_id"))


def process_start(pid: int) -> str:
    """Return when a process started, in ticks since boot; empty if it has ended. It distinguishes processes with the same PID."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == ZOMBIE else fields[19]


def _first_line(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""
