# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Run git on directories of repoman, as the account that owns the repositories, and read its output."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.run_as import run_as
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.process.bounded import run_lines
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.git.environment import hardened_environment

SHOWN_LINES = 2
"""Number of lines of git's output in the message about a damaged repository."""
MAX_NAMED = 10_000
"""Maximum number of missing or malformed objects that are remembered by name."""
GIT_SECONDS = 6 * 3600
NO_GIT = "git is not installed"

FSCK_OBJECTS = 1
"""The exit status of ``git fsck`` if it finds bad objects, but none is missing."""
FORM_ERROR = re.compile(rb"error in (commit|tree|blob|tag) [0-9a-f]+: \w+: ")
"""Messages of ``git fsck`` about the contents of an object whose hash matches its name."""
_MISSING = re.compile(
    rb"(?:^missing \w+|invalid (?:\w+ )?pointer|invalid reflog entry|unable to read tree \(?|bad tree) ([0-9a-f]{40,64})", re.MULTILINE
)


def git_environment(directory: str) -> dict[str, str]:
    """Return an environment in which git reads only the configuration of ``directory``, fetches nothing and never prompts."""
    return hardened_environment(os.environ.get("PATH", os.defpath), GIT_DIR=directory)


def run_git(
    arguments: list[str],
    environment: dict[str, str],
    account: tuple[int, int] | None,
    directory: str,
    missing: set[str] | None = None,
    *,
    excused: list[bytes] | None = None,
    pass_fds: tuple[int, ...] = (),
) -> str:
    """Run git; return an empty string if it succeeds, or its first error.

    :param missing: gets the names of objects that git reports as missing.
    :param excused: gets the complaints about the format of intact objects, such as an old commit without a space before an email address;
        they do not count as problems then.
    :param pass_fds: descriptors that git inherits.
    """
    output = _GitOutput(missing is not None, excused is not None)
    try:
        code = run_lines(
            ["git", *arguments],
            env=environment,
            seconds=GIT_SECONDS,
            out=output.add_output,
            err=output.add_error,
            pass_fds=pass_fds,
            **run_as(directory, account),
        )
    except FileNotFoundError:
        return NO_GIT
    except TimeoutError:
        return "git did not come to an end"
    if not code:
        return ""
    if missing is not None:
        missing |= output.missing
    if excused is not None and code == FSCK_OBJECTS:
        excused += output.excused
        if output.excused and not output.other_lines:
            return ""
        return output.problem(output.other_lines, code)
    return output.problem([*output.errors, *output.output], code)


class _GitOutput:
    """The relevant part of git's output. The output can be huge for a damaged or malicious repository.

    :param misses: collect the names of missing objects.
    :param excuses: collect complaints about the format of intact objects separately.
    """

    def __init__(self, misses: bool, excuses: bool) -> None:
        self.misses, self.excuses = misses, excuses
        self.missing: set[str] = set()
        self.excused: list[bytes] = []
        self.errors: list[bytes] = []
        self.output: list[bytes] = []

    @property
    def other_lines(self) -> list[bytes]:
        """Errors other than malformed objects."""
        return [*self.errors, *self.output]

    def add_error(self, line: bytes) -> None:
        """Add a line of standard error."""
        self._add_line(line, self.errors)

    def add_output(self, line: bytes) -> None:
        """Add a line of standard output."""
        self._add_line(line, self.output)

    def _add_line(self, line: bytes, lines: list[bytes]) -> None:
        if self.misses and len(self.missing) < MAX_NAMED and (match := _MISSING.search(line)):
            self.missing.add(match[1].decode())
        if not line or line.startswith((b"notice", b"dangling")):
            return
        if self.excuses and FORM_ERROR.match(line):
            if len(self.excused) < MAX_NAMED:
                self.excused.append(line)
        elif len(lines) < SHOWN_LINES and not (self.excuses and line.startswith(b"warning in ")):
            lines.append(line)

    @staticmethod
    def problem(lines: Sequence[bytes], code: int) -> str:
        """Return the first lines as one message."""
        return f"git fsck says {escape_path(b'; '.join(lines[:SHOWN_LINES]))!r}" if lines else f"git fsck failed ({code})"
