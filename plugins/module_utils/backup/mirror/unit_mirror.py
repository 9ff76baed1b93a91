# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Mirrors of units: what would change, making it so, and looking whether it is so.

A unit without a mirror is built in ``work/new`` and moved into place whole; a mirror that is there is changed step by step, each of
which leaves a mirror that git and hg accept. A unit is one process's work; units are spread over processes, and where the target is
far each process also has threads that wait for it.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import diff_manifests, merge_blocks, patch_manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry, entry_of, pack_block, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import STALE_SUFFIX, Manifest, ManifestWriter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scan_units import format_exception
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import REACH, walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter, TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import TOP_LEVEL_FILES, Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import fixtures, target_traits, vanished_stores
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.attributes import same_attributes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError, UnwritableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import same_contents
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.file_copier import TIMESTAMP_GRANULARITY_NS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.fixtures import FixtureLookup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import BusyError, DamagedError, GitDirectory
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.hg_mirror import HgMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import is_transaction_backup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.metadata import safe_mode
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.name_clashes import without_clashes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_stores, innermost, kind_in, owns
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.tally import Tally
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.vanished_stores import Vanished
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.write_errors import NO_SPACE, unit_error
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import discard
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import InterruptedRunError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.renaming import temporarily_writable
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import is_directory, make_private, remove_tree
from ansible_collections.homelab.repoman.plugins.module_utils.host.mounts import PSEUDO
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import imap_forked

FAR_THREADS = 16
FAR_UNITS = 8
FAR_FIRST_UNITS = 16
"""So many units are mirrored at once on a far target; where some are copied for the first time."""
FAR_BATCH = 512
SHOWN_ERRORS = 5
SHOWN_LENGTH = 1000
"""Errors after the first are told as long as all of them together are not longer."""
SHOWN_STORES = 3
MAX_DAMAGED = 1000
DOUBT_NS = 60 * 10**9
"""A file of the source that changed later than its copy was made, or so little before it that clocks may differ, is compared."""
JUDGED = {"git": b"HEAD", "hg": b"requires"}
"""The file of a repository whose entry in the manifest has no ``ctime_ns`` while the repository is damaged: the next run proves it again."""
_MAY_PASS = re.compile(rb"lock$|gc\.pid$|packed-refs\.new$|objects/(.*/)?(tmp_|\.tmp-|incoming-)|journal|00changelog\.i\.a$|~$")
"""What a path has that can be one of a lock, or of a file that is not whole yet: most have not, and need no closer look."""


@dataclass(frozen=True)
class Settings:
    """How a run mirrors.

    :param target: ``backup_root``.
    :param kept: directory of this run under ``.repoman/kept``, on the target; what unit ``u`` replaces goes to ``kept/u``.
    :param work: directory on the target for what is not in place yet (``.repoman/work``).
    :param temporaries: directory below ``work`` for files of this run that are not whole yet; ``work`` itself if it is empty.
    :param scratch: local directory, ours alone, that is gone after the run.
    :param full: compare everything with the mirror, whatever the last manifest says.
    :param xattrs: keep extended attributes.
    :param acls: keep access lists.
    :param account: uid and gid that git and hg run as, where the run is root's.
    :param tries: how often a repository that is being written is tried.
    :param far: each operation on the target costs a round trip.
    :param jobs: units at once; 0 leaves it to the number of processors, or on a far target to how many can wait for it.
    :param lose_repositories: allow removing repositories that the source no longer has (``--allow-shrink``).
    """

    target: str
    kept: str
    work: str
    scratch: str
    full: bool = False
    xattrs: bool = False
    acls: bool = False
    account: tuple[int, int] | None = None
    tries: int = 8
    far: bool = False
    jobs: int = 0
    lose_repositories: bool = False
    temporaries: str = ""

    def mirror(self, unit: Unit) -> str:
        """Return the directory of a unit's mirror."""
        return self.target if unit.loose else os.path.join(self.target, unit.name)

    def new(self, unit: Unit) -> str:
        """Return the directory where a unit's first copy is made."""
        return os.path.join(self.work, "new", unit.name)


