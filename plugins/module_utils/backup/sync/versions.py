# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""List the versions of a unit in the history."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.history_store import tree_sizes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.checks import open_for_reading
from ansible_collections.homelab.repoman.plugins.module_utils.backup.units import list_mirrors
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import decode_path


def list_versions(context: BackupContext, name: str) -> dict[str, Any]:
    """Return the versions of a project or directory, oldest first, as the result of the module.

    :raises RepomanError: the backup or the name is unknown.
    """
    target = open_for_reading(context.roots)[0]
    times = history.version_names(target)
    directories = set(list_mirrors(target)) | {unit for time in times for unit in _entries(target.internal_path("kept", time))}
    relative_path = context.resolve_path(name, directories | {TOP_LEVEL_FILES})
    versions = []
    for time in times:
        path = target.internal_path("kept", time, relative_path)
        if path.is_dir() and os.path.realpath(path) == str(path):
            sizes = list(tree_sizes(os.fsencode(path)))
            versions.append({"time": time, "path": decode_path(os.fsencode(path)), "files": len(sizes), "bytes": sum(sizes)})
    return {"changed": False, "name": name, "kept": versions, "target": target.root}


def _entries(path: Path) -> list[str]:
    try:
        return os.listdir(path)
    except (FileNotFoundError, NotADirectoryError):
        return []
