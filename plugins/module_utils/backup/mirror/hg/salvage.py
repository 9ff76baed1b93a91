# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirrors what can be verified of a damaged Mercurial repository.

If its files differ from the mirror's in common revisions, the mirror's stay. If that does not help, the changesets before the damage
are taken. If not even these are sound, the mirror stays as it is.
"""

from __future__ import annotations

import os
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import Verdict
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.prover import MAX_PROBLEMS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.verified_build import VerifiedBuild
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import DamagedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word


class Salvage:
    """The salvage of one damaged repository.

    :param source: the source's ``.hg``.
    :param verdict: on the build, which is a copy of the source.
    :param is_at_rest: nothing wrote to the source between two attempts.
    """

    def __init__(self, verified: VerifiedBuild, source: bytes, verdict: Verdict, *, is_at_rest: bool) -> None:
        self.verified, self.source, self.verdict, self.is_at_rest = verified, source, verdict, is_at_rest
        self.error = self._damaged_error()
        """Describes the damage, and how much the mirror has."""

    def run(self) -> None:
        """Build what can be verified.

        :raises DamagedError: the mirror already has everything that can be verified.
        """
        build = self.verified.build
        if build.is_first_copy or not build.mirrored:
            # A damaged copy is better than no backup: most of the history can still be read.
            with suppress(FileNotFoundError, NotADirectoryError):
                self.verified.source_copy.copy(self.source)
            return
        if self._is_mirror_as_damaged():
            return
        verdict = self.verdict
        for attempt in (self.verified.repair_from_mirror, self._cut_back):
            result = attempt(verdict)
            if result is not None and not result.problems:
                return
            verdict = Verdict([*verdict.problems, *(result.problems if result else [])])
        self.verified.discard()
        raise self.error

    def _is_mirror_as_damaged(self) -> bool:
        """Return whether the mirror has every problem of the source: a history that was damaged when it was first copied continues."""
        verified = self.verified
        if verified.is_proven:
            return False
        # There may be more problems, or some that came up since hg looked.
        if len(self.verdict.problems) >= MAX_PROBLEMS or not self.is_at_rest:
            return False
        mirror_path = verified.build.mirror_path
        mirrored = verified.verify_all(mirror_path, verified.source_copy.list_entries(mirror_path)).problems
        mirrored_problems = {(problem.path, problem.rev) for problem in mirrored}
        return bool(mirrored_problems) and all((problem.path, problem.rev) in mirrored_problems for problem in self.verdict.problems)

    def _cut_back(self, verdict: Verdict) -> Verdict | None:
        """Take the changesets before the damage; return None if the mirror has as many."""
        verified, build = self.verified, self.verified.build
        first_damaged = min((problem.link for problem in verdict.problems if problem.link >= 0), default=0)
        changesets = verified.source_copy.copy(self.source)
        if first_damaged <= 0 or changesets < 0 or first_damaged < verified.comparison().mirrored_changesets():
            return None
        if build.truncate_revlogs(min(first_damaged, changesets)):
            return None
        result = verified.verify_changes(parents=False)
        if not result.problems:
            message = f"{self.error.message[:-1]}; its mirror has all changesets before number {first_damaged}."
            self.error = DamagedError(message, *self.error.hints)
        return result

    def _damaged_error(self) -> DamagedError:
        verified = self.verified
        source_path = verified.copier.source_path
        reasons = [*(error.message[:-1] for error in [*verified.source_copy.unreadable.values()][:1]), self.verdict.text]
        repository = os.path.dirname(os.path.join(source_path, verified.path))
        command = repoman_command("restore", [os.path.basename(source_path)], "--objects")
        hints = [f"{command}   # restores what the mirror has"] if verified.build.mirrored else []
        return DamagedError(f"{verified.where} is damaged: {'; '.join(reasons)}.", *hints, f"hg -R {shell_word(repository)} verify")
