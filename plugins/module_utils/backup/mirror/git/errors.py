# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of repositories whose mirror cannot be updated."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import Damage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import DamagedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.source_files import METADATA_BYTES

SHOWN_DAMAGE = 3
HINTED = 20
"""Maximum number of paths in a hint; the next run names the remaining ones."""
_CHAIN = re.compile(rb"(objects/info/commit-graphs|objects/pack/multi-pack-index\.d)/[^/]+$")
"""Files that need all files of their directory."""


def too_large(path: bytes, size: int) -> DamagedError:
    """Return the error of a file that is implausibly large for its kind."""
    shown_path = escape_path(path)
    return DamagedError(
        f"{shown_path} has {size} bytes; the limit for a file of this kind is {METADATA_BYTES >> 20} MiB.",
        f"ls -ls {shell_word(shown_path)}",
    )


def damaged_error(source: bytes, damage: Sequence[Damage], git_dir: bytes) -> DamagedError:
    """Return the error of a unit with damage in a repository.

    :param source: the unit's directory.
    :param git_dir: the repository.
    """
    unit = os.path.basename(source)
    first, location = damage[0], f" ({escape_path(damage[0].path)})" if damage[0].path else ""
    others = "".join(f". {item}" for item in damage[1:SHOWN_DAMAGE])
    if len(damage) > SHOWN_DAMAGE:
        count = len(damage) - SHOWN_DAMAGE
        others += f". {count} more {'is' if count == 1 else 'are'} damaged"
    hints = []
    if any(item.mends for item in damage):
        command = repoman_command("restore", [unit], "--objects")
        hints.append(f"{command}   # restores sound objects from the mirror")
    if paths := [item.path for item in damage if item.by_path]:
        command = repoman_command("restore", [unit], *(("--path", path) for path in paths[:HINTED]), "--overwrite")
        hints.append(f"{command}   # restores the mirror's copy")
    if any(item.by_path and item.entry is None for item in damage):
        hints.append(f"if you deleted it on purpose: {repoman_command('sync', [unit], '--allow-shrink')}")
    if derived := [item.path for item in damage if item.derived]:
        named = dict.fromkeys(shell_word(os.path.join(source, _CHAIN.sub(rb"\1", path))) for path in derived[:HINTED])
        hints.append(f"rm -rf {' '.join(named)}   # git recreates it when needed")
    if not hints:
        hints.append(f"git -C {shell_word(git_dir)} fsck   # lists all damage")
    return DamagedError(f"{escape_path(unit)}: {first.what}{location} is damaged: {first.reason}; {first.mirror}{others}.", *hints)
