# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Verify a mirror: compare all contents with the source, and let git and hg check its repositories. Changes nothing.

A file system below a source may stop answering, and a container can write without end. So the comparison of a unit ends with an error if it makes
no progress for a while, or takes longer than a limit; the error names the path.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest, ManifestWriter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import LIST, walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter, TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unit import Unit
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror import target_traits
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import MirrorError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.fixtures import FixtureLookup
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.git_mirror import GitMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.hg_mirror import HgMirror
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.metadata import NO_OWNERS, NO_XATTRS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.options import MirrorOptions
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import find_repositories
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.transient import TransientFilter
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.tree_compare import Keeps, TreeComparison
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import plural
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import is_directory

TOTAL_SECONDS = 6 * 3600.0
IDLE_SECONDS = 60.0
POLL_SECONDS = 0.5


@dataclass
class Verdict:
    """The result of verifying a unit.

    :param differences: printable lines; if there are too many, the last one has the number of further lines.
    :param notes: remarks that are not differences.
    :param skipped: directories at which another file system is mounted, which was not compared.
    """

    differences: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    skipped: list[bytes] = field(default_factory=list)


class Pulse:
    """The signs of life of a comparison.

    :param idle: seconds without progress after which it fails.
    :param total: seconds that it may take.
    """

    def __init__(self, idle: float, total: float) -> None:
        self.idle, self.deadline = idle, time.monotonic() + total
        self.path = b""
        self.last = time.monotonic()
        self.is_paused = False

    def beat(self, path: bytes) -> None:
        """Record the current path of the comparison.

        :raises MirrorError: it has taken too long.
        """
        self.path, self.last = path, time.monotonic()
        if self.last > self.deadline:
            raise MirrorError(
                f"the comparison took too long and stopped at {escape_path(path)!r}.", "compare this one alone: repoman sync --verify NAME"
            )

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Suspend the time limit inside a ``with`` block, for a program with its own time limit."""
        self.is_paused = True
        try:
            yield
        finally:
            self.last = time.monotonic()
            self.is_paused = False

    def is_lost(self) -> bool:
        """Return whether there was no progress for too long."""
        return not self.is_paused and time.monotonic() - self.last > self.idle


def verify(
    unit: Unit,
    settings: MirrorOptions,
    expected: Iterable[bytes] = (),
    *,
    notes: Collection[str] = (),
    idle: float = IDLE_SECONDS,
    total: float = TOTAL_SECONDS,
) -> Verdict:
    """Compare a unit with its mirror.

    :param expected: of top-level files, those that belong to the mirror; other files on the target are ignored.
    :param notes: notes of earlier runs on the unit.
    :raises MirrorError: it took too long, or the source or the mirror stopped responding.
    """
    pulse = Pulse(idle, total)
    answer: queue.SimpleQueue[Verdict | BaseException] = queue.SimpleQueue()
    keeps_attributes = NO_XATTRS not in notes
    traits = target_traits.load(settings.work)
    keeps = Keeps(
        owners=os.geteuid() == 0 and traits.owners and NO_OWNERS not in notes,
        traits=traits,
        xattrs=settings.xattrs and keeps_attributes,
        acls=settings.acls and keeps_attributes,
    )

    def work() -> None:
        try:
            answer.put(_verify(unit, settings, frozenset(expected), keeps, pulse))
        except BaseException as error:
            answer.put(error)

    threading.Thread(target=work, daemon=True).start()
    while True:
        try:
            came = answer.get(timeout=min(POLL_SECONDS, max(idle, 0.01)))
        except queue.Empty:
            if pulse.is_lost():
                shown_path = escape_path(os.path.join(os.fsencode(unit.source), pulse.path))
                raise MirrorError(f"{shown_path} did not respond for {idle:g} s, so the comparison was stopped.") from None
            continue
        if isinstance(came, BaseException):
            raise came
        return came


def _verify(unit: Unit, settings: MirrorOptions, expected: Collection[bytes], keeps: Keeps, pulse: Pulse) -> Verdict:
    mirror = settings.mirror(unit)
    if not is_directory(mirror):
        return Verdict([f"there is no mirror of {escape_path(os.fsencode(unit.name))}"])
    tree = TreeFilter(unit.rules)
    unreadable: dict[bytes, UnreadableError] = {}
    unreadable_in_mirror: dict[bytes, UnreadableError] = {}
    base = os.path.join(settings.scratch, f"verify.{os.getpid()}.{threading.get_ident()}")
    with ExitStack() as stack:
        source_fd, mirror_fd = os.open(unit.source, LIST), os.open(mirror, LIST)
        stack.callback(os.close, source_fd)
        stack.callback(os.close, mirror_fd)
        source_manifest = _scan(source_fd, f"{base}.source", unit, tree, unreadable, pulse)
        mirror_manifest = _scan(mirror_fd, f"{base}.mirror", unit, TreeFilter(TreeRules()), unreadable_in_mirror, pulse)
        stores = find_repositories(source_manifest)
        comparison = TreeComparison(
            source_fd,
            mirror_fd,
            stores=stores,
            keeps=keeps,
            is_transient=TransientFilter(source_manifest, _lookup(unit, settings)),
            unreadable={*unreadable, *unreadable_in_mirror, *tree.skipped},
            expected=(lambda path: path in expected) if unit.is_top_level else lambda path: True,
            beat=pulse.beat,
            has_mounts=bool(tree.followed),
            leaves_out=lambda path, is_directory: unit.rules.leaves_out(os.fsencode(unit.source), path, is_directory=is_directory),
        )
        differences = comparison.run(source_manifest, mirror_manifest)
    verdict = Verdict(differences.lines, skipped=tree.skipped)
    verdict.differences += [error.message for error in (*unreadable.values(), *unreadable_in_mirror.values())]
    if differences.changed:
        verdict.notes.append(f"{differences.changed} paths changed during the comparison and were skipped")
    if not unit.is_top_level:
        with pulse.paused():
            _check_repositories(unit, settings, mirror_manifest, source_manifest, verdict)
    if differences.more:
        verdict.differences.append(f"and {differences.more} more")
    return verdict


def _scan(top: int, path: str, unit: Unit, tree: TreeFilter, unreadable: dict[bytes, UnreadableError], pulse: Pulse) -> Manifest:
    with ManifestWriter(path) as writer:
        for block in walk_blocks(top, files_only=unit.is_top_level, unreadable=unreadable, tree=tree):
            writer.add(block)
            pulse.beat(pulse.path)
        return writer.finish()


def _lookup(unit: Unit, settings: MirrorOptions) -> FixtureLookup:
    return FixtureLookup(os.fsencode(unit.source), settings.scratch, settings.account, os.fsencode(settings.mirror(unit)))


def _check_repositories(
    unit: Unit, settings: MirrorOptions, mirror_manifest: Manifest, source_manifest: Manifest, verdict: Verdict
) -> None:
    """Let git and hg check the repositories of a mirror."""
    stores = find_repositories(mirror_manifest)
    top = os.fsencode(settings.mirror(unit))
    scratch = os.path.join(settings.scratch, f"check.{os.getpid()}.{threading.get_ident()}")
    lookup = _lookup(unit, settings)
    data = lookup.data_among(stores, stores, source_manifest)
    copier = Copier(top, top, history=None, work=os.fsencode(settings.scratch), is_first_copy=True)
    try:
        for store, kind in sorted(stores.items()):
            if store in data:
                continue
            shown_path = escape_path(os.path.join(top, store))
            repository = _repository(store, kind, stores, copier, scratch, settings)
            problem = repository.check()
            if problem:
                verdict.differences.append(f"{shown_path}: {problem}")
            if unproven := getattr(repository, "unproven", ""):
                verdict.notes.append(f"{shown_path} could not be verified: {unproven}")
            if excused := getattr(repository, "excused", ()):
                verdict.notes.append(
                    f"{shown_path}: git fsck --strict reports {plural(len(excused), 'problem')} in old history, the same in source and mirror:"
                    f" {escape_path(excused[0])}"
                )
    finally:
        verdict.notes += sorted(copier.notes)
        copier.close()


def _repository(
    store: bytes, kind: str, stores: dict[bytes, str], copier: Copier, scratch: str, settings: MirrorOptions
) -> GitMirror | HgMirror:
    if kind == "hg":
        return HgMirror(store, copier, mirrored={}, scanned={}, scratch_dir=scratch, tries=1, account=settings.account)
    nested = frozenset(stores) - {store}
    return GitMirror(store, copier, mirrored={}, scanned={}, nested=nested, scratch_dir=scratch, tries=1, account=settings.account)
