# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a power failure would show, without one: small files are synced before they get their name, and the name after it, under their locks.

The promises are those of docs/development/backup-engine.md and of files/atomic.py. The mirrors themselves are not synced: they are compared
after a restart of the machine.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import METADATA, _byte_range, _unit_key
from fault_cases import BACKUPS, SMALL, Case, cleared, settled_home
from logic import Logic
from strace import Call, trace, why_not
from world import Me, World

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())
CALLS = (
    "openat",
    "write",
    "pwrite64",
    "ftruncate",
    "fsync",
    "fdatasync",
    "rename",
    "renameat",
    "renameat2",
    "link",
    "linkat",
    "close",
    "flock",
    "fcntl",
)
NAMING = ("rename", "renameat", "renameat2", "link", "linkat")
REGISTRY_LOCK = r"\.config/repoman/repoman\.toml\.lock"
UNITS = r"\.local/state/repoman/sync/\w+/units\.lock"


@dataclass(frozen=True)
class Promise:
    """Files that get their name when they are on the disk.

    :ivar path: of the files, relative to the home, as a regular expression.
    :ivar lock: the path of the lock that is held from before the file is read for the last time until it has its name; None for a file
        that is new, or whose contents depend on no other.
    """

    path: str
    lock: str | None = None
    resource: bytes = b""

    @property
    def start(self) -> str:
        """The byte of the lock, as strace writes it."""
        return f"l_start={_byte_range(self.resource)[0]}," if self.resource else ""


REGISTRY = Promise(r"\.config/repoman/repoman\.toml", REGISTRY_LOCK)
KEPT_SCHEMA = Promise(r"\.config/repoman/repoman\.toml\.schema2\.bak")
SETTINGS = Promise(r"\.config/repoman/(repos|profiles)\.d/(git\.toml|mine\.yml)", REGISTRY_LOCK)
SAVED_SETTINGS = Promise(r"\.config/repoman/before-\w+/.*")
TEMPLATE = Promise(r"\.config/repoman/profiles\.d/dotfiles\.yml", r"\.config/repoman/profiles\.d/\.dotfiles\.lock")
RECORD = Promise(r"\.local/state/repoman/profiles\.json")
REPLACED = Promise(r"\.local/state/repoman/replaced/.*\.yml")
LAST_SYNC = Promise(r"\.local/state/repoman/times/last_sync\.json", r"\.local/state/repoman/times/last_sync\.json\.lock")
MARKER = Promise(r"backup/\.repoman/mirror\.toml")
NEW_OWNER = Promise(r"backup/\.repoman/mirror\.toml", UNITS, METADATA)
RECORDS = Promise(r"backup/\.repoman/stamps\.json", UNITS, METADATA)
HISTORY = Promise(r"backup/\.repoman/history\.json", UNITS, METADATA)
CREATED = Promise(r"backup/\.repoman/created/[^.].*")
STORED = Promise(r"backup/\.repoman/settings/(.*/)?[^/.][^/]*", UNITS, _unit_key("(settings)"))
PROMISES = {
    "profile copy": [TEMPLATE],
    "profile install": [RECORD, REPLACED],
    "setup": [REGISTRY],
    "setup anew": [REGISTRY],
    "setup of an old one": [REGISTRY, KEPT_SCHEMA],
    "sync --init": [MARKER, RECORDS, STORED, LAST_SYNC, REGISTRY],
    "sync": [RECORDS, HISTORY, CREATED, LAST_SYNC, REGISTRY],
    "sync settings": [STORED],
    "sync, take over": [NEW_OWNER],
    "restore --settings": [SETTINGS, SAVED_SETTINGS, REGISTRY],
}


def broken(promise: Promise, calls: list[Call], home: Path) -> list[str]:
    """Return how a run breaks a promise, in sentences."""
    named, found = [], []
    for index, call in enumerate(calls):
        if call.name in NAMING and call.text.endswith("= 0") and (final := _final(call, home)) and re.fullmatch(promise.path, final):
            named.append(final)
            found += [f"{final}: {problem}" for problem in _of_naming(promise, calls, index, home)]
        elif (opened := _opened_for_writing(call, home)) and re.fullmatch(promise.path, opened):
            found.append(f"{opened} is written under its name")
    return found or ([] if named else [f"nothing was written to {promise.path}"])


def _opened_for_writing(call: Call, home: Path) -> str:
    """Return the path of a file that a call opens to write to it, relative to the home."""
    match = re.search(r"= \d+<(.*?)>$", call.text)
    writes = call.name == "openat" and match and re.search("O_WRONLY|O_RDWR", call.text)
    return os.path.relpath(match[1], home) if match and writes else ""


def _paths(call: Call, home: Path) -> list[str]:
    """Return the paths of a call that names a file, relative to the home."""
    found = re.findall(r'(?:AT_FDCWD|\d+)<([^>]*)>, "([^"]*)"', call.text) or [
        (str(home), path) for path in re.findall(r'"([^"]*)"', call.text)
    ]
    return [os.path.relpath(os.path.join(directory, path), home) for directory, path in found]


