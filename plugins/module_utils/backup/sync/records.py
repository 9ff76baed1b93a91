# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The state of the mirrors: their records on the target, and their manifests in the local state directory."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import DIGEST_SIZE, MAGIC, STALE_SUFFIX
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RunLocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target, nearest_directory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.records import (
    MirrorRecord,
    MirrorRecords,
    mount_session,
    read_records,
    without_written_sessions,
    write_records,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import file_name_of
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

FULL_SECONDS = 7 * 24 * 3600.0
"""Seconds for which manifests are trusted; after that, everything is compared with the mirror."""
EMPTY_RECORD = MirrorRecord("", 0.0)
PROBE_BYTES = 256 << 10
"""A state directory with less space than this is not used."""


@contextmanager
def usable_state(state: Path, owner: Account) -> Iterator[tuple[Path, str]]:
    """Yield the state directory and an empty text; if it cannot be written, a temporary directory and a warning.

    :raises RepomanError: neither can be written.
    """
    problem = _probe(state, owner)
    if not problem:
        yield state, ""
        return
    with ExitStack() as stack:
        try:
            temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="repoman-", ignore_cleanup_errors=True)))
            other = _probe(temporary, owner)
        except OSError as error:
            name = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
            directory = os.path.dirname(name) or os.environ.get("TMPDIR", "/tmp")  # noqa: S108
            other = f"cannot write to the temporary directory {directory}: {error.strerror}."
        if other:
            raise RepomanError(
                f"no directory for the local state can be written. {problem} {other}",
                f"df -h {shell_word(str(nearest_directory(str(state))))} {shell_word(tempfile.gettempdir())}",
            )
        yield temporary, f"{problem} The state of this run is not saved: this run and the next one compare everything with the mirrors."


def _probe(state: Path, owner: Account) -> str:
    """Return why a state directory cannot be written; empty if it can."""
    try:
        ensure_private_directory(str(state), owner)
    except RepomanError as error:
        return error.message
    path = state / f"probe-{os.getpid()}"
    try:
        with open(path, "xb") as file:
            file.write(bytes(PROBE_BYTES))
            file.flush()
    except OSError as error:
        return f"cannot write to the state directory {state}: {error.strerror}."
    finally:
        with suppress(OSError):
            path.unlink()
    return ""


class RunRecords:
    """The records and manifests of the mirrors, as one run uses them.

    :param now: when the run began, as a UNIX time.
    :param full: trust no manifest.
    """

    def __init__(self, target: Target, state: Path, owner: Account, now: float, full: bool) -> None:
        self.target, self.state, self.owner, self.now, self.full = target, state, owner, now, full
        self.session = ""
        self.current = MirrorRecords({})
        self._changed: dict[str, MirrorRecord | None] = {}
        self._mutex = threading.Lock()

    def read(self) -> None:
        """Read the records. The record of a unit that this run has locked stays valid until it is unlocked."""
        self.session = mount_session(self.target)  # a directory that this run makes the target may not have existed before
        self.current = without_written_sessions(read_records(self.target), self.session, self.now)

    def manifest(self, name: str) -> Path:
        """Return the file with a unit's last manifest."""
        return self.state / "manifests" / file_name_of(name)

    def trusted_digest(self, name: str) -> str:
        """Return the digest of a unit's last manifest; empty if it cannot be trusted and the mirror has to be compared."""
        record = self.current.units.get(name)
        if record is None or self.full:
            return ""
        if not 0 <= self.now - record.full < FULL_SECONDS:
            return ""
        if record.session not in ("", self.session):  # data may not have reached the disk
            return ""
        with suppress(OSError, ValueError), open(self.manifest(name), "rb") as file:
            if file.read(len(MAGIC) + DIGEST_SIZE) == MAGIC + bytes.fromhex(record.digest):
                return record.digest
        return ""

    def set(self, name: str, record: MirrorRecord | None) -> None:
        """Change a unit's record (None: it has no mirror any more); :meth:`write` writes it."""
        with self._mutex:
            self._changed[name] = record
            if record is None:
                self.current.units.pop(name, None)
            else:
                self.current.units[name] = record

    def write(self, locks: RunLocks, void: Iterable[str] = ()) -> None:
        """Write this run's records; records of other runs' units stay as those runs wrote them.

        :param void: units whose mirror may be incomplete. They get a record without a digest, which only shows that a mirror exists.
        """
        with locks.metadata_lock():
            with self._mutex:
                changed, self._changed = self._changed, {}
            try:
                written = without_written_sessions(read_records(self.target), self.session, self.now)
                units = written.units | dict.fromkeys(void, EMPTY_RECORD)
                for name, record in changed.items():
                    if record is None:
                        units.pop(name, None)
                    else:
                        units[name] = record
                write_records(self.target, MirrorRecords(units, self.now, written.clock.at(self.now)), self.owner)
            except BaseException:
                with self._mutex:
                    self._changed = changed | self._changed
                raise

    def save_manifest(self, name: str, manifest: str, digest: str, *, compared_mirror: bool) -> None:
        """Save the manifest of a mirror's current contents, and set the unit's record.

        :param manifest: file to move from; a local one.
        :param compared_mirror: whether the mirror itself was compared, and not only the last manifest.
        :raises OSError: it cannot be saved; then the next run compares the mirror.
        """
        path = self.manifest(name)
        try:
            shutil.move(manifest, path)
        except OSError:
            self.forget_manifest(name)
            self.set(name, EMPTY_RECORD)
            raise
        Path(f"{path}{STALE_SUFFIX}").unlink(missing_ok=True)
        previous = self.current.units.get(name)
        full = self.now if compared_mirror or previous is None else previous.full
        self.set(name, MirrorRecord(digest, full, time.time(), self.session))

    def forget_manifest(self, name: str) -> None:
        """Remove a unit's manifest, if that is possible."""
        with suppress(OSError):
            self.manifest(name).unlink(missing_ok=True)
