# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare a unit's source with its mirror, entry by entry and with all contents, and change nothing.

Both sides are read through open directories: no link is followed, no pipe blocks, a file is read up to the size it had when it
was opened, and holes are not read. The source may change during the comparison, so a difference only counts if the source's entry is
still the one of the scan.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Container, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.compare import merge_blocks
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import TIME_RANGE, Entry, entry_from_stat, unpack_block
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.manifest import Manifest
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.attributes import same_attributes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import Check
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import SourceReadError, equal
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import DIGESTS, check_of, problem_of_file
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hard_links import identity
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.metadata import safe_mode
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repositories import kind_in, nearest_ancestor, owns
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.target_traits import Traits, same_time, tick
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.source_files import open_regular

MAX_DIFFERENCES = 1000
"""Maximum number of listed differences; further ones are only counted."""
_PARENT = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TYPES = {"f": "f", "d": "d", "l": "L", "b": "D", "c": "D", "p": "S", "s": "S"}
_ALTERNATES = (b"alternates", b"http-alternates")


@dataclass(frozen=True)
class Keeps:
    """Attributes of an entry that the target can store; the rest is not compared.

    :param owners: user and group.
    :param traits: capabilities of its file system.
    :param xattrs: extended attributes, if they are mirrored.
    :param acls: access lists, if they are mirrored.
    """

    owners: bool = True
    traits: Traits = field(default_factory=Traits)
    xattrs: bool = False
    acls: bool = False


@dataclass
class Differences:
    """Differences: lines as rsync itemizes them, up to a limit, and the number of further ones.

    :param changed: how many paths changed in the source while they were compared.
    """

    lines: list[str] = field(default_factory=list)
    more: int = 0
    changed: int = 0

    def add(self, line: str) -> None:
        """Add a line, or count it."""
        if len(self.lines) < MAX_DIFFERENCES:
            self.lines.append(line)
        else:
            self.more += 1