@dataclass
class Changes:
    """What mirroring a unit would change.

    :param now: what the source has.
    :param before: what the mirror has.
    :param saved: file with the last manifest, which goes before the mirror is touched: an interrupted run is followed by a full comparison.
    :param mirrored: entries that the mirror has (the shrink guard compares ``removed`` with it).
    :param first: there is no mirror yet.
    :param looked: ``before`` is what the mirror was seen to have, not the last manifest: its repositories are proven again.
    :param closed: directories that cannot be read, as the mirror has them: what is in them stays as ``before``, and ``now``, have it.
    :param unread: why they cannot, and which repositories were lost.
    :param frozen: repositories that have such a directory or were lost, and stay as the mirror has them: it is whole, and what is not seen
        may be needed.
    :param notes: notes on the unit.
    :param fixtures: tells which repositories are data of another.
    :param attributes: extended attributes or access lists are kept: a directory whose ``ctime_ns`` alone differs may have others.
    """

    unit: Unit
    now: Manifest
    before: Manifest
    saved: str = ""
    created: int = 0
    changed: int = 0
    removed: int = 0
    mirrored: int = 0
    first: bool = False
    looked: bool = False
    closed: dict[bytes, Entry] = field(default_factory=dict)
    unread: list[RepomanError] = field(default_factory=list)
    frozen: frozenset[bytes] = frozenset()
    notes: list[str] = field(default_factory=list)
    fixtures: FixtureLookup | None = None
    attributes: bool = False

    def __post_init__(self) -> None:
        self._passing = TransientFilter(self.now, self.fixtures)

    @property
    def total(self) -> int:
        """Return how many entries differ."""
        return self.created + self.changed + self.removed

    def items(self) -> Iterator[tuple[str, bytes]]:
        """Yield ``created``, ``changed`` or ``removed``, and the path; empty for the unit's own directory. What is never mirrored is left out."""
        for _directory, pairs in diff_manifests(self.before, self.now):
            for old, new in pairs:
                if (what := _what(old, new, attributes=self.attributes)) and not self._passing(path := (new or old).path):  # type: ignore[union-attr]
                    yield what, path


@dataclass
class Outcome:
    """What mirroring one unit came to.

    :param state: ``synced``, ``up to date``, ``too busy`` or ``failed``.
    :param manifest: file (in scratch) with the manifest to save: what the mirror holds now. A unit that failed may have one too: all but
        what the error names was mirrored.
    :param digest: of that manifest: what to save and, if synced, to stamp.
    :param settled: the mirror is all that the scan saw; otherwise some things changed meanwhile and are left for the next run.
    :param files: entries written or removed.
    :param bytes: contents copied.
    :param kept_bytes: contents moved to kept.
    :param notes: what cannot be reproduced on the target.
    :param created: what the mirror has that was neither in it nor in the scan.
    :param damaged: what of the source's git repositories is damaged, a sentence each.
    :param verdicts: why repositories that were mirrored could not be verified, by their path in the unit; empty if they could.
    """

    unit: Unit
    state: str
    error: RepomanError | None = None
    manifest: str = ""
    digest: str = ""
    settled: bool = True
    files: int = 0
    bytes: int = 0
    kept_bytes: int = 0
    notes: list[str] = field(default_factory=list)
    created: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    verdicts: dict[str, str] = field(default_factory=dict)


def prepare(settings: Settings, wanted: Container[str] | None = None) -> None:
    """Make the directories of a run, and clear away what a killed run left; a first copy that was not finished is kept to go on with.

    Temporary files of other runs are not touched: these runs may still be active.

    :param wanted: the units whose first copy that may be; None for all.
    """
    new = os.path.join(settings.work, "new")
    make_private(new)
    for each in (settings.work, os.path.dirname(settings.kept)):  # made by an earlier version, they may be open to others
        with suppress(FileNotFoundError, PermissionError):
            if stat.S_IMODE(os.stat(each).st_mode) & 0o077:
                os.chmod(each, 0o700)
    if not settings.temporaries:
        _clear(settings.work, ("new",))
    target_traits.find_out(settings.work, settings.temporaries or settings.work)
    if wanted is not None:
        _clear(new, wanted)


