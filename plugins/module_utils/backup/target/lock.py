# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Locks of a target. Each unit has its own lock, so that a long run on one unit does not block other units.

They are files in the local state directory; the kernel releases them when the process that holds them, and its children, end::

    lock         held shared by every run
    units.lock   one byte is locked for each unit, and for each shared resource; the text says when units were locked

For other hosts there is a lock file on the target; see ``host_lock.py``.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import secrets
import struct
import threading
import time
from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.host_lock import HostLock
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target, remove_directory
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory
from ansible_collections.homelab.repoman.plugins.module_utils.files.lock import FileLock
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

_logger = get_logger("target")

MAX_SINCE_BYTES = 4 << 20
METADATA_SECONDS = 60.0
"""Seconds to wait for another run to finish with the metadata. It needs milliseconds, unless the target is slow."""
POLL_SECONDS = 0.02
METADATA, HISTORY, RESTORES = b"metadata", b"history", b"restores"
"""Resources that runs share: repoman's own files on the target; the history; the directories that restores fill."""
_FLOCK = struct.Struct("hhqqi")
_BUSY = (errno.EACCES, errno.EAGAIN)


class RunLocks:
    """The locks of one run; a context manager that releases all of them.

    :param target: the target.
    :param state: local state directory of the target.
    """

    def __init__(self, target: Target, state: Path, owner: Account) -> None:
        self.target, self.state = target, state
        self.host_lock = HostLock(target, str(state))
        ensure_private_directory(str(state), owner)
        self._run = FileLock(state / "lock", owner)
        self._units = -1
        self._locked: set[str] = set()
        try:
            if not self._run.try_acquire(shared=True):
                raise another_run(target, state)
            self._units = os.open(state / "units.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            if os.geteuid() == 0:
                os.fchown(self._units, owner.uid, owner.gid)
        except BaseException:
            self._close()
            raise
        self._has_host_lock = False
        self._mutex = threading.RLock()

    def __enter__(self) -> RunLocks:
        return self

    def __exit__(self, *error: object) -> None:
        try:
            if self._has_host_lock:
                self._release_host_lock()
        finally:
            self._close()

    def _close(self) -> None:
        """Unlock before closing: children of this process may have the files open for a moment longer."""
        self._run.release()
        self._run.close()
        if self._units >= 0:
            with suppress(OSError):
                self._set_lock(fcntl.F_UNLCK, 0, 0)
            os.close(self._units)

    # Units

    def try_lock(self, units: Iterable[str], *, record_time: bool = True) -> dict[str, str]:
        """Lock units. Return those locked by another run, with the time of that lock, which is empty if unknown.

        :param record_time: record the time of the lock for other runs.
        """
        names = list(units)
        with self.metadata_lock():
            since = self._read_since()
            busy = {name: since.get(name, "") for name in names if not self._try_byte(fcntl.F_WRLCK, _unit_key(name))}
            self._locked.update(name for name in names if name not in busy)
            _logger.debug("locked %d units; locked by another run: %s", len(names) - len(busy), ", ".join(busy) or "none")
            if record_time:
                now = iso_time()
                by_others = {name: locked_at for name, locked_at in since.items() if name in busy} | self._locked_elsewhere(since)
                self._write_since(by_others | dict.fromkeys(self._locked, now))
        return busy

    def _locked_elsewhere(self, since: dict[str, str]) -> dict[str, str]:
        """Return the units that other runs have locked."""
        return {name: locked_at for name, locked_at in since.items() if name not in self._locked and not self.is_free(name)}

    def unlock(self, unit: str) -> None:
        """Unlock a unit."""
        if unit in self._locked:
            self._locked.discard(unit)
            self._set_lock(fcntl.F_UNLCK, *_byte_range(_unit_key(unit)))

    @contextmanager
    def wait_for(self, unit: str) -> Iterator[None]:
        """Lock a unit, or the settings, and wait for a run that has locked it for a moment.

        :raises ConflictError: another run has locked it for too long.
        """
        with self._wait_for_lock(fcntl.F_WRLCK, _unit_key(unit)):
            yield

    def is_free(self, unit: str) -> bool:
        """Return whether no other run has locked a unit."""
        return self._is_free(_unit_key(unit))

    def _read_since(self) -> dict[str, str]:
        with suppress(OSError, ValueError, AttributeError, RecursionError, MemoryError):
            return {str(name): str(locked_at) for name, locked_at in json.loads(os.pread(self._units, MAX_SINCE_BYTES, 0)).items()}
        return {}

    def _write_since(self, since: dict[str, str]) -> None:
        with suppress(OSError):  # the disk is full; the text is only for messages
            os.ftruncate(self._units, 0)
            os.pwrite(self._units, json.dumps(since).encode(), 0)

    # What runs share

    @contextmanager
    def metadata_lock(self) -> Iterator[None]:
        """Lock repoman's own files on the target, for a moment.

        :raises ConflictError: another run has locked them for too long.
        """
        with self._mutex, self._wait_for_lock(fcntl.F_WRLCK, METADATA):  # the kernel's lock is that of the process, not of a thread
            yield

    @contextmanager
    def exclusive(self, resource: bytes) -> Iterator[bool]:
        """Try to lock a shared resource exclusively; yield whether that succeeded."""
        alone = self._try_byte(fcntl.F_WRLCK, resource)
        try:
            yield alone
        finally:
            if alone:
                self._set_lock(fcntl.F_UNLCK, *_byte_range(resource))

    @contextmanager
    def shared(self, resource: bytes) -> Iterator[None]:
        """Use a shared resource. Wait for a run that has locked it exclusively, which takes moments."""
        with self._wait_for_lock(fcntl.F_RDLCK, resource):
            yield

    @contextmanager
    def _wait_for_lock(self, lock_type: int, resource: bytes) -> Iterator[None]:
        """Hold a lock that other runs hold for moments only.

        :raises ConflictError: another run holds it for too long.
        """
        deadline = time.monotonic() + METADATA_SECONDS
        while not self._try_byte(lock_type, resource):
            if time.monotonic() > deadline:
                raise another_run(self.target, self.state)
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            self._set_lock(fcntl.F_UNLCK, *_byte_range(resource))

    @contextmanager
    def private_directory(self, parent: Path, keep: Container[str] = ()) -> Iterator[str]:
        """Create a private directory for this run and remove it at the end; leftovers of killed runs are removed first.

        :param parent: parent of the new directory.
        :param keep: names of other directories in it, which stay.
        """
        parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        name = secrets.token_hex(8)
        if not self._try_byte(fcntl.F_WRLCK, name.encode()):
            raise RuntimeError("a random name is taken")
        for entry_name in os.listdir(parent):
            if entry_name not in keep and self._is_free(os.fsencode(entry_name)):
                with suppress(OSError):
                    remove_directory(parent / entry_name)
        path = parent / name
        path.mkdir(mode=0o700)
        try:
            yield str(path)
        finally:
            with suppress(OSError):
                remove_directory(path)
            self._set_lock(fcntl.F_UNLCK, *_byte_range(name.encode()))

    # The kernel's locks

    def _set_lock(self, lock_type: int, start: int, length: int) -> None:
        fcntl.fcntl(self._units, fcntl.F_OFD_SETLK, _FLOCK.pack(lock_type, os.SEEK_SET, start, length, 0))

    def _try_byte(self, lock_type: int, resource: bytes) -> bool:
        try:
            self._set_lock(lock_type, *_byte_range(resource))
        except OSError as error:
            if error.errno in _BUSY:
                return False
            raise
        return True

    def _is_free(self, resource: bytes) -> bool:
        """Return whether a lock is free, ignoring our own."""
        lock = fcntl.fcntl(self._units, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, *_byte_range(resource), 0))
        return bool(_FLOCK.unpack(lock)[0] == fcntl.F_UNLCK)

    # The lock on the target

    def acquire_host_lock(self) -> None:
        """Write the lock file on the target, for other hosts to see; the last run of this host removes it.

        :raises ConflictError: another host holds the lock, or a process that may still run.
        """
        with self.metadata_lock():
            self.host_lock.acquire()
            _logger.debug("locked %s", self.target.root)
            self._has_host_lock = True

    def check_other_hosts(self) -> None:
        """Check that no other host is working on the target.

        :raises ConflictError: its lock file says that it is.
        """
        self.host_lock.check()

    def _release_host_lock(self) -> None:
        """Remove the lock file on the target, unless another run of this host uses it."""
        with suppress(OSError, ConflictError), self.metadata_lock():
            if self._run.try_acquire():
                self.host_lock.release()


