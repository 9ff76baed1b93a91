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
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_stores
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

        :raises RepomanError: nothing, or not all, could be done; what was begun goes on in the next run.
        """
        changes, settings, unit = self.changes, self.settings, self.unit
        if changes.saved:
            with suppress(FileNotFoundError):
                os.rename(changes.saved, changes.saved + STALE_SUFFIX)
                changes.before.path = changes.saved + STALE_SUFFIX if changes.before.path == changes.saved else changes.before.path
        top = settings.new(unit) if changes.first else settings.mirror(unit)
        if changes.first:
            make_private(top)
        self.begun = copier = Copier(
            os.fsencode(unit.source),
            os.fsencode(top),
            history=None if changes.first else os.path.join(os.fsencode(settings.kept), self.name),
            work=os.fsencode(settings.temporaries or settings.work),
            is_first_copy=changes.first,
            xattrs=settings.xattrs,
            acls=settings.acls,
            pool=self.pool,
            on_progress=self.report,
            unowned=frozenset(path for path, kind in unit.rules.mounts.items() if not unit.rules.follow_mounts or kind in PSEUDO),
        )
        self.set_activity("scanning")
        self.stores = find_stores(self.changes.now)
        self._leave_out_fixtures()
        found = self._repositories()
        repositories: list[GitMirror | HgMirror] = []
        for each in found:
            self.set_activity("copying objects")
            if self._bring(each):
                repositories.append(each)
                self.verdicts[os.fsdecode(each.path)] = each.unproven
        self.set_activity("copying")
        for each in repositories:
            each.publish()
        self._plain()
        for each in repositories:
            each.remove()
        self._take(repositories)
        self._leave(repositories)
        self._directories()
        if changes.first:
            self._put_in_place(top)
        return self._finish(copier)

    def _directories(self) -> None:
        """Give directories their owner, mode and time, the innermost first."""
        copier = self.copier
        if self.unit.is_top_level:
            return
        paths = self.dirty_directories | copier.widened_modes.keys()

        gone: set[bytes] = set()

        def dress(path: bytes) -> None:
            try:
                copier.apply_attributes(self.changes.closed.get(path) or entry_from_stat(path, copier.source_status(path)))
            except (FileNotFoundError, NotADirectoryError):
                gone.add(path)

        depths: dict[int, dict[bytes, list[bytes]]] = {}
        for path in paths:
            depths.setdefault(path.count(b"/") + bool(path), {}).setdefault(path.rpartition(b"/")[0], []).append(path)
        for depth in sorted(depths, reverse=True):
            if self.pool is None:
                for parent, below in depths[depth].items():
                    with copier.keep_open(parent):
                        copier.each(dress, below)
            else:
                copier.each(dress, [path for below in depths[depth].values() for path in below])
        self._note_undressed(gone)

    def _note_undressed(self, gone: set[bytes]) -> None:
        """Mark directories that were missing for a moment in the manifest, so that the next run checks them again."""
        parents = {path.rpartition(b"/")[0] for path in gone}
        for directory, block in self.changes.now.blocks() if gone else ():
            if directory in parents:
                for entry in unpack_block(directory, block):
                    if entry.path in gone and entry.type == "d" and self.actual_entries.get(entry.path, entry) is not None:
                        self.actual_entries[entry.path] = entry._replace(mtime_ns=entry.mtime_ns ^ 1, ctime_ns=0)

    def _put_in_place(self, top: str) -> None:
        final = self.settings.mirror(self.unit)
        with temporarily_writable((AT_FDCWD, os.fsencode(top))):
            try:
                os.rename(top, final)
            except (NotADirectoryError, FileExistsError, IsADirectoryError):
                aside = os.path.join(self.settings.kept, TOP_LEVEL_FILES)
                make_private(aside)
                os.rename(final, os.path.join(aside, self.unit.name))
                os.rename(top, final)

    def _finish(self, copier: Copier) -> MirrorResult:
        manifest = self.changes.now
        if self.actual_entries:
            path = f"{manifest.path or os.path.join(self.settings.scratch, f'{os.getpid()}.{id(self)}')}.mirrored"
            manifest = patch_manifest(manifest, self.actual_entries, path)
        if self.unreadable:
            result = self.outcome("failed", partial_error(self.unit, self.unreadable, self.changes.frozen))
        else:
            result = self.outcome("synced" if copier.files or self.changes.total else "up to date")
        if not manifest.path:
            manifest.save(path := os.path.join(self.settings.scratch, f"{os.getpid()}.{id(self)}.manifest"))
            manifest = Manifest(path=path, digest=manifest.digest)
        result.manifest, result.digest = manifest.path, manifest.digest
        result.settled = not self.actual_entries
        result.created = [os.fsdecode(path) for path in self._unforeseen()]
        result.damaged = [str(found) for each in self.damaged if isinstance(each, GitMirror) for found in each.damage.values()]
        result.damaged = result.damaged[:MAX_DAMAGED]
        result.verdicts = self.verdicts
        return result

    def _unforeseen(self) -> list[bytes]:
        """Return what came up in the source after the scan, and is in the mirror."""
        found = {path for path, entry in self.actual_entries.items() if entry is not None}
        parents = {path.rpartition(b"/")[0] for path in found}
        for manifest in (self.changes.now, self.changes.before) if found else ():
            for directory, block in manifest.blocks():
                if directory in parents:
                    found -= {entry.path for entry in unpack_block(directory, block)}
        return sorted(found)
