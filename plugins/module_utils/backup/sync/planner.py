# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan the units of a run: scan the sources, and compare them with the mirrors."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, pack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import ScanResult, iter_scans
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES, Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import target_traits
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import partial_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync import guard
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.selection import Selected
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask, isolate_any_failure
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.waves import Waves
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import INTERNAL_DIRECTORY, SETTINGS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import mount_warnings
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import (
    SAVED_SUFFIX,
    has_top_level_files,
    is_nested_target,
    list_directories,
    list_mirrors,
    top_level_names,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import decode_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import is_directory

COMPARE_WORKERS = 8
"""Number of mirrors that are compared at once."""


@dataclass(frozen=True)
class _Comparison:
    """A comparison of a scanned unit with its mirror.

    :param mounted: directories of the unit whose mirror is not changed, because something is, or was, mounted on them.
    :param assumed: the assumed traits of the target.
    """

    scanned: ScanResult
    mounted: Sequence[bytes]
    assumed: target_traits.Traits


@dataclass(frozen=True)
class _Planned:
    """A unit that was planned in the process that scanned it.

    :param assumed: the assumed traits of the target.
    """

    task: UnitTask
    assumed: target_traits.Traits


class UnitPlanner:
    """Plans the units of one run."""

    def __init__(self, run: SyncContext, settings: MirrorOptions) -> None:
        self.run, self.settings = run, settings
        self.trusted: dict[str, str] = {}
        """Digest of the last manifest of units whose mirror is not read."""
        self.compares_mirrors = True
        """Whether the mirror of a unit is read, or the run has no units."""
        self._compared: dict[str, _Comparison] = {}
        self._with_mirror: set[str] = set()
        self._has_lost_source = False

    def plan(self, selected: Sequence[Selected]) -> Waves[UnitTask]:
        """Return the units in waves, which are planned in the background."""
        units = {selection.name for selection in selected if selection.has_source and _may_be_unit(selection.unit)}
        self._has_lost_source = any(not selection.has_source for selection in selected)
        directories = set(list_directories(self.run.target))
        nested = {name for name in directories if is_nested_target(self.run.target, name, self.run.records.current.units)}
        self._with_mirror = {TOP_LEVEL_FILES} | directories
        units -= nested
        self.trusted = {name: digest for name in units if name in self._with_mirror and (digest := self.run.records.trusted_digest(name))}
        self.compares_mirrors = not units or units > self.trusted.keys()
        tasks: list[UnitTask] = []
        for selection in selected:
            task = UnitTask.of(selection.unit)
            tasks.append(task)
            if not selection.has_source:
                plan_missing_source(self.run, task)
            elif selection.name in nested:
                task.result.fail(guard.nested_target_error(self.run.target, task.unit))
            elif selection.name not in units:
                task.result.fail(
                    ConflictError(f"a directory in repos_root may not be called {selection.name!r}: repoman uses that name.", "rename it")
                )
        waiting = {task.name: task for task in tasks if task.name in units}
        return Waves(tasks, [task for task in tasks if task.name not in units], lambda done: self._scan(waiting, done))

    def _scan(self, waiting: dict[str, UnitTask], done: Callable[[UnitTask], None]) -> None:
        """Scan units, and compare each one when its scan is done.

        A comparison with the last manifest, or with nothing, takes mostly processor time, so it is done where the unit was scanned: on all
        processors. One with the mirror waits for the target, and each one does if the target is remote, so more of them run at once, in
        threads.
        """
        if waiting.keys() - self.trusted.keys():
            load_engine()  # once, before the processes that compare are forked

        def compare(task: UnitTask, scanned: ScanResult, mounted: Sequence[bytes]) -> None:
            with isolate_any_failure(task):
                self._compare(task, scanned, mounted)
            done(task)

        early = self.run.early
        # The one that is still being scanned comes last, so that nothing waits for it while there is other work.
        units = sorted((task.unit for task in waiting.values()), key=lambda unit: unit.name == early.pending)
        with ThreadPoolExecutor(self.run.options.jobs or COMPARE_WORKERS) as pool:
            then = None if self.run.target_state.is_remote else self._compare_manifests
            for scanned, planned in iter_scans(units, self.trusted, self.settings.scratch, then, self._scanned_early):
                task = waiting[scanned.unit.name]
                mounted = self._unmirrored_mounts(task, scanned)
                if planned is None:
                    pool.submit(compare, task, scanned, mounted)
                    continue
                self._compared[task.name] = _Comparison(scanned, mounted, planned.assumed)
                task.take_over(planned.task)
                done(task)

    def _scanned_early(self, unit: Unit) -> ScanResult | None:
        """Return the result of a scan that was made before this run, if it can be used."""
        return self.run.early.get(unit, self.trusted.get(unit.name, ""), str(self.run.records.manifest(unit.name)))

    def _compare_manifests(self, scanned: ScanResult) -> _Planned | None:
        """Plan a unit that differs from its last manifest, or has no mirror; return None for others.

        It usually runs in another process, so only what it returns counts. A unit whose comparison fails is left to the leading process.
        """
        try:
            if scanned.error or not scanned.path or scanned.unit.is_top_level or self._has_entries_to_read(scanned.unit):
                return None
        except OSError:
            return None
        task = UnitTask.of(scanned.unit)
        self._compared.pop(task.name, None)
        with isolate_any_failure(task):
            self._compare(task, scanned, self._unmirrored_mounts(task, scanned))
        compared = self._compared.get(task.name)
        return None if compared is None else _Planned(task, compared.assumed)

    def _has_entries_to_read(self, unit: Unit) -> bool:
        """Return whether a unit is compared with its mirror itself, or with what an interrupted run left of its first copy."""
        return unit.name not in self.trusted and (unit.name in self._with_mirror or is_directory(self.settings.new(unit)))

    def replan_outdated(self, tasks: Iterable[UnitTask]) -> None:
        """Plan units again if their plans assumed other traits than the prepared target has."""
        traits = target_traits.assume(self.settings.work)
        outdated = [task for task in tasks if task.name in self._compared and not self._compared[task.name].assumed.same_as(traits)]
        if not outdated:
            return

        def replan(task: UnitTask) -> None:
            task.reset()
            with isolate_any_failure(task):
                self._compare(task, self._compared[task.name].scanned, self._compared[task.name].mounted)

        with ThreadPoolExecutor(self.run.options.jobs or COMPARE_WORKERS) as pool:
            list(pool.map(replan, outdated))

    def _unmirrored_mounts(self, task: UnitTask, scanned: ScanResult) -> list[bytes]:
        """Warn of file systems in a unit that are left out, or are not mounted any more; return those whose mirror stays."""
        if scanned.error:
            return []
        may_shrink = self.run.options.allow_shrink
        absent = [] if may_shrink else self.run.left_out.absent(scanned)
        self.run.left_out.record(scanned, absent, drop_followed=may_shrink)
        task.warnings += mount_warnings(scanned.unit, scanned.skipped, absent)
        return [] if may_shrink else [*scanned.skipped, *absent]

    def _compare(self, task: UnitTask, scanned: ScanResult, mounted: Sequence[bytes]) -> None:
        """Plan the update of the mirror of a scanned unit.

        :param mounted: directories of the unit whose mirror is not changed, because something is, or was, mounted on them.
        :raises RepomanError: the unit cannot be backed up.
        """
        if scanned.error:
            raise scanned.error
        if not scanned.path:
            if scanned.unreadable:
                task.result.fail(partial_error(task.unit, list(scanned.unreadable.values()), (), others_done=not self.run.check))
            return
        # Imported only if something differs: an unchanged tree needs no engine, and Ansible compiles what is imported in each run.
        from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.diff_unit import diff_unit

        self._compared[task.name] = _Comparison(scanned, mounted, target_traits.assume(self.settings.work))
        manifest_path = str(self.run.records.manifest(task.name))
        previous = Manifest.load(manifest_path) if task.name in self.trusted else None
        current = scanned.manifest()
        if task.unit.is_top_level:
            guard.check_top_level(self.run.repos_root, current, self.run.target)
            self._check_top_level_lost(task.unit, current)
        task.compared_mirror = previous is None
        settings = self.settings
        if task.unit.is_top_level and (
            self.run.takes_over or (self.run.options.may_lose and not self.run.records.manifest(task.name).exists())
        ):
            # The files of another host are part of the mirror, too.
            previous, settings = _manifest_of_names(top_level_names(self.run.state, self.run.target)[0]), replace(settings, full=True)
        with current.held(), previous.held() if previous else nullcontext():
            changes = diff_unit(
                task.unit, previous, current, settings, manifest_path=manifest_path, unreadable=scanned.unreadable, mounted=mounted
            )
            guard.check_shrink(task.unit, changes, self.run.target, self.run.options.allow_shrink, bool(self.run.options.names))
        if changes.total:
            result = task.result
            result.action, result.files, result.first = Action.SYNCED, changes.total, changes.is_first_copy
            result.created, result.changed, result.removed = changes.created, changes.changed, changes.removed
            task.changes = changes
        else:
            task.scanned = ScanResult(task.unit, changes.source_manifest.digest, changes.source_manifest.path)
        if changes.read_errors:
            task.result.fail(partial_error(task.unit, changes.read_errors, changes.protected, others_done=not self.run.check))

    def _check_top_level_lost(self, unit: Unit, current: Manifest) -> None:
        """Refuse to empty the mirror of the top-level files if they are probably lost: repositories are, or this host never had the files.

        :raises ConflictError: they are.
        """
        run = self.run
        if run.options.may_lose or any(entry.path for entry in current.entries()):
            return
        if (self._has_lost_source or not run.records.manifest(unit.name).exists()) and has_top_level_files(run.target):
            raise guard.missing_files_error(run.repos_root, unit)


def _manifest_of_names(names: Iterable[bytes]) -> Manifest:
    """Return a manifest of files of which only the names are known."""
    records = [Entry(name, stat.S_IFREG, *(0,) * 7).record() for name in sorted(names) if name]
    return Manifest(pack_block(b"", records))


def load_engine() -> None:
    """Import the modules that are otherwise imported when the first unit differs."""
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import diff_unit, mirror_units, shrinkage  # noqa: F401
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings import write  # noqa: F401


def plan_missing_source(run: SyncContext, task: UnitTask) -> None:
    """Plan for a mirror whose source is gone.

    It is retired if it was named and shrinking is allowed, or if a restore on this host had saved its source there; otherwise it fails. If
    there is no mirror either, there is nothing to do, which is a failure too unless shrinking is allowed.
    """
    if task.name not in list_mirrors(run.target, run.records.current.units):
        task.is_absent = True
        if not run.options.may_lose:
            task.result.fail(
                NotFoundError(
                    f"there is neither a repository nor a mirror of {decode_path(os.fsencode(task.name))}.",
                    f"see its history: {repoman_command('sync', [], ('--list-versions', task.name))}",
                )
            )
    elif not run.options.verify and (run.options.may_lose or (SAVED_SUFFIX.search(task.name) and run.records.manifest(task.name).exists())):
        task.result.action = Action.RETIRED
    else:
        task.result.fail(guard.missing_source_error(task.unit))


def _may_be_unit(unit: Unit) -> bool:
    """Return whether a unit's name is not one of repoman's own."""
    return unit.is_top_level or unit.name not in (INTERNAL_DIRECTORY, TOP_LEVEL_FILES, SETTINGS)
