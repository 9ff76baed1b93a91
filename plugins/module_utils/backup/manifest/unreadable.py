# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Errors of directories that cannot be read, or lie too deep."""

from __future__ import annotations

import copyreg
import errno
import os

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import shorten_path


class UnreadableError(RepomanError):
    """A directory of a unit cannot be read, so its contents are unknown.

    :param path: of the directory.
    """

    def __init__(self, path: bytes, error: OSError) -> None:
        display_path = shorten_path(path)
        super().__init__(f"'{display_path}' cannot be read: {error.strerror or error}.", f"ls -ld {shell_word(path)}")
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        """Let it be pickled: it has other arguments than an error in general."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class TooDeepError(UnreadableError):
    """The contents of a directory are not backed up because its path is too long."""

    def __init__(self, message: str, *hints: str, path: bytes) -> None:
        super().__init__(path, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
        self.args, self.message, self.hints = (message,), message, list(hints)


def too_deep(path: bytes) -> TooDeepError:
    """Return the error for a directory whose path is too long."""
    return TooDeepError(
        f"{shorten_path(path)!r} is nested too deep: its path has {len(path)} bytes, so its contents cannot be backed up.",
        "move it closer to the top, or remove it",
        path=path,
    )
