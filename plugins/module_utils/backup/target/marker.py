# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The marker of a target, ``.repoman/mirror.toml``: it shows that the right file system is mounted, and whose backup it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import INTERNAL_DIRECTORY, BackupRoots, Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.bounded_toml import load_toml
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_limited

FORMAT = 1
MAX_MARKER_BYTES = 64 << 10
MARKER_TEXT = """\
# repoman backs up to this directory. This file shows that the right file system is mounted here, so do not delete it.
# If the host or the user was renamed, or another host goes on with this backup: repoman sync --take-over

"""


@dataclass(frozen=True)
class Owner:
    """The host and the user that a target belongs to."""

    host: str
    user: str

    def __str__(self) -> str:
        return escape_control_characters(f"{self.user} on {self.host}")


def owner_of(marker: dict[str, Any]) -> Owner:
    """Return the owner that a marker names."""
    return Owner(str(marker.get("host", "an unknown host")), str(marker.get("user", "an unknown user")))


def our_owner(roots: BackupRoots) -> Owner:
    """Return this host and this user."""
    return Owner(roots.host, roots.owner.name)


def marker_path(root: str) -> Path:
    """Return the path of the marker below a backup's directory."""
    return Path(root, INTERNAL_DIRECTORY, "mirror.toml")


def has_marker(root: str | Path) -> bool:
    """Return whether a directory is a target, of any owner."""
    return os.path.lexists(marker_path(str(root)))


def initialize(roots: BackupRoots, target: Target) -> None:
    """Write the marker, which makes a directory the target. Leave its other files alone."""
    import tomlkit

    marker = {
        "format": FORMAT,
        "id": target.ident,
        "host": roots.host,
        "user": roots.owner.name,
        "created": iso_time(),
    }
    target.internal_path().mkdir(mode=0o700, parents=True, exist_ok=True)
    write_atomic(str(target.internal_path("mirror.toml")), MARKER_TEXT + tomlkit.dumps(marker), roots.owner)


def with_new_owner(text: str, owner: Owner, now: datetime) -> str:
    """Return the text of a marker that names another owner, and the one before. Everything else in it stays.

    :param text: of the marker.
    :param now: the time of the change.
    """
    import tomlkit

    previous = owner_of(load_toml(text))
    marker = tomlkit.parse(text)
    marker.update(
        {
            "host": owner.host,
            "user": owner.user,
            "taken_over": iso_time(now),
            "previous_host": previous.host,
            "previous_user": previous.user,
        }
    )
    return tomlkit.dumps(marker)


def read_marker(root: str) -> dict[str, Any] | None:
    """Return the marker below a backup's directory; None if it has none.

    :raises ConflictError: it cannot be read.
    """
    text = read_marker_text(root)
    try:
        return None if text is None else load_toml(text)
    except ValueError as error:
        raise _unreadable(root, str(error)) from error


def read_marker_text(root: str) -> str | None:
    """Return the text of the marker below a backup's directory; None if it has none.

    :raises ConflictError: it cannot be read.
    """
    try:
        return read_limited(marker_path(root), MAX_MARKER_BYTES, waits=True)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        check_uid(root, (root, os.path.join(root, INTERNAL_DIRECTORY)), os.X_OK)
        raise _unreadable(root, error.strerror or str(error)) from error
    except (ValueError, OSError) as error:
        raise _unreadable(root, (error.strerror if isinstance(error, OSError) else "") or str(error)) from error


def _unreadable(root: str, reason: str) -> ConflictError:
    path = marker_path(root)
    return ConflictError(
        f"cannot read the backup's marker, {path}: {reason}; nothing was written.", f"look at it: cat {shell_word(str(path))}"
    )


def check_uid(root: str, directories: Iterable[str], mode: int) -> None:
    """Check that no directory of a target belongs to another UID that keeps this process from using it.

    :param mode: the needed permissions, as of :func:`os.access`.
    :raises ConflictError: one does.
    """
    uid, gid = os.geteuid(), os.getegid()
    for directory in directories:
        with suppress(FileNotFoundError, PermissionError):
            owner = os.stat(directory, follow_symlinks=False).st_uid
            if owner != uid and not os.access(directory, mode, effective_ids=True):
                raise ConflictError(
                    f"{escape_control_characters(directory)} belongs to UID {owner}, and this run has UID {uid}: "
                    f"it cannot {'change' if mode & os.W_OK else 'read'} that backup; nothing was written.",
                    f"sudo chown -R {uid}:{gid} {shell_word(root)}   # makes the whole backup yours; if it is NFS, on its server",
                )


def check_format(root: str, marker: dict[str, Any]) -> None:
    """Check that a marker has the format of this version.

    :raises ConflictError: it has an unknown format.
    """
    if marker.get("format") != FORMAT or not re.fullmatch(r"[0-9a-f]{8,64}", str(marker.get("id"))):
        raise ConflictError(
            f"{marker_path(root)} is of format {marker.get('format')!r}, which this repoman does not know; nothing was written.",
            "upgrade repoman",
        )


def check_marker(roots: BackupRoots, root: str, marker: dict[str, Any]) -> None:
    """Check that a marker is this host's and this user's.

    :raises ConflictError: it is not, or it has an unknown format.
    """
    check_format(root, marker)
    owner, ours = owner_of(marker), our_owner(roots)
    if owner != ours:
        raise ConflictError(
            f"{roots.backup_root} is the backup of {owner}, and this is {ours}; nothing was written.",
            f"{repoman_command('sync', [], '--take-over')}   # if this host and user go on with that backup",
            f"choose a directory of your own: [defaults].backup_root in {roots.registry_path}",
        )


def became_another_error(roots: BackupRoots) -> ConflictError:
    """Return the error of a target whose marker changed while the run was planned."""
    return ConflictError(
        f"{roots.backup_root} became another backup while the run was planned; nothing was written.", "run the command again"
    )
