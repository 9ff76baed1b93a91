# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirror the repositories of a unit."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import fixtures
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import GitMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.path_class import loose_object_length
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.hg_mirror import HgMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import nearest_ancestor
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import BusyError, DamagedError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import change_type
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_task import PROOF_MARKERS, UnitTask
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path


class RepositoryMirrors(UnitTask):
    """Mirrors the repositories of one unit."""

    def _prepare(self, repository: GitMirror | HgMirror) -> bool:
        """Run a repository's preparation before its mirror changes; return whether to continue."""
        error: RepomanError | None = None
        try:
            repository.fetch()
        except RepomanError as failure:
            if isinstance(failure, BusyError | UnreadableError) or not (self.changes.is_first_copy or isinstance(failure, DamagedError)):
                raise
            error = failure
        damage = repository.damage_error() if error is None else None
        if (error or damage) and self._is_fixture(repository):
            self._leave_to_plain(repository)
            return False
        if error is not None:
            self.errors.append(error)
            self.damaged.append(repository)
            return self.changes.is_first_copy or not repository.mirrored  # a mirror as damaged is better than none
        if damage is None or isinstance(repository, GitMirror):  # in Mercurial, the damage names what could not be read
            self.errors += repository.unreadable.values()
        if damage is not None:
            self.errors.append(damage)
            self.damaged.append(repository)
        return True

    def _collect_results(self, repositories: list[GitMirror | HgMirror]) -> None:
        """Record the current entries of the mirrors of repositories, and hard-link files that are hard-linked in the source."""
        linked: dict[tuple[int, ...], list[Entry]] = {}
        for repository in repositories:
            repository.recheck_fresh_files()
            entries = repository.resulting_entries()
            for path in repository.scanned.keys() | entries.keys():
                entry = entries.get(path)
                if entry != repository.scanned.get(path):
                    self.actual_entries[path] = entry
            self.dirty_directories |= repository.dirty_directories
            for entry in entries.values():
                if entry.nlink > 1 and entry.type == "f":
                    if isinstance(repository, GitMirror):
                        linked.setdefault((entry.inode,), []).append(entry)
                    elif entry.ctime_ns:  # clones share logs until one is written, so only names of the same state are linked
                        linked.setdefault((entry.inode, entry.ctime_ns, entry.size), []).append(entry)
        for group in linked.values():
            for entry in group[1:]:
                self.copier.link_to(group[0].path, entry, entry)
                self.dirty_directories.add(entry.parent)

    def _mark_damaged(self, mirrored: list[GitMirror | HgMirror]) -> None:
        """Record the entries of the mirrors of damaged repositories, even of unchanged ones, so that the next run tries again."""
        for repository in self.damaged:
            if repository not in mirrored:
                entries = repository.unchanged_entries()
                for path in repository.scanned.keys() | entries.keys():
                    if (entry := entries.get(path)) != repository.scanned.get(path):
                        self.actual_entries[path] = entry
                self.dirty_directories |= repository.dirty_directories
            judged = repository.prefix + PROOF_MARKERS[self.stores[repository.path]]
            if entry := self.actual_entries.get(judged, repository.scanned.get(judged)):
                self.actual_entries[judged] = entry._replace(ctime_ns=0)

    def _leave_out_fixtures(self) -> None:
        """Treat repositories that another one tracks as plain files."""
        lookup = self.changes.fixtures
        if lookup is None or not self.stores:
            return
        differing = set(self.stores) if self.changes.fully_compared else set()
        if not differing:
            stores = (self._store(directory) for directory, _old, _new in self.changes.differing())
            differing = {store for store in stores if store is not None}
        for store in lookup.data_among(self.stores, differing - self.changes.protected, self.changes.source_manifest):
            del self.stores[store]
            self.verdicts[os.fsdecode(store)] = ""

    def _is_fixture(self, repository: GitMirror | HgMirror) -> bool:
        """Return whether a repository that is not sound is data of the surrounding one: its mirror was never sound, either."""
        store = repository.path
        if not fixtures.may_be_fixture(store, self.stores, fixtures.work_tree_pointers(self.changes.source_manifest)):
            return False
        if not isinstance(repository, GitMirror) or repository.prefix + b"HEAD" not in repository.mirrored:
            return True
        top = os.fsencode(self.settings.mirror(self.unit))
        copier = Copier(top, top, history=None, work=os.fsencode(self.settings.scratch), is_first_copy=True)
        try:
            nested = frozenset(self.stores) - {store}
            mirrored = GitMirror(
                store,
                copier,
                mirrored={},
                scanned={},
                nested=nested,
                scratch_dir=repository.scratch_dir,
                tries=1,
                account=self.settings.account,
            )
            return bool(mirrored.check())
        except (RepomanError, FileNotFoundError, NotADirectoryError):
            return True
        finally:
            copier.close()

    def _leave_to_plain(self, repository: GitMirror | HgMirror) -> None:
        """Mirror fixtures as files, and remove copied files that the scan did not see."""
        del self.stores[repository.path]
        self.verdicts[os.fsdecode(repository.path)] = ""
        if isinstance(repository, GitMirror):
            for path in repository.objects.keys() - repository.scanned.keys() - repository.mirrored.keys():
                self.copier.move_to_history(path)
        shown_path = escape_path(os.path.join(os.fsencode(self.unit.source), repository.path))
        self.copier.add_note(f"{shown_path} looks like a repository but is not a valid one; it was mirrored as plain files")

    def _changed_stores(self) -> set[bytes]:
        """Return the repositories whose mirrors are brought up to date."""
        changed: set[bytes] = set(self.stores) if self.changes.fully_compared else set()
        for directory, pairs in () if changed else self.changes.differences():
            store = self._store(directory)
            if store is not None and store not in changed:
                for old, new in pairs:
                    if (entry := new or old) and self._is_repository_data(store, entry) and change_type(old, new):
                        changed.add(store)
                        break
        unreadable = self.changes.unreadable
        changed -= self.changes.protected
        return {store for store in changed if not unreadable or nearest_ancestor(unreadable, store) is None}

    def _repositories(self) -> list[GitMirror | HgMirror]:
        changed = self._changed_stores() if self.stores else set()
        if not changed:
            return []
        mirrored: dict[bytes, dict[bytes, Entry]] = {store: {} for store in changed}
        scanned: dict[bytes, dict[bytes, Entry]] = {store: {} for store in changed}
        for manifest, entries in ((self.changes.mirror_manifest, mirrored), (self.changes.source_manifest, scanned)):
            for directory, block in manifest.blocks():
                store = self._store(directory)
                if store in changed:
                    loose = loose_object_length(directory, store) if self.stores[store] == "git" else -1
                    entries[store].update(
                        (entry.path, entry)
                        for entry in unpack_block(directory, block)
                        if len(entry.path) == loose or self._is_repository_data(store, entry)
                    )
        nested = frozenset(self.stores)
        repositories: list[GitMirror | HgMirror] = []
        for number, store in enumerate(sorted(changed)):
            arguments: dict[str, Any] = {
                "mirrored": mirrored[store],
                "scanned": scanned[store],
                "scratch_dir": os.path.join(self.settings.scratch, f"proof.{os.getpid()}.{id(self)}.{number}"),
                "tries": self.settings.tries,
                "account": self.settings.account,
                "unreadable_directories": frozenset(self.changes.unreadable),
            }
            if self.stores[store] == "hg":
                repositories.append(HgMirror(store, self.copier, proven=not self.changes.fully_compared, **arguments))
            else:
                repositories.append(
                    GitMirror(
                        store,
                        self.copier,
                        nested=nested - {store},
                        may_lose=self.settings.lose_repositories,
                        started_ns=self.settings.started_ns,
                        **arguments,
                    )
                )
        return repositories
