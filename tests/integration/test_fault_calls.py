# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each system call of a run may fail, and each may be its last: the user's data stays, and the next run succeeds without help.

``REPOMAN_FAULTS=k`` takes every k-th call of a run, ``REPOMAN_SEED`` which ones and with which errors.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from fault_cases import CASES, Case, contents, put_back, remarks, settled_home, snapshot, view
from invariants import leftovers, problems, settles
from logic import Logic
from strace import KILL, READ_ERRORS, READS, WRITE_ERRORS, WRITES, Call, Fault, Traced, touching, trace, why_not
from world import Me, World, place_for

STEP = int(os.environ.get("REPOMAN_FAULTS", "60"))
SEED = int(os.environ.get("REPOMAN_SEED", "0"))
LESS = 5
pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture
def place(me: Me) -> Iterator[Path]:
    """A directory with a home, in memory if there is room."""
    with place_for("repoman-f", os.environ.get("TEST_TMP", "/var/tmp")) as place:
        for name in ("home", "before"):
            (place / name).mkdir()
            os.chown(place / name, me.uid, me.gid)
        yield place


def faults_of(calls: list[Call], home: Path) -> list[Fault]:
    """Return the faults of a run to try: at calls about the home or the daemon that write a kill and an error, at calls that read an error.

    There are many more calls that read, so fewer of them are tried.
    """
    touched = touching(calls, home)
    writes, reads = [call for call in touched if call.writes], [call for call in touched if not call.writes]
    found = []
    for index, call in enumerate(writes):
        error = WRITE_ERRORS[(index + SEED) % len(WRITE_ERRORS)]
        found += [Fault(call.name, call.number, KILL), Fault(call.name, call.number, error)]
    found = found[SEED % STEP :: STEP]
    step = STEP * LESS
    for index in range(SEED % step, len(reads), step):
        found.append(Fault(reads[index].name, reads[index].number, READ_ERRORS[(index + SEED) % len(READ_ERRORS)]))
    return found


def judge(world: World, case: Case, fault: Fault, traced: Traced, before: set[str], lines: set[str]) -> list[str]:
    """Return what is wrong after a run with a fault, in sentences."""
    result = traced.result
    found = []
    if "Traceback" in result.out + result.err:
        found.append(f"a traceback: {result.out}{result.err}")
    if result.code is None:
        found.append("it hangs")
    elif result.code == 0 and not found:
        said = json.loads(result.out)
        failures = [said, *said.get("units", []), said.get("settings", {})]
        found += [f"no hint: {each}" for each in failures if "msg" in each and not (each["msg"] and each.get("hints"))]
        if said.get("failed") and not any("msg" in each for each in failures):
            found.append(f"no message: {said}")
    elif result.code != -9 and not found:
        found.append(f"it ended with {result.code}: {result.err}")
    backup = world.home / "backup" if case.backup else None
    found += problems(world, backup)
    if lost := before - contents(world):
        found.append(f"lost contents: {lost}")
    if lost := lines - remarks(world):
        found.append(f"lost lines of the registry: {lost}")
    return found


def short(traced: Traced) -> str:
    """Return what a run said, without the long parts."""
    code, out, err = traced.result.code, traced.result.out, traced.result.err
    with suppress(ValueError):
        said = json.loads(out)
        units = [each for each in [*said.get("units", []), said.get("settings", {})] if each.get("action") == "failed"]
        return f"{code} {({key: said[key] for key in ('changed', 'msg', 'hints', 'warnings') if key in said})} {units}"
    return f"{code} {out[-2000:]} {err[-4000:]}"


def recovers(world: World, case: Case, clean: object) -> list[str]:
    """Return what is wrong after the next run, in sentences."""
    options = case.params | case.again
    try:
        settles(lambda check: world.module(case.module, check=check, **options))
    except AssertionError as error:
        return [f"the next run: {error}"]
    found = [f"left over: {path}" for path in leftovers(world, world.home / "backup" if case.backup else None)]
    if (seen := view(world)) != clean:
        assert isinstance(clean, dict)
        found += [f"{key}: {clean.get(key)} became {seen.get(key)}" for key in sorted({*clean, *seen}) if clean.get(key) != seen.get(key)]
    return found


@pytest.mark.parametrize("case", CASES, ids=str)
def test_faults(case: Case, me: Me, installation: Path, incus: Path, logic: Logic, place: Path) -> None:
    """After each fault nothing is lost, and the next run ends as if nothing had happened."""
    world = World(me, place / "home", installation, str(incus / "unix.socket"), logic)
    settled_home(world)
    case.prepare(world)
    snapshot(world.home, place / "before")
    before, lines = contents(world), remarks(world)
    counted = trace(world, case.module, case.params, {*WRITES, *READS})
    assert counted.result.code == 0 and not json.loads(counted.result.out).get("failed"), counted.result
    clean = view(world)
    put_back(place / "before", world.home)
    faults = faults_of(counted.calls, world.home)
    failures, missed, begun = [], 0, time.monotonic()
    for fault in faults:
        traced = trace(world, case.module, case.params, (), fault)
        missed += not traced.hit
        wrong = judge(world, case, fault, traced, before, lines) + recovers(world, case, clean)
        if wrong:
            failures.append("\n".join([f"{case}: {fault}: {traced.hit[:1]} {short(traced)}", *wrong]))
            if out := os.environ.get("REPOMAN_FAULT_LOG"):
                with open(out, "a") as log:
                    log.write(failures[-1] + "\n\n")
        put_back(place / "before", world.home)
    print(f"{case}: {len(faults)} faults, {missed} of them not reached, {time.monotonic() - begun:.0f} s")
    assert not failures, "\n\n".join(failures)
