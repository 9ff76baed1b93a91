# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Rules for what is backed up of each unit, and the record of what a run left out."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import ScanResult
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import LIST
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_json
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import PSEUDO, mounts_below

MAX_BYTES = 64 << 20
LEFT_OUT = "left_out.json"
"""The local file with the files that the last run left out of each unit, the mounts in it, and the repositories that it could not verify."""


@dataclass(frozen=True)
class RuleOptions:
    """Options of a run that override the rules of the registry.

    :param exclude: additional patterns.
    :param exclude_caches: None leaves it to the registry.
    :param follow_mounts: None leaves it to the registry.
    """

    exclude: tuple[str, ...] = ()
    exclude_caches: bool | None = None
    follow_mounts: bool | None = None


def with_rules(units: Iterable[Unit], backup: BackupContext, target: str, options: RuleOptions = RuleOptions()) -> list[Unit]:
    """Return units with the rules that apply to them.

    :param target: directory of the backup; empty if it is unknown.
    """
    mounted = mounts_below(os.fsencode(backup.roots.repos_root))
    status = os.stat(target) if os.path.isdir(target) else None
    base = TreeRules(target=(status.st_dev, status.st_ino) if status else None)
    return [replace(unit, rules=_rules_of(unit, backup, options, mounted, base)) for unit in units]


def _rules_of(unit: Unit, backup: BackupContext, options: RuleOptions, mounted: Mapping[bytes, str], base: TreeRules) -> TreeRules:
    defaults = backup.registry.defaults
    projects = {} if unit.is_top_level else {path: name for name, path in backup.paths.items() if path.split("/")[0] == unit.name}
    exclude = [(b"", defaults.exclude)]
    caches, follow = [defaults.exclude_caches], [defaults.follow_mounts]
    for path, name in sorted(projects.items()):
        project = backup.projects[name]
        exclude.append((os.fsencode(path[len(unit.name) + 1 :]), project.exclude))
        if path == unit.name:
            caches, follow = [project.exclude_caches], [project.follow_mounts]
        else:
            caches.append(project.exclude_caches)
            follow.append(project.follow_mounts)
    exclude.append((b"", options.exclude))
    prefix = os.fsencode(unit.name) + b"/"
    mounts = {} if unit.is_top_level else {path[len(prefix) :]: fstype for path, fstype in mounted.items() if path.startswith(prefix)}
    return replace(
        base,
        exclude=tuple(section for section in exclude if section[1]),
        caches=_requested_or_configured(options.exclude_caches, caches),
        follow_mounts=_requested_or_configured(options.follow_mounts, follow),
        mounts=MappingProxyType(mounts),
    )


def _requested_or_configured(requested: bool | None, configured: list[bool]) -> bool:
    return any(configured) if requested is None else requested


