# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The common base of the two ways to restore: a whole directory at once, or path by path."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import ClassVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Items
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.present import Present
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.space import Copy
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import first_of
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

MAX_NAMED = 3
"""Maximum number of paths that a note names."""


class RestoreOperation(ABC):
    """A planned restore of one destination.

    :param name: what is restored, for messages.
    :param destination: the directory to restore to.
    :param items: its contents after the restore.
    :param present: its contents now.
    """

    is_whole: ClassVar[bool]
    """Whether the destination itself is replaced, instead of paths in it."""

    def __init__(self, name: str, destination: Destination, items: Items, present: Present) -> None:
        self.name, self.destination, self.items, self.present = name, destination, items, present
        self.notes: set[str] = set()

    @property
    @abstractmethod
    def saved(self) -> str:
        """Paths of the saved directories, separated by commas; empty if nothing is replaced."""

    @cached_property
    @abstractmethod
    def replaces(self) -> bool:
        """Whether existing files are replaced."""

    @cached_property
    @abstractmethod
    def differs(self) -> bool:
        """Whether the destination differs from the backup."""

    @cached_property
    @abstractmethod
    def before(self) -> str:
        """A listing of the affected files before the restore."""

    @cached_property
    @abstractmethod
    def after(self) -> str:
        """A listing of the affected files after the restore."""

    @abstractmethod
    def description(self, files: int) -> str:
        """Return the step as a sentence.

        :param files: number of files to restore.
        """

    @abstractmethod
    def copies(self) -> Iterator[Copy]:
        """Yield what is copied, with an open directory of the file system that it is copied to."""

    @abstractmethod
    def apply(self) -> None:
        """Copy everything, then move it into place."""

    @abstractmethod
    def undo(self) -> None:
        """Restore the previous contents after a failed :meth:`apply`."""

    def saving_step(self) -> list[str]:
        """Return the step that saves what is replaced, as a sentence; empty if nothing is replaced."""
        return [f"save the existing files {'as' if self.is_whole else 'in'} {self.saved}"] if self.replaces else []

    def existing_path(self) -> bytes:
        """Return an existing path that this restore would replace."""
        return self.destination.path

    def place_notes(self) -> list[str]:
        """Return warnings about the destination, even if nothing changes."""
        return []

    def all_notes(self) -> list[str]:
        """Return all warnings for the result."""
        return [*sorted(self.notes), *self._unreadable_notes(), *self.place_notes()]

    def _unreadable_notes(self) -> list[str]:
        """Return a warning about unreadable directories that were moved away with the rest."""
        if not self.present.unreadable or not self.replaces:
            return []
        paths = [escape_path(os.path.join(self.destination.path, path)) for path in sorted(self.present.unreadable)]
        named = first_of(paths, MAX_NAMED)
        first_path = min(self.present.unreadable)
        return [
            f"{named} cannot be read by you, so it is not in the backup; it was moved to {self.saved}."
            f" To move it back: sudo mv {shell_word(os.path.join(os.fsencode(self.saved), first_path))}"
            f" {shell_word(os.path.join(self.destination.path, first_path))}"
        ]
