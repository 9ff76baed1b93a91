# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each system call of a run may fail, and each may be its last: the user's data stays, and the next run succeeds without help.

``REPOMAN_FAULTS=k`` takes every k-th call of a run, ``REPOMAN_SEED`` which ones and with which errors.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from fault_cases import (
    BACKUPS,
    COMMANDS,
    CONTAINERS,
    SMALL,
    Case,
    cleared,
    contents,
    files,
    put_back,
    remarks,
    settled_home,
    snapshot,
    view,
)
from invariants import leftovers, problems, settles
from logic import Logic
from strace import KILL, READ_ERRORS, READS, WRITE_ERRORS, WRITES, Call, Fault, Traced, touching, trace, why_not
from world import TIMEOUT, Me, Result, World

STEP = int(os.environ.get("REPOMAN_FAULTS", "400"))
SEED = int(os.environ.get("REPOMAN_SEED", "0"))
LESS = 5
SAMPLE = 100
"""With this step or a larger one, only some of the cases are tried."""
NOT_FOUND = 3
pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


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
    return [fault for fault in found if str(fault).startswith(os.environ.get("REPOMAN_FAULT", ""))]


def sampled(cases: list[Case], number: int) -> list[Case]:
    """Return some of the cases, which the seed chooses; in long runs, all of them."""
    return cases if STEP < SAMPLE else [cases[(SEED + index * len(cases) // number) % len(cases)] for index in range(number)]


class Judge:
    """What must hold after a run with a fault, and after the next one.

    :param before: a copy of the home before the run. :param clean: what :func:`view` returns after a run without a fault.
    """

    def __init__(self, world: World, case: Case, clean: dict[str, object]) -> None:
        self.world, self.case, self.clean = world, case, clean
        self.backup = world.home / "backup" if case.backup else None
        self.contents, self.remarks = contents(world), set() if case.replaces_registry else remarks(world)
        self.verified: set[str] = set()
        self.mirrors = self._mirrored("backup")
        self.versions = self._versions()
        self.rounds = 0

    def run(self, check: bool = False) -> Any:
        """Run the case without a fault; return the result."""
        world, options = self.world, self.case.params | self.case.again
        assert world.logic
        return world.logic.run(self.case.module, options, env=world.env(), cwd=world.home, check=check).data

    def disturbed(self, traced: Traced) -> list[str]:
        """Return what is wrong after the run with a fault, in sentences."""
        result, found = traced.result, []
        if "Traceback" in result.out + result.err:
            found.append(f"a traceback: {result.out}{result.err}")
        elif result.code is None:
            found.append("it hangs")
        elif result.code == 0:
            found += _unsaid(json.loads(result.out))
        elif result.code != -signal.SIGKILL:
            found.append(f"it ended with {result.code}: {result.err}")
        found += self._invariants(damaged=True, except_for=_unread(result))
        if lost := self.contents - contents(self.world):
            found.append(f"lost contents: {lost}")
        if lost := self.remarks - remarks(self.world):
            found.append(f"lost lines of the registry: {lost}")
        return found

    def recovery(self) -> list[str]:
        """Return what is wrong after the next run, in sentences; it is judged in all four ways in every fourth round."""
        self.rounds += 1
        try:
            if not self.case.settles:
                result = self.run()
                assert not result.get("failed") or result["exit_code"] == NOT_FOUND, result
            elif self.rounds % 4 == 1:
                settles(self.run)
            else:
                done, after = self.run(), self.run(True)
                assert not done.get("failed") and not after.get("failed") and not after["changed"], (done, after)
        except AssertionError as error:
            return [f"the next run: {error}"]
        found = [f"left over: {path}" for path in leftovers(self.world, self.backup)] + self._invariants() + self._earlier()
        seen, clean = view(self.world), self.clean
        return found + [
            f"{key}: {clean.get(key)} became {seen.get(key)}" for key in sorted({*clean, *seen}) if clean.get(key) != seen.get(key)
        ]

    def _versions(self) -> set[str]:
        """Return the names of the versions in the history."""
        return set(os.listdir(self.backup / ".repoman/created")) if self.backup and self.mirrors else set()

    def _mirrored(self, name: str) -> dict[str, str]:
        """Return the contents of the files in mirrors, or in what was restored from them."""
        place = self.world.home / name
        return {
            os.path.relpath(path, place).removeprefix("(loose files)/"): text
            for path, (mode, text) in files(place, skip=(".repoman",)).items()
            if not stat.S_ISDIR(mode)
        }

    def _earlier(self) -> list[str]:
        """Return which files the state before the disturbed run cannot be restored with, in sentences."""
        made = self._versions() - self.versions
        if self.case.module != "sync" or not self.mirrors or not made:
            return []
        world, options = self.world, {"all": True, "from": min(made)[:16], "to": str(self.world.home / "earlier")}
        assert world.logic
        result = world.logic.run("restore", options, env=world.env(), cwd=world.home).data
        if result.get("failed"):
            return [f"the earlier state cannot be restored: {result}"]
        seen, before = self._mirrored("earlier"), self.mirrors
        shutil.rmtree(world.home / "earlier")
        return [
            f"{path} of the earlier state: {before.get(path)} became {seen.get(path)}"
            for path in sorted({*before, *seen})
            if before.get(path) != seen.get(path)
        ]

    def _invariants(self, damaged: bool = False, except_for: frozenset[str] = frozenset()) -> list[str]:
        """Return what git, Mercurial and others say, unless they have seen this state of the backup before."""
        state = repr((damaged, except_for, sorted(files(self.backup, skip=(".repoman",)).items()))) if self.backup else ""
        if state in self.verified:
            return problems(self.world)
        found = problems(self.world, self.backup, damaged=damaged, except_for=except_for)
        if not found and state:
            self.verified.add(state)
        return found


def _unread(result: Result) -> frozenset[str]:
    """Return the units whose first copy has what could be read, and failed for the rest."""
    with suppress(ValueError):
        units = json.loads(result.out).get("units", [])
        return frozenset(each["name"] for each in units if each["action"] == "failed" and each.get("first"))
    return frozenset()


def _unsaid(said: dict[str, Any]) -> list[str]:
    """Return the failures of a result that lack a sentence or a hint."""
    failures = [said, *said.get("units", []), *said.get("profiles", []), *said.get("projects", []), said.get("settings", {})]
    found = [f"no hint: {each}" for each in failures if "msg" in each and not (each["msg"] and each.get("hints"))]
    return found or ([f"no message: {said}"] if said.get("failed") and not any("msg" in each for each in failures) else [])


def short(traced: Traced) -> str:
    """Return the result of a run, without its long parts."""
    code, out, err = traced.result.code, traced.result.out, traced.result.err
    with suppress(ValueError):
        said = json.loads(out)
        units = [each for each in [*said.get("units", []), said.get("settings", {})] if each.get("action") == "failed"]
        return f"{code} { ({key: said[key] for key in ('changed', 'msg', 'hints', 'warnings') if key in said}) } {units}"
    return f"{code} {out[-2000:]} {err[-4000:]}"


@pytest.mark.parametrize("case", [*sampled(SMALL, 2), *sampled(BACKUPS, 2), *sampled(CONTAINERS, 1)], ids=str)
def test_faults(case: Case, me: Me, installation: Path, incus: Path, logic: Logic, places: Callable[[bool], Path]) -> None:
    """After each fault nothing is lost, and the next run ends as if nothing had happened."""
    place = places(case in CONTAINERS)
    world = World(me, place / "home", installation, str(incus / "unix.socket"), logic)
    settled_home(world)
    case.prepare(world)
    snapshot(world.home, place / "before")
    try:
        cleared(world, case)
        _disturb(world, case, place / "before")
    finally:
        world.clean()


def _disturb(world: World, case: Case, before: Path) -> None:
    """Run a case with each of its faults."""

    def begin_again() -> None:
        put_back(before, world.home)
        cleared(world, case)

    counted = trace(world, case.module, case.params, {*WRITES, *READS})
    assert counted.result.code == 0 and not json.loads(counted.result.out).get("failed"), counted.result
    clean = view(world)
    begin_again()
    judge = Judge(world, case, clean)
    faults, failures = faults_of(counted.calls, world.home), []
    for fault in faults:
        traced = trace(world, case.module, case.params, (), fault)
        if traced.counts and (wrong := judge.disturbed(traced) + judge.recovery()):
            failures.append("\n".join([f"{case}: {fault}: {traced.hit[:2]} {short(traced)}", *wrong]))
            if log := os.environ.get("REPOMAN_FAULT_LOG"):
                with open(log, "a") as file:
                    file.write(failures[-1] + "\n\n")
        begin_again()
    assert not failures, "\n\n".join(failures)


@pytest.mark.parametrize("name", COMMANDS if STEP < SAMPLE else [list(COMMANDS)[SEED % len(COMMANDS)]])
def test_killed_command(name: str, me: Me, installation: Path, incus: Path, logic: Logic, places: Callable[[bool], Path]) -> None:
    """The typed command is killed at several moments, and its processes end with it."""
    (case,) = (each for each in (*SMALL, *BACKUPS) if each.name == name)
    place = places(False)
    world = World(me, place / "home", installation, str(incus / "unix.socket"), logic)
    settled_home(world)
    case.prepare(world)
    snapshot(world.home, place / "before")
    failures = []
    try:
        cleared(world, case)
        begun = time.monotonic()
        world.repoman(*COMMANDS[name])
        seconds, clean = time.monotonic() - begun, view(world)
        moments = max(1, 60 // STEP)
        for number in range(moments):
            put_back(place / "before", world.home)
            cleared(world, case)
            judge = Judge(world, case, clean)
            moment = seconds * ((number + SEED * 0.618 + 0.5) / moments % 1)
            process = world.start("repoman", *COMMANDS[name])
            time.sleep(moment)
            process.kill()
            process.communicate(timeout=TIMEOUT)  # everything that has its output open has ended
            killed = Traced(Result(-signal.SIGKILL, "", ""), [], [], True)
            if wrong := judge.disturbed(killed) + judge.recovery():
                failures.append("\n".join([f"{name}: killed after {moment:.2f} s of {seconds:.2f}", *wrong]))
    finally:
        world.clean()
    assert not failures, "\n\n".join(failures)
