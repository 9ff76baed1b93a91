# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The history of the mirrors: its versions, their order, their times, and when they expire.

::

    backup_root/.repoman/kept/<name>/<unit>/   what a run replaced or removed
    backup_root/.repoman/created/<name>        what a run created, by unit, as JSON; null for all of it
    backup_root/.repoman/history.json          the names in the order in which the versions were made

A version is named after the clock of the machine that made it. That clock may have been wrong, so the order comes from
``history.json`` and not from the names, and a name that contradicts the order does not count as a time.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from bisect import bisect_right
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.clock import (
    DAY,
    OUTLIVED,
    PAUSE,
    RELEASED,
    Clock,
    doubtful,
    left_out,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import staged_name, write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_json
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

_logger = get_logger("target")

VERSION_NAME = re.compile(r"\d{8}T\d{6}Z")
VERSION_FORMAT = "%Y%m%dT%H%M%SZ"
MAX_INDEX_BYTES = 16 << 20
MAX_CREATED_BYTES = 256 << 20
SHARED_BYTES = 64 << 10
"""A longer list of paths that a run created in one unit is stored in a separate file."""
SHOWN_NAMES = 3


@dataclass(frozen=True)
class Version:
    """One version.

    :param name: the machine's clock when it was made.
    :param ordered: its position comes from ``history.json``, not from its name.
    """

    name: str
    ordered: bool = False

    @property
    def clock(self) -> float:
        """The machine's clock when it was made, as a UNIX time."""
        return parse_version(self.name).timestamp()


def parse_version(name: str) -> datetime:
    """Return the time in a version's name.

    :raises ValueError: it contains none.
    """
    return datetime.strptime(name, VERSION_FORMAT).replace(tzinfo=timezone.utc)


class History:
    """The versions of a target, oldest first.

    :param now: the machine's clock, as a UNIX time.
    """

    def __init__(self, target: Target, versions: Sequence[Version], now: float) -> None:
        self.target, self.versions, self.now = target, list(versions), now

    @property
    def names(self) -> list[str]:
        """The names of all versions, in the order in which they were made."""
        return [version.name for version in self.versions]

    @property
    def clock_is_wrong(self) -> bool:
        """True if the machine's clock cannot be right."""
        return self.now < RELEASED

    @cached_property
    def later(self) -> list[str]:
        """The names that are more than a day after the machine's clock."""
        return [version.name for version in self.versions if version.clock > self.now + DAY]

    @cached_property
    def _trusted(self) -> frozenset[int]:
        """Versions that were probably made with a correct clock: the longest sequence of times in the order of their making."""
        limit = math.inf if self.clock_is_wrong else self.now + DAY
        plausible = [
            number
            for number, version in enumerate(self.versions)
            if version.clock <= limit and not (version.ordered and version.clock < RELEASED)
        ]
        return frozenset(_longest_ascending(plausible, [version.clock for version in self.versions]))

    @cached_property
    def _bounds(self) -> list[tuple[float, float]]:
        """For each version, its earliest and latest possible time; both are equal if the time is known."""
        trusted = sorted(self._trusted)
        bounds = []
        for number, version in enumerate(self.versions):
            if number in self._trusted:
                bounds.append((version.clock, version.clock))
                continue
            position = bisect_right(trusted, number)
            after = (
                self.versions[trusted[position]].clock
                if position < len(trusted)
                else max(self.now, version.clock if self.clock_is_wrong else 0)
            )
            before = self.versions[trusted[position - 1]].clock if position else after
            file_time = self._file_time(version.name)
            bounds.append((file_time, file_time) if before <= file_time <= after else (before, max(before, after)))
        return bounds

    def _file_time(self, name: str) -> float:
        """Return when the file system says that a version was made: on a server it is the server's clock."""
        for path in (created_file(self.target, name), self.target.internal_path("kept", name)):
            with suppress(OSError):
                return os.lstat(path).st_mtime
        return -math.inf

    @property
    def oldest(self) -> str:
        """The time of the oldest version, formatted as a name; without versions, the current time."""
        return format_time(self._bounds[0][0]) if self.versions else format_time(self.now)

    def versions_since(self, version_or_time: str) -> list[str]:
        """Return the versions to undo to get back to a moment, in the order in which they were made.

        :param version_or_time: a version's name selects that version and all later ones; any other text is a time.
        """
        names = self.names
        if version_or_time in names:
            return names[names.index(version_or_time) :]
        start = parse_version(version_or_time).timestamp()
        first = next((number for number, (earliest, _latest) in enumerate(self._bounds) if earliest >= start), len(names))
        return names[first:]

    def expired(self, clock: Clock, days: int) -> list[str]:
        """Return the versions made longer than ``days`` ago, none if that is 0; none while the clock may be wrong: then the next run decides.

        The clock is wrong if it is before the last run or more than ``days`` after it. If it was more than ``days`` after it between two
        earlier runs, that time does not count: it may be right, but what is deleted is gone. A version expires only after all earlier ones.

        :param clock: the clock as earlier runs saw it.
        """
        keep = days * DAY
        since_last = self.now - clock.before(self.now)
        jumps, is_rarely_on = doubtful(clock.at(self.now).jumps, keep)
        if (
            not days
            or self.clock_is_wrong
            or self.now > OUTLIVED
            or not 0 < clock.last < math.inf
            or (since_last > keep and not is_rarely_on)
            or since_last < -DAY
        ):
            return []
        expired = []
        for version, (_earliest, latest) in zip(self.versions, self._bounds, strict=True):
            latest_time = max(version.clock if version.clock <= self.now + DAY else latest, latest)
            if latest_time + left_out(jumps, latest_time) >= math.floor(self.now) - keep:
                break
            expired.append(version.name)
        _logger.debug("%d of %d versions are older than %d days: %s", len(expired), len(self.versions), days, ", ".join(expired) or "none")
        return expired

    def warnings(self, clock: Clock | None = None, days: int = 0) -> list[str]:
        """Return warnings if the clock is or was wrong, or may be.

        :param clock: the clock as earlier runs saw it; None to ignore it.
        :param days: how long versions are kept.
        """
        if self.clock_is_wrong or self.now > OUTLIVED:
            return [f"this machine's clock shows {format_time(self.now)}, which cannot be right: nothing expires until it is corrected."]
        warnings = self._jump_warnings(clock, days * DAY) if clock else []
        if not self.later:
            return warnings
        count = len(self.later)
        which = ", ".join(self.later[:SHOWN_NAMES]) + (", …" if count > SHOWN_NAMES else "")
        subject = "1 saved version has a name" if count == 1 else f"{count} saved versions have names"
        return [
            *warnings,
            f"{subject} that is later than this machine's clock, {format_time(self.now)}: {which}. A run made {'it' if count == 1 else 'them'} while the "
            "clock was wrong; versions are used in the order in which they were made. To correct the names, see "
            "'The clock was wrong' in the guide 'Backup and restore'.",
        ]

    def _jump_warnings(self, clock: Clock, keep: float) -> list[str]:
        """Return a warning if the clock jumped far between two runs: now, or earlier if versions are still kept because of the jump."""
        jumps = doubtful(clock.at(self.now).jumps, max(keep, PAUSE))[0]
        if not jumps:
            return []
        before, after = jumps[-1]
        has_affected_version = any(earliest <= before and earliest < self.now - keep for earliest, _latest in self._bounds)
        if after < self.now and not has_affected_version:
            return []
        return [
            f"this machine's clock went from {format_time(before)} to {format_time(after)} between two runs. If the machine was off, all is "
            "well; if not, set the clock. That time does not count for when saved versions expire; see 'The clock was wrong' in the guide "
            "'Backup and restore'."
        ]


def _longest_ascending(numbers: Sequence[int], values: Sequence[float]) -> list[int]:
    """Return the longest subsequence of ``numbers`` whose values never descend; of several, one with later values."""
    tails: list[float] = []
    ends: list[int] = []
    following: dict[int, int] = {}
    for number in reversed(numbers):
        value = -values[number]
        at = bisect_right(tails, value)
        if at:
            following[number] = ends[at - 1]
        tails[at : at + 1] = [value]
        ends[at : at + 1] = [number]
    longest = []
    number = ends[-1] if ends else -1
    while number >= 0:
        longest.append(number)
        number = following.get(number, -1)
    return longest


def format_time(time: float) -> str:
    """Return a UNIX time in the format of version names."""
    with suppress(OverflowError, ValueError, OSError):
        return datetime.fromtimestamp(time, timezone.utc).strftime(VERSION_FORMAT)
    return "no time at all"


def load(target: Target, now: float) -> History:
    """Return the history of a target. Versions that ``history.json`` lacks are sorted in by name."""
    names = _list_names(target)
    versions = [Version(name, ordered) for name, ordered in _read_index(target) if name in names]
    indexed = {version.name for version in versions}
    for name in sorted(names - indexed):
        position = next((number for number, version in enumerate(versions) if version.name > name), len(versions))
        versions.insert(position, Version(name))
    return History(target, versions, now)


def version_names(target: Target) -> list[str]:
    """Return the names of the versions, in the order in which they were made."""
    return load(target, 0.0).names


def _list_names(target: Target) -> set[str]:
    names: set[str] = set()
    for directory in ("kept", "created"):
        with suppress(FileNotFoundError):
            names.update(os.listdir(target.internal_path(directory)))
    return {name for name in names if _is_version_name(name)}


def _is_version_name(name: str) -> bool:
    if not VERSION_NAME.fullmatch(name):
        return False
    try:
        parse_version(name).timestamp()
    except (ValueError, OverflowError):
        return False
    return True


def _read_index(target: Target) -> list[tuple[str, bool]]:
    """Return names, each with whether its clock was checked; empty if the file is not repoman's."""
    index: dict[str, bool] = {}
    try:
        for name, ordered in read_json(target.internal_path("history.json"), MAX_INDEX_BYTES)["states"]:
            if isinstance(name, str) and _is_version_name(name):
                index[name] = bool(ordered)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
    return list(index.items())


def create_version(target: Target, now: datetime, owner: Account) -> str:
    """Create a new version, the last in order, and return its name. The caller holds the lock on the target's metadata.

    The name is the current time, or the next second that no version has as its name.
    """
    history = load(target, now.timestamp())
    used_names = set(history.names)
    while (name := now.strftime(VERSION_FORMAT)) in used_names:
        now += timedelta(seconds=1)
    lists = created_file(target, name).parent
    lists.mkdir(mode=0o700, exist_ok=True)
    for staged in lists.glob(staged_name("*")):  # left by killed runs; running ones write under the same lock
        staged.unlink(missing_ok=True)
    write_atomic(str(created_file(target, name)), "{}", owner)
    _write_index(target, [*history.versions, Version(name, ordered=True)], owner)
    _logger.debug("made the version %s", name)
    return name


def _write_index(target: Target, versions: Iterable[Version], owner: Account) -> None:
    data = {"states": [[version.name, version.ordered] for version in versions]}
    write_atomic(str(target.internal_path("history.json")), json.dumps(data) + "\n", owner)


# ---- what a run created --------------------------------------------------------------------------------------------------------


def created_file(target: Target, name: str, unit: str = "") -> Path:
    """Return the list of files that a run created; it shows which files did not exist before.

    :param unit: the separate file of this unit, for a long list, so that one container cannot make the lists of other units slow to read.
    """
    if unit:
        return target.internal_path("created", f"{name}.{hashlib.sha256(os.fsencode(unit)).hexdigest()[:32]}")
    return target.internal_path("created", name)


def remove_created(target: Target, name: str) -> None:
    """Remove the lists of files that a run created."""
    with suppress(FileNotFoundError):
        for file_name in os.listdir(target.internal_path("created")):
            if file_name.startswith(f"{name}."):
                target.internal_path("created", file_name).unlink(missing_ok=True)
    created_file(target, name).unlink(missing_ok=True)


def created_of(target: Target, name: str, unit: str) -> list[bytes] | None:
    """Return the paths that a run created in a unit, without those inside new directories; None if it created the unit.

    :raises RepomanError: the file is too large to be repoman's.
    """
    path = created_file(target, name, unit)
    if not os.path.lexists(path):
        path = created_file(target, name)
    try:
        if path.lstat().st_size > MAX_CREATED_BYTES:
            raise RepomanError(
                f"{path} is too large to be repoman's: what the run of {name} created is not known.",
                f"look at it: ls -l {shell_word(str(path))}",
            )
        paths = read_json(path, MAX_CREATED_BYTES).get(unit, [])
        return None if paths is None else [os.fsencode(path) for path in paths]
    except (OSError, ValueError, AttributeError, TypeError):
        return []


def write_created(
    target: Target, name: str, created: dict[str, list[str] | None], owner: Account, changed: Container[str] | None = None
) -> None:
    """Record the paths that a run created, without those inside new directories. The caller holds the lock on the target's metadata.

    :param changed: units whose lists differ from the last call; None for all.
    """
    topmost = {unit: None if paths is None else _topmost(paths) for unit, paths in created.items()}
    for unit, paths in list(topmost.items()):
        if paths is not None and sum(map(len, paths)) > SHARED_BYTES:
            if changed is None or unit in changed:
                write_atomic(str(created_file(target, name, unit)), json.dumps({unit: paths}), owner)
            del topmost[unit]
    write_atomic(str(created_file(target, name)), json.dumps(topmost), owner)


def _topmost(paths: Iterable[str]) -> list[str]:
    """Return the paths that are not inside another of them."""
    all_paths = set(paths)
    return sorted(path for path in all_paths if not any(parent in all_paths for parent in _parents(path)))


def _parents(path: str) -> Iterable[str]:
    while "/" in path:
        path = path.rpartition("/")[0]
        yield path
