# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compares a built ``.hg`` with the mirror's, which is sound: finds new parts, which must be verified, and missing parts."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Set
from functools import cached_property
from itertools import islice

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import Entry
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.proof import MAX_SMALL_FILE, Problem, ProofJob, read_small
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.revlog import RevlogIndex, has_holes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.hg.store_files import CHANGELOG, data_file, is_revlog_index
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.repository_errors import TYPE_PHRASES

MAX_LIST_BYTES = 256 << 20
"""Maximum plausible size of a file that hg reads as a whole: the list of files, obsolescence markers, the dirstate."""
REQUIREMENTS_FILES = frozenset({b"requires", b"store/requires"})
NEVER_EMPTY = frozenset({b"requires", b"store/requires", b"store/fncache", b"store/obsstore", b"dirstate"})
"""Files that hg never empties again."""
MAX_MISSING = 1 << 20
"""Maximum number of missing revisions to search for; beyond that, the whole history is verified."""


class Comparison:
    """What differs between two ``.hg`` directories.

    :param build_path: the built one.
    :param entries: its entries.
    :param mirror_path: the mirror's.
    :param mirrored: its entries; empty without a mirror.
    :param linked: files of the build that are links to the mirror's.
    :param is_proven: the mirror is sound.
    """

    def __init__(
        self,
        build_path: bytes,
        entries: Mapping[bytes, Entry],
        mirror_path: bytes,
        mirrored: Mapping[bytes, Entry],
        linked: Set[bytes],
        *,
        is_proven: bool,
    ) -> None:
        self.build_path, self.entries, self.mirror_path, self.mirrored, self.linked = build_path, entries, mirror_path, mirrored, linked
        self.is_proven = is_proven and bool(mirrored)
        self._verifies_all = not self.is_proven or not all(each.get(CHANGELOG) for each in (entries, mirrored))

    def _built(self, path: bytes) -> bytes:
        return os.path.join(self.build_path, path)

    def _mirrors(self, path: bytes) -> bytes:
        return os.path.join(self.mirror_path, path)

    @cached_property
    def changed_revlogs(self) -> dict[bytes, tuple[RevlogIndex, int]]:
        """Revlogs that are not links to the mirror's, each with the number of leading revisions that equal the mirror's."""
        changed: dict[bytes, tuple[RevlogIndex, int]] = {}
        for path, entry in self.entries.items():
            if is_revlog_index(path) and entry.type == "f" and not self._is_linked(path):
                index = RevlogIndex(self._built(path))
                changed[path] = index, self._common_revisions(path, index)
        return changed

    def _is_linked(self, path: bytes) -> bool:
        """Return whether an index and its data file are links to the mirror's."""
        return all(each in self.linked for each in (path, data_file(path)) if each in self.entries or each in self.mirrored)

    def _common_revisions(self, path: bytes, index: RevlogIndex) -> int:
        if not self.is_proven or path not in self.mirrored or self.mirrored[path].type != "f":
            return 0
        data = data_file(path)
        return index.common_revisions(RevlogIndex(self._mirrors(path)), self._built(data), self._mirrors(data))

    def mirrored_changesets(self) -> int:
        """Return the number of changesets in the mirror."""
        return RevlogIndex(self._mirrors(CHANGELOG)).count if CHANGELOG in self.mirrored else 0

    @cached_property
    def _first_new_changeset(self) -> int:
        if CHANGELOG in self.changed_revlogs:
            return self.changed_revlogs[CHANGELOG][1]
        return RevlogIndex(self._built(CHANGELOG)).count

    def job(self, *, parents: bool = True) -> ProofJob:
        """Return what hg must verify.

        :param parents: the working directory's parents must be in the history.
        """
        revlogs = self.changed_revlogs
        is_known = all(index.is_known for index, _common in revlogs.values())
        if self._verifies_all or not is_known or not RevlogIndex(self._built(CHANGELOG)).is_known:
            everything = tuple((path, 0) for path, entry in sorted(self.entries.items()) if is_revlog_index(path) and entry.type == "f")
            return ProofJob(everything, -1, parents)
        return ProofJob(tuple((path, common) for path, (_index, common) in sorted(revlogs.items())), self._first_new_changeset, parents)

    # Checks that do not need hg, and run before it

    def problems(self) -> list[Problem]:
        """Return the problems of the files themselves, and the missing parts of the mirror's history."""
        return [*self._damaged_files(), *self._damaged_revlogs()] or ([] if self._verifies_all else list(self._missing_revisions()))

    def _damaged_files(self) -> Iterator[Problem]:
        for path, entry in self.entries.items():
            is_needed = is_revlog_index(path) or path in NEVER_EMPTY or (path.startswith(b"store/") and path.endswith(b".d"))
            if entry.type != "f" and is_needed and path in self.mirrored and self.mirrored[path].type == "f":
                yield Problem(path, f"it is {TYPE_PHRASES[entry.type]}")
            if path in self.linked or entry.type != "f" or not self._is_list(path):
                continue
            limit = MAX_SMALL_FILE if path in REQUIREMENTS_FILES else MAX_LIST_BYTES
            if entry.size > limit:
                yield Problem(path, f"it has {entry.size} bytes; at most {limit} are plausible")
            elif entry.size and has_holes(self._built(path)):
                yield Problem(path, f"parts of its {entry.size} bytes were never written")
            elif (
                not entry.size
                and path in NEVER_EMPTY
                and (path in REQUIREMENTS_FILES or (path in self.mirrored and self.mirrored[path].size))
            ):
                yield Problem(path, "it is empty")

    @staticmethod
    def _is_list(path: bytes) -> bool:
        name = path.removeprefix(b"store/")
        return b"/" not in name and not name.endswith((b".i", b".d")) and not name.startswith((b"undo", b"journal"))

    @cached_property
    def _requirements(self) -> set[bytes]:
        return {each for path in REQUIREMENTS_FILES for each in read_small(os.fsdecode(self._built(path))).split()}

    def _damaged_revlogs(self) -> Iterator[Problem]:
        is_known = b"revlogv1" in self._requirements and not any(b"v2" in each and b"log" in each for each in self._requirements)
        for path, (index, common) in self.changed_revlogs.items():
            if not index.is_known and not is_known:
                continue
            if not index.is_inline and index.size and has_holes(self._built(path)):
                yield Problem(path, f"parts of its {index.size} bytes were never written")
            elif malformed := index.find_malformed(common):
                number, link, text = malformed
                yield Problem(path, text, number, link)

    def _missing_revisions(self) -> Iterator[Problem]:
        """Yield revlogs that lack revisions of changesets which source and mirror have in common."""
        for path in self.mirrored:
            if not is_revlog_index(path) or path == CHANGELOG or self.mirrored[path].type != "f":
                continue
            if path not in self.changed_revlogs and path in self.entries:
                continue
            if not (previous := RevlogIndex(self._mirrors(path))).is_known:
                continue
            index, common = self.changed_revlogs.get(path, (None, 0))
            later = previous.revisions(common) if common < previous.count else iter(())
            needed = (revision for revision in later if revision.link < self._first_new_changeset)
            missing = {revision.node: revision for revision in islice(needed, MAX_MISSING + 1)}
            if len(missing) > MAX_MISSING:
                self._verifies_all = True
                return
            for revision in index.revisions(common) if index is not None and missing else ():
                missing.pop(revision.node, None)
            if missing:
                first = min(missing.values(), key=lambda revision: revision.number)
                yield Problem(path, f"revision {first.node.hex()[:12]} is missing", first.number, first.link)
