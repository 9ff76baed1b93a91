# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A new ``.hg`` takes the place of the mirror's, whose replaced files go to the history."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.build import HgBuild
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import AT_FDCWD, exchange_names
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree


class HgExchange:
    """The exchange of a verified build for the ``.hg`` of the mirror."""

    def __init__(self, build: HgBuild, copier: Copier) -> None:
        self.build, self.copier = build, copier

    def run(self, path: bytes) -> None:
        """Put the build in the mirror's place, and the mirror's ``.hg`` into the history.

        Whenever the run is killed, the history has the replaced files or nothing, and never the build: a restore of an earlier version
        takes what it finds there.
        """
        parent = path.rpartition(b"/")[0]
        _make_writable(self.build.mirror_path)
        is_inside = any(path.startswith(outer + b"/") for outer in self.copier.exchanged)
        self.copier.exchanged.add(path)
        # Of a repository inside another one, such as that of mq's patches, the outer exchange has put everything into the history.
        if is_inside and self._exchange_names(parent):
            return
        history_path, is_exchanged = self.copier.history_path(path, tree=True), False
        try:
            is_exchanged = self._exchange_with_history(parent, history_path)
        finally:
            if not is_exchanged:
                shutil.rmtree(history_path, ignore_errors=True)
        if not is_exchanged:
            self._rename_both(parent, history_path)

    def _exchange_with_history(self, parent: bytes, history_path: bytes) -> bool:
        """Link what is replaced into the history, and exchange the build and the mirror; return whether the target can do both."""
        try:
            history_size = self._link_replaced(history_path)
        except OSError:
            return False
        if not self._exchange_names(parent):
            return False
        self.copier.add_counts(history_size=history_size)
        if not os.path.lexists(history_path):
            self.copier.release_history_path(history_path)
        return True

    def _exchange_names(self, parent: bytes) -> bool:
        """Exchange the build and the mirror, and remove what was the mirror; return whether the target can exchange names."""
        if not self.copier.with_write_permission(
            parent, lambda: exchange_names(AT_FDCWD, self.build.mirror_path, AT_FDCWD, self.build.path)
        ):
            return False
        with suppress(OSError):  # the next run removes it, too
            remove_tree(os.path.basename(self.build.path), self.copier.work_fd)
        return True

    def _rename_both(self, parent: bytes, history_path: bytes) -> None:
        """Rename the mirror into the history, and the build to the mirror's name; leave only replaced and removed files in the history."""
        mirror_path = self.build.mirror_path
        self.copier.with_write_permission(parent, lambda: os.rename(mirror_path, history_path))
        try:
            self.copier.with_write_permission(parent, lambda: os.rename(self.build.path, mirror_path))
        except OSError:
            self.copier.with_write_permission(parent, lambda: os.rename(history_path, mirror_path))
            raise
        self.build.path = history_path
        self._prune_history()

    def _link_replaced(self, history_path: bytes) -> int:
        """Link the files of the mirror that the build replaces or lacks into the history; return their size in bytes.

        :raises OSError: not all of them could be linked.
        """

        def fail(error: OSError) -> None:
            raise error

        history_size = 0
        for base, directories, names in os.walk(self.build.mirror_path, onerror=fail):
            inner = os.path.relpath(base, self.build.mirror_path)
            links = [name for name in directories if os.path.islink(os.path.join(base, name))]
            for name in [*names, *links]:
                path, relative = os.path.join(base, name), os.path.normpath(os.path.join(inner, name))
                if relative in self.build.linked or _are_equal_symlinks(path, os.path.join(self.build.path, relative)):
                    continue
                self._make_history_directories(history_path, inner)
                os.link(path, os.path.join(history_path, relative), follow_symlinks=False)
                history_size += os.lstat(path).st_size
        return history_size

    def _make_history_directories(self, history_path: bytes, inner: bytes) -> None:
        """Create a directory below ``history_path``, and those above it, with the owners and modes that they have in the mirror."""
        parts = [] if inner == b"." else inner.split(b"/")
        for depth in range(len(parts) + 1):
            relative = b"/".join(parts[:depth])
            with suppress(FileExistsError):
                os.mkdir(os.path.join(history_path, relative), 0o700)
                self.copier.copy_directory_attributes(
                    os.path.join(history_path, relative), os.lstat(os.path.join(self.build.mirror_path, relative))
                )

    def _prune_history(self) -> None:
        """Leave only replaced and removed files in the history."""
        history_size = 0
        for base, directories, names in os.walk(self.build.path, topdown=False):
            _make_writable(base)
            for name in names:
                path = os.path.join(base, name)
                relative = os.path.relpath(path, self.build.path)
                if relative in self.build.linked or _are_equal_symlinks(path, os.path.join(self.build.mirror_path, relative)):
                    os.unlink(path)
                else:
                    history_size += os.lstat(path).st_size
            for name in directories:
                with suppress(OSError):
                    os.rmdir(os.path.join(base, name))
        with suppress(OSError):
            os.rmdir(self.build.path)
            self.copier.release_history_path(self.build.path)
        self.copier.add_counts(history_size=history_size)


def _make_writable(path: bytes) -> None:
    """Make a directory writable if its mode forbids to move it or to remove its entries."""
    if not os.access(path, os.W_OK):
        os.chmod(path, stat.S_IRWXU)


def _are_equal_symlinks(one: bytes, other: bytes) -> bool:
    """Return whether both are symbolic links to the same place: those are always created again."""
    try:
        return os.readlink(one) == os.readlink(other)
    except OSError:
        return False
