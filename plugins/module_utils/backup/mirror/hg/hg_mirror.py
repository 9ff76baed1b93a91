# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The mirror of one Mercurial repository, consistent whatever hg does to the source during the copy.

hg appends to its revlogs: the files' first, then the manifest's, the changelog's last. So the changelog is copied first and determines
the changesets of the copy; the other revlogs are copied after it, and their revisions of later changesets are removed. The copy is
accepted if the changelog was only appended to meanwhile, and hg finds that each new revision matches its node. The new ``.hg`` is built
next to the mirror's, with hard links to everything that did not change, and the two are exchanged in one step.

For a damaged source see ``salvage``.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.exchange import HgExchange
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import Problem
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.salvage import Salvage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.verified_build import VerifiedBuild
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import directory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import BusyError
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import is_directory

MIN_LASTING_ATTEMPTS = 3
"""A problem that more attempts than this have found is damage, even if something writes to the source."""


class HgMirror:
    """The mirror of one ``.hg`` directory; it has the methods of ``GitMirror``.

    :param path: of the directory, relative to the unit.
    :param mirrored: the mirror's entries in it.
    :param scanned: the entries that the scan found in it.
    :param scratch_dir: local directory for hg to work in.
    :param tries: number of attempts if the source keeps changing.
    :param account: uid and gid for hg if repoman runs as root.
    :param unreadable_directories: directories that cannot be read; their contents are left out.
    :param proven: the mirror is known to be sound, so that only changes must be verified.
    """

    def __init__(
        self,
        path: bytes,
        copier: Copier,
        *,
        mirrored: dict[bytes, Entry],
        scanned: dict[bytes, Entry],
        scratch_dir: str,
        tries: int,
        account: tuple[int, int] | None,
        unreadable_directories: frozenset[bytes] = frozenset(),
        proven: bool = False,
    ) -> None:
        self.path, self.copier, self.mirrored, self.scanned, self.tries = path, copier, mirrored, scanned, tries
        self.prefix = path + b"/"
        requirements = mirrored.get(self.prefix + b"requires")
        self.verified = VerifiedBuild(
            path,
            copier,
            mirrored={self._inner(each): entry._replace(path=self._inner(each)) for each, entry in mirrored.items()},
            skip=frozenset(self._inner(each) for each in unreadable_directories if each.startswith(self.prefix)),
            scratch_dir=scratch_dir,
            account=account,
            is_proven=proven and requirements is not None and bool(requirements.ctime_ns),
        )
        self.build = self.verified.build
        self.dirty_directories: set[bytes] = set()
        self.damage: list[RepomanError] = []

    def _inner(self, path: bytes) -> bytes:
        return path[len(self.prefix) :]

    def damage_error(self) -> RepomanError | None:
        """Return the error for damage in the source if everything verifiable was mirrored."""
        return self.damage[0] if self.damage else None

    @property
    def unreadable(self) -> dict[bytes, UnreadableError]:
        """Files of the source that could not be read."""
        return self.verified.source_copy.unreadable

    @property
    def unproven(self) -> str:
        """Why this host cannot verify the repository; empty if it can."""
        return self.verified.unverified_reason

    @property
    def where(self) -> str:
        """The repository's path in the source, for messages."""
        return self.verified.where

    # Everything up to the moment the mirror changes

    def fetch(self) -> None:
        """Build a complete ``.hg`` and verify it; ``damage`` then lists the parts of the source that it lacks.

        :raises BusyError: the source kept changing, for the allowed number of attempts.
        :raises DamagedError: the source is damaged, and the mirror already has everything that can be verified.
        """
        with directory(self.copier.source_fd, self.path) as fd:
            source = b"/proc/self/fd/%d/." % fd
            if not self._is_up_to_date(source):
                self._build_from(source)

    def _build_from(self, source: bytes) -> None:
        if self.copier.is_first_copy:
            self._ensure_directory(self.path)
        else:
            self.build.path = os.path.join(self.copier.work_path, self.copier.temporary_name())
            os.mkdir(self.build.path, mode=0o700)
        previous: object = None
        lasting: frozenset[Problem] | None = None
        problem = ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(0.01 * attempt)
            try:
                verdict = self.verified.copy_and_verify(source)
            except (FileNotFoundError, NotADirectoryError):
                problem = "parts of it vanished"
                continue
            if not verdict.problems:
                return
            problem = verdict.text
            listed = self.verified.source_copy.listed
            damaged = frozenset(each for each in verdict.problems if each.rev >= 0)
            lasting = damaged if lasting is None else lasting & damaged
            # Anything else may be a writer's doing. But a writer only appends or truncates, so what all attempts find wrong with
            # a revision is damage, even if something writes.
            is_certain = bool(lasting) and attempt == self.tries - 1 and attempt >= MIN_LASTING_ATTEMPTS
            if is_certain or (listed == previous and not self.verified.is_locked(source)):
                salvage = Salvage(self.verified, source, verdict, is_at_rest=listed == previous)
                try:
                    salvage.run()
                finally:
                    self.damage = [salvage.error]
                return
            previous = listed
        self.verified.discard()
        raise BusyError(f"{self.where} kept changing ({self.tries} attempts: {problem}); its mirror was not updated.", "try again later")

    def _ensure_directory(self, path: bytes) -> None:
        """Create a directory of the mirror and its parents; anything else at their paths, such as a link, is moved to the history."""
        parts = path.split(b"/") if path else []
        for depth in range(1, len(parts) + 1):
            ancestor = b"/".join(parts[:depth])
            with directory(self.copier.source_fd, ancestor) as fd:
                self.copier.mkdir(entry_from_stat(ancestor, os.fstat(fd)))

    def _is_up_to_date(self, source: bytes) -> bool:
        """Return whether the mirror equals the source and is sound."""
        build, verified = self.build, self.verified
        listed = verified.source_copy.list_entries(source)
        if self.copier.is_first_copy or build.mirrored != listed:
            return False
        verdict = verified.verify_all(build.path, listed)
        if verdict.problems:
            return False
        verified.note_unverified(verdict)
        build.files = {path: entry for path, entry in listed.items() if entry.type != "d"}
        build.directories = listed.keys() - build.files.keys()
        return True

    def check(self) -> str:
        """Verify the mirror; return what hg reports, or an empty string if it is sound."""
        mirror_path = self.build.mirror_path
        verdict = self.verified.verify_all(mirror_path, self.verified.source_copy.list_entries(mirror_path))
        self.verified.note_unverified(verdict)
        return f"hg verify reports {verdict.text!r}" if verdict.problems else ""

    # Publication

    def publish(self) -> None:
        """Exchange the new ``.hg`` for the mirror's in one step."""
        self.verified.source_copy.close()
        if not self.build.is_first_copy:
            parent = self.path.rpartition(b"/")[0]
            self._ensure_directory(parent)
            if is_directory(self.build.mirror_path):
                HgExchange(self.build, self.copier).run(self.path)
            else:
                self.copier.move_to_history(self.path)
                self.copier.with_write_permission(parent, lambda: os.rename(self.build.path, self.build.mirror_path))
            self.dirty_directories.add(parent)
        self.dirty_directories.add(self.path)
        self.dirty_directories |= {self.prefix + each for each in self.build.directories}

    def remove(self) -> None:
        """Do nothing: removed files are not in the new directory."""

    def recheck_fresh_files(self) -> None:
        """Do nothing: a revlog that is appended to within one clock tick changes its size."""

    def resulting_entries(self) -> dict[bytes, Entry]:
        """Return the mirror's entries after publication."""
        entries = {self.prefix + inner: entry._replace(path=self.prefix + inner) for inner, entry in self.build.files.items()}
        for inner in self.build.directories:
            path = self.prefix + inner
            if path in self.scanned:
                entries[path] = self.scanned[path]
            else:
                with suppress(OSError):
                    entries[path] = entry_from_stat(path, self.copier.source_status(path))
        return entries

    def unchanged_entries(self) -> dict[bytes, Entry]:
        """Return the mirror's entries if nothing was published."""
        return self.mirrored
