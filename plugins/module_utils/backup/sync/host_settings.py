# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The host's settings in a run: compare them, refuse lost ones, and back them up. See ``backup/settings``.

They are part of each run, whatever units it names, and can be named alone. They are not a unit: their failure is reported like that of
a unit, and stops no unit.
"""

from __future__ import annotations

from dataclasses import replace

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import Action, UnitResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.compare import Changes, check_loss, compare
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import SUFFIXES, HostSettings, Places, read_settings
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import Owner, StoredSettings
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.context import SyncContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.task import UnitTask, isolate_any_failure, isolate_failure
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.version import RunVersion
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.module_utils.core.plan import Plan, Step
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path_uniquely

SIGNS = {"created": "+", "changed": "~", "removed": "-"}
DIFFERENCES = {"created": "is not in the backup", "changed": "differs", "removed": "is only in the backup"}
MAX_WARNINGS = 10


class SettingsSync:
    """Backs up the settings in one run; in check mode it only plans."""

    def __init__(self, run: SyncContext) -> None:
        self.run = run
        self.places = Places.of(run.backup)
        self.warnings: list[str] = []
        account = run.backup.account
        self._me = Owner(run.backup.roots.host, account.name, account.home, iso_time(run.now))
        self._stored = StoredSettings(run.target)
        self._task = UnitTask.of(Unit(SETTINGS, self.places.registry))
        self._settings = HostSettings()
        self._changes = Changes()

    @property
    def result(self) -> UnitResult:
        """The result, in the form of that of a unit."""
        return self._task.result

    def plan(self, *, full: bool) -> None:
        """Read the settings and compare them with the stored ones, without changing anything.

        :param full: read the stored ones even if nothing seems to differ.
        """
        with isolate_any_failure(self._task):
            self._settings = read_settings(self.places)
            self._changes = compare(self._settings, self._stored, self._me, full=full)
            if self._changes and not self.run.options.may_lose_settings:
                check_loss(self._settings, self._stored, self._me)
            self._set_result()
        self.warnings += self._problem_warnings()

    def _set_result(self) -> None:
        result, changes = self.result, self._changes
        if not changes:
            return
        result.action, result.files, result.first = Action.SYNCED, changes.count, changes.is_first
        result.created, result.changed, result.removed = len(changes.created), len(changes.changed), len(changes.removed)

    def _problem_warnings(self) -> list[str]:
        warnings = [
            f"{escape_control_characters(self._problem_path(name))} is not backed up: {reason}. What the backup has of it stays."
            for name, reason in self._settings.problems.items()
        ]
        more = len(warnings) - MAX_WARNINGS
        return (
            warnings if more <= 0 else [*warnings[:MAX_WARNINGS], f"{more} more settings are not backed up, because they cannot be read."]
        )

    def _problem_path(self, name: str) -> str:
        return self.places.directory(name) if name in SUFFIXES else self.places.path(name)

    def skip(self) -> None:
        """Note that the run changes nothing on the target."""
        if self.result.action == Action.SYNCED:
            self._task.result = replace(self._task.result, action=Action.SKIPPED)

    def steps(self) -> list[str]:
        """Return the description of the step that was applied, or in check mode would be; none if nothing differs, or it failed."""
        return [self._changes.description] if self.result.action == Action.SYNCED else []

    def diff(self) -> list[dict[str, str]]:
        """Return the names of the files that differ, in the form that Ansible shows; never their content."""
        if self.result.action != Action.SYNCED or not self._changes.count:
            return []
        lines = [
            f"{SIGNS[kind]} {SETTINGS}/{escape_path_uniquely(name.encode(errors='surrogateescape'))}\n"
            for name, kind in self._changes.lines()
        ]
        return [{"prepared": "".join(lines)}]

    def apply(self, version: RunVersion) -> None:
        """Back up the settings, after the target was prepared and before the first unit."""
        if self.result.action != Action.SYNCED:
            return
        with isolate_failure(self._task):
            Plan([Step(self._changes.description, lambda: self._write(version))]).apply()

    def _write(self, version: RunVersion) -> None:
        """Read and compare again, because another run may have backed up newer ones by now, and write."""
        # Imported only if something differs: Ansible compiles what is imported in each run.
        from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.write import SettingsWriter

        with self.run.held_locks.wait_for(SETTINGS):
            self._settings = read_settings(self.places)
            self._changes = compare(self._settings, self._stored, self._me, full=True)
            self._task.result = UnitResult(self.result.name)
            if not self._changes:
                return
            if not self.run.options.may_lose_settings:
                check_loss(self._settings, self._stored, self._me)
            writer = SettingsWriter(self._stored, self.run.backup.account)
            writer.write(self._changes, self._settings, self._me, version.begin_settings)
            self._set_result()
            self.result.bytes, self.result.kept_bytes = writer.bytes, writer.kept_bytes

    def verify(self) -> None:
        """Compare the settings with the content of the stored files."""
        with isolate_any_failure(self._task):
            self._settings = read_settings(self.places)
            changes = compare(self._settings, self._stored, self._me, full=True)
            self.result.differences = [
                f"{escape_path_uniquely(name.encode(errors='surrogateescape'))} {DIFFERENCES[kind]}" for name, kind in changes.lines()
            ]
            self.result.action = Action.SAME
            if self.result.differences:
                error = RepomanError("the settings differ from those in the backup.", repoman_command("sync", [], "--full"))
                self.result.fail(error, Action.DIFFERS)
        self.warnings += self._problem_warnings()
