# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Restore a whole directory at once: it is built next to its place, then exchanged for the existing one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from functools import cached_property
from typing import ClassVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.compare import Comparer
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Items
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layer_copier import LayerCopier, write_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.operation import RestoreOperation
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.present import Present, format_listing
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.space import Copy
from ansible_collections.homelab.repoman.plugins.module_utils.backup.staging import Staging
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import plural
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import exchange_names, rename_new


class DirectoryRestore(RestoreOperation):
    """Creates or replaces a whole directory at once."""

    is_whole: ClassVar[bool] = True

    def __init__(self, name: str, destination: Destination, items: Items, present: Present) -> None:
        super().__init__(name, destination, items, present)
        self.saved_name = destination.saved_name()
        self._moved_aside: os.stat_result | None = None
        """The directory that was moved to make room, if names cannot be exchanged."""

    @property
    def saved(self) -> str:
        """Path of the saved directory; empty if nothing is replaced."""
        return escape_path(os.path.join(os.path.dirname(self.destination.path), self.saved_name)) if self.replaces else ""

    @cached_property
    def replaces(self) -> bool:
        """Whether the destination has contents to save."""
        return self.destination.is_filled

    @cached_property
    def differs(self) -> bool:
        """Whether the destination differs from the backup."""
        if self.destination.status is None or self.before != self.after:
            return True
        return not Comparer(self.destination.fd).is_equal({path: item for path, item in self.items.items() if path})

    def description(self, files: int) -> str:
        """Return the step as a sentence."""
        return f"restore {self.name} to {escape_path(self.destination.path)} ({plural(files)})"

    @cached_property
    def before(self) -> str:
        """A listing of the destination before the restore."""
        return format_listing(self.present.statuses)

    @cached_property
    def after(self) -> str:
        """A listing of the destination after the restore."""
        return format_listing({path: item.status for path, item in self.items.items() if path})

    def copies(self) -> Iterator[Copy]:
        """Yield what is copied."""
        yield self.destination.parent_fd, self.items.values()

    def apply(self) -> None:
        """Copy to a staging directory next to the destination, then move that into place."""
        destination = self.destination
        destination.create_parents()
        staging = self._stage()
        finished = False
        try:
            copier = LayerCopier(staging.fd, destination.path)
            copier.copy(self.items)
            self.notes |= copier.notes
            destination.check_unmoved()
            if not staging.in_place():
                raise ConflictError(
                    f"{escape_path(destination.path)}: the unfinished copy was moved by something else; nothing was restored.",
                    "run the command again",
                )
            self._move_into_place(staging)
            finished = True
        finally:
            if finished:
                staging.end(self.saved_name)
            else:
                with suppress(OSError):  # the first failure is the one to report
                    staging.end(self.saved_name)

    def _stage(self) -> Staging:
        try:
            return Staging(self.destination.parent_fd, self.destination.name)
        except OSError as error:
            raise write_error(self.destination.path, error) from error

    def _move_into_place(self, staging: Staging) -> None:
        destination, parent_fd = self.destination, self.destination.parent_fd
        path = escape_path(destination.path)
        try:
            if destination.status is None:
                rename_new(parent_fd, staging.name, parent_fd, destination.name)
            elif not self.replaces:
                os.rename(staging.name, destination.name, src_dir_fd=parent_fd, dst_dir_fd=parent_fd)
            elif not exchange_names(parent_fd, staging.name, parent_fd, destination.name):
                self._moved_aside = destination.status
                rename_new(parent_fd, destination.name, parent_fd, self.saved_name)
                rename_new(parent_fd, staging.name, parent_fd, destination.name)
        except FileExistsError as error:
            raise ConflictError(
                f"{path} changed during the restore; nothing was restored.", f"ls -la {shell_word(destination.path)}"
            ) from error
        except OSError as error:
            raise RepomanError(
                f"{path} cannot be moved into place: {error.strerror}; nothing was restored.", f"ls -ld {shell_word(destination.path)}"
            ) from error

    def undo(self) -> None:
        """Move the previous directory back if it was moved aside, and remove the parents that were created.

        The destination itself changes in the last step of :meth:`apply`, so there is nothing else to take back.
        """
        parent_fd, moved = self.destination.parent_fd, self._moved_aside
        if moved is not None and self.destination.status is None:
            with suppress(FileNotFoundError):
                if os.path.samestat(moved, os.stat(self.saved_name, dir_fd=parent_fd, follow_symlinks=False)):
                    rename_new(parent_fd, self.saved_name, parent_fd, self.destination.name)
        self.destination.remove_parents()
