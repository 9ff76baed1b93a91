# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find for ``status`` what backups leave out: from the registry, the kernel's list of mounts, and what the last run noted. Nothing is scanned."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import Backup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.unit_rules import LEFT_OUT, read_left_out, with_rules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_units
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import PSEUDO
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Registry

NOTHING: dict[str, Any] = {"skipped_mounts": [], "exclude": [], "exclude_caches": False, "excluded": 0, "unverified": []}


def add_to_status(result: dict[str, Any], account: Account, registry_path: str, known: Registry) -> None:
    """Add to the result of ``status`` what backups leave out and what the last one could not verify, of the host and of each project."""
    skipped_mounts, by_project, unverified = read(account, registry_path, known)
    result["host"] |= {"skipped_mounts": skipped_mounts, "unverified": unverified}
    for project in result["projects"]:
        project["left_out"] = by_project.get(project["name"], NOTHING)


def read(me: Account, path: str, known: Registry) -> tuple[list[str], dict[str, dict[str, Any]], list[dict[str, str]]]:
    """Return what is mounted and not backed up, what is left out of each project's directory, and what could not be verified.

    The first and the last are of all of ``repos_root``.

    :param path: path of the registry.
    """
    whole = Backup(me, path, known)
    noted = _last_run(whole)
    mounts: dict[str, list[str]] = {}
    unverified: dict[str, list[dict[str, str]]] = {}
    rules = {}
    with suppress(OSError):
        for unit in with_rules(list_units(whole.roots.repos_root), whole, ""):
            rules[unit.name] = unit.rules
            unverified[unit.name] = _unverified(unit, noted.get(unit.name, {}).get("unverified", {}))
            mounts[unit.name] = _mounts_of(unit, noted.get(unit.name, {}).get("skipped", []))
    found = {}
    for name, inside in whole.paths.items():
        directory = inside.split("/")[0]
        if directory in rules:
            own = rules[directory]
            prefix = os.path.join(whole.roots.repos_root, inside, "")
            found[name] = {
                "skipped_mounts": [each for each in mounts[directory] if each.startswith(prefix)],
                "exclude": [pattern for _base, patterns in own.exclude for pattern in patterns],
                "exclude_caches": own.caches,
                "excluded": noted.get(directory, {}).get("excluded", 0),
                "unverified": [
                    each for each in unverified[directory] if os.path.join(each["path"], "").startswith(escape_path(os.fsencode(prefix)))
                ],
            }
    return [each for listed in mounts.values() for each in listed], found, [each for listed in unverified.values() for each in listed]


def _mounts_of(unit: Unit, noted: list[str]) -> list[str]:
    mounted = {path for path, kind in unit.rules.mounts.items() if not unit.rules.follow_mounts or kind in PSEUDO}
    others = {os.fsencode(each) for each in noted} - unit.rules.mounts.keys()
    if not unit.rules.follow_mounts:  # btrfs subvolumes, which are not mounted
        mounted |= {path for path in others if _is_boundary(os.path.join(os.fsencode(unit.source), path))}
    return [escape_path(os.path.join(os.fsencode(unit.source), path)) for path in sorted(mounted)]


def _unverified(unit: Unit, noted: dict[str, str]) -> list[dict[str, str]]:
    """Return the repositories of a unit that could not be verified, and are still there."""
    found = []
    for inside, why in sorted(noted.items()):
        path = os.path.join(unit.source, inside).rstrip("/")
        if os.path.lexists(path):
            top = os.path.dirname(path) if os.path.basename(path) in {".git", ".hg"} else path
            found.append({"path": escape_path(os.fsencode(top)), "reason": why})
    return found


def _is_boundary(path: bytes) -> bool:
    try:
        return os.lstat(path).st_dev != os.lstat(os.path.dirname(path)).st_dev
    except OSError:
        return False


def _last_run(whole: Backup) -> dict[str, dict[str, Any]]:
    """Return what the last run to any target left out."""
    newest: tuple[float, Path] | None = None
    with suppress(OSError):
        for path in (whole.logdir / "sync").glob(f"*/{LEFT_OUT}"):
            changed = path.stat().st_mtime
            if newest is None or changed > newest[0]:
                newest = changed, path
    return read_left_out(newest[1]) if newest else {}
