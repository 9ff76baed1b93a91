# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of each mirror, in ``.repoman/stamps.json`` on the target: the state of the source that it was last made equal to."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.clock import RELEASED, Clock, of_data
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import finite, read_json
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, mount_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.machine import boot_id

WRITTEN_SECONDS = 600.0
"""Seconds after which written data is on the disk; kernels take half a minute."""
RECORDS = "stamps.json"
MAX_RECORDS_BYTES = 32 << 20


@dataclass(frozen=True)
class MirrorRecord:
    """The state of the source that a mirror was last made equal to.

    :param digest: digest of the manifest; empty if the mirror may be incomplete.
    :param full: when the mirror itself was last compared, as a UNIX time.
    :param time: when the record was made, as a UNIX time.
    :param session: the :func:`mount_session` in which it was made; empty once the mirror is certainly on the target's disk.
    """

    digest: str
    full: float
    time: float = 0.0
    session: str = ""


@dataclass(frozen=True)
class MirrorRecords:
    """The records of all mirrors: the contents of the file.

    :param units: the record of each unit.
    :param run: when the last run ended, as a UNIX time; 0 if there was none.
    :param clock: the machine's clock, as earlier runs saw it.
    """

    units: dict[str, MirrorRecord]
    run: float = 0.0
    clock: Clock = field(default_factory=Clock)


def read_records(target: Target) -> MirrorRecords:
    """Return the target's records; empty if they cannot be read, so that everything is compared."""
    try:
        data = read_json(target.internal_path(RECORDS), MAX_RECORDS_BYTES)
        units = {
            str(unit): MirrorRecord(
                str(record["digest"]), finite(record["full"]), finite(record.get("time", 0)), str(record.get("session", ""))
            )
            for unit, record in data["units"].items()
        }
        run = finite(data["run"])
        return MirrorRecords(units, run, of_data(data.get("clock"), run))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return MirrorRecords({})


def write_records(target: Target, records: MirrorRecords, owner: Account) -> None:
    """Write the target's records."""
    units = {
        unit: {"digest": record.digest, "full": record.full} | ({"time": record.time, "session": record.session} if record.session else {})
        for unit, record in sorted(records.units.items())
    }
    data = {"run": records.run, "clock": records.clock.data(), "units": units}
    write_atomic(str(target.internal_path(RECORDS)), json.dumps(data, indent=1) + "\n", owner)


def mount_session(target: Target) -> str:
    """Return an ID of the current mount of the target. It changes at a reboot or remount, at which written data may get lost."""
    try:
        device = os.stat(target.root).st_dev
    except FileNotFoundError:
        return ""
    return f"{boot_id()} {device} {mount_of(target.root).mount_id}"


def without_written_sessions(records: MirrorRecords, session: str, now: float) -> MirrorRecords:
    """Return the records. A mirror that the kernel has written to the disk by now loses the session in its record."""
    return MirrorRecords(
        {
            unit: MirrorRecord(record.digest, record.full) if record.session == session and _is_written(record, now) else record
            for unit, record in records.units.items()
        },
        records.run,
        records.clock,
    )


def _is_written(record: MirrorRecord, now: float) -> bool:
    """Return whether a record is old enough that the kernel has written all data since; False if its clock was wrong."""
    return record.time > RELEASED and now - record.time > WRITTEN_SECONDS
