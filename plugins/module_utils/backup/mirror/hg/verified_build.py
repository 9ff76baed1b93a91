# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds a ``.hg`` from the source and lets hg verify it."""

from __future__ import annotations

import os
import time

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.build import HgBuild
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.compare import Comparison
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import Problem, Verdict, prove
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import starts_with
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.source_copy import SourceCopy
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import (
    CHANGELOG,
    data_file,
    index_file,
    is_revlog_file,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

LOCK_SECONDS = 1.0
"""Time to wait for a writer to release its lock; then the copy is tried nevertheless."""


class VerifiedBuild:
    """A build of one ``.hg``, and its verification.

    :param path: of the ``.hg``, relative to the unit.
    :param mirrored: the mirror's entries, relative to the ``.hg``.
    :param skip: unreadable directories, relative to the ``.hg``.
    :param scratch_dir: local directory for hg to work in.
    :param account: uid and gid for hg if repoman runs as root.
    :param is_proven: the mirror is known to be sound, so that only changes must be verified.
    """

    def __init__(
        self,
        path: bytes,
        copier: Copier,
        *,
        mirrored: dict[bytes, Entry],
        scratch_dir: str,
        account: tuple[int, int] | None,
        skip: frozenset[bytes] = frozenset(),
        is_proven: bool = False,
    ) -> None:
        self.path, self.copier, self.scratch_dir, self.account, self.is_proven = path, copier, scratch_dir, account, is_proven
        mirror_path = os.path.join(copier.mirror_path, path)
        self.build = HgBuild(mirrored, mirror_path, mirror_path)
        self.source_copy = SourceCopy(copier, self.build, skip)
        self.unverified_reason = ""
        """Why this host cannot verify the repository; empty if it can."""
        self._verdict: tuple[object, Verdict] | None = None
        """The last verdict on the build, and the state that the build had then."""
        self._unknown_format = ""
        """Why this host's hg cannot read the repository; all files are then copied unchanged, without truncating any."""

    @property
    def where(self) -> str:
        """The repository's path in the source, for messages."""
        return escape_path(os.path.dirname(os.path.join(self.copier.source_path, self.path)))

    def discard(self) -> None:
        """Delete the build, unless it is the only copy."""
        self.source_copy.close()
        self.build.discard()

    @staticmethod
    def is_locked(source: bytes) -> bool:
        """Return whether hg holds a lock on the source."""
        return any(os.path.lexists(os.path.join(source, each)) for each in (b"store/lock", b"wlock"))

    def copy_and_verify(self, source: bytes) -> Verdict:
        """Build a copy of the source's ``.hg`` and verify it.

        :raises FileNotFoundError: parts of the source vanished; try again.
        :raises NotADirectoryError: the same.
        """
        deadline = time.monotonic() + LOCK_SECONDS
        while self.is_locked(source) and time.monotonic() < deadline:
            time.sleep(0.002)
        build = self.build
        changesets = self.source_copy.copy(source)
        if CHANGELOG in self.source_copy.unreadable:
            return Verdict([Problem(CHANGELOG, "its history is not known")])
        if self._unknown_format:
            return self._accept_if_unchanged(source, Verdict(unknown=self._unknown_format))
        if changesets >= 0:
            copied = build.entries.get(CHANGELOG)
            if problem := build.truncate_revlogs(changesets):
                return Verdict([Problem(*problem)])
            if shortened := self._shortened_changelog(source, changesets, copied):
                return Verdict([shortened])
        # hg only appends to the changelog. If it did anything else during the copy, the other files belong to another history.
        if not starts_with(source, CHANGELOG, build.build_path(CHANGELOG)):
            return Verdict([Problem(CHANGELOG, "its history was being rewritten")])
        verdict = self.verify_changes(parents=not build.is_behind)
        return self._accept_if_unchanged(source, verdict) if verdict.unknown else verdict

    def _accept_if_unchanged(self, source: bytes, verdict: Verdict) -> Verdict:
        """Accept a repository that cannot be verified here if it did not change during the copy."""
        if self.build.rewritten:
            self._unknown_format = verdict.unknown
            return Verdict([Problem(b"", "this host's hg does not know its format")])
        after = self.source_copy.list_entries(source)
        if {path: entry for path, entry in after.items() if entry.type != "d"} != self.build.files:
            return Verdict([Problem(b"", "it was being written to, and this host's hg does not know its format")])
        self.note_unverified(verdict)
        return Verdict()

    def note_unverified(self, verdict: Verdict) -> None:
        """Add a warning if the verdict says that the repository could not be verified."""
        self.unverified_reason = verdict.unknown
        if verdict.unknown == "hg is not installed":
            self.copier.add_note("hg is not installed, so mirrors of Mercurial repositories were not verified")
        elif verdict.unknown:
            self.copier.add_note(f"{self.where} was mirrored but could not be verified: {verdict.unknown}")

    def _shortened_changelog(self, source: bytes, changesets: int, copied: Entry | None) -> Problem | None:
        """Return a problem if other revlogs continue after the changelog although nothing is writing, as after a power cut."""
        if not self.build.is_behind or self.is_locked(source) or os.path.lexists(os.path.join(source, b"store/journal")):
            return None
        listed = self.source_copy.listed
        if listed.get(CHANGELOG) != copied or self.source_copy.list_entries(source) != listed:
            return None
        return Problem(CHANGELOG, f"its changelog ends at changeset {changesets - 1}, but other files continue", changesets, changesets)

    # Verification

    def comparison(self) -> Comparison:
        """Return the comparison of the build with the mirror."""
        build = self.build
        mirrored = {} if build.is_first_copy else build.mirrored
        return Comparison(build.path, build.entries, build.mirror_path, mirrored, build.linked, is_proven=self.is_proven)

    def verify_changes(self, *, parents: bool = True) -> Verdict:
        """Verify what the build adds to the mirror.

        :param parents: the working directory's parents must be in the history.
        """
        build = self.build
        state = build.changes, dict(build.entries), parents
        # An attempt keeps the previous one's files that have not changed in the source. If it keeps all of them, the verdict is the same.
        if self._verdict is not None and self._verdict[0] == state:
            return self._verdict[1]
        comparison = self.comparison()
        if problems := comparison.problems():
            return Verdict(problems)
        verdict = prove(build.path, build.entries, comparison.job(parents=parents), self.scratch_dir, self.account)
        self._verdict = (state, verdict) if verdict.is_repeatable else None
        return verdict

    def verify_all(self, path: bytes, entries: dict[bytes, Entry]) -> Verdict:
        """Verify everything in a ``.hg``.

        :param path: of the ``.hg``.
        :param entries: its entries.
        """
        comparison = Comparison(path, entries, b"", {}, set(), is_proven=False)
        if problems := comparison.problems():
            return Verdict(problems)
        return prove(path, entries, comparison.job(), self.scratch_dir, self.account)

    # Repair

    def repair_from_mirror(self, verdict: Verdict) -> Verdict | None:
        """Replace damaged files, or their beginnings, by the mirror's.

        :param verdict: on the current build.
        :return: the verdict on the repaired build; None if the mirror cannot help.
        """
        build = self.build
        for _attempt in range(3):
            damaged = {problem.path for problem in verdict.problems if problem.path}
            if not self._overlay(damaged):
                return None
            changesets = build.changesets()
            if changesets < 0 or build.truncate_revlogs(changesets):
                return None
            verdict = self.verify_changes()
            if not verdict.problems:
                return verdict
        return verdict

    def _overlay(self, damaged: set[bytes]) -> bool:
        """Take damaged and missing files from the mirror; return whether there were any."""
        build, changed = self.build, False
        missing = build.mirrored.keys() - build.entries.keys()
        indexes = {index_file(path) for path in damaged | missing if is_revlog_file(path)}
        for path in sorted(indexes):
            changed |= build.overlay_from_mirror(path)
            changed |= build.overlay_from_mirror(data_file(path))
        for path in sorted(damaged - indexes - {data_file(each) for each in indexes}):
            changed |= build.take_from_mirror(path)
        return changed
