# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can go wrong, as sentences for people.

Every error says in one sentence what is wrong and where, carries ``hint`` lines with the command
that mends it, and the exit code of the command line (the README lists them).
"""

from __future__ import annotations

import os
from typing import Any


class RepomanError(Exception):
    """It failed. Base of all errors that are shown to the user without a traceback.

    :param message: one sentence: what is wrong, and where.
    :param hints: what to do about it, one command or sentence each.
    """

    exit_code = 1
    may_be_created_later = False
    """Whether something is missing that an earlier task of a play may be what makes it: then a prediction is a warning of it."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.message = message
        self.hints = list(hints)

    @staticmethod
    def from_os_error(error: OSError) -> RepomanError:
        """Return an error of the operating system as a sentence that names its path."""
        from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
        from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word

        reason = error.strerror or str(error)
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        where = f"{escape_control_characters(path)}: " if path else ""
        directory = f" {shell_word(os.path.dirname(path))}" if os.path.isabs(path) else ""
        return RepomanError(f"{where}{reason}.", f"check that file or directory, and the free space: df -h{directory}")

    def as_result(self) -> dict[str, Any]:
        """Return the error as the result of a module."""
        return {"failed": True, "changed": False, "msg": self.message, "hints": self.hints, "exit_code": self.exit_code}

    def as_check_mode_warning(self) -> str:
        """Return the error as a warning of what check mode cannot know."""
        return f"{self.message.rstrip('.')}; that is no error in check mode, where an earlier task may be what makes it"


class UsageError(RepomanError):
    """The call itself is wrong: a name that cannot be, options that exclude each other."""

    exit_code = 2


class NotFoundError(RepomanError):
    """Something needed is not known: no registry, no such template or project, an unreadable file."""

    exit_code = 3


class NotCreatedYetError(NotFoundError):
    """There is no such account, registry, template or directory yet."""

    may_be_created_later = True


class ConflictError(RepomanError):
    """The world does not allow it: a profile that is not installed, an instance that is not ours."""

    exit_code = 4


class NotMountedError(ConflictError):
    """A directory is not what it is to be: nothing is in it, or mounted there, or it carries no mark."""

    may_be_created_later = True


class RunInterruptedError(RepomanError):
    """The user or the system asked to stop."""

    exit_code = 130


class ConcurrentChangeError(RepomanError):
    """What was read has changed before it could be written: plan again."""
