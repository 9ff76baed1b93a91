# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repository's directory, held open, to detect that something else was mounted in its place.

Incus opens the source of a mount by its name, as root, and follows symbolic links when the container starts. A process that may
write to a directory above it could put a link there in between. So the directory is opened from ``repos_root`` downwards without
following links and stays open; files written in the container must appear in it.
"""

from __future__ import annotations

import os

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError


class PinnedDirectory:
    """A directory that can be held open.

    :param root: absolute path of a directory above it, links resolved.
    :param path: its absolute path, links resolved.
    """

    def __init__(self, root: str, path: str) -> None:
        self.root, self.path = root, path
        self.fd = -1

    def open(self) -> None:
        """Open it.

        :raises ConflictError: it no longer exists, or it or a directory above it has become a link.
        """
        self.close()
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.fd = os.open(self.root, flags)
            for part in os.path.relpath(self.path, self.root).split(os.sep):
                child = os.open(part, flags, dir_fd=self.fd)
                os.close(self.fd)
                self.fd = child
        except OSError as error:
            self.close()
            raise self.replaced_error() from error

    @property
    def fd_path(self) -> str:
        """A path that leads to the open directory even after it was renamed."""
        return f"/proc/self/fd/{self.fd}"

    def is_unchanged(self) -> bool:
        """Return whether its name still leads to it."""
        try:
            return os.path.samestat(os.fstat(self.fd), os.stat(self.path))
        except OSError:
            return False

    def replaced_error(self) -> ConflictError:
        """Return the error for a directory that was replaced."""
        return ConflictError(
            f"the repository {self.path} was replaced by something else in the meantime; it was not shared.", f"ls -ld {self.path}"
        )

    def close(self) -> None:
        """Close it, if it is open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