def _clear(directory: str, stays: Container[str]) -> None:
    """Remove what a directory of ours holds, but for what stays."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for each in os.listdir(held):
            if each not in stays:
                remove_tree(os.fsencode(each), held)
    finally:
        os.close(held)


def plan(
    unit: Unit,
    before: Manifest | None,
    now: Manifest,
    settings: Settings,
    *,
    saved: str = "",
    closed: Mapping[bytes, UnreadableError] = MappingProxyType({}),
    stays: Iterable[bytes] = (),
) -> Changes:
    """Compare a unit with its mirror: by the last manifest, or without one (or ``full``) by looking at the mirror.

    :param saved: file that ``before`` was loaded from.
    :param closed: directories that could not be read: what the mirror has in them stays, and is taken for what they hold.
    :param stays: directories of which the same is true although nothing is wrong: something is, or was, mounted on them.
    """
    shut: dict[bytes, Entry] = {}
    now, clashes = without_clashes(unit, now, target_traits.load(settings.work), _beside(now, settings, unit, "without-clashes"))
    if closed:
        shut = _shut(now, closed)
        now = patch_manifest(now, shut, _beside(now, settings, unit, "shut"))
    shut |= _entries_at(now, frozenset(stays))
    mirror = settings.mirror(unit)
    first = not unit.loose and not is_directory(mirror)
    looked = first or before is None or settings.full
    last = before or (saved and (Manifest.load(saved) or Manifest.load(saved + STALE_SUFFIX))) or None if looked else None
    if first:
        begun = settings.new(unit)
        held = _look(begun, now, settings, unit, None) if is_directory(begun) else Manifest()
    elif before is None or settings.full:
        held = _look(mirror, now, settings, unit, last) if is_directory(mirror) else Manifest()
    else:
        held = before
    frozen: frozenset[bytes] = frozenset()
    if shut:
        stores = find_stores(now)
        inner = {path: store for path in shut if (store := innermost(stores, path)) is not None}
        if not first:
            mirrored = find_stores(held)
            frozen = frozenset(
                store for path, store in inner.items() if store in mirrored and kind_in(stores, store, path) not in {"plain", "passing"}
            )
        now = _filled(now, held, shut, stores, frozen, _beside(now, settings, unit, "filled"))
    problems: list[RepomanError] = [*closed.values(), *clashes]
    lookup = FixtureLookup(os.fsencode(unit.source), settings.scratch, settings.account, os.fsencode(settings.mirror(unit)))
    notes: list[str] = []
    if not first and not unit.loose:
        lost, notes = _lost(unit, now, held, settings, lookup)
        if lost:
            problems += [vanished_stores.describe(unit, each) for each in lost]
            frozen |= vanished_stores.kept_stores(held, lost)
            now = vanished_stores.keep(now, held, lost, _beside(now, settings, unit, "with-vanished"))
    changes = Changes(
        unit,
        now,
        held,
        saved,
        mirrored=0 if first else held.count(),
        first=first,
        looked=looked,
        closed=shut,
        unread=problems,
        frozen=frozen,
        notes=notes,
        fixtures=lookup,
        attributes=settings.xattrs or settings.acls,
    )
    for what, _path in changes.items():
        if what == "created":
            changes.created += 1
        elif what == "changed":
            changes.changed += 1
        else:
            changes.removed += 1
    return changes


def _lost(unit: Unit, now: Manifest, held: Manifest, settings: Settings, lookup: FixtureLookup) -> tuple[list[Vanished], list[str]]:
    """Return the repositories that a unit lost, and notes on those that were removed."""
    lost, removed = vanished_stores.find_vanished(held, now, lookup, unit.rules)
    if settings.lose_repositories:
        return [], []
    return lost, [f"the repository {escape_path(each)} is gone from the source; its mirror was moved to the history" for each in removed]


def _beside(manifest: Manifest, settings: Settings, unit: Unit, what: str) -> str:
    """Return a path for another form of a manifest."""
    return f"{manifest.path or os.path.join(settings.scratch, f'{os.getpid()}.{abs(hash(unit.name))}')}.{what}"


def _shut(now: Manifest, closed: Mapping[bytes, UnreadableError]) -> dict[bytes, Entry]:
    """Return the entries of directories that cannot be read, as the mirror is to have them: its owner may read them there."""
    parents = {path.rpartition(b"/")[0] for path in closed}
    return {
        entry.path: entry._replace(mode=entry.mode | stat.S_IRWXU)
        for directory, block in now.blocks()
        if directory in parents
        for entry in unpack_block(directory, block)
        if entry.path in closed
    }


def _entries_at(now: Manifest, paths: frozenset[bytes]) -> dict[bytes, Entry]:
    """Return the entries of some paths."""
    parents = {path.rpartition(b"/")[0] for path in paths}
    blocks = ((directory, block) for directory, block in now.blocks() if directory in parents) if paths else ()
    return {entry.path: entry for directory, block in blocks for entry in unpack_block(directory, block) if entry.path in paths}


def _filled(
    now: Manifest, held: Manifest, shut: Mapping[bytes, Entry], stores: Mapping[bytes, str], frozen: frozenset[bytes], path: str
) -> Manifest:
    """Return what the source has, and what the mirror holds in directories that cannot be read and of repositories that stay as they are."""
    with ManifestWriter(path) as writer:
        for directory, (new, old) in merge_blocks(now, held):
            block = new
            if innermost(shut, directory) is not None:
                block = old
            elif (store := innermost(stores, directory)) is not None and store in frozen:
                entries = {entry.path: entry for entry in unpack_block(directory, new or b"") if not owns(stores, store, entry)}
                entries |= {entry.path: entry for entry in unpack_block(directory, old or b"") if owns(stores, store, entry)}
                block = b"".join(entries[each].record() for each in sorted(entries)) if entries else None
            if block is not None:
                writer.add(pack_block(directory, [block]))
        return writer.finish()


def incomplete(unit: Unit, errors: Sequence[RepomanError], frozen: Iterable[bytes], *, done: bool = True) -> MirrorError:
    """Return the error of a unit of which not all can be mirrored.

    :param done: all else was.
    """
    told = [errors[0]]
    distinct = list({each.message: each for each in errors}.values())
    for each in distinct[1:SHOWN_ERRORS]:
        if sum(len(every.message) for every in [*told, each]) > SHOWN_LENGTH:
            break
        told.append(each)
    rest = len(distinct) - len(told)
    more = f" And {rest} more." if rest else ""
    hints = list(dict.fromkeys(hint for each in told for hint in each.hints))[: max(SHOWN_ERRORS, len(errors[0].hints))]
    stays = [escape_path(os.path.join(os.fsencode(unit.source), each)) for each in sorted(frozen)]
    stay = f" The mirror keeps {', '.join(stays[:SHOWN_STORES])} as it was." if stays else ""
    what, name = f"{' '.join(each.message for each in told)}{more}{stay}", escape_path(os.fsencode(unit.name))
    return MirrorError(f"{what} Everything else in {name} was mirrored." if done else what, *hints)


def _what(old: Entry | None, new: Entry | None, *, attributes: bool = False) -> str:
    if old is None:
        return "created"
    if new is None:
        return "removed"
    if new.kind == "d" == old.kind and (old[1:4], old.mtime_ns) == (new[1:4], new.mtime_ns):
        return "changed" if attributes and old.ctime_ns != new.ctime_ns else ""
    return "changed"


def _look(mirror: str, now: Manifest, settings: Settings, unit: Unit, last: Manifest | None) -> Manifest:
    """Return what a mirror holds, as a manifest: entries that are as the source's are the source's, all others the mirror's.

    Of loose files only those that the last manifest knows are the mirror's: others may have been on the target before it was ours.

    :param last: what the mirror once held: what has changed in the source since then, under whatever size and time, is compared.
    """
    with ExitStack() as stack:
        tops = []
        for each in (unit.source, mirror):
            tops.append(os.open(each, REACH))
            stack.callback(os.close, tops[-1])
        return _compared(tops[0], tops[1], now, settings, unit, last)


def _compared(source: int, target: int, now: Manifest, settings: Settings, unit: Unit, last: Manifest | None) -> Manifest:
    path = os.path.join(settings.scratch, f"{os.getpid()}.{abs(hash(unit.name))}.mirror")
    with ManifestWriter(path) as writer:
        for block in walk_blocks(target, loose=unit.loose, named=os.fsencode(settings.mirror(unit)), tree=TreeFilter(TreeRules())):
            writer.add(block)
        held = writer.finish()
    compare = _Comparison(source, target, now, held, settings, unit)
    with ManifestWriter(path) as writer:
        for directory, (old, new, before) in merge_blocks(held, now, last or Manifest()):
            if old is not None:
                writer.add(pack_block(directory, compare.records(directory, old, new or b"", before or b"")))
        return writer.finish()


class _Comparison:
    """Compares the mirror's manifest with the source's.

    :param source: open directory of the unit.
    :param target: open directory of its mirror.
    """

    def __init__(self, source: int, target: int, now: Manifest, held: Manifest, settings: Settings, unit: Unit) -> None:
        self.source, self.target, self.unit = source, target, unit
        self.root = os.geteuid() == 0
        self.traits = target_traits.load(settings.work)
        self.tick = target_traits.tick(self.traits, (entry.mtime_ns for entry in held.entries() if entry.kind != "l"))
        self.xattrs, self.acls = settings.xattrs, settings.acls
        mounts = bool(unit.rules.mounts)
        self.ours, self.theirs = (_leaders(now, mounts), _leaders(held, mounts)) if self.traits.links else ({}, {})

    def records(self, directory: bytes, old: bytes, new: bytes, before: bytes) -> list[bytes]:
        """Return what the mirror has in a directory: the source's records of what is the same, and of what the target cannot have."""
        news = {entry.path: entry for entry in unpack_block(directory, new)}
        onces = {entry.path: entry for entry in unpack_block(directory, before)}
        found: dict[bytes, bytes] = {}
        for mirrored in unpack_block(directory, old):
            entry, once = news.pop(mirrored.path, None), onces.get(mirrored.path)
            if entry is not None and self.like(mirrored, entry, once):
                found[mirrored.path] = entry.record()
            elif entry is not None or once is not None or not self.unit.loose:
                found[mirrored.path] = mirrored._replace(ctime_ns=0).record()
        found |= {path: entry.record() for path, entry in news.items() if not self.traits.can_have(entry)}
        return [found[path] for path in sorted(found)]

    def like(self, held: Entry, entry: Entry, once: Entry | None) -> bool:
        """Tell whether the mirror has an entry as the source has it.

        :param once: what the mirror had when it was last written.
        """
        if not self._alike(held, entry) or (once is not None and not once.ctime_ns and once.name in JUDGED.values()):
            return False
        if (self.xattrs or self.acls) and not same_attributes(self.source, self.target, entry.path, xattrs=self.xattrs, acls=self.acls):
            return False
        if entry.kind != "f" or (once in (None, entry) and entry.ctime_ns + DOUBT_NS < held.ctime_ns):
            return True
        return time.time_ns() - entry.ctime_ns > TIMESTAMP_GRANULARITY_NS and same_contents(self.source, self.target, entry.path)

    def _alike(self, held: Entry, entry: Entry) -> bool:
        mode = safe_mode(entry.mode, entry[2:4], held[2:4]) if entry.kind == "f" else entry.mode
        if held.mode != mode and (held.kind != entry.kind or self.traits.modes):
            return False
        if held.link != entry.link or not target_traits.same_time(held.mtime_ns, entry.mtime_ns, self.tick):
            return False
        if self.root and self.traits.owners and (held.uid, held.gid) != (entry.uid, entry.gid):
            return False
        if entry.kind == "d":
            return True
        return (entry.kind == "l" or held.size == entry.size) and self.theirs.get(held.path) == self.ours.get(held.path)


