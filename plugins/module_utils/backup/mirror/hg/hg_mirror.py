# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One Mercurial repository of a unit, mirrored so that the mirror is whole whatever hg does to the source meanwhile.

Mercurial appends to its revision logs: first the files', then the manifest's, the changelog's last. So the changelog is copied first, and
says which changesets the copy has; the other logs are copied after it, and what they have of later changesets is cut off. That the
changelog was only appended to meanwhile, and that hg finds every new revision to be what its node says, proves it. The new ``.hg`` is
built beside the old one, with hard links to all that did not change, and the two change places in one step.

Everything verifiable in a damaged source is mirrored: if its files differ from the mirror's in common revisions, the mirror's
stays; where that does not help, the changesets before the damage are taken; where not even these are sound, the mirror stays as it was.
"""

from __future__ import annotations

import os
import stat
import time
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_of
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import BusyError, DamagedError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.build import CHANGELOG, HgBuild, data_of, journal, passing
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.compare import Comparison
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import Problem, Verdict, prove
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.prover import MOST
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import starts_with
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import directory
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command, shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import rename_exchange
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import is_directory

__all__ = ["HgDirectory", "journal", "passing"]

LOCK_SECONDS = 1.0
LASTING = 3
"""What is wrong in more attempts than this is damage, even if somebody writes."""


class HgDirectory:
    """The mirror of one ``.hg`` directory; its methods are those of ``GitDirectory``.

    :param path: of the directory, relative to the unit.
    :param have: what the mirror holds of it.
    :param seen: what the scan found of it.
    :param proof: local directory for what hg is to look at.
    :param closed: directories that cannot be read: what is in them is left out.
    :param proven: the mirror's is known to be sound, so that only what changed needs to be checked.
    """

    def __init__(
        self,
        path: bytes,
        copier: Copier,
        *,
        have: dict[bytes, Entry],
        seen: dict[bytes, Entry],
        proof: str,
        tries: int,
        account: tuple[int, int] | None,
        closed: frozenset[bytes] = frozenset(),
        proven: bool = False,
    ) -> None:
        self.path, self.copier, self.have, self.seen, self.proof = path, copier, have, seen, proof
        self.tries, self.account = tries, account
        self.prefix = path + b"/"
        judged = have.get(self.prefix + b"requires")
        self.proven = proven and judged is not None and bool(judged.ctime_ns)
        self.touched: set[bytes] = set()
        self.damage: list[RepomanError] = []
        self.place = os.path.join(copier.mirror_path, path)
        inner_closed = frozenset(each[len(self.prefix) :] for each in closed if each.startswith(self.prefix))
        self.work = HgBuild(copier, self.prefix, have=have, closed=inner_closed, place=self.place, path=self.place)
        self.unproven = ""
        self.whole = False
        """Nothing is cut off: this host's hg does not know the format, so all files are copied unchanged."""

    def damage_error(self) -> RepomanError | None:
        """Return what is damaged in the source, where all that can be proven was brought."""
        return self.damage[0] if self.damage else None

    @property
    def unreadable(self) -> dict[bytes, UnreadableError]:
        """What could not be read, and why."""
        return self.work.unreadable

    @property
    def where(self) -> str:
        """The repository's path, to be shown."""
        return escape_path(os.path.dirname(os.path.join(self.copier.source_path, self.path)))

    # First: all that can be done without the old mirror noticing

    def bring(self) -> None:
        """Build a whole ``.hg`` beside the mirror's, and prove it; ``damage`` tells what of the source is not in it.

        :raises BusyError: after as many tries as allowed.
        :raises DamagedError: the repository did not change between two attempts and has nothing verifiable beyond the mirror.
        """
        with directory(self.copier.source_fd, self.path) as held:
            self._bring_from(b"/proc/self/fd/%d/." % held)

    def _bring_from(self, source: bytes) -> None:
        if self._equal(source):
            return
        if self.copier.is_first_copy:
            self._need(self.path)
        else:
            self.work.path = os.path.join(self.copier.work_path, self.copier.temporary_name())
            os.mkdir(self.work.path, mode=0o700)
        last: object = None
        problem = ""
        lasting: frozenset[Problem] | None = None
        for attempt in range(self.tries):
            if attempt:
                time.sleep(0.01 * attempt)
            try:
                verdict = self.build_and_prove(source)
            except (FileNotFoundError, NotADirectoryError):
                problem = "parts of it vanished"
                continue
            if not verdict.problems:
                return
            problem = verdict.text
            state = self.work.listed
            wrong = frozenset(each for each in verdict.problems if each.rev >= 0)
            lasting = wrong if lasting is None else lasting & wrong
            # A writer only appends, or cuts off: a revision that is wrong in the same way each time is damage, whoever writes meanwhile.
            is_certain = bool(lasting) and attempt == self.tries - 1 and attempt >= LASTING
            if is_certain or (state == last and not self._locked(source)):
                self._salvage(source, verdict)
                return
            last = state
        self.work.drop()
        raise BusyError(f"{self.where} kept changing ({self.tries} attempts: {problem}); its mirror was not updated.", "try again later")

    def _need(self, path: bytes) -> None:
        """Make a directory of the mirror, and those above it; what is there and is none, such as a link, is set aside."""
        parts = path.split(b"/") if path else []
        for number in range(len(parts)):
            each = b"/".join(parts[: number + 1])
            with directory(self.copier.source_fd, each) as held:
                self.copier.mkdir(entry_of(each, os.fstat(held)))

    def _equal(self, source: bytes) -> bool:
        """Tell whether the mirror's is as the source's already, and whole."""
        listed = self.work.look(source)
        if (
            self.copier.is_first_copy
            or {each[len(self.prefix) :]: entry._replace(path=entry.path[len(self.prefix) :]) for each, entry in self.have.items()}
            != listed
        ):
            return False
        verdict = self._prove_all(listed)
        if verdict.problems:
            return False
        self._note(verdict)
        self.work.files = {each: entry for each, entry in listed.items() if entry.kind != "d"}
        self.work.directories = listed.keys() - self.work.files.keys()
        return True

    def _locked(self, source: bytes) -> bool:
        return any(os.path.lexists(os.path.join(source, each)) for each in (b"store/lock", b"wlock"))

    def build_and_prove(self, source: bytes) -> Verdict:
        """Build what a ``.hg`` holds, and prove it."""
        until = time.monotonic() + LOCK_SECONDS
        while self._locked(source) and time.monotonic() < until:
            time.sleep(0.002)
        work = self.work
        changesets = work.copy(source)
        if CHANGELOG in work.unreadable:
            return Verdict([Problem(CHANGELOG, "its history is not known")])
        if self.whole:
            return self._still(source, Verdict(unknown="unknown"))
        if changesets >= 0:
            copied = work.found.get(CHANGELOG)
            lacking = work.cut_off(changesets)
            if lacking:
                return Verdict([Problem(*lacking)])
            if shortened := self._shortened(source, changesets, copied):
                return Verdict([shortened])
        if not starts_with(source, CHANGELOG, os.path.join(work.path, CHANGELOG)):
            return Verdict([Problem(CHANGELOG, "its history was being rewritten")])
        verdict = self._prove(parents=not work.is_behind)
        return self._still(source, verdict) if verdict.unknown else verdict

    def _still(self, source: bytes, verdict: Verdict) -> Verdict:
        """Accept a repository that cannot be verified here only if it did not change during the copy."""
        if self.work.cut:
            self.whole = True
            return Verdict([Problem(b"", "this host's hg does not know its format")])
        after = self.work.look(source)
        if {each: entry for each, entry in after.items() if entry.kind != "d"} != self.work.files:
            return Verdict([Problem(b"", "it was being written to, and this host's hg does not know its format")])
        self._note(verdict)
        return Verdict()

    def _note(self, verdict: Verdict) -> None:
        self.unproven = verdict.unknown
        if verdict.unknown == "hg is not installed":
            self.copier.add_note("hg is not installed, so mirrors of Mercurial repositories were not verified")
        elif verdict.unknown:
            self.copier.add_note(f"{self.where} was mirrored but could not be verified: {verdict.unknown}")

    def _shortened(self, source: bytes, changesets: int, copied: Entry | None) -> Problem | None:
        """Return whether logs have more than the changelog without a writer, as after a power cut that lost the changelog's end."""
        work = self.work
        if not work.is_behind or self._locked(source) or os.path.lexists(os.path.join(source, b"store/journal")):
            return None
        if work.listed.get(CHANGELOG) != copied or work.look(source) != work.listed:
            return None
        return Problem(CHANGELOG, f"its changelog ends at changeset {changesets - 1}, but other files continue", changesets, changesets)

    # The proof

    def _comparison(self, found: dict[bytes, Entry]) -> Comparison:
        work = self.work
        old = {each[len(self.prefix) :]: entry for each, entry in self.have.items()}
        return Comparison(work.path, found, self.place, {} if work.is_first else old, work.linked, proven=self.proven)

    def _prove(self, *, parents: bool = True) -> Verdict:
        """Verify the new files that were built."""
        comparison = self._comparison(self.work.found)
        if problems := comparison.problems():
            return Verdict(problems)
        return prove(self.work.path, self.work.found, comparison.job(parents=parents), self.proof, self.account)

    def _prove_all(self, found: dict[bytes, Entry]) -> Verdict:
        """Check all of a ``.hg``."""
        comparison = Comparison(self.work.path, found, b"", {}, set(), proven=False)
        if problems := comparison.problems():
            return Verdict(problems)
        return prove(self.work.path, found, comparison.job(), self.proof, self.account)

    def check(self) -> str:
        """Run hg verify on an idle repository; return its report, or an empty string if the repository is sound."""
        verdict = self._prove_all(self.work.look(self.place))
        self._note(verdict)
        return f"hg verify reports {verdict.text!r}" if verdict.problems else ""

    # Salvage of a damaged source

    def _salvage(self, source: bytes, verdict: Verdict) -> None:
        """Build what can be proven of a damaged repository.

        :raises DamagedError: that is nothing which the mirror has not.
        """
        work = self.work
        self.damage = [self._damaged(verdict)]
        if work.is_first or not self.have:  # as damaged as it is: most of a history can still be read, which is better than none of it
            with suppress(FileNotFoundError, NotADirectoryError):
                work.copy(source)
            return
        if self._is_no_worse(verdict):
            return
        for attempt in (self.mend, lambda verdict: self._cut_back(source, verdict)):
            found = attempt(verdict)
            if found is not None and not found.problems:
                return
            verdict = Verdict([*verdict.problems, *(found.problems if found else [])])
        work.drop()
        raise self.damage[0]

    def _is_no_worse(self, verdict: Verdict) -> bool:
        """Tell whether the mirror has every problem of the source: a history that was damaged when it was first copied goes on."""
        if len(verdict.problems) >= MOST:  # there may be more
            return False
        listed = self.work.look(self.place)
        comparison = Comparison(self.place, listed, b"", {}, set(), proven=False)
        old = comparison.problems() or prove(self.place, listed, comparison.job(), self.proof, self.account).problems
        known = {(each.path, each.rev) for each in old}
        return bool(known) and all((each.path, each.rev) in known for each in verdict.problems)

    def _damaged(self, verdict: Verdict) -> DamagedError:
        reasons = [*(each.message[:-1] for each in [*self.unreadable.values()][:1]), verdict.text]
        repository = os.path.dirname(os.path.join(self.copier.source_path, self.path))
        command = repoman_command("restore", [os.path.basename(self.copier.source_path)], "--objects")
        mend = [f"{command}   # restores what the mirror has"] if self.have else []
        return DamagedError(f"{self.where} is damaged: {'; '.join(reasons)}.", *mend, f"hg -R {shell_word(repository)} verify")

    def mend(self, verdict: Verdict) -> Verdict | None:
        """Keep the mirror's files, or beginnings of files, in the place of damaged ones."""
        work = self.work
        for _turn in range(3):
            changed = False
            wrong = {each.path for each in verdict.problems if each.path}
            gone = {each[len(self.prefix) :] for each in self.have} - work.found.keys()
            logs = {
                each if each.endswith(b".i") else each[:-1] + b"i"
                for each in wrong | gone
                if each.startswith(b"store/") and each[-2:] in {b".i", b".d"}
            }
            for path in sorted(logs):
                changed |= work.overlay(path)
                changed |= work.overlay(data_of(path))
            for path in sorted(wrong - logs - {data_of(each) for each in logs}):
                changed |= work.take_old(path)
            changesets = work.changesets()
            if not changed or changesets < 0 or work.cut_off(changesets):
                return None
            verdict = self._prove()
            if not verdict.problems:
                return verdict
        return verdict

    def _cut_back(self, source: bytes, verdict: Verdict) -> Verdict | None:
        """Take the changesets before the damage, unless the mirror has more."""
        links = [each.link for each in verdict.problems]
        first = min((each for each in links if each >= 0), default=0)
        changesets = self.work.copy(source)
        old = self._comparison(self.work.found).changesets()
        if first <= 0 or changesets < 0 or first < old:
            return None
        if self.work.cut_off(min(first, changesets)):
            return None
        found = self._prove(parents=False)
        if not found.problems:
            message = self.damage[0].message[:-1]
            self.damage = [DamagedError(f"{message}; its mirror has all changesets before number {first}.", *self.damage[0].hints)]
        return found

    # Then: what readers of the mirror see

    def publish(self) -> None:
        """Let the new ``.hg`` and the old one change places, in one step."""
        work = self.work
        work.close()
        if not work.is_first:
            parent = self.path.rpartition(b"/")[0]
            self._need(parent)
            if not is_directory(self.place):
                self.copier.move_to_history(self.path, None)
                self.copier.with_write_permission(parent, lambda: os.rename(work.path, self.place))
            else:
                kept = self.copier.history_path(self.path)
                built, work.path = work.path, kept
                os.rename(built, kept)  # whole and proven: nothing else may lie there, whenever this run ends
                _open_to_us(self.place)
                if not self.copier.with_write_permission(parent, lambda: rename_exchange(kept, self.place)):
                    os.rename(kept, built)
                    self.copier.with_write_permission(parent, lambda: os.rename(self.place, kept))
                    os.rename(built, self.place)
                self._prune()
            self.touched.add(parent)
        self.touched.add(self.path)
        self.touched |= {self.prefix + each for each in work.directories}

    def _prune(self) -> None:
        """Leave in ``kept`` only what was replaced or removed."""
        kept = 0
        for base, directories, names in os.walk(self.work.path, topdown=False):
            _open_to_us(base)
            for name in names:
                place = os.path.join(base, name)
                if os.path.relpath(place, self.work.path) in self.work.linked:
                    os.unlink(place)
                else:
                    kept += os.lstat(place).st_size
            for name in directories:
                with suppress(OSError):
                    os.rmdir(os.path.join(base, name))
        with suppress(OSError):
            os.rmdir(self.work.path)
        self.copier.add_counts(kept=kept)

    def remove(self) -> None:
        """Do nothing: what the source has no more is not in the new directory."""

    def settle(self) -> None:
        """Do nothing: logs that are written again in the same moment have another size."""

    def final(self) -> dict[bytes, Entry]:
        """Return what the mirror holds now."""
        final = {self.prefix + each: entry._replace(path=self.prefix + each) for each, entry in self.work.files.items()}
        for each in self.work.directories:
            path = self.prefix + each
            if path in self.seen:
                final[path] = self.seen[path]
            else:
                with suppress(OSError):
                    final[path] = entry_of(path, self.copier.source_status(path))
        return final

    def held(self) -> dict[bytes, Entry]:
        """Return what the mirror holds where nothing was published: what it held."""
        return self.have


def _open_to_us(path: bytes) -> None:
    """Let a directory be moved to another, and what is in it be removed, where its mode forbids that."""
    if not os.access(path, os.W_OK):
        os.chmod(path, stat.S_IRWXU)
