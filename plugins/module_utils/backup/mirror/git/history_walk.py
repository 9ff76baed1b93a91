# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Find the objects of a damaged repository that have their complete history.

git's own walks stop at the first missing object. This one asks a single ``git cat-file`` for one object after the other and remembers
the answers, so that thousands of references and reflog lines cost one process and each object is read once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_reader import ObjectReader

LARGEST = 64 << 20
"""A larger commit, tree or tag, in bytes, counts as damaged."""
RESTARTS = 1000
_TREE_MODE = b"40000"
_GITLINK = b"160000"


class Walker:
    """Returns whether objects, and all objects that they need, exist.

    :param environment: for git, which sees the objects in it.
    :param how: further arguments of the process.
    :param shallow: commits whose parents are missing on purpose.
    :param lacking: in a partial clone, in which other objects may be missing too, the objects that must not be; None in any other repository.
    """

    def __init__(
        self, environment: dict[str, str], how: dict[str, Any], shallow: Iterable[bytes] = (), lacking: frozenset[bytes] | None = None
    ) -> None:
        self.lacking = lacking
        self.reader = ObjectReader(environment, how, RESTARTS)
        self.shallow = frozenset(shallow)
        self.verdicts: dict[bytes, bool] = {}
        self.lost: list[bytes] = []
        """Names of objects that are missing or cannot be read, in the order they were found."""

    def close(self) -> None:
        """End the process."""
        self.reader.close()

    def is_whole(self, name: bytes) -> bool:
        """Return whether an object, named in hex, exists with all objects that it needs."""
        key = _key(name)
        if key is None:
            return False
        if key in self.verdicts:
            return self.verdicts[key]
        path: list[tuple[bytes, list[bytes]]] = []
        self._enter(key, path)
        while path:
            current, needed = path[-1]
            if not needed:
                self.verdicts[current] = True
                path.pop()
                continue
            need = needed[-1]
            if need not in self.verdicts:
                self._enter(need, path)
            elif self.verdicts[need]:
                needed.pop()
            else:  # all that lead here lack something; each is False already
                return False
        return self.verdicts[key]

    def _enter(self, key: bytes, path: list[tuple[bytes, list[bytes]]]) -> None:
        """Read an object and put it on the path; it counts as incomplete until all objects it needs are found, so that a cycle is incomplete."""
        self.verdicts[key] = False
        read = self._read(key.hex().encode())
        if read is None:
            self.verdicts[key] = self._may_be_missing(key)
            return
        kind, data = read
        if kind == b"blob":
            self.verdicts[key] = True
            return
        if kind == b"tree":
            trees, blobs = _tree(data, len(key))
            for blob in blobs:
                if blob not in self.verdicts:
                    self.verdicts[blob] = self.reader.head(blob.hex().encode()) is not None or self._may_be_missing(blob)
                if not self.verdicts[blob]:
                    return
            path.append((key, trees))
            return
        needed = _references(data, kind, key.hex().encode() in self.shallow)
        if needed:
            path.append((key, needed))

    def _may_be_missing(self, key: bytes) -> bool:
        """Return whether a missing object may be missing in a partial clone; git itself decides in the end."""
        name = key.hex().encode()
        if self.lacking is not None and name not in self.lacking:
            return True
        self.lost.append(name)
        return False

    def _read(self, name: bytes) -> tuple[bytes, bytes] | None:
        """Return an object's kind and, unless it is a blob, its contents; None if it is missing or damaged."""
        head = self.reader.head(name)
        if head is None or head[0] == b"blob":
            return head and (head[0], b"")
        data = self.reader.contents(name) if head[1] <= LARGEST else None
        return None if data is None else (head[0], data)


def _key(name: bytes) -> bytes | None:
    try:
        return bytes.fromhex(name.decode("ascii"))
    except ValueError:
        return None


def _tree(data: bytes, size: int) -> tuple[list[bytes], list[bytes]]:
    """Return the trees and the blobs that a tree names; commits of submodules are not in the repository."""
    trees, blobs = [], []
    at = 0
    while at < len(data):
        end = data.find(b"\0", at)
        if end < 0:
            break
        mode = data[at:end].partition(b" ")[0].lstrip(b"0")
        name = data[end + 1 : end + 1 + size]
        if mode == _TREE_MODE:
            trees.append(name)
        elif mode != _GITLINK:
            blobs.append(name)
        at = end + 1 + size
    return trees, blobs


def _references(data: bytes, kind: bytes, shallow: bool) -> list[bytes]:
    """Return the objects that a commit or tag names; an invalid name never matches an object."""
    fields = {b"commit": (b"tree",) if shallow else (b"tree", b"parent"), b"tag": (b"object",)}.get(kind, ())
    references = []
    for line in data.partition(b"\n\n")[0].split(b"\n"):
        word, _space, name = line.partition(b" ")
        if word in fields:
            references.append(_key(name) or b"\0")
    return references
