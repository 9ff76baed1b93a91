# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mounts whose server does not answer: a system call on them may never return, so a child process tries each before it is used.

A machine without network and FUSE mounts only reads its table of mounts.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection
from functools import cache, lru_cache
from threading import Lock
from typing import TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import MOUNTINFO, parse_mountinfo

PROBE_TIMEOUT = 3.0
"""Seconds that a file system may take to answer."""
TABLE_SECONDS = 10
"""Time for which a table of mounts is used."""
MAX_LINKS = 40
"""Links in a path that are followed, as by Linux."""
AUTOMOUNT = b"autofs"
SERVED = frozenset((AUTOMOUNT, b"nfs", b"nfs4", b"cifs", b"smb3", b"smbfs", b"ceph", b"9p", b"afs", b"lustre", b"fuse", b"fuseblk"))
"""Types of file systems that another machine or process serves."""
MOST_PROBES = 64
"""File systems that are tried at the same time."""
SILENT_SECONDS = 0.5
"""Seconds after which a terminal says what is waited for."""
FIND_SERVED = "findmnt -t nfs,nfs4,cifs"
SERVED_MOUNTS = f"{FIND_SERVED}   # is the server up?"
"""A hint about a path that did not answer, if its mount is not known: without the path, the command cannot hang on it."""

Read = TypeVar("Read")
_probes: dict[tuple[str, bytes], Lock] = {}


def hung_mount(path: str) -> str:
    """Return the mount point of a file system that does not answer, if a path or one of its links leads there; otherwise an empty string.

    :param path: absolute; no system call on such a file system is made.
    """
    mounts = _served_mounts(int(time.monotonic() / TABLE_SECONDS))
    if not mounts:
        return ""
    current, links, is_automount = "/", 0, False
    rest = [part for part in reversed(path.split("/")) if part not in ("", ".")]
    while rest:
        part = rest.pop()
        current = os.path.dirname(current) if part == ".." else os.path.join(current, part)
        if current in mounts or is_automount:  # a directory of an automount may mount another file system
            mount_id, fstype = mounts.get(current, (b"", b""))
            if not _answers(current, mount_id):
                return current
            is_automount = fstype == AUTOMOUNT
        try:
            target = os.readlink(current) if part != ".." else ""
        except OSError:  # it is not a link, or does not exist
            continue
        if target:
            links += 1
            if links > MAX_LINKS:
                return ""
            current = "/" if target.startswith("/") else os.path.dirname(current)
            rest += [part for part in reversed(target.split("/")) if part not in ("", ".")]
    return ""


def served_mounts_below(path: str) -> set[str]:
    """Return the mount points, in a directory, of the file systems that another machine or process serves; none of them is accessed.

    :param path: absolute path of a directory that answers. The returned mount points begin with this spelling.
    """
    mounts = _served_mounts(int(time.monotonic() / TABLE_SECONDS))
    if not mounts:
        return set()
    real = os.path.join(os.path.realpath(path), "")
    return {os.path.join(path, point.removeprefix(real)) for point in mounts if point.startswith(real)}


def read_behind_mounts(read: Callable[[str], Read], names: Collection[str]) -> list[Read]:
    """Return the results of a function that looks for hung mounts; it waits for many at the same time, and a terminal shows that.

    :param names: to call it with.
    """
    if len(names) < 2 or not _served_mounts(int(time.monotonic() / TABLE_SECONDS)):  # noqa: PLR2004 - one is not waited for longer
        return [read(name) for name in names]
    from concurrent.futures import ThreadPoolExecutor, wait

    with ThreadPoolExecutor(min(MOST_PROBES, len(names))) as pool:
        futures = [pool.submit(read, name) for name in names]
        if wait(futures, SILENT_SECONDS).not_done:
            progress.update("waiting for file systems that do not answer…")
            wait(futures)
            progress.clear()
        return [future.result() for future in futures]


def check_answers(path: str) -> None:
    """Check that all file systems to which a path and its links lead answer.

    :raises RepomanError: one does not.
    """
    if mount := hung_mount(path):
        raise hung_mount_error(path, mount)


def hung_mount_error(path: str, mount: str) -> RepomanError:
    """Return the error for a path behind a mount that does not answer."""
    return RepomanError(
        f"{path} cannot be read: the file system mounted at {mount} does not answer.",
        f"findmnt {shell_word(mount)}   # shows its server",
        f"sudo umount -l {shell_word(mount)}   # if the server does not come back",
    )


@lru_cache(maxsize=1)
def _served_mounts(_now: int) -> dict[str, tuple[bytes, bytes]]:
    """Return the ID and type of each mount that another machine or process serves, by mount point; the same for the same ``_now``."""
    try:
        text = MOUNTINFO.read_bytes()
    except OSError:
        return {}
    mounts = {os.fsdecode(mount.mount_point): (mount.mount_id, mount.fstype) for mount in parse_mountinfo(text)}
    return {point: mount for point, mount in mounts.items() if mount[1].partition(b".")[0] in SERVED}


def _answers(path: str, mount_id: bytes) -> bool:
    """Return whether the file system at a path answers in time; an error is an answer, too. Threads that ask at the same time share one probe.

    :param mount_id: of its mount, which another one does not have.
    """
    with _probes.setdefault((path, mount_id), Lock()):
        return _probe(path, mount_id)


@cache
def _probe(path: str, mount_id: bytes) -> bool:
    """See :func:`_answers`."""
    import subprocess

    from ansible_collections.homelab.repoman.plugins.module_utils.process.command import Command

    null = subprocess.DEVNULL
    process = Command(["stat", "--file-system", "--", path], stdin=null, stdout=null, stderr=null)
    try:
        process.wait(PROBE_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.end(grace=0, problem="does not answer")
        return False
    process.end()
    return True
