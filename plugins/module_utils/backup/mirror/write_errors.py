# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors that show where mirroring a unit failed: in its source, on the target, in the local state directory, or in the temporary directory."""

from __future__ import annotations

import errno
import os
import tempfile
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import nearest_directory
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

NO_SPACE = (errno.ENOSPC, errno.EDQUOT)
TAKES_NOTHING = (*NO_SPACE, errno.EROFS)
LITTLE = 1 << 20
"""A file system with less space than this is full."""


def unit_error(name: str, source: str, target: str, scratch: str, failure: OSError) -> MirrorError:
    """Return the error of a unit whose mirroring failed.

    :param source: the unit's directory.
    :param target: directory of its mirror.
    :param scratch: the run's local directory.
    """
    reason = failure.strerror or str(failure)
    path = _path(failure)
    unit = escape_path(os.fsencode(name))
    location = f" ({escape_path(os.fsencode(path))})" if path else ""
    local = _local_directory(path, target, scratch, failure)
    if local:
        label = "the state directory" if local == scratch else "the temporary directory"
        return MirrorError(
            f"{unit}: cannot write to {label} {escape_path(os.fsencode(local))}: {reason}{location}; its mirror was not finished.",
            f"df -h {shell_word(local if os.path.isdir(local) else str(nearest_directory(local)))}",
            "its location: [defaults].logdir in the registry" if local == scratch else "to use another one: TMPDIR=DIR repoman sync",
        )
    if path and _is_below(path, source):
        return MirrorError(f"{escape_path(os.fsencode(path))} cannot be read: {reason}.", f"ls -ld {shell_word(path)}")
    hint = f"is there free space? df -h {shell_word(target)}" if failure.errno in NO_SPACE else f"findmnt --target {shell_word(target)}"
    return MirrorError(f"{unit}: its mirror could not be written: {reason}{location}.", hint)


def _path(failure: OSError) -> str:
    """Return the file that an error names; empty if it names none."""
    for name in (failure.filename2, failure.filename):
        if isinstance(name, str | bytes):
            return os.fsdecode(name)
    return ""


def _local_directory(path: str, target: str, scratch: str, failure: OSError) -> str:
    """Return the local directory in which an error occurred; empty if it occurred elsewhere."""
    for directory in (scratch, tempfile.gettempdir()):
        if path and _is_below(path, directory) and not _is_below(path, target):
            return directory
    if os.path.isabs(path) or failure.errno not in TAKES_NOTHING or not _takes_all(target):
        return ""
    return next((each for each in (scratch, tempfile.gettempdir()) if not _takes_all(each)), "")


def _is_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _takes_all(directory: str) -> bool:
    """Return whether a file system has space and is writable; one that cannot be checked counts as such."""
    with suppress(OSError):
        space = os.statvfs(nearest_directory(directory))
        return space.f_bavail * space.f_frsize > LITTLE and (not space.f_files or space.f_favail > 0) and not space.f_flag & os.ST_RDONLY
    return True
