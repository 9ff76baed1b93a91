# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scan the units while Ansible starts, for the run that follows.

The command starts a process that scans one unit after the other, with the rules of the registry, and writes the results to a file in a
private directory. The run takes what is there when it has its locks, lets that process finish the unit that it is at, and scans the rest
itself. A result is used only if it says what a scan by the run would have said when the command was started:

- the unit has the same path and rules;
- its directory is the same one;
- its last manifest has not changed since the scan began. Otherwise another run has mirrored something newer, and files that were made
  since then would be taken for removed ones. A restore touches the manifest when it ends, for the same reason;
- the scans began a few seconds ago.
"""

from __future__ import annotations

import fcntl
import glob
import os
import pickle
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext, load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import DIGEST_SIZE, MAGIC
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import ScanResult, scan_unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import with_rules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import file_name_of, list_units
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger

VARIABLE = "REPOMAN_EARLY_SCAN"
"""Environment variable with the directory."""
RESULTS, STOP = "results", "stop"
"""Files in it: the results, locked until the scanning process ends; and one that tells that process to scan no more units."""
MAX_AGE = 10.0
"""Seconds after which scans are not used: the start took longer than usual, such as with a question for a password."""
_LENGTH = struct.Struct("<I")

_logger = get_logger("early")


@dataclass(frozen=True)
class _Started:
    """Begin of the scans.

    :param time: UNIX time.
    :param clock: the same by the clock that is never set, in seconds.
    """

    time: float
    clock: float


@dataclass(frozen=True)
class _Scanned:
    """The scan of a unit.

    :param source: what identified the unit's directory before the scan.
    :param manifests: the unit's last manifests before the scan, one for each target: path, and what identified the file.
    """

    result: ScanResult
    source: tuple[int, ...]
    manifests: dict[str, tuple[int, ...]]


def scan(directory: str, registry_path: str | None = None) -> None:
    """Scan the units of the current user's registry, until there are no more or the run wants no more.

    :param directory: private directory for the results, which has an empty file for them.
    :param registry_path: by default the usual one.
    :raises RepomanError: the registry cannot be read.
    :raises OSError: something cannot be read or written.
    """
    with open(os.path.join(directory, RESULTS), "wb") as file:

        def send(message: Any) -> None:
            data = pickle.dumps(message)
            file.write(_LENGTH.pack(len(data)) + data)
            file.flush()

        send(_Started(time.time(), time.monotonic()))
        context = load_context({"user": None, "registry_path": registry_path})
        if context.account.uid != os.geteuid():
            return
        for number, unit in enumerate(_units(context)):
            send(unit)
            if os.path.exists(os.path.join(directory, STOP)):
                return
            source, manifests = _directory_identity(unit), _manifests(context.logdir, unit.name)
            path = os.path.join(directory, f"{number}.manifest")
            result = scan_unit(unit, {_digest(each) for each in manifests}, path)
            send(_Scanned(result, source, manifests))


def _units(context: BackupContext) -> list[Unit]:
    """Return the units in the order in which a run about all of them scans them."""
    units = [unit for unit in list_units(context.roots.repos_root) if unit.name not in context.excluded]
    return with_rules(sorted(units, key=lambda unit: (unit.is_top_level, unit.name)), context, context.roots.backup_root)


def _manifests(logdir: Path, name: str) -> dict[str, tuple[int, ...]]:
    """Return the last manifests of a unit, each with what identifies the file."""
    paths = glob.glob(os.path.join(glob.escape(str(logdir)), "sync/*/manifests", glob.escape(file_name_of(name))))
    return {path: identity for path in paths if (identity := _identity(path))}


def _identity(path: str) -> tuple[int, ...]:
    """Return values that identify the file now at a path; empty if the path does not exist."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _directory_identity(unit: Unit) -> tuple[int, ...]:
    """Return values that identify a unit's directory even if its contents change; empty if it does not exist."""
    try:
        status = os.stat(unit.source)
    except OSError:
        return ()
    return status.st_dev, status.st_ino


def _digest(path: str) -> str:
    """Return the digest of a manifest's entries; empty if it cannot be read."""
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(len(MAGIC) + DIGEST_SIZE)
        if head[: len(MAGIC)] == MAGIC:
            return head[len(MAGIC) :].hex()
    return ""


class EarlyScans:
    """The results of the scanning process.

    :param directory_fd: open descriptor of its directory; None means no results.
    :ivar started: UNIX time at which the scans began; None without results.
    """

    def __init__(self, directory_fd: int | None = None) -> None:
        self.started: float | None = None
        self.pending = ""
        """Name of the unit that the process is still scanning."""
        self._directory_fd = directory_fd
        self._scanned: dict[str, _Scanned] = {}

    @classmethod
    def stopped(cls) -> EarlyScans:
        """Tell the scanning process of this command, if it has one, to begin no more units; return what it has."""
        directory = os.environ.get(VARIABLE, "")
        if not directory:
            return cls()
        try:
            directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            if not _is_private(directory_fd):
                return cls()
            os.close(os.open(STOP, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory_fd))
        except OSError as error:
            _logger.debug("no early scans: %s", error)
            return cls()
        scans = cls(directory_fd)
        age = scans._read()
        return scans if age < MAX_AGE else cls()

    def get(self, unit: Unit, trusted_digest: str, manifest: str) -> ScanResult | None:
        """Return the result of a unit's scan, if it can be used. Wait for it if the unit is still being scanned.

        :param trusted_digest: digest of the unit's last manifest; empty if the unit is compared with its mirror.
        :param manifest: path of the last manifest.
        """
        if unit.name == self.pending:
            self._read(wait=True)
        scanned = self._scanned.get(unit.name)
        if scanned is None or scanned.result.unit != unit or scanned.result.error:
            return None
        if scanned.source != _directory_identity(unit) or scanned.manifests.get(manifest, ()) != _identity(manifest):
            _logger.debug("%s: scanned again: it, or its manifest, was replaced since", unit.name)
            return None
        result = scanned.result
        _logger.debug("%s: scanned before the run began", unit.name)
        if result.digest == trusted_digest:
            return replace(result, path="")
        return result if result.path else None

    def _read(self, wait: bool = False) -> float:
        """Read what the process has written; return how many seconds ago it began.

        :param wait: until it ends.
        """
        age = MAX_AGE
        try:
            fd = os.open(RESULTS, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=self._directory_fd)
            with open(fd, "rb") as file:
                if wait:
                    fcntl.flock(file, fcntl.LOCK_SH)
                for message in _messages(file.read()):
                    if isinstance(message, _Started):
                        self.started, age = message.time, time.monotonic() - message.clock
                    elif isinstance(message, Unit):
                        self.pending = message.name
                    elif isinstance(message, _Scanned):
                        self._scanned[message.result.unit.name] = message
        except Exception as error:  # reading a pickle that is cut may raise anything; then the run scans
            _logger.debug("early scans cannot be read: %s", error)
        if wait or self.pending in self._scanned:
            self.pending = ""
        return age


def _messages(data: bytes) -> Iterator[Any]:
    """Yield the complete messages."""
    position = 0
    while position + _LENGTH.size <= len(data):
        (length,) = _LENGTH.unpack_from(data, position)
        position += _LENGTH.size
        if position + length > len(data):
            return
        yield pickle.loads(data[position : position + length])  # noqa: S301 - only this user can write there
        position += length


def _is_private(directory_fd: int) -> bool:
    """Return whether only this user can write to a directory."""
    status = os.fstat(directory_fd)
    return status.st_uid == os.geteuid() and not status.st_mode & 0o077
