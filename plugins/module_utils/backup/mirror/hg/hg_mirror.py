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
import shutil
import stat
import time
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_from_stat
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import Problem
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.salvage import Salvage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.verified_build import VerifiedBuild
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import directory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import BusyError
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import AT_FDCWD, exchange_names
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import is_directory, remove_tree

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
                self._exchange(parent)
            else:
                self.copier.move_to_history(self.path)
                self.copier.with_write_permission(parent, lambda: os.rename(self.build.path, self.build.mirror_path))
            self.dirty_directories.add(parent)
        self.dirty_directories.add(self.path)
        self.dirty_directories |= {self.prefix + each for each in self.build.directories}

    def _exchange(self, parent: bytes) -> None:
        """Put the build in the mirror's place, and the mirror's ``.hg`` into the history.

        Whenever the run is killed, the history has the replaced files or nothing, and never the build: a restore of an earlier version
        takes what it finds there.
        """
        history_path, is_exchanged = self.copier.history_path(self.path, tree=True), False
        _make_writable(self.build.mirror_path)
        try:
            is_exchanged = self._exchange_names(parent, history_path)
        finally:
            if not is_exchanged:
                shutil.rmtree(history_path, ignore_errors=True)
        if not is_exchanged:
            self._rename_both(parent, history_path)

    def _exchange_names(self, parent: bytes, history_path: bytes) -> bool:
        """Link what is replaced into the history, and exchange the build and the mirror; return whether the target can do both."""
        try:
            history_size = self._link_replaced(history_path)
        except OSError:
            return False
        if not self.copier.with_write_permission(
            parent, lambda: exchange_names(AT_FDCWD, self.build.mirror_path, AT_FDCWD, self.build.path)
        ):
            return False
        self.copier.add_counts(history_size=history_size)
        if not os.path.lexists(history_path):
            self.copier.release_history_path(history_path)
        with suppress(OSError):  # the next run removes it, too
            remove_tree(os.path.basename(self.build.path), self.copier.work_fd)
        return True

    def _rename_both(self, parent: bytes, history_path: bytes) -> None:
        """Rename the mirror into the history, and the build to the mirror's name; leave only replaced and removed files in the history."""
        mirror_path = self.build.mirror_path
        self.copier.with_write_permission(parent, lambda: os.rename(mirror_path, history_path))
        try:
            self.copier.with_write_permission(parent, lambda: os.rename(self.build.path, mirror_path))
        except OSError:
            self.copier.with_write_permission(parent, lambda: os.rename(history_path, mirror_path))
            raise
        self.build.path = history_path
        self._prune_history()

    def _link_replaced(self, history_path: bytes) -> int:
        """Link the files of the mirror that the build replaces or lacks into the history; return their size in bytes.

        :raises OSError: not all of them could be linked.
        """

        def fail(error: OSError) -> None:
            raise error

        history_size = 0
        for base, directories, names in os.walk(self.build.mirror_path, onerror=fail):
            inner = os.path.relpath(base, self.build.mirror_path)
            links = [name for name in directories if os.path.islink(os.path.join(base, name))]
            for name in [*names, *links]:
                path, relative = os.path.join(base, name), os.path.normpath(os.path.join(inner, name))
                if relative in self.build.linked or _are_equal_symlinks(path, os.path.join(self.build.path, relative)):
                    continue
                self._make_history_directories(history_path, inner)
                os.link(path, os.path.join(history_path, relative), follow_symlinks=False)
                history_size += os.lstat(path).st_size
        return history_size

    def _make_history_directories(self, history_path: bytes, inner: bytes) -> None:
        """Create a directory below ``history_path``, and those above it, with the owners and modes that they have in the mirror."""
        parts = [] if inner == b"." else inner.split(b"/")
        for depth in range(len(parts) + 1):
            relative = b"/".join(parts[:depth])
            with suppress(FileExistsError):
                os.mkdir(os.path.join(history_path, relative), 0o700)
                self.copier.copy_directory_attributes(
                    os.path.join(history_path, relative), os.lstat(os.path.join(self.build.mirror_path, relative))
                )

    def _prune_history(self) -> None:
        """Leave only replaced and removed files in the history."""
        history_size = 0
        for base, directories, names in os.walk(self.build.path, topdown=False):
            _make_writable(base)
            for name in names:
                path = os.path.join(base, name)
                relative = os.path.relpath(path, self.build.path)
                if relative in self.build.linked or _are_equal_symlinks(path, os.path.join(self.build.mirror_path, relative)):
                    os.unlink(path)
                else:
                    history_size += os.lstat(path).st_size
            for name in directories:
                with suppress(OSError):
                    os.rmdir(os.path.join(base, name))
        with suppress(OSError):
            os.rmdir(self.build.path)
            self.copier.release_history_path(self.build.path)
        self.copier.add_counts(history_size=history_size)

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


def _make_writable(path: bytes) -> None:
    """Make a directory writable if its mode forbids to move it or to remove its entries."""
    if not os.access(path, os.W_OK):
        os.chmod(path, stat.S_IRWXU)


def _are_equal_symlinks(one: bytes, other: bytes) -> bool:
    """Return whether both are symbolic links to the same place: those are always created again."""
    try:
        return os.readlink(one) == os.readlink(other)
    except OSError:
        return False