@dataclass
class LeftOut:
    """Record of the files that runs left out, by unit.

    :param state: local state directory of the target.
    """

    state: Path
    units: dict[str, dict[str, Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Read what the last run left out."""
        self.units = read_left_out(self.state / LEFT_OUT)

    def unverified(self, name: str) -> int:
        """Return the number of repositories of a unit that the last run with changes could not verify."""
        return len(self.units.get(name, {}).get("unverified", {}))

    def record(self, scanned: ScanResult, absent: Iterable[bytes], *, drop_followed: bool = False) -> None:
        """Record what a scan left out.

        :param absent: paths that are not mounted now, and stay recorded.
        :param drop_followed: the mirror drops mounts that an earlier run followed and this one does not.
        """
        previously_followed = set() if drop_followed else self._previously_followed(scanned)
        followed = [*scanned.followed, *absent, *(path for path in scanned.skipped if path in previously_followed)]
        record = {
            "skipped": [os.fsdecode(path) for path in scanned.skipped],
            "followed": [os.fsdecode(path) for path in followed],
            "excluded": scanned.excluded,
            "unverified": self.units.get(scanned.unit.name, {}).get("unverified", {}),
        }
        if any(record.values()):
            self.units[scanned.unit.name] = record
        else:
            self.units.pop(scanned.unit.name, None)

    def record_unverified(self, name: str, verdicts: Mapping[str, str]) -> None:
        """Record which repositories of a unit could not be verified.

        :param verdicts: for each checked repository, by its path in the unit, why it could not be verified; empty if it could.
        """
        record = self.units.get(name, {"skipped": [], "followed": [], "excluded": 0})
        unverified = {path: reason for path, reason in (record.get("unverified", {}) | dict(verdicts)).items() if reason}
        if unverified or any(record[key] for key in ("skipped", "followed", "excluded")):
            self.units[name] = record | {"unverified": unverified}
        else:
            self.units.pop(name, None)

    def absent(self, scanned: ScanResult) -> list[bytes]:
        """Return paths in a unit at which a file system was mounted and backed up, and now is an empty directory."""
        not_mounted = self._previously_followed(scanned) - {*scanned.followed, *scanned.skipped}
        return [path for path in sorted(not_mounted) if _is_empty(scanned.unit.source, path)]

    def save(self, names: Iterable[str], owner: Account) -> None:
        """Write the file for these units, and leave the entries of others as other runs wrote them. The caller holds the metadata lock."""
        path = self.state / LEFT_OUT
        names = set(names)
        previous = read_left_out(path)
        units = {name: record for name, record in previous.items() if name not in names}
        units |= {name: self.units[name] for name in names if name in self.units}
        if units != previous:
            write_atomic(str(path), json.dumps(units, sort_keys=True), owner)

    def _previously_followed(self, scanned: ScanResult) -> set[bytes]:
        """Return paths in a unit at which an earlier run backed up a mounted file system: the mirror has its files."""
        return {os.fsencode(path) for path in self.units.get(scanned.unit.name, {}).get("followed", [])}


def read_left_out(path: Path) -> dict[str, dict[str, Any]]:
    """Return what the last run left out, by unit; empty if the file is missing or not repoman's."""
    try:
        records = read_json(path, MAX_BYTES)
        return {
            str(name): {
                "skipped": [_path(path) for path in record["skipped"]],
                "followed": [_path(path) for path in record["followed"]],
                "excluded": int(record["excluded"]),
                "unverified": {_path(path): str(reason) for path, reason in record.get("unverified", {}).items()},
            }
            for name, record in records.items()
        }
    except (OSError, ValueError, AttributeError, TypeError, KeyError):
        return {}


def _path(path: Any) -> str:
    """Return a path of the record.

    :raises ValueError: it cannot be one.
    """
    if not isinstance(path, str) or "\0" in path:
        raise ValueError(f"{path!r} is not a path")
    return path


def _is_empty(top: str, path: bytes) -> bool:
    """Return whether a path below a directory is an empty directory; follow no link."""
    with suppress(OSError):
        top_fd = os.open(top, LIST)
        try:
            fd = open_beneath(top_fd, path, LIST)
        finally:
            os.close(top_fd)
        try:
            return not os.listdir(fd)
        finally:
            os.close(fd)
    return False


def mount_warnings(unit: Unit, skipped: Iterable[bytes], absent: Iterable[bytes] = ()) -> list[str]:
    """Return warnings of file systems in a unit that are not backed up.

    :param skipped: paths at which other file systems are mounted.
    :param absent: paths at which one was mounted and backed up, and is not mounted any more.
    """
    top = os.fsencode(unit.source)
    warnings = []
    for path in skipped:
        display_path = escape_path(os.path.join(top, path))
        if path in unit.rules.mounts and unit.rules.mounts[path] in PSEUDO:
            warnings.append(f"{display_path} is a file system of type {unit.rules.mounts[path]} and is not backed up.")
        elif unit.rules.follow_mounts:
            warnings.append(f"{display_path} is the backup itself and is not backed up.")
        else:
            warnings.append(f"{display_path} is another file system and is not backed up; follow_mounts = true backs it up.")
    for path in absent:
        warnings.append(
            f"{escape_path(os.path.join(top, path))} was a mounted file system and is now an empty directory: is it mounted? "
            f"Its mirror was kept. If you unmounted it for good: {repoman_command('sync', [unit.name], '--allow-shrink')}"
        )
    return warnings
