# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares a ``.hg`` that was built with the mirror's, which is sound: what is new and must be checked, and what is missing."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from itertools import islice

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import A_KIND
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.build import CHANGELOG, data_of, is_log
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import SMALL, Job, Problem, read_small
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import Log, holes

LISTS = 256 << 20
"""Bytes that a file which hg reads whole may have: the list of files, obsolescence markers, the state of the working directory."""
SHORT = frozenset({b"requires", b"store/requires"})
NEVER_EMPTY = frozenset({b"requires", b"store/requires", b"store/fncache", b"store/obsstore", b"dirstate"})
"""What hg never leaves empty once there was something in it."""
MANY = 1 << 20
"""Maximum number of missing revisions to search for; beyond that all history is checked."""


class Comparison:
    """What differs between two ``.hg`` directories.

    :param build: the new one.
    :param found: what it holds.
    :param place: the mirror's.
    :param old: its entries; empty if there is no mirror.
    :param linked: files that are the mirror's own.
    :param proven: the mirror's is sound.
    """

    def __init__(
        self, build: bytes, found: Mapping[bytes, Entry], place: bytes, old: Mapping[bytes, Entry], linked: Set[bytes], *, proven: bool
    ) -> None:
        self.build, self.found, self.place, self.old, self.linked = build, found, place, old, linked
        self.proven = proven and bool(old)
        self._is_full = not self.proven or not all(each.get(CHANGELOG) for each in (found, old))

    def _new(self, path: bytes) -> bytes:
        return os.path.join(self.build, path)

    def _mirrored(self, path: bytes) -> bytes:
        return os.path.join(self.place, path)

    @cached_property
    def logs(self) -> dict[bytes, tuple[Log, int]]:
        """Logs that are not the mirror's own, with how many revisions are the mirror's, byte for byte."""
        return {
            path: (log := Log(self._new(path)), self._common(path, log))
            for path, entry in self.found.items()
            if is_log(path) and entry.kind == "f" and not ({path, data_of(path)} & (self.found.keys() | self.old.keys()) <= self.linked)
        }

    def _common(self, path: bytes, log: Log) -> int:
        if not self.proven or path not in self.old or self.old[path].kind != "f":
            return 0
        return log.common(Log(self._mirrored(path)), self._new(data_of(path)), self._mirrored(data_of(path)))

    def changesets(self) -> int:
        """Return how many changesets the mirror has."""
        return Log(self._mirrored(CHANGELOG)).count if CHANGELOG in self.old else 0

    @cached_property
    def _since(self) -> int:
        """The first changeset that is not the mirror's."""
        if CHANGELOG in self.logs:
            return self.logs[CHANGELOG][1]
        return Log(self._new(CHANGELOG)).count

    def job(self, *, parents: bool = True) -> Job:
        """Return what hg is to check."""
        if self._is_full or any(not log.known for log, _common in self.logs.values()) or not Log(self._new(CHANGELOG)).known:
            logs = tuple((path, 0) for path, entry in sorted(self.found.items()) if is_log(path) and entry.kind == "f")
            return Job(logs, -1, parents)
        return Job(tuple((path, common) for path, (_log, common) in sorted(self.logs.items())), self._since, parents)

    # Checks that do not need hg and run before it

    def problems(self) -> list[Problem]:
        """Return what is wrong with the files themselves, and what of the mirror's history is missing."""
        return [*self._odd_files(), *self._odd_logs()] or ([] if self._is_full else list(self._missing()))

    def _odd_files(self) -> Iterator[Problem]:
        for path, entry in self.found.items():
            is_needed = is_log(path) or path in NEVER_EMPTY or (path.startswith(b"store/") and path.endswith(b".d"))
            if entry.kind != "f" and is_needed and path in self.old and self.old[path].kind == "f":
                yield Problem(path, f"it is {A_KIND[entry.kind]}")
            if path in self.linked or entry.kind != "f" or not self._is_read_whole(path):
                continue
            limit = SMALL if path in SHORT else LISTS
            if entry.size > limit:
                yield Problem(path, f"it has {entry.size} bytes; at most {limit} are plausible")
            elif entry.size and holes(self._new(path)):
                yield Problem(path, f"parts of its {entry.size} bytes were never written")
            elif not entry.size and path in NEVER_EMPTY and (path in SHORT or (path in self.old and self.old[path].size)):
                yield Problem(path, "it is empty")

    @staticmethod
    def _is_read_whole(path: bytes) -> bool:
        name = path.removeprefix(b"store/")
        return b"/" not in name and not name.endswith((b".i", b".d")) and not name.startswith((b"undo", b"journal"))

    @cached_property
    def _requirements(self) -> set[bytes]:
        return {each for path in SHORT for each in read_small(os.fsdecode(self._new(path))).split()}

    def _odd_logs(self) -> Iterator[Problem]:
        is_known = b"revlogv1" in self._requirements and not any(b"v2" in each and b"log" in each for each in self._requirements)
        for path, (log, common) in self.logs.items():
            if not log.known and not is_known:
                continue
            if not log.inline and log.size and holes(self._new(path)):
                yield Problem(path, f"parts of its {log.size} bytes were never written")
            elif fault := log.fault(common):
                number, link, text = fault
                yield Problem(path, text, number, link)

    def _missing(self) -> Iterator[Problem]:
        """Yield logs that lack revisions which the changesets that both have need."""
        for path in self.old:
            if not is_log(path) or path == CHANGELOG or self.old[path].kind != "f":
                continue
            if path in self.logs or path not in self.found:
                if not (previous := Log(self._mirrored(path))).known:
                    continue
                log, common = self.logs.get(path, (None, 0))
                later = previous.revisions(common) if common < previous.count else iter(())
                lost = {each.node: each for each in islice((each for each in later if each.link < self._since), MANY + 1)}
                if len(lost) > MANY:
                    self._is_full = True
                    return
                for each in log.revisions(common) if log is not None and lost else ():
                    lost.pop(each.node, None)
                if lost:
                    first = min(lost.values(), key=lambda each: each.number)
                    yield Problem(path, f"revision {first.node.hex()[:12]} is missing", first.number, first.link)
