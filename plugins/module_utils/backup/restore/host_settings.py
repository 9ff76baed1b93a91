# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore the settings of a host: the registry, the overrides and the user's profile templates.

:func:`restore_settings` works in the process that may access the target, and also returns the registry that is in force afterwards: a
restore of repositories that follows uses it, in check mode, too.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext, load_context
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layers import merge_layers, versions_of
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import parse_time
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import (
    FILE_BYTES,
    REGISTRY,
    SUFFIXES,
    Places,
    SettingsFile,
    is_setting,
    read_settings,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.registry_text import foreign_values, merge_registry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.restore_plan import RestorePlan
from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.stored import MAX_OWNER_BYTES, OWNER, Owner, parse_owner
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import open_for_reading
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.history import VERSION_FORMAT
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import unit_locked
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS, Target
from ansible_collections.homelab.repoman.plugins.module_utils.core import progress
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import NotFoundError, RepomanError, UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import first_of, plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import read_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.process.child import Report
from ansible_collections.homelab.repoman.plugins.module_utils.registry import store
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Registry

EXCLUDED_OPTIONS = ("name", "names", "all", "to", "paths", "objects")
MAX_NAMED = 5


@dataclass(frozen=True)
class RestoredSettings:
    """What a restore of the settings did, or in check mode would do.

    :param result: of the module.
    :param notes: warnings.
    :param registry_text: the registry that is in force afterwards.
    """

    result: dict[str, Any]
    notes: list[str]
    registry_text: str


def check_options(params: Mapping[str, Any]) -> None:
    """Refuse options that exclude each other.

    :raises UsageError: the parameters have one that cannot be combined with ``settings``.
    """
    for option in EXCLUDED_OPTIONS:
        if params.get(option):
            raise UsageError(f"settings cannot be combined with {option}.", repoman_command("restore", [], "--settings"))


def run(params: dict[str, Any], check: bool) -> dict[str, Any]:
    """Run the module ``repoman_restore`` with ``settings``; return its result.

    :raises RepomanError: the restore is not possible or failed; the settings of this host are unchanged.
    """
    check_options(params)
    from_version = parse_time(params["from"]) if params["from"] else None
    context = load_context(params)
    target, warning = context.run_on_target(lambda _report: open_for_reading(context.roots), params["probe_timeout"])

    def work(report: Report) -> RestoredSettings:
        return restore_settings(context, target, from_version, check, report)

    restored: RestoredSettings = context.run_on_target(
        work, params["idle_timeout"], check_liveness=True, on_report=lambda text: progress.start_phase(str(text))
    )
    progress.clear()
    result = restored.result | {"path": context.path, "text": restored.registry_text} | ({} if params.get("_diff", True) else {"diff": []})
    warnings = [text for text in (warning, *restored.notes) if text]
    return result | ({"warnings": warnings} if warnings else {})


def restore_settings(context: BackupContext, target: Target, from_version: str | None, check: bool, report: Report) -> RestoredSettings:
    """Plan to restore the settings, and apply it unless ``check``, with the registry locked.

    :param from_version: name of the oldest run to take back; None for the last backup.
    :raises RepomanError: it is not possible, or failed; the settings of this host are unchanged.
    """
    with ExitStack() as stack:
        if not check:
            state = context.state(target)
            if state.is_dir() and os.access(state, os.W_OK):
                stack.enter_context(unit_locked(target, state, context.account, SETTINGS))
        backup = _SettingsBackup(target, from_version)
        stack.enter_context(nullcontext() if check else store.locked(f"{os.path.realpath(context.path)}.lock", context.account))
        registry = store.load(context.path)  # again: now it cannot change any more
        return _Restore(context, registry, backup).run(check, report)


class _SettingsBackup:
    """The settings in a backup, as of some time.

    :raises NotFoundError: it has none.
    """

    def __init__(self, target: Target, from_version: str | None) -> None:
        self.from_version = from_version or ""
        items = merge_layers(versions_of(target, SETTINGS, from_version), top_level_files=False)
        self._items = {os.fsdecode(path): item for path, item in items.items()}
        self.files: dict[str, SettingsFile] = {}
        self.notes: list[str] = []
        self._read_settings(target)
        self.owner = self._read_owner()

    def _read_settings(self, target: Target) -> None:
        """Read the files. Skip an unreadable file, with a note, so that the others can still be restored."""
        names = [name for name, item in self._items.items() if is_setting(name) or (name in SUFFIXES and not item.is_directory)]
        errors: list[OSError] = []
        for name in names:
            try:
                self.files[name] = self._read(name, FILE_BYTES)
            except OSError as error:
                errors.append(error)
                self.notes.append(f"{self._shown(name)} in the backup cannot be read, and was left out: {error.strerror}.")
        if self.files:
            return
        if errors:
            path = self.path(names[0])
            raise RepomanError(
                f"{self._shown(names[0])} in the backup cannot be read: {errors[0].strerror}; nothing was restored.",
                f"ls -l {shell_word(path)}",
            ) from errors[0]
        when = f" of before {self.from_version}" if self.from_version else ""
        raise NotFoundError(
            f"the backup in {target.root} has no settings{when}; nothing was restored.",
            *([repoman_command("sync", [], ("--list-versions", SETTINGS)) + "   # shows the versions that it has"] if when else []),
            "repoman restore --all   # the repositories without the settings",
        )

    def _read_owner(self) -> Owner | None:
        """Return whose settings they are; None, with a note, if that cannot be read.

        :raises ConflictError: they have a format that this version does not know.
        """
        if OWNER not in self._items:
            return None
        try:
            reason = "it is damaged"
            owner = parse_owner(self._read(OWNER, MAX_OWNER_BYTES).data.decode(errors="replace"), Path(self.path(OWNER)))
        except OSError as error:
            owner, reason = None, error.strerror or str(error)
        if owner is None:
            self.notes.append(
                f"{self._shown(OWNER)} cannot be read: {reason}. Values of another home or host in the settings were not looked for."
            )
        return owner

    def has(self, name: str) -> bool:
        """Return whether the backup has something of that name, also if it cannot be read."""
        return name in self._items

    def path(self, name: str) -> str:
        """Return the path of a file in the backup."""
        item = self._items[name]
        return os.fsdecode(os.path.join(item.layer.root, item.path))

    def _shown(self, name: str) -> str:
        return escape_path(os.fsencode(self.path(name)))

    def _read(self, name: str, limit: int) -> SettingsFile:
        """Return a file, following no link.

        :raises OSError: it cannot be read, is not a regular file, or is larger than ``limit`` bytes.
        """
        item = self._items[name]
        if item.is_directory or name in SUFFIXES:
            code = errno.EISDIR if item.is_directory else errno.ENOTDIR
            raise OSError(code, os.strerror(code), self.path(name))
        data, status = read_beneath(os.fsdecode(item.layer.root), name, limit)
        return SettingsFile(data, status.st_mtime_ns)


class _Restore:
    """One restore of the settings.

    :param registry: the registry of this host.
    """

    def __init__(self, context: BackupContext, registry: Registry, backup: _SettingsBackup) -> None:
        self.context, self.registry, self.backup = context, registry, backup
        self.places = Places.of(context)
        self._registry_notes: list[str] = []
        self.files = dict(backup.files)
        if REGISTRY in self.files:
            self.files[REGISTRY] = self._merged_registry(self.files[REGISTRY])

    def _merged_registry(self, file: SettingsFile) -> SettingsFile:
        """Return the registry of the backup with what belongs to this host.

        :raises NotFoundError: it is not a registry.
        """
        path = self.backup.path(REGISTRY)
        try:
            text = file.data.decode()
        except UnicodeDecodeError as error:
            raise NotFoundError(f"{path} is not UTF-8 text; nothing was restored.", *self._older_hints()) from error
        merged, self._registry_notes = merge_registry(text, path, self.registry)
        return replace(file, data=merged.encode(), mtime_ns=file.mtime_ns if merged == text else 0)

    def _older_hints(self) -> list[str]:
        return [repoman_command("sync", [], ("--list-versions", SETTINGS)) + "   # an older version may be whole: --from TIME"]

    def run(self, check: bool, report: Report) -> RestoredSettings:
        """Plan, and apply unless ``check``."""
        saved = self._saved_directory()
        restore = RestorePlan(self.places, self.files, saved, self.context.account)
        plan = restore.plan()
        saving = [f"save the existing files in {escape_path(os.fsencode(saved))}"] if restore.replaces else []
        changed = {each.name: each for each in restore.replacements}
        if not check:
            report(f"restoring the settings: {plural(len(changed))}")
            restore.apply()
        size = sum(len(each.new.data) for each in restore.replacements)
        result = {
            "changed": plan.changed,
            "steps": [*saving, *plan.descriptions],
            "diff": restore.diff(),
            "restored": restored_values(
                os.path.dirname(self.context.path), self.backup.from_version, len(changed), size, saved if restore.replaces else ""
            ),
        }
        text = changed[REGISTRY].new.data.decode() if REGISTRY in changed else self.registry.text
        notes = self._notes(set(changed)) if plan.changed else []
        return RestoredSettings(result, [*self.backup.notes, *notes], text)

    def _saved_directory(self) -> str:
        """Return an unused directory next to the registry."""
        base = os.path.join(os.path.dirname(self.context.path), f"before-{datetime.now(timezone.utc).strftime(VERSION_FORMAT)}")
        path, number = base, 1
        while os.path.lexists(path):
            path, number = f"{base}-{number}", number + 1
        return path

    def _notes(self, changed: set[str]) -> list[str]:
        """Return warnings about what stays, and what is about another host."""
        notes = list(self._registry_notes) if REGISTRY in changed else []
        only_here = [name for name in read_settings(self.places).files if name not in self.files and not self.backup.has(name)]
        if only_here:
            names = first_of([escape_path(os.fsencode(name)) for name in only_here], MAX_NAMED)
            notes.append(f"{names} {'is' if len(only_here) == 1 else 'are'} not in the backup, and stay{'s' * (len(only_here) == 1)} here.")
        owner = self.backup.owner
        if owner is not None:
            account = self.context.account
            me = Owner(self.context.roots.host, account.name, account.home)
            texts = {name: self.files[name].data.decode(errors="replace") for name in changed}
            notes += foreign_values(texts, {name: escape_path(os.fsencode(self.places.path(name))) for name in changed}, owner, me)
        return notes


def restored_values(to: str, from_version: str, files: int, size: int, saved: str) -> dict[str, Any]:
    """Return the value ``restored`` of the result.

    :param files: number of files.
    :param size: their bytes.
    """
    values = {"name": SETTINGS, "to": to, "from": from_version, "files": files, "bytes": size, "saved": saved}
    return values | {"has_container": False, "replaces_directory": False}


def predict(params: Mapping[str, Any], registry: str) -> dict[str, Any]:
    """Return the result on a host that has not been set up yet.

    :param registry: path that the registry will have.
    """
    check_options(params)
    restored = restored_values(os.path.dirname(registry), "", 0, 0, "")
    return {"changed": True, "steps": ["restore the settings"], "diff": [], "restored": restored}
