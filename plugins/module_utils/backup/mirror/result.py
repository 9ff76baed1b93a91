# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The result of mirroring a unit."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

SHOWN_PATHS = 5
SHOWN_LENGTH = 1000
"""Errors after the first are included as long as the message stays below this length."""
SHOWN_STORES = 3


@dataclass
class MirrorResult:
    """The result of mirroring one unit.

    :param state: ``synced``, ``up to date``, ``too busy`` or ``failed``.
    :param manifest: file (in scratch) with the manifest to save: the current contents of the mirror. A unit that failed may have one, too:
        everything was mirrored except the paths that the error names.
    :param digest: digest of that manifest, for the record of the mirror if it is ``synced``.
    :param settled: the mirror has everything that the scan saw; otherwise some entries changed during the run and are left for the next one.
    :param files: entries written or removed.
    :param bytes: contents copied.
    :param kept_bytes: contents moved to the history.
    :param notes: attributes and entries that the target cannot store.
    :param created: paths in the mirror that were neither in it before nor in the scan.
    :param damaged: damage of the source's git repositories, one sentence each.
    :param verdicts: why repositories that were mirrored could not be verified, by their path in the unit; empty if they could.
    """

    unit: Unit
    state: str
    error: RepomanError | None = None
    manifest: str = ""
    digest: str = ""
    settled: bool = True
    files: int = 0
    bytes: int = 0
    kept_bytes: int = 0
    notes: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    verdicts: dict[str, str] = field(default_factory=dict)


def partial_error(unit: Unit, errors: Sequence[RepomanError], protected: Iterable[bytes], *, others_done: bool = True) -> MirrorError:
    """Return the error of a unit that can only be mirrored in part.

    :param others_done: everything else was mirrored.
    """
    listed = [errors[0]]
    distinct = list({error.message: error for error in errors}.values())
    for error in distinct[1:SHOWN_PATHS]:
        if sum(len(shown.message) for shown in [*listed, error]) > SHOWN_LENGTH:
            break
        listed.append(error)
    unlisted = len(distinct) - len(listed)
    more = f" And {unlisted} more." if unlisted else ""
    hints = list(dict.fromkeys(hint for error in listed for hint in error.hints))[: max(SHOWN_PATHS, len(errors[0].hints))]
    protected_paths = [escape_path(os.path.join(os.fsencode(unit.source), path)) for path in sorted(protected)]
    stay = f" The mirror keeps {', '.join(protected_paths[:SHOWN_STORES])} as it was." if protected_paths else ""
    message, name = f"{' '.join(error.message for error in listed)}{more}{stay}", escape_path(os.fsencode(unit.name))
    return MirrorError(f"{message} Everything else in {name} was mirrored." if others_done else message, *hints)
