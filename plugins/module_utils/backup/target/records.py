# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record of each mirror, in ``.repoman/stamps.json`` on the target: which state of its source it was last made equal to."""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.clock import RELEASED, Clock, of_data
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_json
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, mount_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.machine import boot_id

WRITTEN_SECONDS = 600.0
"""After so long everything written is on the disk; kernels take half a minute."""
MAX_STAMPS_BYTES = 32 << 20


@dataclass(frozen=True)
class Stamp:
    """What a mirror was last made equal to.

    :param digest: of the manifest.
    :param full: when everything was last compared, as a UNIX time.
    :param time: when it was made, as a UNIX time.
    :param session: in which it was made, as long as what it stands for may not be on the target's disk; see :func:`session`.
    """

    digest: str
    full: float
    time: float = 0.0
    session: str = ""


@dataclass(frozen=True)
class Stamps:
    """The stamps of all mirrors, one file.

    :param units: by unit.
    :param run: when the last run ended, as a UNIX time; 0 if there was none.
    :param clock: what the runs so far saw of the machine's clock.
    """

    units: dict[str, Stamp]
    run: float = 0.0
    clock: Clock = field(default_factory=Clock)


def read_stamps(target: Target) -> Stamps:
    """Return the target's stamps; none where they cannot be read: then everything is compared."""
    try:
        data = read_json(target.ours("stamps.json"), MAX_STAMPS_BYTES)
        units = {
            str(unit): Stamp(str(each["digest"]), float(each["full"]), float(each.get("time", 0)), str(each.get("session", "")))
            for unit, each in data["units"].items()
        }
        run = float(data["run"])
        return Stamps(units, run, of_data(data.get("clock"), run if math.isfinite(run) else 0.0))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Stamps({})


def write_stamps(target: Target, stamps: Stamps, owner: Account) -> None:
    """Replace the target's stamps."""
    units = {
        unit: {"digest": stamp.digest, "full": stamp.full} | ({"time": stamp.time, "session": stamp.session} if stamp.session else {})
        for unit, stamp in sorted(stamps.units.items())
    }
    data = {"run": stamps.run, "clock": stamps.clock.data(), "units": units}
    write_atomic(str(target.ours("stamps.json")), json.dumps(data, indent=1) + "\n", owner)


def session(target: Target) -> str:
    """Return what changes when the machine is started anew, or the target is mounted anew: which is when written data may be lost."""
    try:
        device = os.stat(target.root).st_dev
    except FileNotFoundError:
        return ""
    return f"{boot_id()} {device} {mount_of(target.root).ident}"


def settled(stamps: Stamps, session: str, now: float) -> Stamps:
    """Return the stamps, those without their session that were made in this one so long ago that the kernel has written all since."""
    return Stamps(
        {
            unit: Stamp(stamp.digest, stamp.full) if stamp.session == session and _is_written(stamp, now) else stamp
            for unit, stamp in stamps.units.items()
        },
        stamps.run,
        stamps.clock,
    )


def _is_written(stamp: Stamp, now: float) -> bool:
    """Return whether a stamp is old enough that the kernel has written all data since; False if its clock was wrong."""
    return stamp.time > RELEASED and now - stamp.time > WRITTEN_SECONDS
