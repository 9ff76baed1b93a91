# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A manifest: what a directory tree held when it was scanned.

It is a sequence of blocks, one per directory, in the order of a depth-first walk with sorted names. A block is the
directory's path and the packed records of its entries. Two manifests are compared block by block, as bytes: only blocks that
differ are unpacked, so a million entries cost megabytes, not objects.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import islice

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import (
    BLOCK_HEADER,
    Entry,
    unpack_block,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word

MAGIC = b"repoman manifest 1\n"
DIGEST_SIZE = 32
BUFFER_LIMIT = 4 << 20
HELD_LIMIT = 1 << 20
"""Bytes of a file that :meth:`Manifest.held` keeps in memory."""
STALE_SUFFIX = ".last"
"""Suffix of the name of a manifest that is out of date."""


class Manifest:
    """The contents of one unit when it was scanned: in memory, or in a file that is read block by block.

    :param data: the blocks, one after the other.
    :param path: file that holds them instead.
    :param digest: hash over every field of every entry, in hexadecimal.
    """

    __slots__ = ("_held", "data", "digest", "path")

    def __init__(self, data: bytes = b"", *, path: str = "", digest: str = "") -> None:
        self.data, self.path = data, path
        self._held: list[tuple[bytes, bytes]] | None = None
        self.digest = digest or hashlib.blake2b(data, digest_size=DIGEST_SIZE).hexdigest()

    def blocks(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield path and records of every directory."""
        if self._held is not None:
            yield from self._held
            return
        with open(self.path, "rb") if self.path else io.BytesIO(self.data) as file:
            if self.path:
                file.seek(len(MAGIC) + DIGEST_SIZE)
            while head := file.read(BLOCK_HEADER.size):
                path_size, size = BLOCK_HEADER.unpack(head)
                path_and_records = file.read(path_size + size)
                yield path_and_records[:path_size], path_and_records[path_size:]

    def entries(self) -> Iterator[Entry]:
        """Yield every entry."""
        for directory, block in self.blocks():
            yield from unpack_block(directory, block)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the blocks in memory inside a ``with`` in which they are needed several times; those of a large file stay in the file."""
        size = os.path.getsize(self.path) if self.path else len(self.data)
        if self._held is not None or size > HELD_LIMIT:
            yield
            return
        self._held = list(self.blocks())
        try:
            yield
        finally:
            self._held = None

    def has_several_entries(self) -> bool:
        """Return whether there is more than one entry."""
        return any(True for _entry in islice(self.entries(), 1, None))

    def save(self, path: str) -> None:
        """Write the manifest to a file, whole or not at all."""
        with ManifestWriter(path) as writer:
            for directory, block in self.blocks():
                writer.add(BLOCK_HEADER.pack(len(directory), len(block)) + directory + block)
            writer.finish()

    @classmethod
    def load(cls, path: str) -> Manifest | None:
        """Open a manifest; return None if the file is missing or incomplete."""
        try:
            with open(path, "rb") as file:
                head = file.read(len(MAGIC) + DIGEST_SIZE)
                digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
                while chunk := file.read(BUFFER_LIMIT):
                    digest.update(chunk)
        except FileNotFoundError:
            return None
        return cls(path=path, digest=digest.hexdigest()) if head == MAGIC + digest.digest() else None


class ManifestWriter:
    """Writes a manifest block by block; nothing reaches the disk while it is small and :meth:`finish` has not been called.

    :param path: the file, which is there only once it is whole.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._temporary = f"{path}.{os.getpid()}.new"
        self._blocks: list[bytes] = []
        self._size = 0
        self._hash = hashlib.blake2b(digest_size=DIGEST_SIZE)
        self._file: io.BufferedWriter | None = None

    def __enter__(self) -> ManifestWriter:
        return self

    def __exit__(self, *error: object) -> None:
        """Throw away what is not finished."""
        if self._file is not None:
            with suppress(OSError):  # of a full disk: what was written is thrown away
                self._file.close()
            with suppress(OSError):
                os.unlink(self._temporary)

    def add(self, block: bytes) -> None:
        """Add a block, with its head."""
        self._hash.update(block)
        self._blocks.append(block)
        self._size += len(block)
        if self._size > BUFFER_LIMIT:
            self._spill()

    def _spill(self) -> io.BufferedWriter:
        with _writing(self._temporary):
            if self._file is None:
                self._file = open(self._temporary, "wb", opener=_private)  # noqa: SIM115 - closed by finish or exit
                self._file.write(MAGIC + bytes(DIGEST_SIZE))
            self._file.writelines(self._blocks)
        self._blocks.clear()
        self._size = 0
        return self._file

    @property
    def digest(self) -> str:
        """Return the hash of everything that was added."""
        return self._hash.hexdigest()

    def finish(self) -> Manifest:
        """Put the file in place."""
        file = self._spill()
        with _writing(self._temporary):
            file.seek(len(MAGIC))
            file.write(self._hash.digest())
            file.close()
            self._file = None
            os.rename(self._temporary, self.path)
        return Manifest(path=self.path, digest=self.digest)


@contextmanager
def _writing(path: str) -> Iterator[None]:
    """Let an error of a local file say so: it is not the source's, nor the target's."""
    try:
        yield
    except OSError as error:
        directory = os.path.dirname(path)
        raise RepomanError(f"cannot write {path}: {error.strerror or error}.", f"df -h {shell_word(directory)}") from error


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