def identity(entry: Entry, mounts: bool) -> tuple[int, ...]:
    """Return what two names of one file have in common; an inode's number alone does not tell if there are several file systems."""
    return (entry.inode, entry.mode, entry.uid, entry.gid, entry.size, entry.mtime_ns, entry.nlink) if mounts else (entry.inode,)


def _leaders(manifest: Manifest, mounts: bool) -> dict[bytes, bytes]:
    """Return for each file that is one with others of its tree the first of them."""
    first: dict[tuple[int, ...], bytes] = {}
    found: dict[bytes, bytes] = {}
    for entry in manifest.entries():
        if entry.nlink > 1 and entry.kind != "d":
            leader = first.setdefault(identity(entry, mounts), entry.path)
            if leader != entry.path:
                found[leader] = found[entry.path] = leader
    return found


def mirror(wanted: Sequence[Changes], settings: Settings, tally: Tally) -> Iterator[Outcome]:
    """Bring mirrors up to date, several at once, and yield each outcome as it is known.

    :param wanted: large units first is fastest.
    """
    umask = os.umask(0)
    try:
        processors = os.cpu_count() or 1
        at_once = settings.jobs or processors + 1  # each waits for git now and then
        if settings.far:
            at_once = settings.jobs or (FAR_FIRST_UNITS if any(each.first for each in wanted) else FAR_UNITS)
        processes = min(at_once, processors) if settings.far else at_once
        for _number, outcome in imap_forked(_Worker(settings), wanted, processes, concurrency=at_once, on_message=tally.hear, lost=_killed):
            tally.running.pop(outcome.unit.name, None)
            yield outcome
    finally:
        os.umask(umask)