def _final(call: Call, home: Path) -> str:
    paths = _paths(call, home)
    return paths[-1] if len(paths) > 1 else ""


def _of_naming(promise: Promise, calls: list[Call], index: int, home: Path) -> list[str]:
    """Return what is wrong about a call that gives a file its name."""
    call, found = calls[index], []
    own = [other for other in calls[:index] if other.process == call.process]
    final = str(home / _final(call, home))
    staged = _staged(call, own, home)
    touched = [
        other.name
        for other in own
        if f"<{staged}>" in other.text and other.name in ("write", "pwrite64", "ftruncate", "fsync", "fdatasync")
    ]
    if not touched or touched[-1] not in ("fsync", "fdatasync"):
        found.append("it was not synced before it got its name")
    after = (other for other in calls[index:] if other.process == call.process and other.name == "fsync")
    if not any(f"<{os.path.dirname(final)}>" in other.text for other in after):
        found.append("its directory was not synced afterwards")
    if promise.lock is not None:
        reads = [
            at
            for at, other in enumerate(calls[:index])
            if other.name == "openat" and "O_RDONLY" in other.text and other.text.endswith(f"<{final}>")
        ]
        first = reads[-1] if reads else index
        if not _is_locked(promise, calls, first, index, home):
            found.append(f"it was read at {first} and named at {index} without the lock {promise.lock}")
    return found


def _staged(call: Call, own: list[Call], home: Path) -> str:
    """Return the path under which strace shows a file that is about to get a name; one without a name has its number in it."""
    path = _paths(call, home)[0]
    descriptor = re.search(r"/proc/self/fd/(\d+)", call.text)
    if not descriptor:
        return str(home / path)
    opened = [other for other in own if re.search(rf"= {descriptor[1]}<", other.text) and other.name == "openat"]
    return re.findall(r"= \d+<([^>]*)>", opened[-1].text)[0] if opened else ""


def _is_locked(promise: Promise, calls: list[Call], begin: int, end: int, home: Path) -> bool:
    """Return whether some process held an exclusive lock all the time between two calls."""
    held: dict[tuple[int, str], bool] = {}
    candidates: set[tuple[int, str]] = set()
    for index, call in enumerate(calls[: end + 1]):
        if index == begin:
            candidates = {key for key, is_held in held.items() if is_held}
        match = re.match(r"(\d+)<(.*?)>", call.text)
        if (
            match
            and call.name in ("flock", "fcntl", "close")
            and (call.name == "close" or promise.start in call.text)
            and re.fullmatch(promise.lock or "", os.path.relpath(match[2], home))
        ):
            start = re.search(r"l_start=(\d+)", call.text)
            key = (call.process, start[1] if start else match[1])
            if call.name != "close" and call.text.endswith("= 0") and re.search("LOCK_EX|F_WRLCK", call.text) and "GETLK" not in call.text:
                held[key] = True
            elif call.name == "close" or re.search("LOCK_UN|F_UNLCK", call.text):
                held = {
                    other: is_held and other != key and not (call.name == "close" and other[0] == call.process)
                    for other, is_held in held.items()
                }
        candidates = {key for key in candidates if held.get(key)}
    return bool(candidates)


@pytest.mark.parametrize("case", [case for case in (*SMALL, *BACKUPS) if str(case) in PROMISES], ids=str)
def test_orderings(case: Case, me: Me, installation: Path, incus: Path, logic: Logic, places: Callable[[bool], Path]) -> None:
    """Each promised file of a run."""
    world = World(me, places(False) / "home", installation, str(incus / "unix.socket"), logic)
    settled_home(world)
    case.prepare(world)
    try:
        cleared(world, case)
        traced = trace(world, case.module, case.params, CALLS)
        assert traced.result.code == 0 and not json.loads(traced.result.out).get("failed"), traced.result
        assert [problem for promise in PROMISES[str(case)] for problem in broken(promise, traced.calls, world.home)] == []
    finally:
        world.clean()


@pytest.mark.parametrize("name", ["restore over", "restore paths"])
def test_restored_data(name: str, me: Me, installation: Path, incus: Path, logic: Logic, places: Callable[[bool], Path]) -> None:
    """It is on the disk before it gets its name."""
    world = World(me, places(False) / "home", installation, str(incus / "unix.socket"), logic)
    (case,) = (each for each in BACKUPS if each.name == name)
    settled_home(world)
    case.prepare(world)
    traced = trace(world, case.module, case.params, (*CALLS, "syncfs"))
    assert traced.result.code == 0 and not json.loads(traced.result.out).get("failed"), traced.result
    named, unsynced = [], []
    for index, call in enumerate(traced.calls):
        final = _final(call, world.home) if call.name in NAMING and call.text.endswith("= 0") else ""
        if final.startswith("repos/") and "/.repoman-" not in final:
            named.append(final)
            own = [each for each in traced.calls[:index] if each.process == call.process]
            touched = [each for each in own if each.name == "syncfs" or "/.repoman-" in _opened_for_writing(each, world.home)]
            if not touched or touched[-1].name != "syncfs" or not touched[-1].text.endswith("= 0"):
                unsynced.append(final)
    assert named and not unsynced
