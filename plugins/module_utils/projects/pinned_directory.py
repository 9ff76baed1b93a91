# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The repository's directory, held open, so that what is mounted can be told from what was meant.

Incus takes the source of a mount by its name, as root, and follows links when the container starts. Whoever may write
to a directory above it could put a link there in between. The directory is opened from ``repos_root`` downwards with no
link followed, and stays open; what is written in the container must show in it.
"""

from __future__ import annotations

import os

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError


class Witness:
    """A directory that can be held.

    :param root: absolute path it is in, links resolved.
    :param path: its absolute path, links resolved.
    """

    def __init__(self, root: str, path: str) -> None:
        self.root, self.path = root, path
        self.handle = -1

    def hold(self) -> None:
        """Open it.

        :raises ConflictError: it is gone, or has become a link, or something above it has.
        """
        self.release()
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self.handle = os.open(self.root, flags)
            for part in os.path.relpath(self.path, self.root).split(os.sep):
                inner = os.open(part, flags, dir_fd=self.handle)
                os.close(self.handle)
                self.handle = inner
        except OSError as error:
            self.release()
            raise self.swapped() from error

    @property
    def place(self) -> str:
        """A path that leads to the held directory, whatever becomes of its name."""
        return f"/proc/self/fd/{self.handle}"

    def is_in_place(self) -> bool:
        """Whether its name still leads to it."""
        try:
            return os.path.samestat(os.fstat(self.handle), os.stat(self.path))
        except OSError:
            return False

    def swapped(self) -> ConflictError:
        """Return the error for a directory that is no longer what it was."""
        return ConflictError(
            f"the repository {self.path} was replaced by something else in the meantime; it was not shared.", f"ls -ld {self.path}"
        )

    def release(self) -> None:
        """Close it."""
        if self.handle >= 0:
            os.close(self.handle)
            self.handle = -1
