# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The checks before anything is written to a target, or read from it."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.marker import (
    check_format,
    check_marker,
    has_marker,
    our_owner,
    owner_of,
    read_marker,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import (
    INTERNAL_DIRECTORY,
    BackupRoots,
    Target,
    nearest_directory,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotMountedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import mount_of
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import is_lost_and_found_at

_logger = get_logger("target")


def inspect_target(roots: BackupRoots, init: bool = False, allow_local: bool = False, take_over: bool = False) -> tuple[Target, bool]:
    """Check the target and the source; return the target, and whether it is new. Write nothing.

    :param init: accept a directory without a marker, if its file system is not that of ``/`` or ``repos_root``.
    :param allow_local: accept any file system.
    :param take_over: accept the marker of another host or user.
    :raises ConflictError: a check failed.
    """
    source, root = os.path.realpath(roots.repos_root), os.path.realpath(roots.backup_root)
    _check_apart(roots, source, root)
    _check_source(roots, source)
    marker = read_marker(root)
    if marker is not None:
        if take_over:
            check_format(root, marker)
        else:
            check_marker(roots, root, marker)
        _logger.debug("%s is a target with ID %s", root, marker["id"])
        return Target(root, str(marker["id"])), False
    if not init:
        reason = "it has no marker" if os.path.isdir(root) else "there is no such directory"
        raise NotMountedError(
            f"{roots.backup_root} is not a backup of repoman: {reason}; nothing was written.",
            f"is it mounted? findmnt --target {shell_word(roots.backup_root)}",
            "for the first backup to it: repoman sync --init",
            f"another place: [defaults].backup_root in {roots.registry_path}",
        )
    if os.path.lexists(root) and not os.path.isdir(root):
        raise ConflictError(f"{roots.backup_root} is not a directory.", f"choose another: [defaults].backup_root in {roots.registry_path}")
    _check_not_nested(roots, root)
    if not allow_local:
        _check_elsewhere(roots, source, root)
    _logger.debug("%s will be a new target", root)
    return Target(root, secrets.token_hex(8)), True


def open_for_reading(roots: BackupRoots) -> tuple[Target, str]:
    """Return a target to restore from. If it belongs to another host or user, also return a warning, otherwise an empty text.

    :raises ConflictError: the directory is not a backup.
    """
    root = os.path.realpath(roots.backup_root)
    marker = read_marker(root)
    _logger.debug("the marker of %s: %s", root, marker)
    if marker is None:
        raise ConflictError(
            f"{roots.backup_root} is not a backup of repoman: it has no {INTERNAL_DIRECTORY}/mirror.toml.",
            f"is it mounted? findmnt --target {shell_word(roots.backup_root)}",
            "if it is elsewhere: repoman setup --backup-root DIR",
        )
    check_format(root, marker)
    owner = owner_of(marker)
    return Target(root, str(marker["id"])), "" if owner == our_owner(roots) else f"{root} is the backup of {owner}"


def _check_apart(roots: BackupRoots, source: str, root: str) -> None:
    if root == source or root.startswith(f"{source.rstrip('/')}/"):
        raise ConflictError(
            f"backup_root, {roots.backup_root}, lies inside repos_root, {roots.repos_root}: the backup would back itself up.",
            f"choose another: [defaults].backup_root in {roots.registry_path}",
        )
    if source.startswith(f"{root.rstrip('/')}/"):
        raise ConflictError(
            f"repos_root, {roots.repos_root}, lies inside backup_root, {roots.backup_root}: mirrors would overwrite repositories.",
            f"choose another: [defaults].backup_root in {roots.registry_path}",
        )


def _check_not_nested(roots: BackupRoots, root: str) -> None:
    """Refuse a new target inside another one, or around others: the outer one would treat the inner one as a mirror."""
    hint = f"choose a directory that is not inside a backup: [defaults].backup_root in {roots.registry_path}"
    for parent in map(str, Path(root).parents):
        if has_marker(parent):
            raise ConflictError(
                f"{roots.backup_root} lies inside {parent}, which is a backup itself; nothing was written.",
                hint,
                "to move that backup: see 'Several hosts' in the documentation",
            )
    with suppress(FileNotFoundError):
        for name in sorted(os.listdir(root)):
            if has_marker(os.path.join(root, name)):
                raise ConflictError(f"{roots.backup_root} contains another backup, {name}; nothing was written.", hint)


def _check_source(roots: BackupRoots, source: str) -> None:
    try:
        empty = not [name for name in os.listdir(source) if not is_lost_and_found_at(os.path.join(source, name))]
    except OSError as error:
        raise NotMountedError(
            f"cannot read repos_root, {roots.repos_root}: {error.strerror}; the backup was not touched.",
            f"is it mounted? findmnt --target {shell_word(roots.repos_root)}",
            f"where it is: [defaults].repos_root in {roots.registry_path}",
        ) from error
    if empty:
        raise NotMountedError(
            f"repos_root, {roots.repos_root}, is empty; the backup was not touched.",
            f"is it mounted? findmnt --target {shell_word(roots.repos_root)}",
            "to get a repository back: repoman restore NAME",
        )


def _check_elsewhere(roots: BackupRoots, source: str, root: str) -> None:
    """Refuse a target on the file system of ``/`` or of ``repos_root``: most likely it is an empty mount point."""
    directory = nearest_directory(root)
    for name, source_path in (("/", "/"), (f"repos_root, {roots.repos_root}", source)):
        mounts = [mount_of(str(path)).source for path in (directory, source_path)]
        if directory.stat().st_dev == os.stat(source_path).st_dev or (mounts[0] == mounts[1] and mounts[0].startswith("/dev/")):
            raise NotMountedError(
                f"{roots.backup_root} is on the same file system as {name}: a backup there would be lost with its source; nothing was written.",
                f"is it mounted? findmnt --target {shell_word(roots.backup_root)}",
                "to accept it anyway: repoman sync --init --allow-local",
            )
