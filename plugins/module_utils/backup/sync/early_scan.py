# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Scan the units while Ansible starts, for the run that follows.

The command starts a process that scans one unit after the other, with the rules of the registry, and writes the results to a file in a
private directory. The run takes what is there when it has its locks, lets that process finish the unit that it is at, and scans the rest
itself. A result is used only if it says what a scan by the run would have said when the command was started:

- the unit has the same path and rules;
- the unit's last manifest is the one that was there before the scan. Otherwise another run has finished in between, and what it has
  mirrored is newer than the scan: files that were made since then would be taken for removed ones.
"""

from __future__ import annotations

import fcntl
import glob
import os
import pickle
import stat
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
_LENGTH = struct.Struct("<I")

_logger = get_logger("early")


@dataclass(frozen=True)
class _Started:
    """Begin of a scan.

    :param time: UNIX time.
    """

    time: float


@dataclass(frozen=True)
class _Scanned:
    """The scan of a unit.

    :param manifests: the unit's last manifests before the scan, one for each target: path and identity.
    """

    result: ScanResult
    manifests: dict[str, tuple[int, ...]]


def scan(directory: str, registry_path: str | None = None) -> None:
    """Scan the units of the current user's registry, until there are no more or the run wants no more.

    :param directory: private directory for the results, which has an empty file for them.
    :param registry_path: by default the usual one.
    :raises RepomanError: the registry cannot be read.
    :raises OSError: something cannot be read or written.
    """
    with open(os.path.join(directory, RESULTS), "wb", buffering=0) as file:

        def send(message: Any) -> None:
            data = pickle.dumps(message)
            file.write(_LENGTH.pack(len(data)) + data)

        send(_Started(time.time()))
        context = load_context({"user": None, "registry_path": registry_path})
        if context.account.uid != os.geteuid():
            return
        for number, unit in enumerate(_units(context)):
            send(unit)
            if os.path.exists(os.path.join(directory, STOP)):
                return
            manifests = _manifests(context.logdir, unit.name)
            path = os.path.join(directory, f"{number}.manifest")
            result = scan_unit(unit, {_digest(each) for each in manifests}, path)
            send(_Scanned(result, manifests))


def _units(context: BackupContext) -> list[Unit]:
    """Return the units in the order in which a run about all of them scans them."""
    units = [unit for unit in list_units(context.roots.repos_root) if unit.name not in context.excluded]
    return with_rules(sorted(units, key=lambda unit: (unit.is_top_level, unit.name)), context, context.roots.backup_root)


def _manifests(logdir: Path, name: str) -> dict[str, tuple[int, ...]]:
    """Return the last manifests of a unit, each with its identity."""
    paths = glob.glob(os.path.join(glob.escape(str(logdir)), "sync/*/manifests", glob.escape(file_name_of(name))))
    return {path: identity for path in paths if (identity := _identity(path))}


def _identity(path: str) -> tuple[int, ...]:
    """Return what tells one file at a path from another; empty if there is none."""
    try:
        status = os.stat(path, follow_symlinks=False)
    except OSError:
        return ()
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _digest(path: str) -> str:
    """Return the digest of a manifest's entries; empty if it cannot be read."""
    with suppress(OSError), open(path, "rb") as file:
        head = file.read(len(MAGIC) + DIGEST_SIZE)
        if head[: len(MAGIC)] == MAGIC:
            return head[len(MAGIC) :].hex()
    return ""


class EarlyScans:
    """The results of the scanning process. The directory may be empty: then there are none.

    :param directory: private directory with the results.
    :ivar started: when the scans began, as a UNIX time; None if there are none.
    """

    def __init__(self, directory: str = "") -> None:
        self.directory = directory
        self.started: float | None = None
        self.pending = ""
        """Name of the unit that the process is still scanning."""
        self._scanned: dict[str, _Scanned] = {}

    @classmethod
    def stopped(cls) -> EarlyScans:
        """Tell the scanning process of this command, if it has one, to begin no more units; return what it has."""
        directory = os.environ.get(VARIABLE, "")
        scans = cls(directory if directory and _is_private(directory) else "")
        if scans.directory:
            try:
                with open(os.path.join(directory, STOP), "xb"):
                    pass
                scans._read()
            except (OSError, ValueError, pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError) as error:
                _logger.debug("the scans cannot be read: %s", error)
                return cls()
        return scans

    def get(self, unit: Unit, trusted_digest: str, manifest: str) -> ScanResult | None:
        """Return the result of a unit's scan, if it can be used. Wait for it if the unit is still being scanned.

        :param trusted_digest: digest of the unit's last manifest; empty if the unit is compared with its mirror.
        :param manifest: path of the last manifest.
        """
        if unit.name == self.pending:
            self.pending = ""
            with suppress(OSError):
                self._read(wait=True)
        scanned = self._scanned.get(unit.name)
        if scanned is None or scanned.result.unit != unit or scanned.result.error:
            return None
        if scanned.manifests.get(manifest, ()) != _identity(manifest):
            _logger.debug("%s: scanned again: its manifest has changed since", unit.name)
            return None
        result = scanned.result
        _logger.debug("%s: scanned before the run began", unit.name)
        if result.digest == trusted_digest:
            return replace(result, path="")
        return result if result.path else None

    def _read(self, wait: bool = False) -> None:
        """Read what the process has written.

        :param wait: until it ends.
        """
        with open(os.path.join(self.directory, RESULTS), "rb") as file:
            if wait:
                fcntl.flock(file, fcntl.LOCK_SH)
            for message in _messages(file.read()):
                if isinstance(message, _Started):
                    self.started = message.time
                elif isinstance(message, Unit):
                    self.pending = message.name
                elif isinstance(message, _Scanned):
                    self._scanned[message.result.unit.name] = message
        if wait or self.pending in self._scanned:
            self.pending = ""


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


def _is_private(directory: str) -> bool:
    """Return whether only this user can write to a directory."""
    try:
        status = os.lstat(directory)
    except OSError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and not status.st_mode & 0o077
