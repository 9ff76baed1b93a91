# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirror the repositories of a unit."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import diff_manifests
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import fixtures
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import GitMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.hg_mirror import HgMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import innermost
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import BusyError, DamagedError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_diff import change_type
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.unit_task import PROOF_MARKERS, UnitTask
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path


class RepositoryMirrors(UnitTask):
    """Mirrors the repositories of one unit."""

    def _bring(self, repository: GitMirror | HgMirror) -> bool:
        """Run a repository's preparation before its mirror changes; return whether to continue."""
        error: RepomanError | None = None
        try:
            repository.fetch()
        except RepomanError as failure:
            if isinstance(failure, BusyError | UnreadableError) or not (self.changes.first or isinstance(failure, DamagedError)):
                raise
            error = failure
        damage = repository.damage_error() if error is None else None
        if (error or damage) and self._is_fixture(repository):
            self._leave_to_plain(repository)
            return False
        if error is not None:
            self.unreadable.append(error)
            self.damaged.append(repository)
            return self.changes.first or not repository.have  # a mirror as damaged is better than none
        if damage is None or isinstance(repository, GitMirror):  # in Mercurial, the damage names what could not be read
            self.unreadable += repository.unreadable.values()
        if damage is not None:
            self.unreadable.append(damage)
            self.damaged.append(repository)
        return True

    def _take(self, repositories: list[GitMirror | HgMirror]) -> None:
        """Record what the mirrors of repositories hold now, and hard-link files that are one file in the source."""
        linked: dict[tuple[int, ...], list[Entry]] = {}
        for each in repositories:
            each.recheck_fresh_files()
            final = each.resulting_entries()
            for path in each.seen.keys() | final.keys():
                entry = final.get(path)
                if entry != each.seen.get(path):
                    self.actual_entries[path] = entry
            self.dirty_directories |= each.touched
            for entry in final.values():
                if entry.nlink > 1 and entry.type == "f":
                    if isinstance(each, GitMirror):
                        linked.setdefault((entry.inode,), []).append(entry)
                    elif entry.ctime_ns:  # clones share logs until one is written, so only names of the same state are linked
                        linked.setdefault((entry.inode, entry.ctime_ns, entry.size), []).append(entry)
        for group in linked.values():
            for entry in group[1:]:
                self.copier.link_to(group[0].path, entry, entry)

    def _leave(self, mirrored: list[GitMirror | HgMirror]) -> None:
        """Take over what the mirrors of damaged repositories hold, those that were left as they were too, so that the next run tries again."""
        for each in self.damaged:
            if each not in mirrored:
                held = each.unchanged_entries()
                for path in each.seen.keys() | held.keys():
                    if (entry := held.get(path)) != each.seen.get(path):
                        self.actual_entries[path] = entry
                self.dirty_directories |= each.touched
            judged = each.prefix + PROOF_MARKERS[self.stores[each.path]]
            if entry := self.actual_entries.get(judged, each.seen.get(judged)):
                self.actual_entries[judged] = entry._replace(ctime_ns=0)

    def _leave_out_fixtures(self) -> None:
        """Treat repositories that another one tracks as what they are to it: files."""
        lookup = self.changes.fixtures
        if lookup is None or not self.stores:
            return
        differing = set(self.stores) if self.changes.looked else set()
        if not differing:
            stores = (self._store(directory) for directory, _pairs in diff_manifests(self.changes.before, self.changes.now))
            differing = {each for each in stores if each is not None}
        for each in lookup.data_among(self.stores, differing - self.changes.frozen, self.changes.now):
            del self.stores[each]
            self.verdicts[os.fsdecode(each)] = ""

    def _is_fixture(self, repository: GitMirror | HgMirror) -> bool:
        """Tell whether a repository that is not sound is data of the one around it: its mirror was never sound either."""
        store = repository.path
        if not fixtures.may_be_fixture(store, self.stores, fixtures.work_tree_pointers(self.changes.now)):
            return False
        if not isinstance(repository, GitMirror) or repository.prefix + b"HEAD" not in repository.have:
            return True
        top = os.fsencode(self.settings.mirror(self.unit))
        copier = Copier(top, top, history=None, work=os.fsencode(self.settings.scratch), is_first_copy=True)
        try:
            nested = frozenset(self.stores) - {store}
            mirrored = GitMirror(
                store, copier, have={}, seen={}, nested=nested, proof=repository.proof, tries=1, far=False, account=self.settings.account
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
            for path in repository.objects.keys() - repository.seen.keys() - repository.have.keys():
                self.copier.move_to_history(path, None)
        where = escape_path(os.path.join(os.fsencode(self.unit.source), repository.path))
        self.copier.add_note(f"{where} looks like a repository but is not a valid one; it was mirrored as plain files")

    def _repositories(self) -> list[GitMirror | HgMirror]:
        if not self.stores or self.copier is None:
            return []
        changed: set[bytes] = set(self.stores) if self.changes.looked else set()
        for directory, pairs in () if changed else diff_manifests(self.changes.before, self.changes.now):
            store = self._store(directory)
            if store is not None and store not in changed:
                for old, new in pairs:
                    if (entry := new or old) and self._ours(store, entry) and change_type(old, new):
                        changed.add(store)
                        break
        closed = self.changes.closed
        changed = {each for each in changed if each not in self.changes.frozen and not (closed and innermost(closed, each) is not None)}
        if not changed:
            return []
        have: dict[bytes, dict[bytes, Entry]] = {each: {} for each in changed}
        seen: dict[bytes, dict[bytes, Entry]] = {each: {} for each in changed}
        for manifest, held in ((self.changes.before, have), (self.changes.now, seen)):
            for directory, block in manifest.blocks():
                store = self._store(directory)
                if store in changed:
                    held[store].update((entry.path, entry) for entry in unpack_block(directory, block) if self._ours(store, entry))
        nested = frozenset(self.stores)
        found: list[GitMirror | HgMirror] = []
        for number, store in enumerate(sorted(changed)):
            common: dict[str, Any] = {
                "have": have[store],
                "seen": seen[store],
                "proof": os.path.join(self.settings.scratch, f"proof.{os.getpid()}.{id(self)}.{number}"),
                "tries": self.settings.tries,
                "account": self.settings.account,
                "closed": frozenset(closed),
            }
            if self.stores[store] == "hg":
                found.append(HgMirror(store, self.copier, proven=not self.changes.looked, **common))
            else:
                found.append(
                    GitMirror(
                        store,
                        self.copier,
                        nested=nested - {store},
                        far=self.settings.far,
                        may_lose=self.settings.lose_repositories,
                        started_ns=self.settings.started_ns,
                        **common,
                    )
                )
        return found
