# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the state of a git directory: first everything that refers to objects, then the objects."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import (
    BLOCK_HEADER,
    Entry,
    entry_from_stat,
    unpack_block,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.scanner import walk_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter, TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.copier import Copier
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.file_copier import TIMESTAMP_GRANULARITY_NS
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.config import _SHA256, minimal_config
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.errors import (
    too_large,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import Damage
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.path_class import classify_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.staging import (
    Data,
    Spool,
    in_full,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.source_files import CONFIG_BYTES, MEMORY_BYTES, METADATA_BYTES

FSCK_PATHS = frozenset({b"HEAD", b"refs", b"logs", b"packed-refs", b"index", b"shallow", b"worktrees", b"reftable"})
"""Parts of a git directory that ``git fsck`` reads."""


class GitSource:
    """The source of one git directory, and the entries of its mirror.

    :param path: relative to the unit; empty for a bare repository that is the unit.
    :param mirrored: entries of the mirror (without plain files).
    :param scanned: entries that the scan found.
    :param nested: paths of other repositories within it.
    :param unreadable_directories: directories that cannot be read; their contents are left out.
    :param scratch_dir: local directory for the git directory that proofs run on.
    :param may_lose: files that the source no longer has are removed from the mirror too (``--allow-shrink``).
    :param started_ns: when the run began, before the scan; 0 if ``scanned`` may be older than the run.
    """

    def __init__(
        self,
        path: bytes,
        copier: Copier,
        *,
        mirrored: dict[bytes, Entry],
        scanned: dict[bytes, Entry],
        nested: frozenset[bytes],
        unreadable_directories: frozenset[bytes] = frozenset(),
        scratch_dir: str,
        tries: int,
        account: tuple[int, int] | None,
        may_lose: bool = False,
        started_ns: int = 0,
    ) -> None:
        self.path, self.copier, self.mirrored, self.scanned, self.scratch_dir = path, copier, mirrored, scanned, scratch_dir
        self.may_lose = may_lose
        self.trusted_until = started_ns - TIMESTAMP_GRANULARITY_NS if tries > 1 else 0
        """A directory whose ``ctime_ns`` is earlier, and as the scan saw it, holds what the scan saw; 0 or less: every one is read again."""
        self.from_scan = False
        """The last list took directories from the scan; only a proof tells for sure that they had not changed."""
        self.prefix = path + b"/" if path else b""
        self.skip = frozenset({self.prefix + b"objects"}) | nested
        self.unreadable_directories = unreadable_directories
        self.tries, self.account = tries, account
        self.objects = {each: entry for each, entry in mirrored.items() if self._is(each, "object") and entry.type == "f"}
        self.directories = {each: entry for each, entry in mirrored.items() if entry.type == "d"}
        self.dirty_directories: set[bytes] = set()
        self.staged: dict[bytes, tuple[Entry, Data | None]] = {}
        self.listed: dict[bytes, Entry] = {}
        self.object_directories: dict[bytes, Entry] = {}
        self.unreadable: dict[bytes, UnreadableError] = {}
        self.defer_prune = True
        self.excused: list[bytes] = []
        self.damage: dict[bytes, Damage] = {}
        self.protected: set[bytes] = set()
        """Paths whose mirrored files stay, although the source has others or none."""
        self.unproven = ""
        self.missing: set[str] = set()
        """Names of objects that the last proof did not find."""
        self._config_problems: dict[bytes, str] = {}
        self.spool = Spool(scratch_dir + ".staged")

    @property
    def config(self) -> bytes:
        """The repository's configuration."""
        return in_full(self.staged.get(self.prefix + b"config", (None, b""))[1], CONFIG_BYTES)

    @property
    def algorithm(self) -> str:
        """The hash that names objects."""
        return "sha256" if _SHA256.search(self.config) else "sha1"

    @property
    def is_partial(self) -> bool:
        """True if objects may be missing because another repository promised them."""
        return "promisor = true" in minimal_config(self.config, derived=False)

    @property
    def where(self) -> str:
        """Its path in the source, for messages."""
        return escape_path(os.path.join(self.copier.source_path, self.path).rstrip(b"/"))

    def _is(self, path: bytes, kind: str) -> bool:
        return classify_path(path[len(self.prefix) :]) == kind

    def stage(self) -> None:
        """Read everything that refers to objects, if it is readable: loose references, HEAD and reflogs first, packed references last.

        :raises TooLargeError: git would have to read an implausibly large file.
        """
        self.unreadable = {}
        self.spool.clear()
        source = self.copier.source_fd
        names = source_files.names(source, self.prefix)
        skip = self.skip | {self.prefix + each for each in names if classify_path(each) == "plain"}
        references = {entry.path: entry for entry in self._walk(self.path, skip) if self._is(entry.path, "reference")}
        packed = self.prefix + b"packed-refs"
        files = sorted((each for each, entry in references.items() if entry.type == "f" and each != packed), key=self._reading_order)
        derived = {entry.path: entry for entry in self._walk(self.prefix + b"objects/info", frozenset(), may_be_missing=True)}
        derived |= {entry.path: entry for entry in self._walk(self.prefix + b"objects/pack", frozenset(), may_be_missing=True)}
        if (info := self._directory(self.prefix + b"objects/info")) is not None:
            derived[info.path] = info
        derived = {path: entry for path, entry in derived.items() if self._is(path, "derived")}
        staged: dict[bytes, tuple[Entry, Data | None]] = {
            each: (entry, None) for each, entry in (references | derived).items() if entry.type != "f"
        }
        for path in (*files, packed, *(each for each, entry in derived.items() if entry.type == "f")):
            try:
                read = self.spool.stage(source, path, METADATA_BYTES if self._is_proven(path) else MEMORY_BYTES)
            except UnreadableError as error:
                self.unreadable[path] = error
                continue
            if read is not None:
                staged[path] = read
                if read[1] is None and self._is_proven(path):
                    raise too_large(os.path.join(self.copier.source_path, path), read[0].size)
        self.staged = staged

    def _is_proven(self, path: bytes) -> bool:
        """Return whether git or this module reads a file's contents."""
        inner = path[len(self.prefix) :]
        first = inner.partition(b"/")[0]
        return first in FSCK_PATHS or first in {b"objects", b"config"} or first.startswith(b"sharedindex.") or inner == b"info/grafts"

    def _directory(self, path: bytes) -> Entry | None:
        try:
            return entry_from_stat(path, self.copier.source_status(path))
        except OSError:
            return None

    def _reading_order(self, path: bytes) -> tuple[int, bytes]:
        first = path[len(self.prefix) :].partition(b"/")[0]
        if first == b"reftable" or b"/reftable/" in path:
            return (5 if not path.endswith(b"/tables.list") else -1), path
        return {b"refs": 0, b"HEAD": 1, b"logs": 2, b"worktrees": 3}.get(first, 4), path

    def _walk(self, start: bytes, skip: frozenset[bytes], *, may_be_missing: bool = False) -> Iterable[Entry]:
        if any(start == each or start.startswith(each + b"/") for each in self.unreadable_directories):
            return
        try:
            tree = TreeFilter(TreeRules())
            for block in walk_blocks(
                self.copier.source_fd, start, skip=skip | self.unreadable_directories, display_path=self.copier.source_path, tree=tree
            ):
                size, _more = BLOCK_HEADER.unpack_from(block)
                path = block[BLOCK_HEADER.size : BLOCK_HEADER.size + size]
                for entry in unpack_block(path, block[BLOCK_HEADER.size + size :]):
                    if entry.path != start or start:
                        yield entry
        except (FileNotFoundError, NotADirectoryError):
            if not may_be_missing:
                raise

    def list_objects(self) -> dict[bytes, Entry]:
        """Return the source's objects, and the directories they are in.

        The first list takes directories of loose objects from the scan if they have not changed since.
        """
        start = self.prefix + b"objects"
        unchanged = self._unchanged_directories() if self.trusted_until > 0 and not self.unreadable_directories else {}
        self.trusted_until, self.from_scan = 0, bool(unchanged)
        objects = {entry.path: entry for entry in self._walk(start, frozenset(unchanged)) if self._is(entry.path, "object")}
        for path, entries in unchanged.items():
            if objects.get(path) == self.scanned[path]:
                objects |= entries
            else:
                objects |= {
                    entry.path: entry for entry in self._walk(path, frozenset(), may_be_missing=True) if self._is(entry.path, "object")
                }
        directory = self._directory(start)
        if directory is None:
            raise FileNotFoundError(start)
        objects[start] = directory
        return objects

    def _unchanged_directories(self) -> dict[bytes, dict[bytes, Entry]]:
        """Return the directories of loose objects that have not changed since the scan, each with its entries."""
        contents: dict[bytes, dict[bytes, Entry]] = {}
        top = self.prefix + b"objects/"
        at = len(top) + 2
        for path, entry in self.scanned.items():
            if path[at : at + 1] == b"/" and path.startswith(top):
                contents.setdefault(path[:at], {})[path] = entry
        unchanged = {}
        with suppress(OSError), self.copier.source_directory(top[:-1]) as objects_fd:
            for path, entries in contents.items():
                scanned = self.scanned.get(path)
                if scanned is not None and scanned.type == "d" and scanned.ctime_ns < self.trusted_until:
                    status = os.stat(path[at - 2 :], dir_fd=objects_fd, follow_symlinks=False)
                    if entry_from_stat(path, status) == scanned and all(each.type == "f" for each in entries.values()):
                        unchanged[path] = entries
        return unchanged

    def ensure_directory(self, path: bytes, entry: Entry | None = None) -> None:
        """Make a directory of the mirror, and those above it.

        :param entry: the source's entry of the directory, if it was read already.
        """
        if entry is not None and path not in self.directories and entry.parent in self.directories:
            self._make_directory(entry)
            return
        missing = []
        while path and path not in self.directories:
            missing.append(path)
            path = path.rpartition(b"/")[0]
        for directory in reversed(missing):
            entry = self._directory(directory) or self.mirrored.get(directory)
            if entry is None:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
            self._make_directory(entry)

    def retire(self, path: bytes) -> None:
        """Move what the mirror has at a path, a directory with its contents, to the history, because the source has something else there now."""
        self.copier.move_to_history(path)
        for known in (self.mirrored, self.objects, self.directories):
            for each in [each for each in known if each.startswith(path + b"/")] if path in self.directories else ():
                del known[each]
        for known in (self.mirrored, self.objects, self.directories):
            known.pop(path, None)
        self.dirty_directories.add(path.rpartition(b"/")[0])

    def _make_directory(self, entry: Entry) -> None:
        self.copier.mkdir(entry)
        self.directories[entry.path] = entry
        self.dirty_directories |= {entry.path, entry.parent}
