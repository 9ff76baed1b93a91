# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Checks of a file during its copy, and the errors of copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeAlias

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path


class MirrorError(RepomanError):
    """A part of a mirror cannot be read or written."""


class UnwritableError(MirrorError):
    """The target cannot store one entry: the file is too large for it, or its name is not allowed."""


class UnsoundError(Exception):
    """Raised by a :class:`Check` that has seen enough: the contents are damaged, and the rest of the file need not be read."""


class DamagedFileError(MirrorError):
    """The contents of a source file do not match its name or its own checksum. The mirror was not changed.

    :param path: relative to the unit.
    :param reason: the problem of the contents.
    :param is_mirrored: the mirror's file has the same contents.
    """

    def __init__(self, path: bytes, reason: str, *, is_mirrored: bool = False) -> None:
        super().__init__(f"{escape_path(path)} is damaged: {reason}.")
        self.path, self.reason, self.is_mirrored = path, reason, is_mirrored


class Check(Protocol):
    """Checks the contents of one file during the copy; each attempt has its own instance."""

    def update(self, chunk: bytes) -> None:
        """Check the next bytes.

        :raises UnsoundError: they are damaged; no more is read.
        """

    def hole(self, size: int) -> None:
        """Add a hole of ``size`` zeros.

        :raises UnsoundError: there should be none.
        """

    def finish(self) -> str:
        """Return the problem of the contents; empty if they are sound."""


class CheckRun:
    """A check under way, and its verdict.

    :param reason: why the contents are damaged, once that is known.
    """

    __slots__ = ("check", "reason")

    def __init__(self, check: Callable[[], Check]) -> None:
        self.check, self.reason = check(), ""

    def update(self, chunk: bytes) -> None:
        """Pass on the next bytes, until the contents are known to be damaged."""
        if not self.reason:
            try:
                self.check.update(chunk)
            except UnsoundError as error:
                self.reason = str(error)

    def hole(self, size: int) -> None:
        """Pass on a hole of ``size`` zeros."""
        if not self.reason:
            try:
                self.check.hole(size)
            except UnsoundError as error:
                self.reason = str(error)

    def finish(self) -> str:
        """End the check; return the problem of the contents, empty if they are sound."""
        return self.reason or self.check.finish()


def problem_of(check: Callable[[], Check], data: bytes) -> str:
    """Return the problem of the contents of a whole file; empty if they are sound."""
    run = CheckRun(check)
    if data:
        run.update(data)
    return run.finish()


class Large(Protocol):
    """Contents that were read earlier and are not in memory."""

    def __len__(self) -> int: ...

    def write_to(self, out: int) -> None:
        """Write them to an empty open file."""


Contents: TypeAlias = "bytes | Large"
