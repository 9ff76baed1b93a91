# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Starts a process that scans what ``sync`` backs up while ansible starts."""

from __future__ import annotations

import atexit
import fcntl
import os
import shutil
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from repoman import shared
from repoman.installation import collection_root

if TYPE_CHECKING:
    from repoman.playbook import Playbook

PR_SET_PDEATHSIG = 1
VARIABLE = "REPOMAN_EARLY_SCAN"
"""Environment variable that tells the module the directory with the results, in the file ``results``."""
OPTIONS = frozenset({"init", "allow_local", "allow_shrink", "jobs"})
"""Variables that change neither what is scanned nor what it is compared with."""
ATTEMPTS, INTERVAL = 100, 0.005
"""How often, and after how many seconds each, to look whether the process has ended."""
OTHER_PARENTS = ("ANSIBLE_HOME", "ANSIBLE_LOCAL_TEMP")


def start(playbook: Playbook) -> None:
    """Start the process, if this run will back up all units of this user on this host; otherwise, or if that fails, do nothing.

    It ends with this process, and its directory is removed then.
    """
    os.environ.pop(VARIABLE, None)
    names = {key.removeprefix("repoman_sync_") for key in playbook.variables}
    if not playbook.is_local or names - OPTIONS or len(os.sched_getaffinity(0)) == 1 or any(map(os.environ.get, OTHER_PARENTS)):
        return
    with suppress(OSError, RuntimeError):
        _start()


def _start() -> None:
    from repoman import temporary

    parent = Path("~/.ansible/tmp").expanduser()
    parent.mkdir(0o700, parents=True, exist_ok=True)
    directory = temporary.make(str(parent))
    owner = os.getpid()
    children: list[int] = []

    def remove() -> None:
        if os.getpid() != owner:
            return
        for child in children:
            _end(child)
        shutil.rmtree(directory, ignore_errors=True)

    atexit.register(remove)
    shared.spare_checkout(str(collection_root()))
    results = os.open(os.path.join(directory, "results"), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(results, fcntl.LOCK_EX)  # of the process that is started, too, which has it until it ends
        child = os.fork()
        if not child:
            _scan(directory, owner)
        children.append(child)
    finally:
        os.close(results)
    os.environ[VARIABLE] = directory


def _end(child: int) -> None:
    """Kill the process, so that it writes nothing more. A file system that does not answer may hold it up; then do not wait."""
    with suppress(OSError):
        os.kill(child, signal.SIGKILL)
        for _attempt in range(ATTEMPTS):
            if os.waitpid(child, os.WNOHANG)[0]:
                return
            time.sleep(INTERVAL)


def _scan(directory: str, parent: int) -> NoReturn:
    """Scan, and end this process, which is a fork."""
    try:
        import ctypes

        nothing = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):  # whoever reads the command's output must not wait for this process
            os.dup2(nothing, fd)
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL))
        if os.getppid() == parent:
            with shared.loading() as load:
                load("backup.sync.early_scan").scan(directory)
    except BaseException:  # noqa: S110 - the run scans what is missing, and reports what is wrong
        pass
    finally:
        os._exit(0)
