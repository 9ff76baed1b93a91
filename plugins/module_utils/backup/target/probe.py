# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe a target: whether it can be written, and how long it takes to answer."""

from __future__ import annotations

import errno
import os
import time
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import BackupRoots, Target, nearest_directory
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word

MIN_FREE_BYTES = 4 << 20
ATTEMPTS = 5
REMOTE_LATENCY = 0.0002
"""Seconds; a file system that takes longer to answer counts as remote."""


def check_access(roots: BackupRoots, target: Target) -> None:
    """Check that the target's permissions and mount allow writing to it; write nothing.

    Free space is checked by :func:`check_writable`, after expired versions are removed.

    :raises RepomanError: they do not.
    """
    directory = nearest_directory(str(target.internal_path()))
    is_read_only = bool(os.statvfs(directory).f_flag & os.ST_RDONLY)
    if is_read_only or not os.access(directory, os.W_OK | os.X_OK):
        raise _not_writable(roots, target, os.strerror(errno.EROFS if is_read_only else errno.EACCES))


def check_writable(roots: BackupRoots, target: Target) -> None:
    """Check that files can be written to the target, and that it has space left.

    :raises RepomanError: it cannot be written, or is full.
    """
    probe = target.internal_path(f"probe-{os.getpid()}")
    try:
        with open(probe, "xb") as file:
            file.write(b"repoman")
            os.fsync(file.fileno())
        space = os.statvfs(target.root)
        free = space.f_bavail * space.f_frsize
    except OSError as error:
        raise _not_writable(roots, target, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            probe.unlink()
    if free < MIN_FREE_BYTES:
        raise RepomanError(
            f"{roots.backup_root} has no space left ({free // 1024} KiB); the mirrors are as they were.",
            f"df -h {shell_word(roots.backup_root)}",
            f"what runs replaced is kept for a while: du -sh {target.internal_path('kept')}/*",
        )


def _not_writable(roots: BackupRoots, target: Target, reason: str) -> RepomanError:
    directory = nearest_directory(str(target.internal_path()))
    return RepomanError(
        f"cannot write to {roots.backup_root}: {reason}; the mirrors are as they were.",
        f"is it mounted read-only, or full? findmnt --target {shell_word(roots.backup_root)}; df -h {shell_word(roots.backup_root)}",
        f"is it {roots.owner.name}'s? ls -ld {directory}",
    )


def latency(path: str) -> float:
    """Return the seconds that the file system takes to answer: the fastest of a few attempts."""
    times = []
    for _attempt in range(ATTEMPTS):
        started = time.perf_counter()
        os.statvfs(path)
        times.append(time.perf_counter() - started)
    return min(times)


def is_remote(path: str) -> bool:
    """Return whether a directory counts as one on another machine, of which many requests should be under way at once."""
    return latency(path) > REMOTE_LATENCY
