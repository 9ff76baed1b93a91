# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refuse sources that look lost. No hint restores an old state over a newer one: hints only show files, or restore to another directory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import INTERNAL_DIRECTORY, Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_directories
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import decode_path

if TYPE_CHECKING:
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import UnitDiff

SHRINK_MIN_FILES = 100


def check_shrink(unit: Unit, changes: UnitDiff, target: Target, allowed: bool, is_named: bool) -> None:
    """Refuse a source that has lost most of the files in its mirror.

    :param allowed: the user allowed shrinking.
    :param is_named: the user named the unit.
    :raises ConflictError: the source looks lost.
    """
    # Imported here, where something differs: see UnitPlanner.
    from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import shrinkage

    emptied = (
        not (unit.is_top_level or changes.is_first_copy or changes.source_manifest.has_several_entries())
        and changes.mirror_manifest.has_several_entries()
    )
    if emptied and not (allowed and is_named):
        raise ConflictError(f"{unit.source} is empty, but its mirror is not; the mirror was not changed.", *_hints(unit.name, True))
    if allowed or not shrinkage.may_exceed(changes, SHRINK_MIN_FILES):
        return
    removed, mirrored = shrinkage.count_missed(changes, str(target.mirror("" if unit.is_top_level else unit.name)))
    if removed > SHRINK_MIN_FILES and removed * 2 > mirrored:
        raise ConflictError(
            f"{removed} of {mirrored} files of {decode_path(os.fsencode(unit.name))} are gone; its mirror was not changed.",
            f"see which: {repoman_command('--check --diff sync', [unit.name], '--allow-shrink')}",
            *_hints(unit.name, False),
        )


def _hints(name: str, emptied: bool) -> tuple[str, ...]:
    back = (
        [f"to get it back: {repoman_command('restore', [name])}"]
        if emptied
        else [
            f"to look at what the backup has: {repoman_command('restore', [name], '--to DIR')}",
            f"to get back what is missing: {repoman_command('restore', [name], '--path PATH')}",
        ]
    )
    return (*back, f"if you deleted it on purpose: {repoman_command('sync', [name], '--allow-shrink')}")


def missing_source_error(unit: Unit) -> ConflictError:
    """Return the error of a unit whose source is missing while its mirror exists."""
    return ConflictError(
        f"{unit.source} is gone, but its mirror is still there; the mirror was not changed.",
        f"to get it back: {repoman_command('restore', [unit.name])}",
        f"if you deleted it on purpose: {repoman_command('sync', [unit.name], '--allow-shrink')}   # its mirror is moved to the history",
    )


def nested_target_error(target: Target, unit: Unit) -> ConflictError:
    """Return the error of a unit whose mirror would be a target itself, most likely that of another host."""
    return ConflictError(
        f"{target.mirror(unit.name)} is a backup itself, so it cannot be the mirror of {unit.source}.",
        "give each backup its own directory, none inside another: [defaults].backup_root in the registry",
    )


def missing_files_error(repos_root: str, unit: Unit) -> ConflictError:
    """Return the error of the files directly in ``repos_root``, which are missing while their mirrors exist."""
    return ConflictError(
        f"all files directly in {repos_root} are gone, but their mirrors are still there; the mirrors were not changed.",
        f"to get them back: {repoman_command('restore', [unit.name])}",
        f"if you deleted them on purpose: {repoman_command('sync', [unit.name], '--allow-shrink')}   # their mirrors are moved to the history",
    )


def check_top_level(repos_root: str, manifest: Manifest, target: Target) -> None:
    """Refuse files in ``repos_root`` that would replace a mirror.

    :raises ConflictError: a file has the name of a mirror.
    """
    directories = {INTERNAL_DIRECTORY, *list_directories(target)}
    for entry in manifest.entries():
        name = os.fsdecode(entry.path)
        if name == INTERNAL_DIRECTORY:
            raise ConflictError(f"nothing in repos_root may be called {name!r}: repoman uses that name.", "rename it")
        if name in directories:
            raise ConflictError(
                f"{repos_root}/{decode_path(entry.path)} was a directory and is now a file or link; its mirror was not changed.",
                f"if you replaced it on purpose: {repoman_command('sync', [name], '--allow-shrink')}   # its mirror is moved to the history",
            )
