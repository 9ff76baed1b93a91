# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of a run that mirrors units."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit


@dataclass(frozen=True)
class MirrorOptions:
    """Options of one run.

    :param target: ``backup_root``.
    :param history: directory of this run under ``.repoman/kept``, on the target; files that unit ``u`` replaces move to ``history/u``.
    :param work: directory on the target for unfinished files (``.repoman/work``).
    :param temporaries: directory below ``work`` for this run's unfinished files; ``work`` itself if this is empty.
    :param scratch: private local directory that is removed after the run.
    :param full: compare everything with the mirror, whatever the last manifest says.
    :param xattrs: back up extended attributes.
    :param acls: back up access lists.
    :param account: uid and gid that git and hg run as, if the run is root's.
    :param tries: number of attempts on a repository that keeps changing.
    :param is_remote: each operation on the target costs a round trip.
    :param jobs: number of units at once; 0 chooses it from the number of processors and the latency of the target.
    :param lose_repositories: allow removing repositories that the source no longer has (``--allow-shrink``).
    :param started_ns: when the run began, before anything was scanned, in nanoseconds since the epoch; 0 if it is unknown.
    """

    target: str
    history: str
    work: str
    scratch: str
    full: bool = False
    xattrs: bool = False
    acls: bool = False
    account: tuple[int, int] | None = None
    tries: int = 8
    is_remote: bool = False
    jobs: int = 0
    lose_repositories: bool = False
    temporaries: str = ""
    started_ns: int = 0

    def mirror(self, unit: Unit) -> str:
        """Return the directory of a unit's mirror."""
        return self.target if unit.is_top_level else os.path.join(self.target, unit.name)

    def new(self, unit: Unit) -> str:
        """Return the directory for a unit's first copy."""
        return os.path.join(self.work, "new", unit.name)
