# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Repositories that the mirror has and the source no longer has: the mirror keeps them.

``.git/objects``, ``HEAD``, ``.hg/store`` or a whole ``.git`` can be lost by accident, by a bad disk or by a container. Unless the user
confirms the removal, the mirror keeps such a repository as it is. A clone inside another repository's work tree that is removed with
its directory, and a repository that was moved, are changes like any others.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from typing import TypeAlias

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import merge_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, pack_block, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest, ManifestWriter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import fixtures
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.fixtures import FixtureLookup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg import share_files
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import (
    find_repositories,
    find_shares,
    kind_in,
    nearest_ancestor,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import BusyError, DamagedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

PARTS: dict[str, dict[bytes, str]] = {
    "git": {b"HEAD": "fl", b"objects": "d", b"refs": "d"},
    "hg": {b"requires": "f", b"store": "d"},
    "share": {b"requires": "f", b"sharedpath": "f"},
}
"""Entries that make a directory a repository, each with its possible types."""
Kinds: TypeAlias = Mapping[bytes, str]
"""Git and ``.hg`` directories, each with ``git``, ``hg`` or ``share``."""


@dataclass(frozen=True)
class Vanished:
    """A repository that the source has no longer.

    :param store: its git or ``.hg`` directory.
    :param lost: paths that are missing or replaced; restoring them repairs the repository.
    :param blocked: something else is at one of them.
    :param root: directory that the mirror keeps completely; if it is ``store`` itself and still a directory, only the repository's files.
    :param reason: the problem of the contents of an existing file.
    """

    store: bytes
    lost: tuple[bytes, ...]
    blocked: bool
    root: bytes
    partial: bool
    emptied: bool = False
    reason: str = ""


def find_vanished(
    mirror: Manifest, source: Manifest, lookup: FixtureLookup, rules: TreeRules | None = None
) -> tuple[list[Vanished], list[bytes]]:
    """Return the repositories that were lost, and those that were removed like other directories.

    :param lookup: finds those that are only data.
    :param rules: rules of the unit: an excluded repository is not lost.
    :raises BusyError: one of them exists now.
    """
    mirrored = _find_all(mirror)
    current = _find_all(source, mirrored)
    # A store of its own that became a reference to another one is as lost as one that is gone.
    missing = sorted(store for store, kind in mirrored.items() if store not in current or (kind == "hg" and current[store] == "share"))
    if missing and rules is not None:
        missing = [store for store in missing if not rules.leaves_out(lookup.source, store)]
    emptied = []
    if source.has_several_entries():
        emptied = [
            *_without_references(mirror, source, mirrored, current, lookup, rules),
            *_damaged_shares(mirror, source, mirrored, current, lookup, rules),
        ]
    if not missing or not source.has_several_entries():
        return emptied, []
    search = _Search(mirror, source, lookup.source, mirrored, current, missing)
    vanished: list[Vanished] = emptied
    removed: list[bytes] = []
    for store in missing:
        if any(not each.partial and _is_in(store, each.root) for each in vanished):
            continue
        if lookup.is_data(store, mirrored | current, search.pointers):
            continue
        verdict = search.judge(store)
        if verdict is None:
            removed.append(store)
        else:
            search.confirm(verdict)
            vanished.append(verdict)
    return vanished, removed


def _find_all(manifest: Manifest, known: Kinds | None = None) -> dict[bytes, str]:
    """Return the repositories of a tree, and the work trees that share the store of one; ``known`` as in :func:`find_repositories`."""
    return find_shares(manifest) | find_repositories(manifest, known)


def _damaged_shares(
    mirror: Manifest, source: Manifest, mirrored: Kinds, current: Kinds, lookup: FixtureLookup, rules: TreeRules | None
) -> Iterator[Vanished]:
    """Yield the shares in which a file was emptied or overwritten. They have no store, so hg does not verify them."""
    common = sorted(store for store, kind in current.items() if kind == "share" == mirrored.get(store))
    if not common:
        return
    files = {_join(store, name) for store in common for name in share_files.NAMES}
    new, old = _entries(source, files), _entries(mirror, files)
    changed = {path for path, entry in old.items() if entry.type == "f" and entry.size and new.get(path) != entry}
    for store in common:
        damaged = {
            path: reason for name in share_files.NAMES if (path := _join(store, name)) in changed and (reason := _reason(lookup, path, new))
        }
        if not damaged or lookup.is_data(store, mirrored, fixtures.work_tree_pointers(source)):
            continue
        if rules is None or not rules.leaves_out(lookup.source, store):
            texts = "; ".join(f"{escape_path(path.rpartition(b'/')[2])} {reason}" for path, reason in damaged.items())
            yield Vanished(store, tuple(damaged), True, store, True, reason=texts)


def _reason(lookup: FixtureLookup, path: bytes, entries: Mapping[bytes, Entry]) -> str:
    if path not in entries:  # hg removes the dirstate of an empty work tree
        return ""
    return share_files.problem(lookup.source, path)


def _without_references(
    mirror: Manifest, source: Manifest, mirrored: Kinds, current: Kinds, lookup: FixtureLookup, rules: TreeRules | None
) -> Iterator[Vanished]:
    """Yield the git directories that still exist and have lost all references: an emptied ``refs`` is as bad as a missing one.

    git itself, when it deletes the last branch, leaves the directory ``refs/heads``.

    :raises BusyError: the references were packed during the scan.
    """
    common = {store for store, kind in current.items() if kind == "git" and mirrored.get(store) == "git"}
    suspects = (_with_loose_references(mirror, common) if common else set()) - _with_references(source, common)
    heads = {_join(store, b"refs/heads"): store for store in suspects}
    suspects -= {heads[directory] for directory, _block in source.blocks() if directory in heads}
    for store in sorted(suspects):
        if lookup.is_data(store, mirrored, fixtures.work_tree_pointers(source)) or (
            rules is not None and rules.leaves_out(lookup.source, store)
        ):
            continue
        top_fd = os.open(lookup.source, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            is_packed = _kind_at(top_fd, _join(store, b"packed-refs")) == "f"
        finally:
            os.close(top_fd)
        if is_packed:
            raise BusyError(
                f"{escape_path(os.path.join(lookup.source, store))} changed while it was scanned; its mirror was not updated.",
                "try again later",
            )
        yield Vanished(store, (_join(store, b"refs"),), True, store, True, emptied=True)


def _with_loose_references(manifest: Manifest, stores: set[bytes]) -> set[bytes]:
    """Return which git directories have a file below ``refs``."""
    with_references: set[bytes] = set()
    for directory, block in manifest.blocks():
        if b"refs" in directory and b"refs" in directory.split(b"/"):
            store = nearest_ancestor(stores, directory)
            inner = directory[len(store) + 1 if store else 0 :] if store is not None else b""
            if store is not None and store not in with_references and inner.split(b"/")[0] == b"refs":
                with_references |= {store for entry in unpack_block(directory, block) if entry.type != "d"}
    return with_references


def _with_references(manifest: Manifest, stores: set[bytes]) -> set[bytes]:
    """Return which git directories have references, loose or packed or in tables."""
    with_references = _with_loose_references(manifest, stores)
    for directory, block in manifest.blocks():
        if directory in stores and (b"packed-refs" in block or b"reftable" in block):
            with_references |= {directory for entry in unpack_block(directory, block) if entry.name in {b"packed-refs", b"reftable"}}
    return with_references


class _Search:
    """Facts about the paths of repositories that are missing."""

    def __init__(
        self, mirror: Manifest, source: Manifest, source_path: bytes, mirrored: Kinds, current: Kinds, missing: Iterable[bytes]
    ) -> None:
        self.source_path, self.mirrored, self.current = source_path, mirrored, current
        paths = {above for store in missing for above in (store, *_ancestors(store))}
        paths |= {_join(store, part) for store in missing for part in (*PARTS[mirrored[store]], b"config")}
        self.entries = _entries(source, paths | current.keys())
        self.mirrored_entries = _entries(mirror, {*missing, *(_join(store, b"config") for store in missing)})
        self.filled = {directory for directory, block in source.blocks() if directory in paths and _has_content(directory, block)}
        self.pointers = fixtures.work_tree_pointers(mirror) | fixtures.work_tree_pointers(source)
        self.moved = {entry.inode for store in current.keys() - mirrored.keys() if (entry := self.entries.get(store)) is not None}
        self.targets = self._pointer_targets(source)

    def _pointer_targets(self, source: Manifest) -> dict[bytes, bytes]:
        """Return the work trees of the source that have a ``.git`` file, with the directory it names."""
        top_fd = os.open(self.source_path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            targets = {
                tree: fixtures.read_pointer(top_fd, _join(tree, b".git"), self.source_path) for tree in fixtures.work_tree_pointers(source)
            }
            return {tree: target for tree, target in targets.items() if target is not None}
        finally:
            os.close(top_fd)

    def judge(self, store: bytes) -> Vanished | None:
        """Return the lost parts of a repository; None if it was removed or moved."""
        entry = self.entries.get(store)
        if not store or (entry is not None and entry.type == "d"):
            return self._without_parts(store)
        old = self.mirrored_entries.get(store)
        if old is not None and old.inode in self.moved:
            return None
        holder, _slash, name = store.rpartition(b"/")
        is_dotted = name in {b".git", b".hg"}
        if entry is not None:
            return None if self._leads_to_another(store, entry) else Vanished(store, (store,), True, store, False)
        if is_dotted and holder in self.filled:
            return Vanished(store, (store,), False, store, False)
        if nearest_ancestor(self.mirrored, holder) is not None and not is_dotted:  # a submodule's
            is_needed = any(_is_in(each, store) for each in self.targets.values())
            return Vanished(store, (store,), False, store, False) if is_needed else None
        project = holder if is_dotted and holder else store
        if nearest_ancestor(self.mirrored, project) is not None or fixtures.work_tree_of(project, self.mirrored, self.pointers) is not None:
            return None
        return Vanished(store, (project,), project in self.entries, project, False)

    def _without_parts(self, store: bytes) -> Vanished:
        missing_parts, blocked = [], False
        for part, kinds in PARTS[self.mirrored[store]].items():
            entry = self.entries.get(_join(store, part))
            if entry is None or entry.type not in kinds:
                missing_parts.append(_join(store, part))
                blocked = blocked or entry is not None
        config = _join(store, b"config")
        if self.mirrored[store] == "git" and config in self.mirrored_entries and config not in self.entries:
            missing_parts.append(config)
        return Vanished(store, tuple(missing_parts), blocked, store, True)

    def _leads_to_another(self, store: bytes, entry: Entry) -> bool:
        """Return whether the repository was moved and a file or link in its place leads to it, as after ``git submodule absorbgitdirs``."""
        holder = store.rpartition(b"/")[0]
        if entry.type == "l":
            relative_path = os.path.relpath(os.path.normpath(os.path.join(self.source_path, holder, entry.link)), self.source_path)
            return relative_path in self.current
        target = self.targets.get(holder)
        return entry.type == "f" and target is not None and nearest_ancestor(self.current, target) is not None

    def confirm(self, vanished: Vanished) -> None:
        """Check again: git replaces ``HEAD`` with a rename, and the scan may have missed it.

        :raises BusyError: the repository is complete now.
        """
        kinds = PARTS[self.mirrored[vanished.store]]
        top_fd = os.open(self.source_path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            is_complete = all(_kind_at(top_fd, _join(vanished.store, part)) in kind for part, kind in kinds.items())
            is_complete = is_complete and all(_kind_at(top_fd, path) != "-" for path in vanished.lost)
        finally:
            os.close(top_fd)
        if is_complete:
            shown_path = escape_path(os.path.join(self.source_path, vanished.store))
            raise BusyError(f"{shown_path} changed while it was scanned; its mirror was not updated.", "try again later")


def _kind_at(top_fd: int, path: bytes) -> str:
    parent, _slash, name = path.rpartition(b"/")
    try:
        fd = open_beneath(top_fd, parent, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return "-"
    try:
        mode = os.stat(name, dir_fd=fd, follow_symlinks=False).st_mode
    except OSError:
        return "-"
    finally:
        os.close(fd)
    return "d" if stat.S_ISDIR(mode) else "f" if stat.S_ISREG(mode) else "l" if stat.S_ISLNK(mode) else "-"


def describe(unit: Unit, vanished: Vanished, kept_days: int = 30) -> DamagedError:
    """Return the error of a lost repository, with the command that restores it."""
    shown_path = escape_path(os.path.join(os.fsencode(unit.source), vanished.store))
    parts = ", ".join(escape_path(each.rpartition(b"/")[2]) for each in vanished.lost)
    options = [("--path", each) for each in vanished.lost]
    blocked = ("--overwrite",) if vanished.blocked else ()
    hints = (
        repoman_command("restore", [unit.name], *options, *blocked),
        f"if you deleted it on purpose: {repoman_command('sync', [unit.name], '--allow-shrink')}   # its mirror is kept for {kept_days} days",
    )
    if vanished.emptied:
        return DamagedError(f"{shown_path} has lost all its references.", *hints)
    if vanished.reason:
        return DamagedError(f"{shown_path} is damaged: {vanished.reason}.", *hints)
    if vanished.partial:
        state = f"{'is' if len(vanished.lost) == 1 else 'are'} missing{' or replaced' if vanished.blocked else ''}"
        return DamagedError(f"{shown_path} is no longer a repository: {parts} {state}.", *hints)
    return DamagedError(f"{shown_path} is gone.", *hints)


def keep(source: Manifest, mirror: Manifest, vanished: Iterable[Vanished], path: str) -> Manifest:
    """Return the source's entries, with the mirror's entries of lost repositories.

    :param path: for the manifest.
    """
    listed = list(vanished)
    roots = {item.root for item in listed if not item.partial}
    partial = {item.store for item in listed if item.partial}
    lost = {store: kind for store, kind in _find_all(mirror).items() if store in partial}
    stores = find_repositories(source, lost) | lost
    chain: dict[bytes, set[bytes]] = {}
    for item in listed:
        for above in (item.root, *_ancestors(item.root)):
            if above:
                chain.setdefault(above.rpartition(b"/")[0], set()).add(above)
    tops = {store: {entry.name for entry in unpack_block(store, block)} for store, block in source.blocks() if store in partial}
    with ManifestWriter(path) as writer:
        for directory, (new, old) in merge_blocks(source, mirror):
            if nearest_ancestor(roots, directory) is not None:
                block = old
            else:
                entries = {entry.path: entry for entry in unpack_block(directory, new or b"")}
                mirrored = {entry.path: entry for entry in unpack_block(directory, old or b"")}
                store = nearest_ancestor(stores, directory)
                if store in partial and store is not None:
                    entries = _merged(store, stores, entries, mirrored, tops.get(store, set()))
                for above in chain.get(directory, ()):
                    if above not in entries or entries[above].type != "d":
                        entries[above] = mirrored[above]
                block = b"".join(entries[path].record() for path in sorted(entries)) if entries or new is not None else None
            if block is not None:
                writer.add(pack_block(directory, [block]))
        return writer.finish()


def _merged(
    store: bytes, stores: Mapping[bytes, str], new: Mapping[bytes, Entry], old: Mapping[bytes, Entry], tops: set[bytes]
) -> dict[bytes, Entry]:
    """Return the entries of a directory in a repository that lost parts: its own files stay, other files are mirrored as usual."""
    entries: dict[bytes, Entry] = {}
    for path in new.keys() | old.keys():
        top = path[len(store) + 1 if store else 0 :].partition(b"/")[0]
        is_own = bool(path) and path != store and kind_in(stores, store, path) != "plain"
        chosen = old.get(path) if is_own or (path and top not in tops) else new.get(path)
        if chosen is not None:
            entries[path] = chosen
    return entries


def protected_stores(mirror: Manifest, vanished: Iterable[Vanished]) -> frozenset[bytes]:
    """Return the repositories whose mirrors do not change."""
    listed = list(vanished)
    roots = [item.root for item in listed if not item.partial]
    return frozenset(
        store for store in _find_all(mirror) if any(store == item.store for item in listed) or any(_is_in(store, root) for root in roots)
    )


def _entries(manifest: Manifest, paths: Set[bytes]) -> dict[bytes, Entry]:
    parents = {path.rpartition(b"/")[0] for path in paths}
    return {
        entry.path: entry
        for directory, block in manifest.blocks()
        if directory in parents
        for entry in unpack_block(directory, block)
        if entry.path in paths and entry.path
    }


def _has_content(directory: bytes, block: bytes) -> bool:
    return any(entry.path != directory for entry in unpack_block(directory, block))


def _ancestors(path: bytes) -> Iterable[bytes]:
    while path:
        path = path.rpartition(b"/")[0]
        yield path


def _is_in(path: bytes, root: bytes) -> bool:
    return path == root or not root or path.startswith(root + b"/")


def _join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name
