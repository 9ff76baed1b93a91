# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The marker of a target, ``.repoman/mirror.toml``: it shows that the right file system is mounted, and whose backup it is."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import INTERNAL_DIRECTORY, BackupRoots, Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.core.times import iso_time
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_limited

FORMAT = 1
MAX_MARKER_BYTES = 64 << 10
MARKER_TEXT = """\
# repoman backs up to this directory. This file shows that the right file system is mounted here, so do not delete it.
# If the host or the user was renamed, change the name here.

"""


def marker_path(root: str) -> Path:
    """Return the path of the marker below a backup's directory."""
    return Path(root, INTERNAL_DIRECTORY, "mirror.toml")


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


def read_marker(root: str) -> dict[str, Any] | None:
    """Return the marker below a backup's directory; None if it has none.

    :raises ConflictError: it cannot be read.
    """
    path = marker_path(root)
    try:
        return tomllib.loads(read_limited(path, MAX_MARKER_BYTES, waits=True))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, OSError, RecursionError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConflictError(
            f"cannot read the backup's marker, {path}: {reason}; nothing was written.", f"look at it: cat {path}"
        ) from error


def check_marker(roots: BackupRoots, root: str, marker: dict[str, Any]) -> None:
    """Check that a marker is this host's and this user's.

    :raises ConflictError: it is not, or it has an unknown format.
    """
    path = marker_path(root)
    if marker.get("format") != FORMAT or not re.fullmatch(r"[0-9a-f]{8,64}", str(marker.get("id"))):
        raise ConflictError(
            f"{path} is of format {marker.get('format')!r}, which this repoman does not know; nothing was written.", "upgrade repoman"
        )
    for key, expected in (("host", roots.host), ("user", roots.owner.name)):
        if marker.get(key) != expected:
            raise ConflictError(
                f"{roots.backup_root} is the backup of {key} {marker.get(key)!r}, and this is {expected!r}; nothing was written.",
                f"choose a directory of your own: [defaults].backup_root in {roots.registry_path}",
                f"if it is yours and the {key} got another name: correct it in {path}",
            )