class TransientFilter:
    """Tells of a path of a unit whether it is a repository's lock, or a file of it that is not whole yet, which is never mirrored.

    :param now: what the source has; it is only looked at for paths that may be such.
    """

    def __init__(self, now: Manifest, lookup: FixtureLookup | None = None) -> None:
        self.now, self.lookup = now, lookup

    @cached_property
    def stores(self) -> dict[bytes, str]:
        """The unit's repositories."""
        return find_stores(self.now)

    @cached_property
    def under_way(self) -> set[bytes]:
        """The ``.hg`` directories with a transaction's journal."""
        found = set()
        for directory, block in self.now.blocks():
            store = directory.removesuffix(b"/store")
            if store in self.stores and store != directory and b"journal" in block:
                found |= {store for entry in unpack_block(directory, block) if entry.name == b"journal"}
        return found

    def __call__(self, path: bytes) -> bool:
        """Tell whether a path is never mirrored."""
        if not _MAY_PASS.search(path):
            return False
        store = innermost(self.stores, path.rpartition(b"/")[0])
        if store is None:
            return False
        if kind_in(self.stores, store, path) == "passing":
            return self.lookup is None or not self.lookup.data_among(self.stores, [store], self.now)
        return self.stores[store] == "hg" and store in self.under_way and is_transaction_backup(path[len(store) + 1 :] if store else path)


def _killed(changes: Changes) -> Outcome:
    """Return the outcome of a unit whose process was killed."""
    error = MirrorError(
        f"{escape_path(os.fsencode(changes.unit.name))}: the process that mirrored it was killed; its mirror was not finished.",
        "was there enough memory? journalctl -k -g 'Out of memory'",
    )
    return Outcome(changes.unit, "failed", error)


