# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The interface of a git mirror that salvage needs."""

from __future__ import annotations

from typing import Any, Optional, Protocol

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import Damage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.staging import Data

Staged = dict[bytes, tuple[Entry, Optional[Data]]]  # noqa: UP045 - pylint knows no other way


class Store(Protocol):
    """The mirror of one git directory, as salvage uses it."""

    prefix: bytes
    copier: Copier
    mirrored: dict[bytes, Entry]
    staged: Staged
    objects: dict[bytes, Entry]
    listed: dict[bytes, Entry]
    damage: dict[bytes, Damage]
    protected: set[bytes]
    missing: set[str]
    unproven: str
    unreadable: dict[bytes, UnreadableError]
    may_lose: bool

    @property
    def algorithm(self) -> str:
        """The hash that names objects."""

    @property
    def is_partial(self) -> bool:
        """True if objects may be missing because another repository promised them."""

    def prove(self, *, derived: bool, full: bool = False, everything: bool = False) -> str:
        """Let git walk from all staged files to every object they need."""

    def config_problem(self) -> str:
        """Return the problem of the staged configuration; empty if git can read it."""

    def over_objects(self) -> Any:
        """Make a git directory that sees all objects of the mirror."""
