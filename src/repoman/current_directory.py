# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The current directory, which may have been deleted; then neither ansible nor relative paths work in it."""

from __future__ import annotations

import os
from contextlib import suppress

from repoman.errors import USAGE, CliError


def absolute_path(path: str) -> str:
    """Return a path as an absolute one.

    :raises CliError: it is relative, and the current directory was deleted.
    """
    try:
        return os.path.abspath(path)
    except FileNotFoundError as error:
        raise _deleted() from error


def path_in_shell(path: str = ".") -> str:
    """Return a path as an absolute one, without ``..``; the current directory is named as the shell names it, with links.

    :raises CliError: the path is relative, and the current directory was deleted.
    """
    current = os.environ.get("PWD", "")
    with suppress(OSError):
        if os.path.isabs(current) and os.path.samefile(current, "."):
            return os.path.normpath(os.path.join(current, path))
    return absolute_path(path)


def leave_if_deleted(is_needed: bool) -> None:
    """Go to ``/`` if the current directory was deleted, because ansible cannot be imported there.

    :param is_needed: the run needs the directory, such as for the path of an inventory.
    :raises CliError: it was deleted and is needed.
    """
    try:
        os.getcwd()
    except FileNotFoundError as error:
        if is_needed:
            raise _deleted() from error
        os.chdir("/")


def _deleted() -> CliError:
    return CliError("the current directory was deleted, so relative paths cannot be resolved.", "cd", exit_code=USAGE)
