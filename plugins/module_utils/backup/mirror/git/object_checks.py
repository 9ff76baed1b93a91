# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Checks of files of git's object stores against their names, or the checksums at their ends.

The checks see the contents once, in pieces, and need little memory whatever the file's size. A loose object's name is the hash of its
contents. A pack, its index and all that git derives from objects end with a hash of what precedes it; those that belong to one pack
record that pack's hash too, just before their own (a bitmap in its header).
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Callable
from functools import partial

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import Check, UnsoundError
from ansible_collections.homelab.repoman.plugins.module_utils.files.source_files import data_parts

LOOSE = re.compile(rb"objects/([0-9a-f]{2})/([0-9a-f]{38}|[0-9a-f]{62})")
_IN_PACK = re.compile(rb"objects/pack/[^/]*\.(pack|idx|rev|bitmap|mtimes)")
"""git reads each index in the directory, whatever its name, and the pack next to it: ``git maintenance`` names packs ``loose-…``."""
_DERIVED = re.compile(
    rb"objects/pack/multi-pack-index(-[0-9a-f]+\.(rev|bitmap))?|objects/pack/multi-pack-index\.d/multi-pack-index-[0-9a-f]+\.(midx|rev|bitmap)"
    rb"|objects/info/commit-graph|objects/info/commit-graphs/graph-[0-9a-f]+\.graph"
)
_HASH = re.compile(rb"-([0-9a-f]{40}|[0-9a-f]{64})\.")
_MAGIC = {b"pack": b"PACK", b"rev": b"RIDX", b"bitmap": b"BITM", b"mtimes": b"MTME", b"midx": b"MIDX", b"graph": b"CGPH"}
_RECORDS_ITS_PACK = (b"idx", b"rev", b"mtimes")
_BITMAP_HEADER = 12
"""Bytes of a bitmap before the hash of its pack: signature, version, flags and the number of entries."""
_HEADER = 32
"""A loose object's type and size have fewer bytes."""
_PIECE = 1 << 20
_HOLE = 64 << 10
"""git writes compressed data, which never has a run of zeros long enough for a hole."""

DIGESTS = {"sha1": 20, "sha256": 32}
EMPTY = "it is empty"
CUT_OFF = "it is truncated"
CANNOT_INFLATE = "it cannot be decompressed"
NOT_ITS_NAME = "its contents do not match its name"
NOT_ITS_CHECKSUM = "its contents do not match the checksum at its end"
OTHER_PACK = "it belongs to another pack"


class LooseCheck:
    """Inflates a loose object and compares its hash with its name.

    :param name: the object's, in hex.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.hash = (hashlib.sha1 if len(name) == 40 else hashlib.sha256)(usedforsecurity=False)  # noqa: PLR2004 - digits
        self.inflate = zlib.decompressobj()
        self.header = b""
        self.remaining: int | None = None
        self.empty = True

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes of the file."""
        self.empty = False
        if self.inflate.eof:
            raise UnsoundError("it has trailing data")
        while chunk:
            try:
                data = self.inflate.decompress(chunk, _PIECE)
            except zlib.error as error:
                raise UnsoundError(CANNOT_INFLATE) from error
            self._add_data(data)
            if self.inflate.eof:
                break
            chunk = self.inflate.unconsumed_tail
        if self.inflate.unused_data:
            raise UnsoundError("it has trailing data")

    def _add_data(self, data: bytes) -> None:
        self.hash.update(data)
        size = len(data)
        if self.remaining is None:  # nearly every object fits in one piece
            self.header += data[:_HEADER]
            end = self.header.find(b"\0")
            if end < 0:
                if len(self.header) >= _HEADER:
                    raise UnsoundError("it has no header")
                return
            _kind, _space, digits = self.header[:end].partition(b" ")
            if not digits.isdigit():
                raise UnsoundError("it has no header")
            self.remaining = int(digits)
            size = len(self.header) - end - 1 + max(0, size - _HEADER)
        self.remaining -= size
        if self.remaining < 0:
            raise UnsoundError("it is longer than its header says")

    def hole(self, size: int) -> None:
        """Take in zeros."""
        _take_hole(self, size)

    def finish(self) -> str:
        """Judge the whole."""
        if self.empty:
            return EMPTY
        try:
            while not self.inflate.eof and (data := self.inflate.decompress(self.inflate.unconsumed_tail, _PIECE)):
                self._add_data(data)
        except zlib.error:
            return CANNOT_INFLATE
        except UnsoundError as error:
            return str(error)
        if not self.inflate.eof or self.remaining:
            return CUT_OFF
        return "" if self.hash.hexdigest() == self.name else NOT_ITS_NAME


