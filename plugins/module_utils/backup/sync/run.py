# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The backup of all of ``repos_root``: what is to be done, doing it, and what came of it.

The work is done in a child process (see ``watch.py``); this process asks for it, shows how it goes on, and
writes to the registry which projects have been backed up.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup import context as backup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import Backup, escaped, shown
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import STALE_SUFFIX, Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import ScanResult, format_exception, iter_scans
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import unit_mirror as mirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.history_store import tree_sizes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_mirror import Changes, Outcome, Settings, Tally
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.verify import verify
from ansible_collections.homelab.repoman.plugins.module_utils.backup.progress_display import Display
from ansible_collections.homelab.repoman.plugins.module_utils.backup.run_log import RunLog
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import sweep_repositories
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import guard as sync_guard
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.planner import Planning
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.records import VOID, Records, usable_state
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import inspect_target, open_for_reading
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import HISTORY, RESTORES, RunLocks, another_run, busy_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import adopt
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import OURS, Target, discard, nearest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.probe import check_writable, latency
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.records import Stamp
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import (
    LEFT_OUT,
    LeftOut,
    read_left_out,
    warnings_of,
    with_rules,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import (
    ConflictError,
    InterruptedRunError,
    NotKnownError,
    RepomanError,
    UsageError,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import temporarily_writable
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import make_private
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import is_lost_and_found_at
from ansible_collections.homelab.repoman.plugins.module_utils.process import child as watch
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store as registry

STAMP_SECONDS = 2.0
"""How often stamps are written while a run goes on."""
TALLY_SECONDS = 0.2
FAR_SECONDS = 0.0002
"""A target whose answers take longer is far: more is done at once."""
LOOKS = 8
"""So many mirrors are looked at at once."""
SIGNS = {"created": "+", "changed": "~", "removed": "-"}
STATES = {"synced": "synced", "up to date": "unchanged", "too busy": "busy", "failed": "failed"}
"""The engine's words for what came of a unit, and the results'."""
GOOD = ("synced", "unchanged", "gone")


def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Do what the module ``repoman_sync`` is asked to; see its documentation.

    :raises RepomanError: a guard, a hung target, an interruption. What single units fail of is in the result.
    """
    _check_params(params)
    whole = backup.of(params, check and params["predict"])
    begun = time.monotonic()
    if params["list_kept"] is not None:
        return _list_kept(whole, params)
    now = datetime.now(timezone.utc)
    init = params["init"] and not params["verify"]
    found: Found = whole.ask(lambda report: _inspect(whole, init, params["allow_local"], params["verify"]), params["probe_timeout"])
    job = Job(whole, params, check, now, found)
    done: list[str] = []
    with Display(check) as display:

        def hear(said: Any) -> None:
            if isinstance(said, Tally):
                display.tally(said)
            else:
                unit, line = said
                display.unit(line)
                if line["action"] in GOOD:
                    done.append(unit)

        work = job.verify if params["verify"] else job.sync
        try:
            result: dict[str, Any] = whole.ask(work, params["patience"], alive=True, on_report=hear)
        finally:
            if not check and not params["verify"]:
                _note_last_sync(whole, done, now)
    return _concluded(result, time.monotonic() - begun)


@dataclass(frozen=True)
class Found:
    """What was found out about the target.

    :param fresh: it is yet to be adopted.
    :param far: its answers take long.
    """

    target: Target
    fresh: bool
    far: bool


@dataclass
class Work:
    """What is to be done about one unit.

    :param line: what is told of it.
    :param changes: what its mirror lacks; None where nothing is to be done, or can be.
    :param full: whether its mirror was looked at, not only the last manifest.
    :param scanned: the manifest's file and digest where only they are to be saved.
    :param absent: there is neither a source nor a mirror.
    """

    unit: Unit
    line: dict[str, Any]
    changes: Changes | None = None
    full: bool = False
    scanned: ScanResult | None = None
    absent: bool = False
    warnings: list[str] = field(default_factory=list)

    def fail(self, error: RepomanError) -> None:
        """Let it be a failure."""
        self.line |= {"action": "failed", "msg": error.message, "hints": error.hints, "exit_code": error.exit_code}


@contextmanager
def _alone(work: Work) -> Iterator[None]:
    """Let what goes wrong be the failure of one unit."""
    try:
        yield
    except InterruptedRunError:
        raise
    except RepomanError as error:
        work.fail(error)
    except OSError as error:
        work.fail(watch.explained(error))


@contextmanager
def _compared(work: Work) -> Iterator[None]:
    """The same while a unit is compared, also of what nobody foresaw."""
    try:
        with _alone(work):
            yield
    except InterruptedRunError:
        raise
    except Exception as error:
        work.fail(MirrorError(f"{shown(os.fsencode(work.unit.name))}: it could not be compared: {format_exception(error)}."))


@dataclass
class Job:
    """A run, in the child process.

    :param now: when it began.
    :param version: name of the state of the history that this run makes, once it makes one.
    :param created: what this run created, by unit; None is everything.
    """

    backup: Backup
    params: dict[str, Any]
    check: bool
    now: datetime
    found: Found
    locked: RunLocks | None = None
    version: str = ""
    created: dict[str, list[str] | None] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def target(self) -> Target:
        """The target."""
        return self.found.target

    @cached_property
    def state(self) -> Path:
        """The local directory of what is known of the target."""
        return self.backup.state(self.target)

    @cached_property
    def records(self) -> Records:
        """What is known of the mirrors."""
        return Records(self.target, self.state, self.backup.me, self.now.timestamp(), self.params["full"])

    @property
    def locks(self) -> RunLocks:
        """What this run has locked."""
        if self.locked is None:
            raise RuntimeError("this run locks nothing")
        return self.locked

    @cached_property
    def left_out(self) -> LeftOut:
        """What the last run left out of units, and what was mounted in them."""
        return LeftOut(self.state)

    def sync(self, report: watch.Report) -> dict[str, Any]:
        """Plan and, unless in check mode, do it."""
        with ExitStack() as stack:
            if self.check:
                return self._predict(stack.enter_context(tempfile.TemporaryDirectory(prefix="repoman-")))
            if self.found.fresh:
                adopt(self.backup.place, self.target)
            self._begin(stack)
            self._finish_restores()
            chosen, busy = self._lock(self._units())
            settings = self._settings(stack.enter_context(self.locks.private_directory(self.state / "scratch")))
            past = history.load(self.target, self.now.timestamp())
            before = self.records.stamps.clock
            expiring = past.expired(before, self.params["keep_days"])
            with suppress(OSError):  # it may be what fills the target; what cannot be removed is told of when all else is done
                self._expire(expiring)
            settings = self._prepare(stack, settings)
            check_writable(self.backup.place, self.target)
            self.locks.announce()
            planning = self._plan(settings, chosen)
            diff: list[dict[str, str]] = []
            with RunLog(self.backup.logdir, self.backup.me, self.now) as log:
                for work in busy:
                    log.write(work.line)
                for wave in planning.waves():
                    diff += self._diff(wave)
                    self._apply(wave, settings, log, report)
            works = planning.works + busy
            expired = self._expire(expiring)
            self.warnings += past.warnings(before, self.params["keep_days"]) + log.problems
            return self._result(works, expired, diff)

    def _begin(self, stack: ExitStack) -> None:
        """Open this run's locks, in a state directory that can be written."""
        self.state, warning = stack.enter_context(usable_state(self.state, self.backup.me))
        self.warnings += [warning] if warning else []
        self.locked = stack.enter_context(RunLocks(self.target, self.state, self.backup.me))
        self.locks.check_alone()
        self.records.read()

    def _finish_restores(self) -> None:
        """Finish with what restores that were killed left among the repositories, before it is backed up."""
        root = self.backup.place.repos_root
        with self.locks.alone(RESTORES) as alone:
            saved = sweep_repositories(root, [unit.name for unit in backup.units(root) if not unit.loose], alone)
        self.warnings += [f"A restore that was killed had replaced a directory; its previous contents are in {path}." for path in saved]

    def _prepare(self, stack: ExitStack, settings: Settings) -> Settings:
        """Make this run's directory on the target; what runs that failed left there goes, which may be what fills the target.

        :raises RepomanError: the target cannot be written.
        """
        try:
            temporaries = self.locks.private_directory(self.target.ours("work"), stays=("new",))
            settings = replace(settings, temporaries=stack.enter_context(temporaries))
            with suppress(OSError):
                names = {unit.name for unit in backup.units(self.backup.place.repos_root)} - self._left_out().keys()
                mirror.prepare(settings, names)
        except OSError:
            check_writable(self.backup.place, self.target)
            raise
        return settings

    def _lock(self, chosen: list[tuple[Unit | None, str]]) -> tuple[list[tuple[Unit | None, str]], list[Work]]:
        """Lock the chosen units; return the locked ones, and errors for the rest.

        :raises ConflictError: other runs work on all of them.
        """
        held = self.locks.take([name for _unit, name in chosen], noted=not self.params["verify"])
        if held and len(held) == len(chosen):
            raise busy_error(*next(iter(held.items())), self.state) if len(held) == 1 else another_run(self.target, self.state)
        self.records.read()
        busy = []
        for unit, name in chosen:
            if name in held:
                work = Work(unit or Unit(name, ""), _line(unit or Unit(name, "")), absent=True)
                work.fail(busy_error(name, held[name], self.state))
                work.line["action"] = "busy"
                busy.append(work)
        return [each for each in chosen if each[1] not in held], busy

    def _predict(self, scratch: str) -> dict[str, Any]:
        self.records.read()
        past = history.load(self.target, self.now.timestamp())
        planning = self._plan(self._settings(scratch), self._units())
        for _wave in planning.waves():
            pass
        works = planning.works
        self.warnings += past.warnings(self.records.stamps.clock, self.params["keep_days"])
        return self._result(works, past.expired(self.records.stamps.clock, self.params["keep_days"]), self._diff(works))

    def _result(self, works: list[Work], expired: list[str], diff: list[dict[str, str]]) -> dict[str, Any]:
        steps = [f"make {self.target.root} the backup of {self.backup.place.repos_root}"] if self.found.fresh else []
        steps += [f"remove the versions saved at {name}, older than {self.params['keep_days']} days" for name in expired]
        lines = [work.line for work in works]
        self.warnings += [warning for work in works for warning in work.warnings]
        return {
            "changed": bool(steps) or any(line["action"] in ("synced", "gone") for line in lines),
            "steps": steps,
            "units": lines,
            "target": self.target.root,
            "expired": expired,
            "warnings": self.backup.warnings + self.warnings,
            "diff": diff,
        }

    def verify(self, report: watch.Report) -> dict[str, Any]:
        """Compare contents of sources and mirrors."""
        with ExitStack() as stack:
            busy: list[Work] = []
            self.records.read()
            chosen = [  # the mirror of what a restore had saved is put away by the next run
                (unit, name) for unit, name in self._units() if unit or self.params["names"] or not backup.SAVED.search(name)
            ]
            if self.state.is_dir():
                self.locked = stack.enter_context(RunLocks(self.target, self.state, self.backup.me))
                chosen, busy = self._lock(chosen)
            with tempfile.TemporaryDirectory(prefix="repoman-") as scratch:
                settings = self._settings(scratch)

                def look(chosen: tuple[Unit | None, str]) -> dict[str, Any]:
                    unit = chosen[0] or Unit(chosen[1], "")
                    work = Work(unit, _line(unit))
                    if chosen[0] is None:
                        self._plan_gone(work)
                        return work.line
                    with _compared(work):
                        ours = backup.loose_names(self.state, self.target)[0] if unit.loose else ()
                        found = verify(unit, settings, ours, notes=self.records.told.get(unit.name, ()), idle=self.params["patience"])
                        work.line |= {"differences": found.differences, "notes": found.notes}
                        work.line["action"] = "differs" if found.differences else "same"
                        self.warnings += warnings_of(unit, found.skipped, (), shell_word(unit.name))
                    report((unit.name, work.line))
                    return work.line

                with ThreadPoolExecutor(self.params["jobs"] or LOOKS) as pool:
                    lines = [*pool.map(look, chosen), *(work.line for work in busy)]
                return {
                    "changed": False,
                    "units": lines,
                    "target": self.target.root,
                    "steps": [],
                    "warnings": self.backup.warnings + self.warnings,
                }

    # ---- which units -----------------------------------------------------------------------------------------------------------

    def _units(self) -> list[tuple[Unit | None, str]]:
        """Return the units to work on, and, without a unit, the names of mirrors whose source is gone."""
        everything = {unit.name: unit for unit in backup.units(self.backup.place.repos_root)}
        left_out = self._left_out()
        if backup.LOOSE in self.records.stamps.units:
            everything.setdefault(backup.LOOSE, backup.loose_files(self.backup.place.repos_root))
        gone = [
            name
            for name in self.records.stamps.units
            if name not in everything and os.path.lexists(path := self.target.mirror(name)) and not is_lost_and_found_at(path)
        ]
        wanted = [*everything, *gone]
        if self.params["names"]:
            wanted = []
            for name in self.params["names"]:
                directory = self.backup.directory_of(name, [*everything, *gone])
                if directory in left_out:
                    raise ConflictError(
                        f"{left_out[directory]!r} has backup = false, so {directory} is not backed up.",
                        f"change it in {self.backup.path}, or in {registry.override_path(self.backup.path, left_out[directory])}",
                    )
                wanted.append(directory)
        chosen = [name for name in dict.fromkeys(wanted) if name not in left_out]
        self.warnings += self._dishonoured(chosen, left_out)
        ruled = with_rules([everything[name] for name in chosen if name in everything], self.backup, self.params, self.target.root)
        units = {unit.name: unit for unit in ruled}
        return [(units.get(name), name) for name in chosen]

    def _left_out(self) -> dict[str, str]:
        """Return the directories that are not backed up, each with the project that is all of it and says so."""
        paths = self.backup.paths
        return {
            paths[name]: name
            for name, project in self.backup.projects.items()
            if not project.backup and paths[name] and "/" not in paths[name]
        }

    def _dishonoured(self, chosen: Iterable[str], left_out: dict[str, str]) -> list[str]:
        """Return of which projects it cannot be honoured whether they are to be backed up: a directory is backed up as one."""
        found: list[str] = []
        units = set(chosen)
        for name, project in self.backup.projects.items():
            directory = self.backup.directory(name)
            if not project.backup and directory in units:
                found.append(f"backup = false of {name!r} cannot be honoured: {directory} is backed up as one.")
            elif project.backup and directory in left_out and not self.params["names"]:
                found.append(f"{name!r} is not backed up: {left_out[directory]!r} has backup = false, and {directory} is left out as one.")
        return found

    # ---- planning --------------------------------------------------------------------------------------------------------------

    def _plan(self, settings: Settings, chosen: list[tuple[Unit | None, str]]) -> Planning[Work]:
        """Begin to scan the chosen units and to see what their mirrors lack."""
        units = {unit.name: unit for unit, _name in chosen if unit is not None and _can_be_unit(unit)}
        there = {backup.LOOSE, *backup.mirrors(self.target)}
        known = {name: digest for name in units if name in there and (digest := self.records.known_digest(name))}
        works: list[Work] = []
        for unit, name in chosen:
            work = Work(unit or Unit(name, os.path.join(self.backup.place.repos_root, name)), _line(unit or Unit(name, "")))
            works.append(work)
            if unit is None:
                self._plan_gone(work)
            elif name not in units:
                work.fail(ConflictError(f"a directory in repos_root may not be called {name!r}: repoman uses that name.", "rename it"))
        waiting = {work.unit.name: work for work in works if work.unit.name in units}

        def plan(done: Callable[[Work], None]) -> None:
            def see(work: Work, scanned: ScanResult, stays: Sequence[bytes]) -> None:
                with _compared(work):
                    self._plan_one(work, scanned, known, settings, stays)
                done(work)

            with ThreadPoolExecutor(self.params["jobs"] or LOOKS) as pool:
                for scanned in iter_scans(units.values(), known, settings.scratch):
                    work = waiting[scanned.unit.name]
                    pool.submit(see, work, scanned, self._other_file_systems(work, scanned))

        return Planning(works, [work for work in works if work.unit.name not in units], plan)

    def _other_file_systems(self, work: Work, scanned: ScanResult) -> list[bytes]:
        """Warn of file systems in a unit that are left out, or are not mounted any more; return those whose mirror stays."""
        if scanned.error:
            return []
        absent = [] if self.params["allow_shrink"] else self.left_out.absent(scanned)
        self.left_out.take(scanned, absent, forget=self.params["allow_shrink"])
        work.warnings += warnings_of(scanned.unit, scanned.skipped, absent, shell_word(scanned.unit.name))
        return [] if self.params["allow_shrink"] else [*scanned.skipped, *absent]

    def _plan_one(self, work: Work, scanned: ScanResult, known: dict[str, str], settings: Settings, stays: Sequence[bytes]) -> None:
        name = work.unit.name
        if scanned.error:
            raise scanned.error
        if not scanned.path:
            if scanned.closed:
                work.fail(mirror.incomplete(work.unit, list(scanned.closed.values()), (), done=not self.check))
            return
        before = Manifest.load(str(self._manifest(name))) if name in known else None
        now = scanned.manifest()
        if work.unit.loose:
            sync_guard.check_loose(self.backup.place.repos_root, now, self.target)
        work.full = before is None
        changes = mirror.plan(work.unit, before, now, settings, saved=str(self._manifest(name)), closed=scanned.closed, stays=stays)
        sync_guard.check_shrink(work.unit, changes, self.target, self.params["allow_shrink"], bool(self.params["names"]))
        if changes.total:
            work.line |= {"action": "synced", "first": changes.first}
            work.line |= {"created": changes.created, "changed": changes.changed, "removed": changes.removed}
            work.line["files"] = changes.total
            work.changes = changes
        else:
            work.scanned = ScanResult(work.unit, changes.now.digest, changes.now.path)
        if changes.unread:
            work.fail(mirror.incomplete(work.unit, changes.unread, changes.frozen, done=not self.check))

    def _plan_gone(self, work: Work) -> None:
        """Plan for a mirror whose source is gone: it fails, unless it was named and shrinking is allowed, or a restore had saved it there.

        Where there is no mirror either, nothing is to be done, which fails too unless shrinking is allowed.
        """
        meant = self.params["names"] and self.params["allow_shrink"]
        if work.unit.name not in backup.mirrors(self.target):
            work.absent = True
            if not meant:
                work.fail(
                    NotKnownError(
                        f"there is neither a repository nor a mirror of {shown(os.fsencode(work.unit.name))}.",
                        f"see its history: {repoman_command('sync', [], ('--list-kept', work.unit.name))}",
                    )
                )
            return
        if not self.params["verify"] and (meant or backup.SAVED.search(work.unit.name)):
            work.line["action"] = "gone"
            return
        work.fail(sync_guard.gone_error(work.unit))

    def _manifest(self, name: str) -> Path:
        return self.records.manifest(name)

    # ---- doing it --------------------------------------------------------------------------------------------------------------

    def _apply(self, works: list[Work], settings: Settings, log: RunLog, report: watch.Report) -> None:
        """Do what was planned; what comes of each unit goes into its line, the log and a report."""
        wanted = [work for work in works if work.changes is not None]
        registry.make_directory(str(self.state / "manifests"), self.backup.me)
        with suppress(RepomanError):  # the state directory is full: that is told where manifests are saved
            self._write_left_out([work.unit.name for work in works])
        if wanted or any(work.line["action"] == "gone" for work in works):
            settings = self._claim_state(settings)
            self._note_created(wanted, settings)

        def tell(work: Work) -> None:
            log.write(work.line)
            if not work.absent:
                report((work.unit.name, work.line))

        open_ones = {work.unit.name for work in wanted}
        if wanted:
            self._write_stamps(open_ones)
        try:
            done = self._apply_small(works, settings, tell)
            self._apply_changes(wanted, settings, open_ones, done, tell, report)
        finally:
            self._note_end(open_ones)
            with suppress(RepomanError):
                self._write_left_out([work.unit.name for work in wanted])
        self._let_go([work.unit.name for work in works])

    def _apply_small(self, works: list[Work], settings: Settings, tell: Callable[[Work], None]) -> list[str]:
        """Do what needs no copying; return the units this was all for."""
        done = []
        for work in works:
            if work.changes is not None:
                continue
            with _alone(work):
                if work.line["action"] == "gone":
                    self._move_away(work.unit.name, settings)
                elif work.scanned is not None:
                    self._settle(work, work.scanned.path, work.scanned.digest)
            tell(work)
            done.append(work.unit.name)
        return done

    def _apply_changes(
        self,
        wanted: list[Work],
        settings: Settings,
        open_ones: set[str],
        done: list[str],
        tell: Callable[[Work], None],
        report: watch.Report,
    ) -> None:
        """Let the engine mirror units; those that are done are let go as soon as their stamps are written.

        :param open_ones: the units that are not done yet.
        :param done: units that are done, and not let go.
        """
        by_name = {work.unit.name: work for work in wanted}
        stamped = time.monotonic()

        def let_go() -> None:
            nonlocal stamped
            if not done or time.monotonic() - stamped < STAMP_SECONDS:
                return
            finished = list(done)
            with suppress(RepomanError):
                self._write_stamps()
                self._let_go(finished)
                del done[: len(finished)]
            stamped = time.monotonic()

        for outcome in self._mirrored(wanted, settings, report, let_go):
            work = by_name[outcome.unit.name]
            with _alone(work):
                self._take(work, outcome)
                if outcome.created and (known := self.created.get(outcome.unit.name, [])) is not None:
                    self.created[outcome.unit.name] = [*known, *outcome.created]
                    self._write_created(settings, {outcome.unit.name})
            tell(work)
            open_ones.discard(outcome.unit.name)
            done.append(outcome.unit.name)

    def _note_end(self, open_ones: Iterable[str]) -> None:
        """Log the result of the run, also after an interruption.

        :param open_ones: the units that are not done.
        """
        try:
            self.records.write_told(self.locks)
        except RepomanError as error:
            self.warnings.append(f"{error.message} Notes may be repeated.")
        for name in open_ones:
            begun = not self._manifest(name).exists()
            self.records.set(name, VOID if begun else self.records.stamps.units.get(name, VOID))
        try:
            self._write_stamps()
        except RepomanError as error:  # such as a target that is full
            self.warnings.append(f"{error.message} The next run compares everything again.")

    def _write_left_out(self, names: Sequence[str]) -> None:
        """Remember what was left out of units, beside what other runs have written of theirs."""
        with self.locks.metadata():
            path = self.state / LEFT_OUT
            before, found = read_left_out(path), self.left_out.units
            units = {name: each for name, each in before.items() if name not in names} | {
                name: found[name] for name in names if name in found
            }
            if units != before:
                registry.write_atomic(str(path), json.dumps(units, sort_keys=True), self.backup.me)

    def _let_go(self, done: list[str]) -> None:
        """Let other runs have units that are done and stamped."""
        for name in done:
            self.locks.let_go(name)

    def _claim_state(self, settings: Settings) -> Settings:
        """Begin a new state of the history, after all units of this run are locked: so their states are in the order of the runs."""
        if not self.version:
            with self.locks.metadata():
                self.version = history.claim(self.target, self.now, self.backup.me)
        return replace(settings, kept=str(self.target.ours("kept", self.version)))

    def _mirrored(self, wanted: Sequence[Work], settings: Settings, report: watch.Report, let_go: Callable[[], None]) -> Iterator[Outcome]:
        """Run the engine, report progress, and release finished units."""
        if not wanted:
            return
        tally = Tally()
        ended = threading.Event()

        def tick() -> None:
            last = ""
            while not ended.wait(TALLY_SECONDS):
                let_go()
                if repr(tally) != last:
                    last = repr(tally)
                    report(Tally(tally.files, tally.bytes, dict(tally.running)))

        ticker = threading.Thread(target=tick, daemon=True)
        ticker.start()
        try:
            yield from mirror.mirror([work.changes for work in wanted if work.changes is not None], settings, tally)
        finally:
            ended.set()
            ticker.join()

    def _take(self, work: Work, outcome: Outcome) -> None:
        """Take over what came of a unit."""
        line = work.line
        line["action"] = STATES[outcome.state]
        line |= {"bytes": outcome.bytes, "kept_bytes": outcome.kept_bytes, "notes": self.records.untold(work.unit.name, outcome.notes)}
        if outcome.damaged:
            line["damaged"] = outcome.damaged
        self.left_out.judge(work.unit.name, outcome.verdicts)
        if outcome.error is not None:
            action = line["action"]
            work.fail(outcome.error)
            line["action"] = action
        if outcome.manifest:
            self._settle(work, outcome.manifest, outcome.digest)
        else:
            self.records.set(work.unit.name, VOID)

    def _settle(self, work: Work, manifest: str, digest: str) -> None:
        """Keep the manifest of what a mirror holds now; its stamp is written a little later."""
        name = work.unit.name
        try:
            shutil.move(manifest, self._manifest(name))
        except OSError as error:  # the mirror is as it should be: only the next run has more work
            where = f"{self._manifest(name)}: {error.strerror or error}"
            self.warnings.append(
                f"the record of the mirror of {work.line['name']} cannot be saved, so the next run compares everything again. {where}."
            )
            with suppress(OSError):
                self._manifest(name).unlink(missing_ok=True)
            self.records.set(name, VOID)
            return
        Path(f"{self._manifest(name)}{STALE_SUFFIX}").unlink(missing_ok=True)
        old = self.records.stamps.units.get(name)
        full = self.now.timestamp() if work.full or old is None else old.full
        self.records.set(name, Stamp(digest, full, time.time(), self.records.session))

    def _move_away(self, name: str, settings: Settings) -> None:
        """Move a whole mirror to what is kept."""
        make_private(settings.kept)
        with temporarily_writable(os.fsencode(self.target.mirror(name))):
            os.rename(self.target.mirror(name), Path(settings.kept, name))
        self.records.set(name, None)
        self._manifest(name).unlink(missing_ok=True)
        self.records.forget_notes(name)

    def _write_stamps(self, void: Iterable[str] = ()) -> None:
        self.records.write(self.locks, void)

    def _note_created(self, wanted: Iterable[Work], settings: Settings) -> None:
        """Write down what this run creates, so that a restore of an earlier time can leave it out."""
        created: dict[str, list[str] | None] = {
            work.unit.name: None if work.changes.first else [os.fsdecode(path) for kind, path in work.changes.items() if kind == "created"]
            for work in wanted
            if work.changes is not None and work.changes.created
        }
        self.created |= created
        if created:
            self._write_created(settings, created.keys())

    def _write_created(self, settings: Settings, changed: Container[str]) -> None:
        history.write_created(self.target, Path(settings.kept).name, self.created, self.backup.me, changed)

    def _expire(self, names: list[str]) -> list[str]:
        """Remove expired states and return them; if another run reads the history, leave them to the next run."""
        with self.locks.alone(HISTORY) as alone:
            if not alone:
                return []
            for name in names:
                if self.target.ours("kept", name).is_dir():
                    discard(self.target.ours("kept", name))
                history.remove_created(self.target, name)
        return names

    # ---- the rest --------------------------------------------------------------------------------------------------------------

    def _settings(self, scratch: str) -> Settings:
        return Settings(
            target=self.target.root,
            kept=str(self.target.ours("kept", "none")),
            work=str(self.target.ours("work")),
            scratch=scratch,
            full=self.params["full"],
            xattrs=self.params["xattrs"],
            acls=self.params["acls"],
            far=self.found.far,
            jobs=self.params["jobs"],
            lose_repositories=bool(self.params["names"] and self.params["allow_shrink"]),
        )

    def _diff(self, works: Iterable[Work]) -> list[dict[str, str]]:
        """Return what changes, as a list of paths for each unit."""
        if not self.params.get("_diff", True):
            return []
        diffs = []
        for work in works:
            if work.changes is not None:
                name = shown(os.fsencode(work.unit.name))
                items = sorted((path, SIGNS[kind]) for kind, path in work.changes.items())
                diffs.append({"prepared": "".join(f"{sign} {name}/{escaped(path)}\n" for path, sign in items)})
        return diffs


def _check_params(params: dict[str, Any]) -> None:
    """Refuse parameters that mean nothing, or nothing together.

    :raises UsageError: one of them.
    """
    if params["allow_local"] and not params["init"]:
        raise UsageError("allow_local means something only together with init.", "repoman sync --init --allow-local")
    for key in ("init", "full", "allow_shrink", "list_kept"):
        if params["verify"] and params[key]:
            raise UsageError(f"verify changes nothing, and does not go with {key}.", "repoman sync --verify")
    for key in ("jobs", "keep_days"):
        if params[key] < 0:
            raise UsageError(f"{key} is {params[key]}, and cannot be less than 0.", "ansible-doc homelab.repoman.repoman_sync")


def _inspect(whole: Backup, init: bool, allow_local: bool, only_read: bool) -> Found:
    """Look at the target: the guards, and how long it takes to answer."""
    found, fresh = inspect_target(whole.place, init, allow_local)
    if fresh and only_read:
        raise ConflictError(f"{found.root} is no backup yet.", "repoman sync --init")
    return Found(found, fresh, latency(str(nearest(found.root))) > FAR_SECONDS)


def _can_be_unit(unit: Unit) -> bool:
    """Whether a unit's name is not one of repoman's own."""
    return unit.loose or unit.name not in (OURS, backup.LOOSE)


def _line(unit: Unit) -> dict[str, Any]:
    """Return what is told of a unit nothing is to be done about."""
    return {"name": shown(os.fsencode(unit.name)), "action": "unchanged", "files": 0, "bytes": 0, "kept_bytes": 0}


def _note_last_sync(whole: Backup, units: Iterable[str], now: datetime) -> None:
    """Write to the registry, at once, that the projects in these units are backed up."""
    directories = set(units)
    names = {name for name in whole.known.projects if whole.directory(name) in directories and whole.projects[name].backup}
    if not names:
        return
    when = iso_time(now)

    def edit(data: registry.Data) -> None:
        for entry in data.get("project", []):
            if entry.get("name") in names:
                entry["last_sync"] = when

    registry.update(whole.path, edit, whole.me)


def _concluded(result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Return the result with its summary; a failure where a unit failed."""
    lines: list[dict[str, Any]] = result["units"]
    actions = [line["action"] for line in lines]
    result["summary"] = {action: actions.count(action) for action in sorted(set(actions))} | {
        "files": sum(line["files"] for line in lines),
        "bytes": sum(line["bytes"] for line in lines),
        "kept_bytes": sum(line["kept_bytes"] for line in lines),
        "seconds": round(seconds, 2),
    }
    bad = [line for line in lines if line["action"] in ("failed", "busy", "differs")]
    if not bad:
        return result
    names = ", ".join(line["name"] for line in bad)
    verb = "differ from their mirrors, or cannot be compared" if "differences" in "".join(map(str, lines)) else "were not backed up"
    return result | {
        "failed": True,
        "msg": bad[0]["msg"] if len(bad) == 1 and "msg" in bad[0] else f"{len(bad)} of {len(lines)} {verb}: {names}.",
        "hints": [hint for line in bad for hint in line.get("hints", [])][:4],
        "exit_code": max(int(line.get("exit_code", 1)) for line in bad),
    }


def _list_kept(whole: Backup, params: dict[str, Any]) -> dict[str, Any]:
    """Return what is kept of a unit."""
    name = params["list_kept"]

    def work(report: watch.Report) -> dict[str, Any]:
        found = open_for_reading(whole.place)[0]
        times = history.state_names(found)
        known = set(backup.mirrors(found)) | {unit for each in times for unit in _listed(found.ours("kept", each))}
        inside = whole.path_of(name, known | {backup.LOOSE})
        kept = []
        for each in times:
            path = found.ours("kept", each, inside)
            if path.is_dir() and os.path.realpath(path) == str(path):
                files, size = _size(path, report)
                kept.append({"time": each, "path": shown(os.fsencode(path)), "files": files, "bytes": size})
        return {"changed": False, "name": name, "kept": kept, "target": found.root}

    answer: dict[str, Any] = whole.ask(work, params["patience"], alive=True)
    return answer


def _listed(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []


def _size(path: Path, report: Callable[[Any], None]) -> tuple[int, int]:
    """Return how many files are in a directory, and their bytes."""
    files = size = 0
    for each in tree_sizes(os.fsencode(path)):
        files += 1
        size += each
    return files, size
