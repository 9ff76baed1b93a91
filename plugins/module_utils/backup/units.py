# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The units of a backup (each directory in ``repos_root``, and the files directly in it), and the mirrors on a target."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Container
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import STALE_SUFFIX, Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES, Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.history import created_of, version_names
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import has_marker
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import INTERNAL_DIRECTORY, Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.records import read_records
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import decode_path, escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import LOST_AND_FOUND, is_lost_and_found

RESTORING_PREFIX = ".repoman-restore-"
"""Prefix of directories that a restore is filling: they are not units."""
CLONING_PREFIX = ".repoman-clone-"
"""Prefix of directories in which ``repoman new --clone`` makes clones: they are not units."""
SAVED_SUFFIX = re.compile(r"\.before-\d{8}T\d{6}Z(-\d+)?\Z")
"""Suffix of directories in which a restore saved what it replaced."""


def list_units(repos_root: str) -> list[Unit]:
    """Return the units: each directory in ``repos_root``, and one for the files directly in it.

    A symbolic link is copied as a link, wherever it points. The ``lost+found`` that mkfs creates is skipped.
    """
    units: list[Unit] = []
    has_files = False
    with os.scandir(repos_root) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if not entry.is_dir(follow_symlinks=False):
                has_files = True
            elif _is_lost_and_found(entry):
                continue
            elif not entry.name.startswith((RESTORING_PREFIX, CLONING_PREFIX)):
                units.append(Unit(entry.name, os.path.join(repos_root, entry.name)))
    is_name_used = any(unit.name == TOP_LEVEL_FILES for unit in units)
    return [*units, top_level_unit(repos_root)] if has_files and not is_name_used else units


def _is_lost_and_found(entry: os.DirEntry[str]) -> bool:
    """Return whether an entry is the directory that mkfs creates. Others are not looked at: the server of a mount may not answer."""
    return entry.name == os.fsdecode(LOST_AND_FOUND) and is_lost_and_found(LOST_AND_FOUND, entry.stat(follow_symlinks=False))


def top_level_unit(repos_root: str) -> Unit:
    """Return the unit of the files directly in ``repos_root``, which may be a link itself."""
    return Unit(TOP_LEVEL_FILES, os.path.realpath(repos_root), is_top_level=True)


def list_mirrors(target: Target, known: Container[str] = ()) -> list[str]:
    """Return the mirrors in a target: its directories without repoman's own, and without those that are targets themselves.

    :param known: units with a record in this target, so that nothing has to be read to know that they are mirrors.
    """
    return [name for name in list_directories(target) if not is_nested_target(target, name, known)]


def is_nested_target(target: Target, name: str, known: Container[str]) -> bool:
    """Return whether a directory in a target is a target itself. The mirror of a directory that holds a backup only looks like one.

    :param known: units with a record in this target.
    """
    return name not in known and has_marker(target.mirror(name))


def check_mirror(target: Target, unit: str) -> None:
    """Check that the directory of a unit's mirror is not a target itself.

    :raises ConflictError: it is.
    """
    path = target.mirror(unit)
    if has_marker(path) and is_nested_target(target, unit, read_records(target).units):  # without a marker, no record has to be read
        raise ConflictError(
            f"{path} is a backup itself, and not a mirror.", "to restore from it, make it [defaults].backup_root in the registry"
        )


def list_directories(target: Target) -> list[str]:
    """Return the directories in a target, without repoman's own."""
    try:
        with os.scandir(target.root) as entries:
            return sorted(
                entry.name
                for entry in entries
                if entry.name != INTERNAL_DIRECTORY and entry.is_dir(follow_symlinks=False) and not _is_lost_and_found(entry)
            )
    except FileNotFoundError:
        return []


def has_top_level_files(target: Target) -> bool:
    """Return whether a target has files that are not in directories."""
    with os.scandir(target.root) as entries:
        return any(not entry.is_dir(follow_symlinks=False) for entry in entries)


def top_level_names(state: Path, target: Target) -> tuple[set[bytes], bool]:
    """Return which files directly in a target the backup made, and whether the list is complete. Other files may be older than the backup.

    :param state: local state directory of the target. On another host it is missing, and only files that recent runs created are known.
    """
    path = str(state / "manifests" / file_name_of(TOP_LEVEL_FILES))
    manifest = Manifest.load(path) or Manifest.load(path + STALE_SUFFIX)
    names = {entry.path for entry in manifest.entries()} if manifest is not None else set()
    for name in version_names(target):
        names.update(created_of(target, name, TOP_LEVEL_FILES) or ())
    return names, manifest is not None


def file_name_of(unit: str) -> str:
    """Return a short and plain file name for data about a unit, whatever the unit's name."""
    return hashlib.sha256(os.fsencode(unit)).hexdigest()[:32]


def name_spellings(path: bytes) -> set[str]:
    """Return the accepted spellings of a name that is not UTF-8 or not printable: as the command passes it, and as messages show it."""
    return {decode_path(path), escape_path(path)}
