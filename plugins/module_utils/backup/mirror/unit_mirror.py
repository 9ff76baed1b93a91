# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Mirror one unit: its repositories, then everything else, then the attributes of directories."""

from __future__ import annotations

import os
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import patch_manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import entry_from_stat, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import STALE_SUFFIX, Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import GitMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.hg_mirror import HgMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.plain_files import PlainFiles
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_repositories
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_mirrors import RepositoryMirrors
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.result import MirrorResult, partial_error
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import AT_FDCWD, temporarily_writable
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import make_private
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import PSEUDO

MAX_DAMAGED = 1000


class UnitMirror(RepositoryMirrors, PlainFiles):
    """The work on one unit."""

    def run(self) -> MirrorResult:
        """Bring the mirror up to date.

        :raises RepomanError: the unit was not mirrored, or only in part; the next run continues.
        """
        changes, settings, unit = self.changes, self.settings, self.unit
        if changes.manifest_path:
            stale_path = changes.manifest_path + STALE_SUFFIX
            with suppress(FileNotFoundError):
                os.rename(changes.manifest_path, stale_path)
                if changes.mirror_manifest.path == changes.manifest_path:
                    changes.mirror_manifest.path = stale_path
        top = settings.new(unit) if changes.is_first_copy else settings.mirror(unit)
        if changes.is_first_copy:
            make_private(top)
        self.started_copier = copier = Copier(
            os.fsencode(unit.source),
            os.fsencode(top),
            history=None if changes.is_first_copy else os.path.join(os.fsencode(settings.history), self.name),
            work=os.fsencode(settings.temporaries or settings.work),
            is_first_copy=changes.is_first_copy,
            xattrs=settings.xattrs,
            acls=settings.acls,
            pool=self.pool,
            on_progress=self.report,
            unowned=frozenset(path for path, kind in unit.rules.mounts.items() if not unit.rules.follow_mounts or kind in PSEUDO),
        )
        with changes.source_manifest.held(), changes.mirror_manifest.held():
            self._mirror()
        if changes.is_first_copy:
            self._install_first_copy(top)
        return self._finish(copier)

    def _mirror(self) -> None:
        """Copy what differs, and remove what the source no longer has."""
        self.set_activity("scanning")
        self.stores = find_repositories(self.changes.source_manifest)
        self._leave_out_fixtures()
        candidates = self._repositories()
        repositories: list[GitMirror | HgMirror] = []
        for repository in candidates:
            self.set_activity("copying objects")
            if self._prepare(repository):
                repositories.append(repository)
                self.verdicts[os.fsdecode(repository.path)] = repository.unproven
        self.set_activity("copying")
        for repository in repositories:
            repository.publish()
        self._copy_plain()
        for repository in repositories:
            repository.remove()
        self._collect_results(repositories)
        self._mark_damaged(repositories)
        self._apply_directory_metadata()

    def _apply_directory_metadata(self) -> None:
        """Give directories their owner, mode and time, the innermost first."""
        copier = self.copier
        if self.unit.is_top_level:
            return
        paths = self.dirty_directories | copier.widened_modes.keys()

        vanished: set[bytes] = set()

        def apply_metadata(path: bytes) -> None:
            try:
                copier.apply_attributes(self.changes.unreadable.get(path) or entry_from_stat(path, copier.source_status(path)))
            except (FileNotFoundError, NotADirectoryError):
                vanished.add(path)

        depths: dict[int, dict[bytes, list[bytes]]] = {}
        for path in paths:
            depths.setdefault(path.count(b"/") + bool(path), {}).setdefault(path.rpartition(b"/")[0], []).append(path)
        for depth in sorted(depths, reverse=True):
            if self.pool is None:
                for parent, paths_below in depths[depth].items():
                    with copier.keep_open(parent):
                        copier.for_each(apply_metadata, paths_below)
            else:
                copier.for_each(apply_metadata, [path for paths_below in depths[depth].values() for path in paths_below])
        self._mark_vanished(vanished)

    def _mark_vanished(self, vanished: set[bytes]) -> None:
        """Mark directories that were missing for a moment in the manifest, so that the next run checks them again."""
        parents = {path.rpartition(b"/")[0] for path in vanished}
        for directory, block in self.changes.source_manifest.blocks() if vanished else ():
            if directory in parents:
                for entry in unpack_block(directory, block):
                    if entry.path in vanished and entry.type == "d" and self.actual_entries.get(entry.path, entry) is not None:
                        self.actual_entries[entry.path] = entry._replace(mtime_ns=entry.mtime_ns ^ 1, ctime_ns=0)

    def _install_first_copy(self, top: str) -> None:
        mirror = self.settings.mirror(self.unit)
        with temporarily_writable((AT_FDCWD, os.fsencode(top))):
            try:
                os.rename(top, mirror)
            except (NotADirectoryError, FileExistsError, IsADirectoryError):
                aside = os.path.join(self.settings.history, TOP_LEVEL_FILES)
                make_private(aside)
                os.rename(mirror, os.path.join(aside, self.unit.name))
                os.rename(top, mirror)

    def _finish(self, copier: Copier) -> MirrorResult:
        manifest = self.changes.source_manifest
        if self.actual_entries:
            path = f"{manifest.path or os.path.join(self.settings.scratch, f'{os.getpid()}.{id(self)}')}.mirrored"
            manifest = patch_manifest(manifest, self.actual_entries, path)
        if self.errors:
            result = self.outcome("failed", partial_error(self.unit, self.errors, self.changes.protected))
        else:
            result = self.outcome("synced" if copier.files or self.changes.total else "up to date")
        if not manifest.path:
            manifest.save(path := os.path.join(self.settings.scratch, f"{os.getpid()}.{id(self)}.manifest"))
            manifest = Manifest(path=path, digest=manifest.digest)
        result.manifest, result.digest = manifest.path, manifest.digest
        result.settled = not self.actual_entries
        result.created = [os.fsdecode(path) for path in self._unplanned_entries()]
        result.damaged = [
            str(damage) for repository in self.damaged if isinstance(repository, GitMirror) for damage in repository.damage.values()
        ]
        result.damaged = result.damaged[:MAX_DAMAGED]
        result.verdicts = self.verdicts
        return result

    def _unplanned_entries(self) -> list[bytes]:
        """Return the paths in the mirror that appeared in the source after the scan."""
        created = {path for path, entry in self.actual_entries.items() if entry is not None}
        parents = {path.rpartition(b"/")[0] for path in created}
        for manifest in (self.changes.source_manifest, self.changes.mirror_manifest) if created else ():
            for directory, block in manifest.blocks():
                if directory in parents:
                    created -= {entry.path for entry in unpack_block(directory, block)}
        return sorted(created)
