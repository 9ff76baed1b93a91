# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backup's place: its mark, the guards before anything is written to it, its stamps.

::

    backup_root/<unit>/                          a mirror
    backup_root/.repoman/mirror.toml             the mark
    backup_root/.repoman/lock                    who is at work; see ``target_lock.py``
    backup_root/.repoman/stamps.json             what each mirror was last made equal to
    backup_root/.repoman/history.json, kept, created   see ``history.py``

All of this may hang with its server, so it runs in a child process; see ``watch.py``.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import delete
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotThereError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_json, read_limited
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account, mount_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import is_lost_and_found_at
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry

OURS = ".repoman"
"""The directory of repoman's own in ``backup_root``."""
FORMAT = 1
LEAST_FREE = 4 * 1024 * 1024
WRITTEN_SECONDS = 600.0
"""After so long everything written is on the disk; kernels take half a minute."""
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
RELEASED = datetime(2026, 1, 1, tzinfo=timezone.utc).timestamp()
"""No run is older than repoman itself: a clock that says so has lost its battery."""
MAX_MARK_BYTES = 64 << 10
MAX_STAMPS_BYTES = 32 << 20

MARK_TEXT = """\
# repoman backs up to this directory: it is the sign that the right file system is mounted here.
# Keep it. If the host or the user got another name, correct it here.

"""


@dataclass(frozen=True)
class Place:
    """Where from and where to, as the registry says, expanded.

    :param backup_root: absolute; links not resolved.
    :param repos_root: absolute; links not resolved.
    :param registry_path: for hints.
    :param owner: the account whose backup it is.
    :param host: name of this host.
    """

    backup_root: str
    repos_root: str
    registry_path: str
    owner: Account
    host: str = ""

    def __post_init__(self) -> None:
        if not self.host:
            object.__setattr__(self, "host", socket.gethostname())


@dataclass(frozen=True)
class Target:
    """A backup's place that carries our mark, or will in a moment.

    :param root: its directory, links resolved.
    :param ident: from its mark; tells it from another that is mounted at the same place.
    """

    root: str
    ident: str

    def ours(self, *parts: str) -> Path:
        """Return a path in the directory of repoman's own."""
        return Path(self.root, OURS, *parts)

    def mirror(self, unit: str) -> Path:
        """Return the path of a unit's mirror."""
        return Path(self.root, unit)


# ---- guards --------------------------------------------------------------------------------------------------------------------


def inspect(place: Place, init: bool = False, allow_local: bool = False) -> tuple[Target, bool]:
    """Return the target, and whether it is yet to be adopted. Writes nothing.

    :param init: take a place without a mark, if it lies on another file system than ``/`` and ``repos_root``.
    :param allow_local: take it wherever it lies.
    :raises ConflictError: a guard; what is wrong and how to answer it.
    """
    source, root = os.path.realpath(place.repos_root), os.path.realpath(place.backup_root)
    _check_apart(place, source, root)
    _check_source(place, source)
    mark = _read_mark(Path(root, OURS, "mirror.toml"))
    if mark is not None:
        _check_mark(place, root, mark)
        return Target(root, str(mark["id"])), False
    if not init:
        what = "it has no mark of ours" if os.path.isdir(root) else "there is no such directory"
        raise NotThereError(
            f"{place.backup_root} is not a backup of repoman: {what}; nothing was written.",
            f"is it mounted? findmnt --target {place.backup_root}",
            "for the first backup to it: repoman sync --init",
            f"another place: [defaults].backup_root in {place.registry_path}",
        )
    if os.path.lexists(root) and not os.path.isdir(root):
        raise ConflictError(f"{place.backup_root} is not a directory.", f"choose another: [defaults].backup_root in {place.registry_path}")
    if not allow_local:
        _check_elsewhere(place, source, root)
    return Target(root, secrets.token_hex(8)), True