def _unit_key(name: str) -> bytes:
    return b"unit/" + name.encode("utf-8", "surrogateescape")


def _byte_range(resource: bytes) -> tuple[int, int]:
    """Return offset and length of the byte range that is locked for a name."""
    return int.from_bytes(hashlib.sha256(resource).digest()[:7], "big") + 1, 1


def another_run(target: Target, state: Path) -> ConflictError:
    """Return the error of a run that other runs block."""
    return ConflictError(f"another run works on {target.root}.", "wait for it to finish", f"see which: fuser -v {state / 'lock'}")


def busy_error(unit: str, since: str, state: Path) -> ConflictError:
    """Return the error of a unit that another run has locked."""
    when = f" since {since}" if since else ""
    return ConflictError(
        f"another run has been working on {escape_control_characters(unit)}{when}.",
        "wait for it to finish",
        f"see which: fuser -v {state / 'units.lock'}",
    )


def no_lock_note(state: Path, error: OSError) -> str:
    """Return the warning of a restore on a machine whose state directory cannot be written; a restore does not need one."""
    return f"{state} cannot be written ({error.strerror}): restored without a lock against other runs."


@contextmanager
def unit_locked(target: Target, state: Path, owner: Account, unit: str) -> Iterator[RunLocks]:
    """Lock one unit, for example to restore it, while other runs work on other units.

    :raises ConflictError: another run works on it.
    """
    with ExitStack() as stack:
        locks = stack.enter_context(RunLocks(target, state, owner))
        for name, since in locks.try_lock([unit]).items():
            raise busy_error(name, since, state)
        stack.enter_context(locks.shared(HISTORY))
        yield locks
