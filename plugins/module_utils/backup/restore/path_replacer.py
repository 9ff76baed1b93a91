# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Carry out the moves of a restore, or take them back: either all paths are restored, or none."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable
from contextlib import ExitStack, suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.cover import by_move
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.destination import Destination, in_the_way
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.items import Items, parents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.layer_copier import LayerCopier, write_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.moves import Move
from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.workspace import Workspaces
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import DirectoryCursor
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import exchange_names, rename_new, temporarily_writable
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree


class PathReplacer:
    """Replaces paths of a destination.

    :param moves: what to replace.
    :param kept_directories: directories that stay, and get the backup's attributes.
    """

    def __init__(
        self, destination: Destination, items: Items, moves: list[Move], workspaces: Workspaces, kept_directories: Iterable[bytes]
    ) -> None:
        self.destination, self.items, self.moves, self.workspaces = destination, items, moves, workspaces
        self.kept_directories = kept_directories
        self.root_fd = destination.fd
        self.notes: set[str] = set()
        self._started: list[Move] = []
        self._created: list[bytes] = []
        self._previous_attributes: list[tuple[int, os.stat_result]] = []
        self._stack = ExitStack()

    def close(self) -> None:
        """Close the directories."""
        self._stack.close()

    def apply(self) -> None:
        """Copy all paths, then move each into place and its previous contents to the saved directory."""
        self._check_movable()
        try:
            self._copy()
            for move in self.moves:
                try:
                    self._replace_path(move)
                except OSError as error:
                    path = os.path.join(self.destination.path, move.path)
                    raise RepomanError(
                        f"{escape_path(path)} cannot be moved into place: {error.strerror or error}; nothing was restored.",
                        f"ls -ld {shell_word(path)}",
                    ) from error
        finally:
            self.workspaces.end_staging()
        self._finish_directories()  # last, because creating or removing an entry changes its directory's time

    def _check_movable(self) -> None:
        """Refuse to replace another user's directory, before anything is changed.

        :raises ConflictError: it cannot be moved to the saved directory.
        """
        for move in self.moves if os.geteuid() else ():
            if move.old is None or not stat.S_ISDIR(move.old.st_mode) or move.old.st_uid == os.geteuid():
                continue
            with DirectoryCursor(self.root_fd) as cursor:
                parent_fd, name = cursor.reach(move.path)
                if os.access(name, os.W_OK, dir_fd=parent_fd, effective_ids=True, follow_symlinks=False):
                    continue
            path = os.path.join(self.destination.path, move.path)
            raise ConflictError(
                f"{escape_path(path)} belongs to another user, and you cannot move it to save it; nothing was restored.",
                f"ls -ld {shell_word(path)}",
                f"move it away yourself: sudo mv {shell_word(path)} {shell_word(path + b'.old')}",
            )

    def _copy(self) -> None:
        """Copy the contents of all moves to staging directories, each move under a number."""
        chosen = by_move([move.path for move in self.moves], self.items)
        for workspace in self.workspaces:
            moves = [move for move in self.moves if move.workspace is workspace]
            if not moves:
                continue
            try:
                staging = workspace.stage(self.destination.name)
            except OSError as error:
                raise write_error(workspace.path, error) from error
            items: Items = {}
            for number, move in enumerate(moves):
                move.number = b"%d" % number
                items |= {move.number + path[len(move.path) :]: self.items[path] for path in chosen[move.path]}
            copier = LayerCopier(staging.fd, workspace.path)
            copier.copy(items)
            self.notes |= copier.notes

    def _replace_path(self, move: Move) -> None:
        workspace = move.workspace
        staging = workspace.staging
        if staging is None:
            raise RuntimeError("nothing was copied")
        parent, _slash, name = move.path.rpartition(b"/")
        with DirectoryCursor(self.root_fd) as cursor, ExitStack() as stack:
            self._created += [parent for parent in parents(move.path) if cursor.lstat(parent) is None]
            try:
                cursor.open(parent, make=0o755)
            except NotADirectoryError as error:
                raise in_the_way(parent, self.destination.path) from error
            move.old = cursor.lstat(move.path)
            parent_fd = cursor.open(parent)
            if move.in_backup:
                move.new = os.stat(move.number, dir_fd=staging.fd, follow_symlinks=False)
            self._started.append(move)
            stack.enter_context(temporarily_writable((parent_fd, b"."), (parent_fd, name), (staging.fd, move.number)))
            if move.old is None:
                rename_new(staging.fd, move.number, parent_fd, name)
                return
            saved_directory, _slash, saved_name = move.saved_path.rpartition(b"/")
            saved_fd = stack.enter_context(DirectoryCursor(workspace.open_saved())).open(saved_directory, make=0o700)
            if not move.in_backup:
                rename_new(parent_fd, name, saved_fd, saved_name)
            elif workspace.can_exchange:
                # The old file must never lie in the staging directory: after a kill, the next run removes that.
                rename_new(staging.fd, move.number, saved_fd, saved_name)
                rename_exchange(saved_fd, saved_name, parent_fd, name)
            else:
                rename_new(parent_fd, name, saved_fd, saved_name)
                rename_new(staging.fd, move.number, parent_fd, name)

    def _finish_directories(self) -> None:
        """Apply the backup's attributes to directories that were created or kept."""
        with DirectoryCursor(self.root_fd) as cursor:
            for path in sorted({*self._created, *(self.kept_directories if self.moves else ())}, reverse=True):
                item = self.items.get(path)
                if item is None:
                    continue
                fd = os.dup(cursor.open(path))
                self._stack.callback(os.close, fd)
                status = os.fstat(fd)
                if os.geteuid() not in (0, status.st_uid):
                    continue
                self._previous_attributes.append((fd, status))
                copier = LayerCopier(-1, os.path.join(self.destination.path, path))
                copier.finish(fd, item)
                self.notes |= copier.notes

    def undo(self) -> None:
        """Restore the previous contents of each path.

        :raises RepomanError: they cannot be moved back; the error names the saved path.
        """
        directories = dict.fromkeys(escape_path(move.workspace.saved_path) for move in self.moves if move.old is not None)
        saved_paths = ", ".join(directories) or escape_path(self.destination.path)
        changed = []
        for move in reversed(self._started):
            try:
                if not self._revert_path(move):
                    changed.append(move)
            except OSError as error:  # whatever file it names: that is relative to an open directory
                path = escape_path(os.path.join(self.destination.path, move.path))
                raise RepomanError(
                    f"{path} cannot be put back: {error.strerror or error}; the previous contents are in {saved_paths}."
                ) from error
        self._remove_created()
        self._restore_attributes()
        if changed:
            path = escape_path(os.path.join(self.destination.path, changed[0].path))
            raise RepomanError(f"{path} changed during the restore; its previous contents are in {saved_paths}.")
        for workspace in self.workspaces:
            if workspace.close_saved():
                with suppress(FileNotFoundError), temporarily_writable((workspace.fd, b".")):
                    remove_tree(workspace.saved_name, workspace.fd)  # only the new files are left in it

    def _remove_created(self) -> None:
        with DirectoryCursor(self.root_fd) as cursor:
            for path in sorted(self._created, reverse=True):
                with suppress(OSError):
                    parent_fd, name = cursor.reach(path)
                    os.rmdir(name, dir_fd=parent_fd)

    def _restore_attributes(self) -> None:
        for fd, status in reversed(self._previous_attributes):
            with suppress(OSError):
                path = f"/proc/self/fd/{fd}"
                os.chmod(path, stat.S_IMODE(status.st_mode))
                os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    def _revert_path(self, move: Move) -> bool:
        """Move the previous contents of a path back.

        :return: False if something else is at the path now; the previous contents then stay in the saved directory.
        """
        parent, _slash, name = move.path.rpartition(b"/")
        saved_directory, _slash, saved_name = move.saved_path.rpartition(b"/")
        with ExitStack() as stack:
            parent_fd = stack.enter_context(DirectoryCursor(self.root_fd)).open(parent)
            current = _lstat_at(name, parent_fd)
            saved_fd, saved_status = -1, None
            if move.workspace.saved_fd >= 0:
                with suppress(FileNotFoundError):
                    saved_fd = stack.enter_context(DirectoryCursor(move.workspace.saved_fd)).open(saved_directory)
                    saved_status = _lstat_at(saved_name, saved_fd)
            is_saved = saved_status is not None and move.old is not None and os.path.samestat(saved_status, move.old)
            stack.enter_context(
                temporarily_writable((parent_fd, b"."), (parent_fd, name), *([(saved_fd, saved_name)] if saved_status else []))
            )
            if current is not None and move.new is not None and os.path.samestat(current, move.new):
                if move.old is None:
                    remove_tree(name, parent_fd)
                elif is_saved and move.workspace.can_exchange:
                    rename_exchange(saved_fd, saved_name, parent_fd, name)
                elif is_saved:
                    remove_tree(name, parent_fd)
                    rename_new(saved_fd, saved_name, parent_fd, name)
            elif current is None and is_saved:
                rename_new(saved_fd, saved_name, parent_fd, name)
            else:
                return not is_saved
        return True


def rename_exchange(one_fd: int, one: bytes, other_fd: int, other: bytes) -> None:
    """Exchange two names on a file system that supports it.

    :raises OSError: it does not, or another failure.
    """
    if not exchange_names(one_fd, one, other_fd, other):
        raise OSError(errno.ENOTSUP, "names cannot be exchanged", os.fsdecode(other))


def _lstat_at(name: bytes, directory_fd: int) -> os.stat_result | None:
    """Return the status of a name in an open directory; None if it does not exist."""
    try:
        return os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
    except FileNotFoundError:
        return None