def open_for_reading(place: Place) -> tuple[Target, str]:
    """Return a target to restore from, which may be another host's or user's, and a warning where it is.

    :raises ConflictError: there is no backup there.
    """
    root = os.path.realpath(place.backup_root)
    mark = _read_mark(Path(root, OURS, "mirror.toml"))
    if mark is None:
        raise ConflictError(
            f"{place.backup_root} is not a backup of repoman: it has no {OURS}/mirror.toml.",
            f"is it mounted? findmnt --target {place.backup_root}",
            f"where it is: [defaults].backup_root in {place.registry_path}",
        )
    try:
        _check_mark(place, root, mark)
    except ConflictError:
        if mark.get("format") != FORMAT:
            raise
        return Target(root, str(mark.get("id"))), f"{root} is the backup of {mark.get('user')} on {mark.get('host')}"
    return Target(root, str(mark["id"])), ""


def adopt(place: Place, target: Target) -> None:
    """Put our mark on a target; what else is there stays as it is."""
    import tomlkit

    mark = {
        "format": FORMAT,
        "id": target.ident,
        "host": place.host,
        "user": place.owner.name,
        "created": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    target.ours().mkdir(mode=0o700, parents=True, exist_ok=True)
    registry.write_atomic(str(target.ours("mirror.toml")), MARK_TEXT + tomlkit.dumps(mark), place.owner)


def check_writable(place: Place, target: Target) -> None:
    """Refuse a target that takes no files, or has no space left.

    :raises RepomanError: which of the two it is.
    """
    probe = target.ours(f"probe-{os.getpid()}")
    try:
        with open(probe, "xb") as file:
            file.write(b"repoman")
            os.fsync(file.fileno())
        space = os.statvfs(target.root)
        free = space.f_bavail * space.f_frsize
    except OSError as error:
        raise RepomanError(
            f"cannot write to {place.backup_root}: {error.strerror}; the mirrors are as they were.",
            f"is it mounted read-only, or full? findmnt --target {place.backup_root}; df -h {place.backup_root}",
            f"is it {place.owner.name}'s? ls -ld {target.ours()}",
        ) from error
    finally:
        with suppress(OSError):
            probe.unlink()
    if free < LEAST_FREE:
        raise RepomanError(
            f"{place.backup_root} has no space left ({free // 1024} KiB); the mirrors are as they were.",
            f"df -h {place.backup_root}",
            f"what runs replaced is kept for a while: du -sh {target.ours('kept')}/*",
        )


def _check_apart(place: Place, source: str, root: str) -> None:
    if root == source or root.startswith(f"{source.rstrip('/')}/"):
        raise ConflictError(
            f"backup_root, {place.backup_root}, lies inside repos_root, {place.repos_root}: the backup would back itself up.",
            f"choose another: [defaults].backup_root in {place.registry_path}",
        )
    if source.startswith(f"{root.rstrip('/')}/"):
        raise ConflictError(
            f"repos_root, {place.repos_root}, lies inside backup_root, {place.backup_root}: mirrors would overwrite repositories.",
            f"choose another: [defaults].backup_root in {place.registry_path}",
        )


def _check_source(place: Place, source: str) -> None:
    try:
        empty = not [name for name in os.listdir(source) if not is_lost_and_found_at(os.path.join(source, name))]
    except OSError as error:
        raise NotThereError(
            f"cannot read repos_root, {place.repos_root}: {error.strerror}; the backup was not touched.",
            f"is it mounted? findmnt --target {place.repos_root}",
            f"where it is: [defaults].repos_root in {place.registry_path}",
        ) from error
    if empty:
        raise NotThereError(
            f"repos_root, {place.repos_root}, is empty; the backup was not touched.",
            f"is it mounted? findmnt --target {place.repos_root}",
            "to get a repository back: repoman restore NAME",
        )


def _check_mark(place: Place, root: str, mark: dict[str, Any]) -> None:
    path = Path(root, OURS, "mirror.toml")
    if mark.get("format") != FORMAT or not re.fullmatch(r"[0-9a-f]{8,64}", str(mark.get("id"))):
        raise ConflictError(
            f"{path} is of format {mark.get('format')!r}, which this repoman does not know; nothing was written.", "upgrade repoman"
        )
    for key, own in (("host", place.host), ("user", place.owner.name)):
        if mark.get(key) != own:
            raise ConflictError(
                f"{place.backup_root} is the backup of {key} {mark.get(key)!r}, and this is {own!r}; nothing was written.",
                f"choose a directory of your own: [defaults].backup_root in {place.registry_path}",
                f"if it is yours and the {key} got another name: correct it in {path}",
            )


def nearest(path: str) -> Path:
    """Return the directory, or where it is not there yet, the nearest one above it that is."""
    return next(each for each in (Path(path), *Path(path).parents) if each.is_dir())


def _check_elsewhere(place: Place, source: str, root: str) -> None:
    """Refuse a target on the file system of ``/`` or of ``repos_root``: most likely it is a bare mount point."""
    there = nearest(root)
    for name, path in (("/", "/"), (f"repos_root, {place.repos_root}", source)):
        mounts = [mount_of(str(each)).source for each in (there, path)]
        if there.stat().st_dev == os.stat(path).st_dev or (mounts[0] == mounts[1] and mounts[0].startswith("/dev/")):
            raise NotThereError(
                f"{place.backup_root} is on the same file system as {name}: a backup there would be lost with its source; nothing was written.",
                f"is it mounted? findmnt --target {place.backup_root}",
                "to accept it anyway: repoman sync --init --allow-local",
            )


def _read_mark(path: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(read_limited(path, MAX_MARK_BYTES, waits=True))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConflictError(f"cannot read the backup's mark, {path}: {reason}; nothing was written.", f"look at it: cat {path}") from error


# ---- stamps --------------------------------------------------------------------------------------------------------------------


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
    """

    units: dict[str, Stamp]
    run: float = 0.0


def read_stamps(target: Target) -> Stamps:
    """Return the target's stamps; none where they cannot be read: then everything is compared."""
    try:
        data = read_json(target.ours("stamps.json"), MAX_STAMPS_BYTES)
        units = {
            str(unit): Stamp(str(each["digest"]), float(each["full"]), float(each.get("time", 0)), str(each.get("session", "")))
            for unit, each in data["units"].items()
        }
        return Stamps(units, float(data["run"]))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return Stamps({})


def write_stamps(target: Target, stamps: Stamps, owner: Account) -> None:
    """Replace the target's stamps."""
    units = {
        unit: {"digest": stamp.digest, "full": stamp.full} | ({"time": stamp.time, "session": stamp.session} if stamp.session else {})
        for unit, stamp in sorted(stamps.units.items())
    }
    registry.write_atomic(str(target.ours("stamps.json")), json.dumps({"run": stamps.run, "units": units}, indent=1) + "\n", owner)


def first_line(path: Path) -> str:
    """Return the single line of a system file; empty if it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def session(target: Target) -> str:
    """Return what changes when the machine is started anew, or the target is mounted anew: which is when written data may be lost."""
    try:
        device = os.stat(target.root).st_dev
    except FileNotFoundError:
        return ""
    return f"{first_line(BOOT_ID)} {device} {mount_of(target.root).ident}"


def settled(stamps: Stamps, session: str, now: float) -> Stamps:
    """Return the stamps, those without their session that were made in this one so long ago that the kernel has written all since."""
    return Stamps(
        {
            unit: Stamp(stamp.digest, stamp.full) if stamp.session == session and _is_written(stamp, now) else stamp
            for unit, stamp in stamps.units.items()
        },
        stamps.run,
    )


def _is_written(stamp: Stamp, now: float) -> bool:
    """Return whether a stamp is old enough that the kernel has written all data since; False if its clock was wrong."""
    return stamp.time > RELEASED and now - stamp.time > WRITTEN_SECONDS


def discard(path: Path) -> None:
    """Remove a directory of ours and all it holds, following no link; also where directories in it cannot be written."""
    parent = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        delete(os.fsencode(path.name), parent)
    finally:
        os.close(parent)
