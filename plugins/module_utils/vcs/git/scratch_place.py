# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where scratch git directories are made: in memory, because on a disk each new file or link may cost a third of a millisecond."""

from __future__ import annotations

import os
import re
import shutil
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

DISK = "/tmp"  # noqa: S108 - the default, which is only compared
"""The directory for temporary files if the user has chosen no other one."""
MEMORY = "/dev/shm"  # noqa: S108 - a directory with a random name is made in it
"""The directory for temporary files in memory that Linux has for all users."""
SHARED_MODE = 0o1777
MEMORY_BYTES = 4 << 20
"""Maximum total size of the copies of one repository in memory: a container can make them large."""
AT_ONCE = 16
"""Maximum number of scratch directories in memory at the same time; further ones are on the disk."""
LIFETIME = 3600.0
"""Seconds after which the directory of a process that was killed is removed: nothing else clears memory before the system restarts."""
_NAME = re.compile(r"repoman-vcs-([0-9]+)-.+")

_slots = threading.BoundedSemaphore(AT_ONCE)


def prefix() -> str:
    """Return how the names of the scratch directories of this process begin."""
    return f"repoman-vcs-{os.getpid()}-"


@contextmanager
def memory() -> Iterator[str | None]:
    """Yield the directory in memory in which a scratch directory can be made; ``None`` if it must be on the disk."""
    chosen = any(os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")) or tempfile.gettempdir() != DISK
    if chosen or not _is_shared(MEMORY) or not _slots.acquire(blocking=False):
        yield None
        return
    try:
        yield MEMORY
    finally:
        _slots.release()


def _is_shared(directory: str) -> bool:
    """Return whether every account can use a directory for temporary files."""
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and stat.S_IMODE(status.st_mode) == SHARED_MODE


def remove_abandoned() -> None:
    """Remove the directories in memory of processes of this user that were killed."""
    with suppress(OSError), os.scandir(MEMORY) as entries:
        for entry in entries:
            if (name := _NAME.fullmatch(entry.name)) and not os.path.exists(f"/proc/{name[1]}"):
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and time.time() - status.st_mtime > LIFETIME:
                    shutil.rmtree(entry.path, ignore_errors=True)