class TrailerCheck:
    """Compares the contents of a file with the hash at its end.

    :param algorithm: of the hash.
    :param magic: first bytes of the file; empty if they vary.
    :param named: hex hash in the file's name, which must equal the one at its end; empty if the name has none.
    :param pack: returns the hash of the pack that the file belongs to; None if it is unknown or the pack is missing.
    :param recorded_at: offset of that hash in the header; None if it precedes the hash at the end.
    """

    def __init__(
        self,
        algorithm: str,
        magic: bytes = b"",
        named: str = "",
        pack: Callable[[], bytes | None] | None = None,
        recorded_at: int | None = None,
    ) -> None:
        self.size, self.magic, self.named, self.pack, self.recorded_at = DIGESTS[algorithm], magic, named, pack, recorded_at
        self.hash = hashlib.new(algorithm, usedforsecurity=False)
        self.tail = self.last = self.first = b""

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes of the file."""
        if len(self.first) < _HEADER + _BITMAP_HEADER:
            self.first += chunk[: _HEADER + _BITMAP_HEADER]
            if not self.magic.startswith(self.first[: len(self.magic)]):
                raise UnsoundError("its header is not valid")
        self.last = (self.last + chunk[-2 * self.size :])[-2 * self.size :]
        if len(chunk) < self.size:
            chunk = self.tail + chunk
        else:
            self.hash.update(self.tail)
        cut = max(0, len(chunk) - self.size)
        self.hash.update(memoryview(chunk)[:cut])
        self.tail = chunk[cut:]

    def hole(self, size: int) -> None:
        """Take in zeros."""
        _take_hole(self, size)

    def finish(self) -> str:
        """Judge the whole."""
        if not self.first:
            return EMPTY
        if len(self.tail) < self.size or self.hash.digest() != self.tail:
            return NOT_ITS_CHECKSUM
        if self.named and self.named != self.tail.hex():
            return NOT_ITS_NAME
        pack = self.pack() if self.pack else None
        if pack is None:
            return ""
        at = self.recorded_at
        recorded = self.last[: self.size] if at is None else self.first[at : at + self.size]
        return "" if recorded == pack else OTHER_PACK


class PackCheck(TrailerCheck):
    """Compares a pack with the hash at its end, and this hash with the pack's name or its index.

    Before git 1.9 a pack was named after its list of objects, so packs with the same name can differ.
    """

    def finish(self) -> str:
        """Judge the whole."""
        pack, self.pack = self.pack, None
        named, self.named = self.named, ""
        reason = super().finish()
        if reason or not pack or self.tail.hex() == named:
            return reason
        return "" if pack() in {None, self.tail} else "its index belongs to another pack"


def _take_hole(check: Check, size: int) -> None:
    if size > _HOLE:
        raise UnsoundError("it has a hole")
    check.update(bytes(size))


def split_suffix(path: bytes) -> tuple[bytes, bytes]:
    """Split a path before the last dot of its name, as git does: ``.idx`` is only a suffix; empty if the name has no dot."""
    at = path.rfind(b".", path.rfind(b"/") + 1)
    return (path[:at], path[at:]) if at >= 0 else (path, b"")


def check_of(path: bytes, algorithm: str, pack: Callable[[bytes], bytes | None] = lambda _path: None) -> Callable[[], Check] | None:
    """Return a function that creates the check of a file of an object store; None for files without a hash.

    :param path: relative to the git directory.
    :param algorithm: the repository's, for files whose names have no hash.
    :param pack: returns the hash of a pack by its path, or the pack hash recorded in an index; None if the file is missing.
    """
    if match := LOOSE.fullmatch(path):
        return partial(LooseCheck, (match[1] + match[2]).decode())
    hashed = _HASH.search(path, path.rfind(b"/"))
    stem, suffix = split_suffix(path)
    suffix = suffix[1:]
    if _DERIVED.fullmatch(path):
        if not suffix:
            suffix = b"graph" if b"/info/" in path else b"midx"
        named = hashed[1].decode() if hashed and suffix in {b"graph", b"midx"} else ""
        return partial(TrailerCheck, _algorithm_of(hashed) or algorithm, _MAGIC[suffix], named)
    if _IN_PACK.fullmatch(path):
        if path.startswith(b"objects/pack/pack-"):  # other programs than git may have given a pack any other name
            algorithm = _algorithm_of(hashed) or algorithm
        its_pack = partial(pack, stem + b".pack")
        if suffix in _RECORDS_ITS_PACK:
            return partial(TrailerCheck, algorithm, _MAGIC.get(suffix, b""), pack=its_pack)
        if suffix == b"bitmap":
            return partial(TrailerCheck, algorithm, _MAGIC[suffix], pack=its_pack, recorded_at=_BITMAP_HEADER)
        index = partial(pack, stem + b".idx")
        return partial(PackCheck, algorithm, _MAGIC[suffix], hashed[1].decode() if hashed else "", pack=index)
    return None


def _algorithm_of(hashed: re.Match[bytes] | None) -> str:
    """Return the algorithm of the hash in a name, from its number of digits; empty if the name has none."""
    return "" if hashed is None else "sha1" if len(hashed[1]) == 40 else "sha256"  # noqa: PLR2004 - digits


def is_derived(path: bytes) -> bool:
    """Return whether git does not need a file (path relative to the git directory) and recreates it from objects."""
    return bool(_DERIVED.fullmatch(path)) or (_IN_PACK.fullmatch(path) is not None and path.endswith((b".rev", b".bitmap")))


def problem_of(data: bytes, check: Check) -> str:
    """Return the problem of contents in memory; empty if they are sound."""
    try:
        if data:
            check.update(data)
        return check.finish()
    except UnsoundError as error:
        return str(error)


def problem_of_file(file: int, check: Check) -> str:
    """Return the problem of the contents of an open file, up to its current size; empty if they are sound."""
    size, done = os.fstat(file).st_size, 0
    try:
        for start, part in data_parts(file, size):
            if start > done:
                check.hole(start - done)
            check.update(part)
            done = start + len(part)
        if size > done:
            check.hole(size - done)
        return check.finish()
    except UnsoundError as error:
        return str(error)


def index_problem(data: bytes, algorithm: str) -> str:
    """Return the problem of a repository's ``index``, if any; git can be configured to write no checksum."""
    size = DIGESTS[algorithm]
    if not data:
        return EMPTY
    if not data.startswith(b"DIRC"):
        return "its header is not valid"
    if len(data) > size + 12 and not any(data[-size:]):
        return ""
    return problem_of(data, TrailerCheck(algorithm))