class TreeComparison:
    """A comparison of two trees.

    :param source: open directory of the unit.
    :param mirror: open directory of its mirror.
    :param stores: the unit's repositories, each with ``git``, ``hg`` or ``share``.
    :param is_transient: returns whether a path is never mirrored.
    :param unreadable: directories whose contents are not compared.
    :param expected: returns whether a path that only the mirror has belongs there.
    :param beat: is called with each path, and while a large file is read.
    :param has_mounts: the unit may have several file systems.
    :param leaves_out: returns whether a path is excluded, so that the next run removes it from the mirror; gets the path and whether it is a
        directory.
    """

    def __init__(
        self,
        source: int,
        mirror: int,
        *,
        stores: Mapping[bytes, str],
        keeps: Keeps,
        is_transient: Callable[[bytes], bool],
        unreadable: Container[bytes],
        expected: Callable[[bytes], bool],
        beat: Callable[[bytes], None],
        has_mounts: bool = False,
        leaves_out: Callable[[bytes, bool], bool] = lambda _path, _is_directory: False,
    ) -> None:
        self.source, self.mirror, self.stores, self.keeps = source, mirror, stores, keeps
        self.is_transient, self.unreadable, self.expected, self.beat = is_transient, unreadable, expected, beat
        self.has_mounts, self.leaves_out = has_mounts, leaves_out
        self.differences = Differences()
        self._tick = 1
        self._links: tuple[dict[bytes, bytes], dict[bytes, bytes]] = ({}, {})

    def run(self, source_manifest: Manifest, mirror_manifest: Manifest) -> Differences:
        """Compare everything.

        :param source_manifest: entries of the source.
        :param mirror_manifest: entries of the mirror.
        """
        self._tick = tick(self.keeps.traits, (entry.mtime_ns for entry in mirror_manifest.entries() if entry.type != "l"))
        self._links = self._hardlink_groups(source_manifest), self._hardlink_groups(mirror_manifest)
        one_sided: set[bytes] = set()
        for directory, (new, old) in merge_blocks(source_manifest, mirror_manifest):
            if nearest_ancestor(self.unreadable, directory) is not None or nearest_ancestor(one_sided, directory) is not None:
                continue
            source_entries = {entry.path: entry for entry in unpack_block(directory, new or b"")}
            mirror_entries = {entry.path: entry for entry in unpack_block(directory, old or b"")}
            for path in sorted(source_entries.keys() | mirror_entries.keys()):
                self.beat(path)
                entry, mirrored = source_entries.get(path), mirror_entries.get(path)
                types = {each.type if each is not None else "" for each in (entry, mirrored)}
                if "d" in types and len(types) > 1:
                    one_sided.add(path)
                if entry is None or mirrored is None:
                    self._one_sided(entry, mirrored)
                elif not self.is_transient(path):
                    self._compare(entry, mirrored)
        return self.differences

    def _one_sided(self, entry: Entry | None, mirrored: Entry | None) -> None:
        if entry is not None:
            letter = _TYPES.get(entry.type, "S")
            if not self.keeps.traits.can_have(entry) or self.is_transient(entry.path):
                return
            if self._is_derived(entry.path):
                self._judge_derived(entry)
                return
            if self._is_unchanged(entry):
                self.differences.add(f"{'>' if letter == 'f' else 'c'}{letter}+++++++++ {escape_path(entry.path)}")
        elif mirrored is not None and self.expected(mirrored.path) and not self._is_derived(mirrored.path):
            status = self._status(mirrored.path)
            if status is None or self.leaves_out(mirrored.path, stat.S_ISDIR(status.st_mode)):
                self.differences.add(f"*deleting   {escape_path(mirrored.path)}")
            else:
                self.differences.changed += 1

    def _compare(self, entry: Entry, mirrored: Entry) -> None:
        store = nearest_ancestor(self.stores, entry.parent) if entry.path else None
        is_own = store is not None and owns(self.stores, store, entry)
        if is_own and self._is_derived(entry.path):
            self._judge_derived(entry)
            return
        if entry.type != mirrored.type:
            if self._is_unchanged(entry):
                self.differences.add(f"c{_TYPES.get(entry.type, 'S')}+++++++++ {escape_path(entry.path)}")
            return
        flags = self._flags(entry, mirrored, is_own=is_own or entry.path in self.stores)
        try:
            if entry.type == "f" and entry.size == mirrored.size and not self._same_contents(entry.path):
                flags["c"] = True
            if (self.keeps.xattrs or self.keeps.acls) and entry.type in "fdl":
                flags |= self._attribute_flags(entry.path)
        except OSError as error:
            if self._is_unchanged(entry):
                self.differences.add(f"{escape_path(entry.path)} cannot be read: {error.strerror or error}")
            return
        if any(flags.values()) and self._is_unchanged(entry):
            self.differences.add(_itemized(entry, flags))

    def _flags(self, entry: Entry, mirrored: Entry, *, is_own: bool) -> dict[str, bool]:
        traits = self.keeps.traits
        mode = safe_mode(entry.mode, entry[2:4], mirrored[2:4]) if entry.type == "f" else entry.mode
        is_directory = entry.type == "d"
        return {
            "c": entry.link != mirrored.link or (entry.type == "f" and entry.size != mirrored.size),
            "s": not is_directory and entry.size != mirrored.size,
            "t": not (is_directory and is_own) and not self._same_time(entry, mirrored),
            "p": traits.modes and entry.type != "l" and mode != mirrored.mode,
            "o": self.keeps.owners and entry.uid != mirrored.uid,
            "g": self.keeps.owners and entry.gid != mirrored.gid,
            "h": traits.links and not is_own and self._links[0].get(entry.path) != self._links[1].get(entry.path),
        }

    def _same_time(self, entry: Entry, mirrored: Entry) -> bool:
        return entry.mtime_ns in TIME_RANGE or same_time(mirrored.mtime_ns, entry.mtime_ns, self._tick)

    def _is_derived(self, path: bytes) -> bool:
        """Return whether git can rebuild a file from objects: a stale one is not mirrored."""
        store = nearest_ancestor(self.stores, path.rpartition(b"/")[0])
        return (
            store is not None
            and self.stores[store] == "git"
            and kind_in(self.stores, store, path) == "derived"
            and path.rpartition(b"/")[2] not in _ALTERNATES
        )

    def _judge_derived(self, entry: Entry) -> None:
        """Report such a file if it is damaged in the source; other contents in the mirror do not count as a difference."""
        store = nearest_ancestor(self.stores, entry.parent)
        inner = entry.path[len(store) + 1 if store else 0 :]
        reasons = [self._derived_problem(entry.path, check()) for each in DIGESTS if (check := check_of(inner, each)) is not None]
        if reasons and all(reasons) and self._is_unchanged(entry):
            self.differences.add(f"{escape_path(entry.path)} is damaged: {reasons[0]}")

    def _derived_problem(self, path: bytes, check: Check) -> str:
        try:
            file = open_regular(self.source, path)
        except OSError as error:
            return f"it cannot be read: {error.strerror or error}"
        if file is None:
            return "it is not a file"
        try:
            _leave_access_time(file)
            return problem_of_file(file, check)
        finally:
            os.close(file)

    def _hardlink_groups(self, manifest: Manifest) -> dict[bytes, bytes]:
        """Return the first name of each hard-linked file, for each of its names; files of repositories do not count."""
        first: dict[tuple[int, ...], bytes] = {}
        leaders: dict[bytes, bytes] = {}
        for entry in manifest.entries():
            if entry.nlink > 1 and entry.type == "f":
                store = nearest_ancestor(self.stores, entry.parent)
                if store is None or not owns(self.stores, store, entry):
                    leader = first.setdefault(identity(entry, self.has_mounts), entry.path)
                    if leader != entry.path:
                        leaders[leader] = leaders[entry.path] = leader
        return leaders

    def _status(self, path: bytes) -> os.stat_result | None:
        """Return the current status of a path in the source; None if it does not exist."""
        parent, _slash, name = path.rpartition(b"/")
        try:
            parent_fd = open_beneath(self.source, parent, _PARENT)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            return os.stat(name or b".", dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return None
        finally:
            os.close(parent_fd)

    def _is_unchanged(self, entry: Entry) -> bool:
        """Return whether the source's entry has not changed since the scan; if it has, count it."""
        try:
            status = self._status(entry.path)
        except OSError:
            return True
        if status is not None and entry_from_stat(entry.path, status, entry.link) == entry:
            return True
        self.differences.changed += 1
        return False

    def _same_contents(self, path: bytes) -> bool:
        """Return whether both sides have the same regular file.

        :raises OSError: one of them cannot be read.
        """
        files: list[int] = []
        try:
            for top in (self.source, self.mirror):
                file = open_regular(top, path)
                if file is None:
                    return False
                files.append(file)
                _leave_access_time(file)
            return equal(files[0], files[1], os.fstat(files[0]).st_size, progress=lambda: self.beat(path))
        except SourceReadError as error:
            raise OSError(error.errno, error.strerror) from error
        finally:
            for file in files:
                os.close(file)

    def _attribute_flags(self, path: bytes) -> dict[str, bool]:
        def differs(*, xattrs: bool, acls: bool) -> bool:
            return (xattrs or acls) and not same_attributes(self.source, self.mirror, path, xattrs=xattrs, acls=acls)

        return {"a": differs(xattrs=False, acls=self.keeps.acls), "x": differs(xattrs=self.keeps.xattrs, acls=False)}


def _itemized(entry: Entry, flags: Mapping[str, bool]) -> str:
    """Return a line as rsync itemizes changes."""
    update = "." if not (flags["c"] or flags["s"]) else ">" if entry.type == "f" else "c"
    if flags["h"] and update == ".":
        update = "h"
    letters = "".join(each if flags.get(each) else "." for each in "cstpog_ax")
    return f"{update}{_TYPES.get(entry.type, 'S')}{letters} {escape_path(entry.path or b'./')}"


def _leave_access_time(file: int) -> None:
    """Read an open file without changing its access time, if permitted."""
    with suppress(OSError):
        fcntl.fcntl(file, fcntl.F_SETFL, os.O_NONBLOCK | os.O_NOATIME)
