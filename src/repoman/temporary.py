# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Ansible's temporary directories: where this run can have one, and removal of those that killed runs left."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from repoman.errors import CliError

LOCK_NAME = "repoman.lock"
"""A file in the directory of a run of this command, locked until the last process of the run ends."""
DIRECTORY = re.compile(r"ansible-local-(\d+)[a-z0-9_]{8}")
"""Name of a temporary directory, with the process that made it."""
UNLOCKED_LIFETIME = 86400.0
"""Seconds after which a directory without a lock file is removed, if its process has ended: it may be of a run of Ansible itself, also in
another container or on another host that has the same home."""
PROBE_BYTES = 4096
SYSTEM_DIRECTORIES = ("/tmp", "/var/tmp", "/usr/tmp")  # noqa: S108
"""Those that Python tries."""

_claimed: dict[str, int] = {}
"""Descriptors of locked files, by directory; they stay open."""


def find_parent(preferred: Path) -> str | None:
    """Return a directory in which Ansible can make its temporary one, or ``None`` if ``preferred`` will do.

    :raises CliError: there is none.
    """
    try:
        preferred.mkdir(0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=preferred) as file:
            file.write(bytes(PROBE_BYTES))
        with tempfile.TemporaryDirectory(prefix="ansible-local-", dir=preferred):
            return None
    except OSError as error:
        try:
            return _system_directory()
        except OSError:
            message = f"ansible needs a temporary directory, and neither {preferred} nor /tmp can have one: {error.strerror or error}."
            raise CliError(message, f"df -h {preferred.parent.parent} /tmp", "TMPDIR=DIR repoman …   # another directory") from error


def _system_directory() -> str:
    """Return the system's temporary directory, without Python's last resort, the current directory.

    :raises OSError: there is none.
    """
    directory = tempfile.gettempdir()
    named = [*filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), *SYSTEM_DIRECTORIES]
    if directory not in map(os.path.abspath, named):
        raise FileNotFoundError(errno.ENOENT, "no temporary directory")
    return directory


def make(parent: str) -> str:
    """Make a temporary directory that is removed like Ansible's if this run is killed; return its path.

    :raises OSError: it cannot be made.
    """
    directory = tempfile.mkdtemp(prefix=f"ansible-local-{os.getpid()}", dir=parent)
    lock(directory)
    return directory


def lock(directory: str) -> None:
    """Mark a temporary directory as one of this run, until its last process ends."""
    with suppress(OSError):
        locked, final = os.path.join(directory, f".{LOCK_NAME}"), os.path.join(directory, LOCK_NAME)
        fd = os.open(locked, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        _claimed[directory] = fd
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.rename(locked, final)  # only now: another run must not see it unlocked


def claim(directory: str) -> None:
    """Mark the temporary directory of this run, and remove those of runs that were killed."""
    if directory in _claimed:
        return
    lock(directory)
    with suppress(OSError), os.scandir(os.path.dirname(directory)) as entries:
        for entry in entries:
            name = DIRECTORY.fullmatch(entry.name)
            if name and entry.path != directory and _is_abandoned(entry, int(name[1])):
                shutil.rmtree(entry.path, ignore_errors=True)


def _is_abandoned(entry: os.DirEntry[str], pid: int) -> bool:
    """Return whether the run that a directory belongs to has ended."""
    try:
        status = entry.stat(follow_symlinks=False)
        if not entry.is_dir(follow_symlinks=False) or status.st_uid != os.geteuid():
            return False
        fd = os.open(os.path.join(entry.path, LOCK_NAME), os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        return time.time() - status.st_mtime > UNLOCKED_LIFETIME and not os.path.exists(f"/proc/{pid}")
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    else:
        return True
    finally:
        os.close(fd)
