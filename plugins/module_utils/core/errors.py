# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Errors that are shown to users.

Every error has one sentence with the problem and its place, hints, and an exit code (the README lists them).
"""

from __future__ import annotations

import errno
import os
from typing import Any

EXHAUSTED = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)
"""Error numbers, without a path, of a system that has no process, memory or file descriptor left."""
NO_THREAD = "can't start new thread"
"""The message of Python's ``RuntimeError`` for the same."""


class RepomanError(Exception):
    """Base of all errors that are shown without a traceback.

    :param message: one sentence with the problem and its place.
    :param hints: remedies, each a command or a sentence.
    """

    exit_code = 1
    may_be_created_later = False
    """If true, check mode warns instead of failing: an earlier task may create what is missing."""

    def __init__(self, message: str, *hints: str) -> None:
        super().__init__(message)
        self.message = message
        self.hints = list(hints)

    def __reduce__(self) -> tuple[Any, ...]:
        """Let an error reach another process, whatever the arguments of its class are."""
        return _copy_of, (type(self), self.args, self.__dict__)

    @staticmethod
    def from_os_error(error: OSError) -> RepomanError:
        """Return an error that names the path of an ``OSError`` and its reason."""
        from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
        from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word

        reason = error.strerror or str(error)
        if error.filename is None and error.errno in EXHAUSTED:
            return RepomanError(
                f"the system had no process, memory or file descriptor left for this run: {reason}.",
                "ulimit -a   # shows the limits of this session; try again when the machine is less busy",
            )
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else ""
        where = f"{escape_control_characters(path)}: " if path else ""
        directory = f" {shell_word(os.path.dirname(path))}" if os.path.isabs(path) else ""
        return RepomanError(f"{where}{reason}.", f"check that file or directory, and the free space: df -h{directory}")

    @staticmethod
    def from_exception(error: Exception) -> RepomanError | None:
        """Return the error that is shown for an exception; ``None`` if it is a bug."""
        if isinstance(error, RepomanError):
            return error
        if isinstance(error, RuntimeError) and str(error) == NO_THREAD:
            error = OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return RepomanError.from_os_error(error) if isinstance(error, OSError) else None

    def as_result(self) -> dict[str, Any]:
        """Return the error as the result of a module."""
        return {"failed": True, "changed": False, "msg": self.message, "hints": self.hints, "exit_code": self.exit_code}

    def as_check_mode_warning(self) -> str:
        """Return the text of a warning for check mode."""
        return f"{self.message.rstrip('.')}; that is no error in check mode, because an earlier task may create it"


def _copy_of(error_type: type[RepomanError], args: tuple[Any, ...], state: dict[str, Any]) -> RepomanError:
    """Return an error with these attributes."""
    error = error_type.__new__(error_type, *args)
    error.__dict__.update(state)
    return error


class UsageError(RepomanError):
    """The call is wrong: an invalid name, options that exclude each other."""

    exit_code = 2


class NotFoundError(RepomanError):
    """Something does not exist or cannot be read: a registry, a template, a project, a file."""

    exit_code = 3


class NotCreatedYetError(NotFoundError):
    """An account, registry, template or directory does not exist; an earlier task may create it."""

    may_be_created_later = True


class ConflictError(RepomanError):
    """The current state does not allow it: a profile is not installed, an instance does not belong to repoman."""

    exit_code = 4


class NotMountedError(ConflictError):
    """A directory is empty, is not a mount point or has no marker; an earlier task may mount it."""

    may_be_created_later = True


class RunInterruptedError(RepomanError):
    """The user or the system asked to stop."""

    exit_code = 130


class ConcurrentChangeError(RepomanError):
    """The state has changed between reading and writing; plan again."""
