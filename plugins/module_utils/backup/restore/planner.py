# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan a restore: which files, to which directory, and how they get there."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Boundaries, Destination, resolve
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.directory_restore import DirectoryRestore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import (
    Items,
    NotInBackupError,
    drop_nested,
    select_paths,
    subtree,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layers import merge_layers, versions_of
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.operation import RestoreOperation
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import RestoreOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.paths_restore import PathsRestore
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.present import read_present
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.workspace import SAVED_INSIDE
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Identity, identity
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import Target
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import check_mirror, name_spellings, top_level_names
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import check_answers, hung_mount

_logger = get_logger("restore")

SAVED_TOP_LEVEL_FILES = b"loose-files"
"""Prefix of the saved directory for files directly in ``repos_root``."""


class RestorePlanner:
    """Plans the restore of one unit, or of a project's repository in it.

    :param unit: directory in ``repos_root``.
    :param inside: the repository's path in the unit; empty for the whole unit.
    """

    def __init__(self, context: BackupContext, target: Target, options: RestoreOptions, unit: str, inside: bytes) -> None:
        self.context, self.target, self.options, self.unit, self.inside = context, target, options, unit, inside
        self.is_top_level = unit == TOP_LEVEL_FILES
        self.notes: list[str] = []

    @property
    def subpath(self) -> bytes:
        """The repository's path in the destination; empty if the destination is the repository itself."""
        return self.inside if not self.options.to else b""

    @property
    def _name(self) -> str:
        return escape_path(os.fsencode(self.options.name))

    def read_items(self) -> Items:
        """Return everything the unit held in the requested version.

        :raises NotInBackupError: the backup does not have it.
        :raises ConflictError: its mirror is a backup itself.
        """
        options = self.options
        check_mirror(self.target, self.unit)
        names, is_complete = set[bytes](), False
        if self.is_top_level:
            with suppress(OSError):
                names, is_complete = top_level_names(self.context.state(self.target), self.target)
        versions = versions_of(self.target, self.unit, options.from_version)
        items = merge_layers(versions, self.is_top_level, names if is_complete else None)
        _logger.debug("%s as of %s: %d layers, %d entries", self.unit, options.from_version or "the last run", len(versions), len(items))
        if not items or (self.inside and not (self.inside in items and items[self.inside].is_directory)):
            raise self._no_backup([version.layer.name for version in versions if version.created is None])
        past = history.load(self.target, time.time())
        if options.from_version and options.from_version < past.oldest and options.from_version not in past.names:
            self.notes.append(f"The history begins at {past.oldest}; this is the oldest version.")
        return items

    def _no_backup(self, first_runs: list[str]) -> NotInBackupError:
        """Return the error that the backup does not have the requested version.

        :param first_runs: the runs that backed up the unit when it was new, from the last one back.
        """
        options, versions = self.options, repoman_command("sync", [], ("--list-versions", self.options.name))
        if not options.from_version or not first_runs:
            when = f" as of {options.from_time}" if options.from_version else ""
            return NotInBackupError(f"there is no backup of {self._name}{when} in {self.target.root}.", versions, f"ls {self.target.root}")
        return NotInBackupError(
            f"there is no backup of {self._name} as of {options.from_time}: the first one was made at {first_runs[-1]}.",
            versions,
            f"{repoman_command('restore', [options.name])}   # the last version",
        )

    def resolve_destination(self) -> Destination:
        """Return the directory to restore to.

        :raises ConflictError: it is in the backup, or something is in the way.
        :raises RepomanError: its file system does not answer.
        """
        roots = self.context.roots
        if self.options.to:
            path = os.path.abspath(self.context.account.expand(self.options.to))
        elif self.is_top_level:
            path = os.path.realpath(roots.repos_root)
        else:
            path = os.path.join(roots.repos_root, self.unit)
        check_answers(path)
        boundaries = Boundaries(
            roots=_identities([roots.repos_root]),
            repositories=_identities(self.context.repositories.values()),
            backup=_identities([roots.backup_root]),
        )
        return resolve(os.fsencode(path), boundaries)

    def plan(self, unit_items: Items, destination: Destination, stack: ExitStack) -> RestoreOperation:
        """Return the planned operation.

        :param unit_items: all items of the unit.
        :param stack: closes what the operation opens.
        :raises ConflictError: the destination exists and must not be overwritten.
        """
        options = self.options
        requested = subtree(unit_items, self.inside)
        paths = [_decode_argument(path, requested) for path in options.paths]
        items = select_paths(requested, paths, options.name)
        status = destination.status
        if status is not None and not stat.S_ISDIR(status.st_mode):
            raise ConflictError(
                f"{escape_path(destination.path)} is not a directory; nothing was restored.",
                f"to another directory: {options.command(('--to', 'DIR'))}",
                f"to restore it there: mv -n {shell_word(destination.path)} {shell_word(destination.path + b'.old')}",
            )
        if self.subpath:
            paths = [self.subpath] if options.has_all_paths else [self.subpath + b"/" + path for path in paths]
            items = select_paths(unit_items, paths, options.name)
            if b"" in unit_items and not destination.is_filled:
                items[b""] = unit_items[b""]
        if self.is_top_level and options.has_all_paths:
            paths = sorted(items)
        operation = self._make_restore(destination, items, drop_nested(paths))
        if isinstance(operation, PathsRestore):
            stack.callback(operation.close)
        self._check_overwrite(operation)
        return operation

    def _make_restore(self, destination: Destination, items: Items, paths: list[bytes]) -> RestoreOperation:
        """Return how to restore: the directory at once if it can be exchanged, otherwise path by path.

        :param paths: relative to the destination; an empty list for the whole directory.
        """
        if destination.status is None:
            return DirectoryRestore(self._name, destination, items, read_present(destination, [], items))
        if not (destination.is_filled or (self.is_top_level and not self.options.to)):
            paths = []
        present = read_present(destination, paths, items)
        in_place = destination.is_mount_point or not destination.can_create_siblings
        if not paths and not in_place and not present.file_systems:
            return DirectoryRestore(self._name, destination, items, present)
        return PathsRestore(
            escape_path(os.fsencode(self.unit)) if self.subpath and paths else self._name,
            destination,
            items,
            present,
            paths or [b""],
            in_place=in_place,
            saved_base=SAVED_TOP_LEVEL_FILES if self.is_top_level else SAVED_INSIDE,
            subpath=self.subpath,
        )

    def _check_overwrite(self, operation: RestoreOperation) -> None:
        """Refuse to replace files that must not be replaced.

        :raises ConflictError: it exists and must not be overwritten, or holds more than a repository.
        """
        if operation.replaces and not (isinstance(operation, PathsRestore) and not operation.has_all_paths):
            self._check_holds_nothing_else(operation.destination)
        if operation.replaces and operation.differs and not self.options.overwrite:
            raise ConflictError(
                f"{escape_path(operation.existing_path())} exists; nothing was restored.",
                f"to another directory: {self.options.command(('--to', 'DIR'))}",
                f"to replace it (it is saved first): {self.options.command('--overwrite')}",
            )

    def _check_holds_nothing_else(self, destination: Destination) -> None:
        """Refuse to replace a directory that holds the backup, all repositories, or a home.

        :raises ConflictError: it does.
        """
        path = os.fsdecode(destination.path)
        roots = self.context.roots
        for description, protected_path in (
            ("the backup", roots.backup_root),
            ("your repositories", roots.repos_root),
            ("your home", self.context.account.home),
        ):
            if _is_inside(protected_path, path):
                name = os.path.basename(self.options.name) or "DIR"
                raise ConflictError(
                    f"{escape_path(destination.path)} holds {description} and would be replaced completely; nothing was restored.",
                    f"into a directory in it: {self.options.command(('--to', os.path.join(path, name)))}",
                )


def _decode_argument(path: bytes, items: Items) -> bytes:
    """Decode a path argument: a path that is not UTF-8 may be given in its escaped form."""
    if path in items or b"\\" not in path:
        return path
    matches = [item_path for item_path in items if os.fsdecode(path) in name_spellings(item_path)]
    return matches[0] if len(matches) == 1 else path


def _is_inside(path: str, directory: str) -> bool:
    """Return whether a path, with links resolved, is a directory or lies in it."""
    return f"{os.path.realpath(path)}/".startswith(f"{directory.rstrip('/')}/")


def _identities(paths: Iterable[str]) -> frozenset[Identity]:
    """Return the identities of directories, without those that do not exist or whose file system does not answer."""
    identities = set()
    for path in paths:
        if hung_mount(path):
            continue
        with suppress(OSError):
            identities.add(identity(os.stat(path)))
    return frozenset(identities)
