# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restoring a whole directory at once: made beside its place, and exchanged for what is there."""

from __future__ import annotations

import os
from contextlib import suppress
from functools import cached_property
from typing import ClassVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import shown
from ansible_collections.homelab.repoman.plugins.module_utils.backup.progress_display import counted
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.compare import Comparer, Present, listed, look
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.copy import LayerCopier, write_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layers import Items
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Staging
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import exchange_names, rename_new


class DirectoryRestore:
    """A whole directory, made or replaced at once.

    :param name: what is restored, for messages.
    :param destination: the directory.
    :param items: its contents after the restore.
    :param present: what is there.
    """

    is_whole: ClassVar[bool] = True

    def __init__(self, name: str, destination: Destination, items: Items, present: Present) -> None:
        self.name, self.destination, self.items, self.present = name, destination, items, present
        self.saved_name = destination.saved_name()
        self.notes: set[str] = set()
        self._moved: os.stat_result | None = None
        """What was moved away to make room, if names cannot be exchanged."""

    @property
    def saved(self) -> str:
        """Where what is replaced is saved; empty if nothing is."""
        return shown(self._beside(self.saved_name)) if self.replaces else ""

    def _beside(self, name: bytes) -> bytes:
        return os.path.join(os.path.dirname(self.destination.path), name)

    @cached_property
    def replaces(self) -> bool:
        """Whether there is something to save."""
        return self.destination.is_filled

    @cached_property
    def differs(self) -> bool:
        """Whether the destination differs from the backup."""
        if self.destination.status is None or self.before != self.after:
            return True
        return not Comparer(self.destination.fd).is_equal({path: item for path, item in self.items.items() if path})

    def description(self, files: int) -> str:
        """Return what is done, as a sentence."""
        what = f"restore {self.name} to {shown(self.destination.path)} ({counted(files)})"
        return f"{what}, saving what it replaces as {self.saved}" if self.replaces else what

    @cached_property
    def before(self) -> str:
        """A list of what the destination holds."""
        return listed(self.present.statuses)

    @cached_property
    def after(self) -> str:
        """A listing of its contents after the restore."""
        return listed({path: item.status for path, item in self.items.items() if path})

    def found(self) -> bytes:
        """Return what is in the way of a restore that may not replace anything."""
        return self.destination.path

    def unreadable_notes(self) -> list[str]:
        """Return warnings about unreadable directories."""
        if not self.present.unreadable or not self.replaces:
            return []
        paths = [shown(os.path.join(self.destination.path, path)) for path in sorted(self.present.unreadable)]
        shorter = ", ".join(paths[:3]) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")  # noqa: PLR2004
        return [
            f"{shorter} cannot be read by you, so it is not in the backup; it was moved to {self.saved}."
            f" To move it back: sudo mv {shell_word(os.path.join(os.fsencode(self.saved), min(self.present.unreadable)))}"
            f" {shell_word(os.path.join(self.destination.path, min(self.present.unreadable)))}"
        ]

    def place_notes(self) -> list[str]:
        """Return warnings about the destination, even if nothing changes."""
        return []

    def all_notes(self) -> list[str]:
        """Return notes on the result."""
        return [*sorted(self.notes), *self.unreadable_notes(), *self.place_notes()]

    def apply(self) -> None:
        """Copy beside the destination; then let that take its place."""
        destination = self.destination
        destination.make_parents()
        staging = self._stage()
        ended = False
        try:
            copier = LayerCopier(staging.fd, destination.path)
            copier.copy(self.items)
            self.notes |= copier.notes
            os.fsync(staging.fd)
            destination.check_unmoved()
            if not staging.in_place():
                raise ConflictError(
                    f"{shown(destination.path)}: the unfinished copy was moved by something else; nothing was restored.",
                    "run the command again",
                )
            self._take_place(staging)
            ended = True
        finally:
            if ended:
                staging.end(self.saved_name)
            else:
                with suppress(OSError):  # the failure itself is what is told
                    staging.end(self.saved_name)

    def _stage(self) -> Staging:
        try:
            return Staging(self.destination.parent_fd, self.destination.name)
        except OSError as error:
            raise write_error(self.destination.path, error) from error

    def _take_place(self, staging: Staging) -> None:
        destination, above = self.destination, self.destination.parent_fd
        place = shown(destination.path)
        try:
            if destination.status is None:
                rename_new(above, staging.name, above, destination.name)
            elif not self.replaces:
                os.rename(staging.name, destination.name, src_dir_fd=above, dst_dir_fd=above)
            elif not exchange_names(above, staging.name, above, destination.name):
                self._moved = destination.status
                rename_new(above, destination.name, above, self.saved_name)
                rename_new(above, staging.name, above, destination.name)
        except FileExistsError as error:
            raise ConflictError(
                f"{place} changed during the restore; nothing was restored.", f"ls -la {shell_word(destination.path)}"
            ) from error
        except OSError as error:
            raise RepomanError(
                f"{place} cannot be moved into place: {error.strerror}; nothing was restored.", f"ls -ld {shell_word(destination.path)}"
            ) from error

    def undo(self) -> None:
        """Remove what was made above the destination, which itself changes in the last step, and at once if names can be exchanged."""
        above, moved = self.destination.parent_fd, self._moved
        if moved is not None and self.destination.status is None:
            with suppress(FileNotFoundError):
                if os.path.samestat(moved, os.stat(self.saved_name, dir_fd=above, follow_symlinks=False)):
                    rename_new(above, self.saved_name, above, self.destination.name)
        self.destination.remove_parents()


def present_at(destination: Destination, paths: list[bytes], items: Items) -> Present:
    """Return what is at a destination; see :func:`restore_compare.look`."""
    filled = {path.rpartition(b"/")[0] for path in items}
    return look(destination.fd, paths or [b""], filled) if destination.status is not None else Present()
