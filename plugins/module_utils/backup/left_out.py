# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find for ``status`` what backups leave out: from the registry, the kernel's mount table, and the record of the last run. Nothing is scanned."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import LEFT_OUT, read_left_out, with_rules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import PSEUDO
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Registry

NOTHING: dict[str, Any] = {"skipped_mounts": [], "exclude": [], "exclude_caches": False, "excluded": 0, "unverified": []}


def add_to_status(result: dict[str, Any], account: Account, registry_path: str, registry: Registry) -> None:
    """Add to the result of ``status``, for the host and each project, what backups leave out and what the last one could not verify."""
    skipped_mounts, by_project, unverified = read(account, registry_path, registry)
    result["host"] |= {"skipped_mounts": skipped_mounts, "unverified": unverified}
    for project in result["projects"]:
        project["left_out"] = by_project.get(project["name"], NOTHING)


def read(account: Account, path: str, registry: Registry) -> tuple[list[str], dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Return what is mounted and not backed up, what is left out of each project's directory, and what could not be verified.

    The first and the last value are for all of ``repos_root``.

    :param path: path of the registry.
    """
    context = BackupContext(account, path, registry)
    if hung_mount(context.roots.repos_root):
        return [], {}, []
    last_run = _last_run(context)
    mounts: dict[str, list[str]] = {}
    unverified: dict[str, list[dict[str, str]]] = {}
    rules = {}
    with suppress(OSError):
        for unit in with_rules(list_units(context.roots.repos_root), context, ""):
            rules[unit.name] = unit.rules
            unverified[unit.name] = _unverified(unit, last_run.get(unit.name, {}).get("unverified", {}))
            mounts[unit.name] = _mounts_of(unit, last_run.get(unit.name, {}).get("skipped", []))
    by_project = {}
    for name, relative_path in context.paths.items():
        directory = relative_path.split("/")[0]
        if directory in rules:
            unit_rules = rules[directory]
            prefix = os.path.join(context.roots.repos_root, relative_path, "")
            by_project[name] = {
                "skipped_mounts": [path for path in mounts[directory] if path.startswith(prefix)],
                "exclude": [pattern for _base, patterns in unit_rules.exclude for pattern in patterns],
                "exclude_caches": unit_rules.caches,
                "excluded": last_run.get(directory, {}).get("excluded", 0),
                "unverified": [
                    entry for entry in unverified[directory] if os.path.join(entry["path"], "").startswith(escape_path(os.fsencode(prefix)))
                ],
            }
    return (
        [path for paths in mounts.values() for path in paths],
        by_project,
        [entry for entries in unverified.values() for entry in entries],
    )


def _mounts_of(unit: Unit, recorded: list[str]) -> list[str]:
    mounted = {path for path, fstype in unit.rules.mounts.items() if not unit.rules.follow_mounts or fstype in PSEUDO}
    unlisted = {os.fsencode(path) for path in recorded} - unit.rules.mounts.keys()
    if not unit.rules.follow_mounts:  # btrfs subvolumes, which are not mounted
        mounted |= {path for path in unlisted if _is_boundary(os.path.join(os.fsencode(unit.source), path))}
    return [escape_path(os.path.join(os.fsencode(unit.source), path)) for path in sorted(mounted)]


def _unverified(unit: Unit, recorded: dict[str, str]) -> list[dict[str, str]]:
    """Return the repositories of a unit that could not be verified, and are still there."""
    unverified = []
    for relative_path, reason in sorted(recorded.items()):
        path = os.path.join(unit.source, relative_path).rstrip("/")
        if not hung_mount(path) and os.path.lexists(path):
            work_tree = os.path.dirname(path) if os.path.basename(path) in {".git", ".hg"} else path
            unverified.append({"path": escape_path(os.fsencode(work_tree)), "reason": reason})
    return unverified


def _is_boundary(path: bytes) -> bool:
    try:
        if hung_mount(os.fsdecode(path)):
            return False
        return os.lstat(path).st_dev != os.lstat(os.path.dirname(path)).st_dev
    except OSError:
        return False


def _last_run(context: BackupContext) -> dict[str, dict[str, Any]]:
    """Return what the last run to any target left out."""
    newest: tuple[float, Path] | None = None
    with suppress(OSError):
        for path in (context.logdir / "sync").glob(f"*/{LEFT_OUT}"):
            changed = path.stat().st_mtime
            if newest is None or changed > newest[0]:
                newest = changed, path
    return read_left_out(newest[1]) if newest else {}
