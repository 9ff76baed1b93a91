# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Notes on units that users have seen already, in the local state directory: each note is reported once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.lock import RunLocks
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import write_atomic
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_json
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

MAX_BYTES = 16 << 20


class ReportedNotes:
    """Notes that earlier runs have reported, and those that this one reports.

    :param state: local state directory of the target.
    """

    def __init__(self, state: Path, owner: Account) -> None:
        self.path, self.owner = state / "notes.json", owner
        self._changed: set[str] = set()

    @cached_property
    def _notes(self) -> dict[str, list[str]]:
        return self._read()

    def of(self, name: str) -> Sequence[str]:
        """Return the reported notes on a unit."""
        return self._notes.get(name, ())

    def add(self, name: str, notes: Iterable[str]) -> list[str]:
        """Take in the notes on a unit, and return those that no run has reported yet."""
        reported = self._notes.setdefault(name, [])
        new = [note for note in notes if note not in reported]
        reported += new
        self._changed.add(name)
        return new

    def forget(self, name: str) -> None:
        """Let the next run report the notes on a unit again."""
        self._notes.pop(name, None)
        self._changed.add(name)

    def save(self, locks: RunLocks) -> None:
        """Write the notes on units of this run; those on other units stay as other runs wrote them.

        :raises RepomanError: the file cannot be written.
        """
        with locks.metadata_lock():
            previous = self._read()
            notes = previous | {name: self._notes.get(name, []) for name in self._changed}
            notes = {name: each for name, each in sorted(notes.items()) if each}
            if notes != previous:
                write_atomic(str(self.path), json.dumps(notes), self.owner)

    def _read(self) -> dict[str, list[str]]:
        try:
            return {str(name): list(map(str, notes)) for name, notes in read_json(self.path, MAX_BYTES).items()}
        except (OSError, ValueError, AttributeError, TypeError):
            return {}
