# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirror one git directory, so that the mirror is complete whatever git does to the source during the run.

References and everything else that points to objects are read first, loose references before the packed ones; then objects are copied,
and none is removed; then ``git fsck --connectivity-only`` proves that the mirror has every object that they need, without the objects
that will be removed. Only then they are published, and only after that objects are removed. git runs in a git directory of repoman with
its own configuration: of the repository it sees only references, logs, index and objects.
"""

from __future__ import annotations

import os
import time

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.broken_files import broken_files, first_problem, screen
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.errors import damaged_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import ABSENT, STAYS, Damage, ObjectCopy
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.pack_rescue import rescue
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.publication import GitPublication
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.salvage import Salvage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import BusyError, DamagedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word

MAX_RELISTS = 6
LASTING = 3
"""Number of attempts that must find the same damage while the repository keeps changing."""


class GitMirror(GitPublication):
    """The mirror of one git directory.

    :param path: relative to the unit; empty for a bare repository that is the unit.
    :param mirrored: entries of the mirror (without plain files).
    :param scanned: entries that the scan found.
    :param nested: paths of other repositories within it.
    :param unreadable_directories: directories that cannot be read; their contents are left out.
    :param scratch_dir: local directory for the git directory that proofs run on.
    :param may_lose: files that the source no longer has are removed from the mirror too (``--allow-shrink``).
    """

    def fetch(self) -> None:
        """Stage the files that refer to objects, copy objects, and prove that none is missing.

        :raises BusyError: the repository kept changing, for the allowed number of attempts.
        :raises DamagedError: the repository did not change between two attempts, and was incomplete in both.
        """
        known_objects = {each for each, entry in self.scanned.items() if self._is(each, "object") and entry.type == "f"}
        last: object = None
        problem = ""
        lasting: set[object] | None = None
        for attempt in range(self.tries):
            if attempt > 1:
                time.sleep(0.005 * attempt * attempt)
            if problem := self._read_and_copy():
                continue
            screen(self)
            problem = self.prove(derived=True)
            if self.unproven and self.from_scan:
                continue  # without a proof, the list may be incomplete: the next attempt reads every directory
            state = ({each: entry for each, (entry, _data) in self.staged.items()}, self.listed)
            if problem and (state == last or attempt > self.tries // 2) and any(self._is(each, "derived") for each in self.staged):
                problem = self.prove(derived=False)
                if not problem:
                    self.staged = {
                        each: staged_item
                        for each, staged_item in self.staged.items()
                        if not self._is(each, "derived") or each.endswith(b"/alternates")
                    }
            # git does not look at the indexes of worktrees, and accepts an empty list of references.
            broken = first_problem(broken_files(self))
            if not (problem := broken or problem):
                self.defer_prune = bool(self.unreadable or self.damage) or not known_objects <= self.listed.keys()
                if self.unproven:
                    self._check_unproven()
                    if state != last and self._is_torn():
                        last, problem = state, "its tables of references were being rewritten"
                        continue
                    self.copier.add_note(f"{self.where} was mirrored but could not be verified: {self.unproven}")
                return
            marks = self._marks()
            lasting = marks if lasting is None else lasting & marks
            # No writer makes a file that does not match its name; what is only missing may be a collection of garbage under way.
            is_certain = attempt >= (LASTING if lasting & self.damage.keys() else self.tries - 1) >= LASTING
            if (state == last or (lasting and is_certain)) and self._salvage(problem):
                return
            if state == last:
                raise self._damaged(problem)
            last = state
            known_objects |= self.listed.keys()
        raise BusyError(f"{self.where} kept changing ({self.tries} attempts: {problem}); its mirror was not updated.", "try again later")

    def copy(self) -> bool:
        """Copy objects that the mirror lacks, and remove none; return whether every readable object that was listed was copied."""
        for _turn in range(MAX_RELISTS):
            listed = self.list_objects()
            copying = ObjectCopy(self, listed)
            if copying.run():
                self.listed = {each: entry for each, entry in listed.items() if entry.type == "f" and each in self.objects}
                self.listed |= {each: entry for each, entry in copying.blocked.items() if each in self.objects}
                present = {b"", *listed, *copying.blocked}
                self.damage = {each: damage for each, damage in self.damage.items() if each in present}
                self.object_directories = {each: entry for each, entry in listed.items() if entry.type == "d"}
                self.dirty_directories |= {each for each, entry in self.object_directories.items() if self.mirrored.get(each) != entry}
                for each, entry in listed.items():
                    if entry.type not in "df":
                        self.staged[each] = (entry, None)
                        self.objects.pop(each, None)
                return True
        return False

    def _check_unproven(self) -> None:
        """Refuse references that need objects which are damaged and not in the mirror, if git cannot tell which these are.

        :raises DamagedError: the mirror stays as it is.
        """
        if self.prefix + b"HEAD" in self.mirrored and any(each.is_object and each.mirror == ABSENT for each in self.damage.values()):
            raise self._damaged(f"it could not be verified: {self.unproven}")

    def _read_and_copy(self) -> str:
        """Stage the files that refer to objects, and copy objects; return why the source was not at rest, or an empty string."""
        try:
            self.stage()
            return "" if self.copy() else "its objects were being rewritten"
        except (FileNotFoundError, NotADirectoryError):
            return "parts of it vanished"

    def _salvage(self, problem: str) -> bool:
        """Reduce the staged files to those that can be proven, and record the damage; return whether anything can be published."""
        if self.prefix + b"HEAD" in self.mirrored:
            rescue(self, self.scratch_dir + ".pack")
        if not Salvage(self).run():
            return False
        self.defer_prune = True
        if not self.damage:
            self.damage[self.prefix] = Damage(self.path, "the repository", problem, STAYS)
        return True

    def _damaged(self, problem: str) -> DamagedError:
        """Return the error of a repository whose mirror cannot be updated at all."""
        if damage := self.damage_error():
            return damage
        problem = "; ".join([*(each.message[:-1] for each in [*self.unreadable.values()][:1]), problem])
        return DamagedError(f"{self.where} is damaged: {problem}.", f"git -C {shell_word(self.where)} fsck")

    def _marks(self) -> set[object]:
        """Return the damage found so far; damage that every attempt finds is not caused by a writer."""
        return {*self.missing, *self.damage, *broken_files(self)}

    def damage_error(self) -> DamagedError | None:
        """Return the error for damage in the source; None if it is sound."""
        source = self.copier.source_path
        damage = sorted(self.damage.values(), key=lambda each: not each.is_object)
        return damaged_error(source, damage, os.path.join(source, self.path)) if damage else None