class _Worker:
    """Mirrors one unit after the other in its process."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.pool: ThreadPoolExecutor | None = None

    def __call__(self, changes: Changes, tell: Callable[[Any], None]) -> Outcome:
        if self.settings.far and self.pool is None:
            self.pool = ThreadPoolExecutor(FAR_THREADS)
        task = _Task(changes, self.settings, tell, self.pool)
        state = "failed"
        error: RepomanError
        full = False
        try:
            try:
                return task.run()
            except InterruptedRunError:
                raise
            except BusyError as busy:
                state, error = "too busy", busy
            except RepomanError as failure:
                error = failure
            except OSError as failure:
                unit, settings = changes.unit, self.settings
                error = unit_error(unit.name, unit.source, settings.mirror(unit), settings.scratch, failure)
                full = failure.errno in NO_SPACE
            except Exception as failure:  # whatever it is, it is this unit's alone
                error = MirrorError(f"{changes.unit.name}: its mirror could not be written: {format_exception(failure)}.")
            task.clear(full)
        finally:
            task.close()
        return task.outcome(state, error)


class _Task:
    """The work on one unit."""

    def __init__(self, changes: Changes, settings: Settings, tell: Callable[[Any], None], pool: ThreadPoolExecutor | None) -> None:
        self.changes, self.settings, self.unit = changes, settings, changes.unit
        self.tell, self.pool = tell, pool
        self.begun: Copier | None = None
        self.doing = ""
        self.told = time.monotonic()
        self.untold = [0, 0]
        self.known: dict[bytes, Entry | None] = {}
        self.unreadable: list[RepomanError] = [*changes.unread]
        self.damaged: list[GitDirectory | HgMirror] = []
        self.verdicts: dict[str, str] = {}
        self.touched: set[bytes] = set()
        self.stores: dict[bytes, str] = {}
        self.name = os.fsencode(self.unit.name)

    @property
    def copier(self) -> Copier:
        """What writes the mirror."""
        if self.begun is None:
            raise RuntimeError("the work on this unit has not begun")
        return self.begun

    def outcome(self, state: str, error: RepomanError | None = None) -> Outcome:
        """Return what has been done so far."""
        self.tell((self.unit.name, "", *self.untold))
        result = Outcome(self.unit, state, error)
        if self.begun is not None:
            result.files, result.bytes, result.kept_bytes = self.begun.files, self.begun.bytes, self.begun.kept_bytes
            result.notes = sorted({*self.begun.notes, *self.changes.notes})
        return result

    def clear(self, full: bool) -> None:
        """Remove what is not whole yet; on a full target also a first copy, which would only keep the others from theirs."""
        with suppress(OSError):
            if self.begun is not None:
                self.begun.clear()
            if full and self.changes.first:
                discard(Path(self.settings.new(self.unit)))

    def close(self) -> None:
        if self.begun is not None:
            self.begun.close()

    def say(self, doing: str) -> None:
        self.doing = doing
        self.report(0, 0, at_once=True)

    def report(self, files: int, size: int, *, at_once: bool = False) -> None:
        self.untold[0] += files
        self.untold[1] += size
        if at_once or time.monotonic() - self.told > 0.2:  # noqa: PLR2004 - seconds; a terminal needs no more
            files, size = self.untold
            self.untold = [0, 0]
            self.told = time.monotonic()
            self.tell((self.unit.name, self.doing, files, size))

    def run(self) -> Outcome:
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
        self.say("scanning")
        self.stores = find_stores(self.changes.now)
        self._leave_out_fixtures()
        found = self._repositories()
        repositories: list[GitDirectory | HgMirror] = []
        for each in found:
            self.say("copying objects")
            if self._bring(each):
                repositories.append(each)
                self.verdicts[os.fsdecode(each.path)] = each.unproven
        self.say("copying")
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

    def _bring(self, repository: GitDirectory | HgMirror) -> bool:
        """Run a repository's preparation before its mirror changes; return whether to continue."""
        error: RepomanError | None = None
        try:
            repository.bring()
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
        if damage is None or isinstance(repository, GitDirectory):  # of the others the damage tells what could not be read
            self.unreadable += repository.unreadable.values()
        if damage is not None:
            self.unreadable.append(damage)
            self.damaged.append(repository)
        return True

    def _take(self, repositories: list[GitDirectory | HgMirror]) -> None:
        """Take over what the mirrors of repositories hold now, and make one what is one file in the source."""
        linked: dict[tuple[int, ...], list[Entry]] = {}
        for each in repositories:
            each.settle()
            final = each.final()
            for path in each.seen.keys() | final.keys():
                entry = final.get(path)
                if entry != each.seen.get(path):
                    self.known[path] = entry
            self.touched |= each.touched
            for entry in final.values():
                if entry.nlink > 1 and entry.kind == "f":
                    if isinstance(each, GitDirectory):
                        linked.setdefault((entry.inode,), []).append(entry)
                    elif entry.ctime_ns:  # clones share logs until one is written: only the same state of a file is one
                        linked.setdefault((entry.inode, entry.ctime_ns, entry.size), []).append(entry)
        for group in linked.values():
            for entry in group[1:]:
                self.copier.link_to(group[0].path, entry, entry)

    def _leave(self, mirrored: list[GitDirectory | HgMirror]) -> None:
        """Take over what the mirrors of damaged repositories hold, those that were left as they were too, so that the next run tries again."""
        for each in self.damaged:
            if each not in mirrored:
                held = each.held()
                for path in each.seen.keys() | held.keys():
                    if (entry := held.get(path)) != each.seen.get(path):
                        self.known[path] = entry
                self.touched |= each.touched
            judged = each.prefix + JUDGED[self.stores[each.path]]
            if entry := self.known.get(judged, each.seen.get(judged)):
                self.known[judged] = entry._replace(ctime_ns=0)

    # Which repositories there are

    def _store(self, directory: bytes) -> bytes | None:
        """Return the innermost repository that a directory belongs to."""
        return innermost(self.stores, directory) if self.stores else None

    def _ours(self, store: bytes, entry: Entry) -> bool:
        return owns(self.stores, store, entry)

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

    def _is_fixture(self, repository: GitDirectory | HgMirror) -> bool:
        """Tell whether a repository that is not sound is data of the one around it: its mirror was never sound either."""
        store = repository.path
        if not fixtures.may_be_fixture(store, self.stores, fixtures.work_tree_pointers(self.changes.now)):
            return False
        if not isinstance(repository, GitDirectory) or repository.prefix + b"HEAD" not in repository.have:
            return True
        top = os.fsencode(self.settings.mirror(self.unit))
        copier = Copier(top, top, history=None, work=os.fsencode(self.settings.scratch), is_first_copy=True)
        try:
            nested = frozenset(self.stores) - {store}
            mirrored = GitDirectory(
                store, copier, have={}, seen={}, nested=nested, proof=repository.proof, tries=1, far=False, account=self.settings.account
            )
            return bool(mirrored.check())
        except (RepomanError, FileNotFoundError, NotADirectoryError):
            return True
        finally:
            copier.close()

    def _leave_to_plain(self, repository: GitDirectory | HgMirror) -> None:
        """Mirror fixtures as files, and remove copied files that the scan did not see."""
        del self.stores[repository.path]
        if isinstance(repository, GitDirectory):
            for path in repository.objects.keys() - repository.seen.keys() - repository.have.keys():
                self.copier.move_to_history(path, None)
        where = escape_path(os.path.join(os.fsencode(self.unit.source), repository.path))
        self.copier.add_note(f"{where} looks like a repository but is not a valid one; it was mirrored as plain files")

    def _repositories(self) -> list[GitDirectory | HgMirror]:
        if not self.stores or self.copier is None:
            return []
        changed: set[bytes] = set(self.stores) if self.changes.looked else set()
        for directory, pairs in () if changed else diff_manifests(self.changes.before, self.changes.now):
            store = self._store(directory)
            if store is not None and store not in changed:
                for old, new in pairs:
                    if (entry := new or old) and self._ours(store, entry) and _what(old, new):
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
        found: list[GitDirectory | HgMirror] = []
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
                    GitDirectory(
                        store,
                        self.copier,
                        nested=nested - {store},
                        far=self.settings.far,
                        may_lose=self.settings.lose_repositories,
                        **common,
                    )
                )
        return found

    # All that no repository looks after

    def _others(self) -> Iterator[tuple[bytes, list[tuple[Entry | None, Entry | None]]]]:
        """Yield directories that differ, with those pairs of entries that no repository looks after."""
        for directory, pairs in diff_manifests(self.changes.before, self.changes.now):
            store = self._store(directory)
            if store is None:
                yield directory, pairs
            elif self.stores[store] == "hg" or not (directory + b"/").startswith(store + b"/objects/" if store else b"objects/"):
                yield directory, [pair for pair in pairs if self._is_plain(store, pair[1] or pair[0])]

    def _is_plain(self, store: bytes, entry: Entry | None) -> bool:
        return entry is not None and not self._ours(store, entry) and kind_in(self.stores, store, entry.path) != "passing"

    def _plain(self) -> None:
        """Mirror the rest: directories and files as they come, then files with several names, then what is gone."""
        copier = self.copier
        removed: list[Entry] = []
        linked: dict[tuple[int, ...], list[tuple[Entry, Entry | None]]] = {}
        mounts = bool(self.unit.rules.mounts)
        waiting: list[tuple[Entry, Entry | None]] = []
        for directory, pairs in self._others():
            begun = len(waiting)
            for old, new in pairs:
                entry = new or old
                if entry is None:
                    continue
                if new is None:
                    removed.append(entry)
                elif new.kind == "d":
                    self._own_directory(new, old)
                elif new.nlink > 1 or (old is not None and old.nlink > 1 and old.kind != "d"):
                    linked.setdefault(identity(new, mounts), []).append((new, old))
                else:
                    waiting.append((new, old))
            if len(waiting) > begun:
                self.touched.add(directory)
                if self.pool is None:
                    with copier.keep_open(directory):
                        copier.each(self._one, waiting)
                    waiting.clear()
                elif len(waiting) > FAR_BATCH:
                    copier.each(self._one, waiting)
                    waiting.clear()
        copier.each(self._one, waiting)
        for group in linked.values():
            self._linked(group)
        self._removed(removed)

    def _own_directory(self, new: Entry, old: Entry | None) -> None:
        if not new.path:
            self.touched.add(b"")
        elif old is None or old.kind != "d":
            self.copier.mkdir(new)
            self.touched |= {new.path, new.parent}
        elif _what(old, new, attributes=self.changes.attributes):
            self.touched.add(new.path)

    def _one(self, pair: tuple[Entry, Entry | None]) -> Entry | None:
        entry = pair[0]
        if entry.kind == "f":
            return self._file(pair)
        try:
            (self.copier.copy_symlink if entry.kind == "l" else self.copier.copy_special)(*pair)
        except UnwritableError as error:
            self.unreadable.append(error)
            self.known[entry.path] = pair[1]
            return None
        return entry

    def _file(self, pair: tuple[Entry, Entry | None]) -> Entry | None:
        entry, old = pair
        try:
            got = self.copier.copy_file(entry.path, old)
        except (UnreadableError, UnwritableError) as error:
            self.unreadable.append(error)
            got = None
        if got != entry:
            self.known[entry.path] = got or old
        return got

    def _linked(self, group: list[tuple[Entry, Entry | None]]) -> None:
        """Copy hard-linked files: the first with its contents, the rest as links to it.

        If the target's limit of links per file is lower than the source's, the next name becomes a new file, and later names are linked to it.
        """
        leader: Entry | None = None
        for entry, old in group:
            self.touched.add(entry.parent)
            if leader is None or not self.copier.link_to(leader.path, entry, old):
                alike = old is not None and old.nlink == entry.nlink and old.inode == entry.inode
                got = self._one((entry, old if old is None or alike else old._replace(size=-1, link=b"")))
                leader = got if got is not None and got.inode == entry.inode else leader
            elif leader.ctime_ns != entry.ctime_ns:
                self.known[entry.path] = leader._replace(path=entry.path)

    def _removed(self, removed: list[Entry]) -> None:
        """Set aside what the source has no more: whole directories where all of them is gone."""
        trees = {entry.path for entry in removed if entry.kind == "d"}
        hold_repositories = {b""} if self.stores else set()
        for store in self.stores:
            while store not in hold_repositories:
                hold_repositories.add(store)
                store = store.rpartition(b"/")[0]  # noqa: PLW2901 - up to one that is known
        gone = trees - hold_repositories
        tops = [entry for entry in removed if entry.parent not in gone and (entry.kind != "d" or entry.path in gone)]
        if self.unit.loose:  # a directory has that name now: its mirror, once it is whole, puts the file aside
            tops = [entry for entry in tops if not self.copier.has_source_directory(entry.path)]
        self.touched |= {entry.parent for entry in tops}
        self.copier.each(lambda entry: self.copier.move_to_history(entry.path, entry), tops)
        for each in sorted(trees - gone, reverse=True):
            self.copier.remove_directory(each)
            self.touched.add(each.rpartition(b"/")[0])

    # The end

    def _directories(self) -> None:
        """Give directories their owner, mode and time, the innermost first."""
        copier = self.copier
        if self.unit.loose:
            return
        paths = self.touched | copier.widened_modes.keys()

        gone: set[bytes] = set()

        def dress(path: bytes) -> None:
            try:
                copier.apply_attributes(self.changes.closed.get(path) or entry_of(path, copier.source_status(path)))
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
                    if entry.path in gone and entry.kind == "d" and self.known.get(entry.path, entry) is not None:
                        self.known[entry.path] = entry._replace(mtime_ns=entry.mtime_ns ^ 1, ctime_ns=0)

    def _put_in_place(self, top: str) -> None:
        final = self.settings.mirror(self.unit)
        with temporarily_writable(os.fsencode(top)):
            try:
                os.rename(top, final)
            except (NotADirectoryError, FileExistsError, IsADirectoryError):
                aside = os.path.join(self.settings.kept, TOP_LEVEL_FILES)
                make_private(aside)
                os.rename(final, os.path.join(aside, self.unit.name))
                os.rename(top, final)

    def _finish(self, copier: Copier) -> Outcome:
        manifest = self.changes.now
        if self.known:
            path = f"{manifest.path or os.path.join(self.settings.scratch, f'{os.getpid()}.{id(self)}')}.mirrored"
            manifest = patch_manifest(manifest, self.known, path)
        if self.unreadable:
            result = self.outcome("failed", incomplete(self.unit, self.unreadable, self.changes.frozen))
        else:
            result = self.outcome("synced" if copier.files or self.changes.total else "up to date")
        if not manifest.path:
            manifest.save(path := os.path.join(self.settings.scratch, f"{os.getpid()}.{id(self)}.manifest"))
            manifest = Manifest(path=path, digest=manifest.digest)
        result.manifest, result.digest = manifest.path, manifest.digest
        result.settled = not self.known
        result.created = [os.fsdecode(path) for path in self._unforeseen()]
        result.damaged = [str(found) for each in self.damaged if isinstance(each, GitDirectory) for found in each.damage.values()]
        result.damaged = result.damaged[:MAX_DAMAGED]
        result.verdicts = self.verdicts
        return result

    def _unforeseen(self) -> list[bytes]:
        """Return what came up in the source after the scan, and is in the mirror."""
        found = {path for path, entry in self.known.items() if entry is not None}
        parents = {path.rpartition(b"/")[0] for path in found}
        for manifest in (self.changes.now, self.changes.before) if found else ():
            for directory, block in manifest.blocks():
                if directory in parents:
                    found -= {entry.path for entry in unpack_block(directory, block)}
        return sorted(found)
