# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read an object store without git: its objects, its damaged files, and single objects of a pack.

Files are opened relative to open directories, without following links, and read with limits. If a file changes while it is read, it
counts as damaged at worst.
"""

from __future__ import annotations

import os
import re
import stat
import subprocess
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.checks import Check
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_checks import (
    DIGESTS,
    LOOSE,
    check_of,
    problem_of_file,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.object_copy import READ
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.git.path_class import classify_path
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.open_trees import split_path
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.process.command import Command

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FANOUT = re.compile(rb"[0-9a-f]{2}")
_JUDGED = re.compile(rb"(objects/pack/[^/]*)\.(pack|idx)")
_VERSION_2 = b"\xfftOc\0\0\0\2"
_PIECE = 1 << 20
_SHA256 = re.compile(rb"objectformat\s*=\s*\"?sha256", re.IGNORECASE)
_CONFIG = 1 << 20


class PackIndex:
    """The object IDs in a pack, read from its index on demand.

    :param file: the open index.
    :param size: of a name, in bytes.
    """

    def __init__(self, file: int, size: int) -> None:
        self.file, self.size = file, size
        start = os.pread(file, 8, 0)
        self.fanout = 8 if start == _VERSION_2 else 0
        self.names = self.fanout + 256 * 4
        self.skip = 0 if self.fanout else 4
        self.step = size + self.skip
        self.count = self._up_to(255)

    def _up_to(self, byte: int) -> int:
        return int.from_bytes(os.pread(self.file, 4, self.fanout + 4 * byte), "big") if byte >= 0 else 0

    def __contains__(self, name: bytes) -> bool:
        low, high = self._up_to(name[0] - 1), self._up_to(name[0])
        while low < high:
            middle = (low + high) // 2
            candidate = os.pread(self.file, self.size, self.names + middle * self.step + self.skip)
            if candidate == name:
                return True
            if candidate < name:
                low = middle + 1
            else:
                high = middle
        return False

    def __iter__(self) -> Iterator[bytes]:
        at, end = self.names, self.names + self.count * self.step
        while at < end:
            data = os.pread(self.file, min(end - at, self.step * 8192), at)
            if len(data) < self.step:
                return
            complete = len(data) // self.step * self.step
            for begin in range(self.skip, complete, self.step):
                yield data[begin : begin + self.size]
            at += complete


class ObjectStore:
    """The object files of one git directory of a tree.

    :param top: the tree.
    :param store: the git directory, relative to it.
    """

    def __init__(self, top: bytes, store: bytes) -> None:
        self.prefix = store + b"/" if store else b""
        self.path = os.path.join(top, store, b"objects")
        top_fd = os.open(top, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            self.directory = open_beneath(top_fd, store, _DIRECTORY)
        finally:
            os.close(top_fd)
        self.config = self._config()
        self.algorithm = "sha256" if _SHA256.search(self.config) else "sha1"
        self.files = self._list_files()
        self.damaged: dict[bytes, str] = {}
        self._problems: dict[bytes, str] = {}
        self._indexes: dict[bytes, PackIndex | None] = {}

    def __enter__(self) -> ObjectStore:
        return self

    def __exit__(self, *error: object) -> None:
        for index in self._indexes.values():
            if index is not None:
                os.close(index.file)
        self._indexes.clear()
        os.close(self.directory)

    def _config(self) -> bytes:
        try:
            with self.open_file(b"config") as file:
                return os.read(file, _CONFIG)
        except OSError:
            return b""

    def _list_files(self) -> dict[bytes, os.stat_result]:
        """Return the entries of the directories of objects and packs, relative to the git directory."""
        files: dict[bytes, os.stat_result] = {}
        try:
            objects = open_beneath(self.directory, b"objects", _DIRECTORY)
        except (FileNotFoundError, NotADirectoryError):
            return files
        try:
            for name in map(os.fsencode, os.listdir(objects)):
                if name != b"pack" and not _FANOUT.fullmatch(name):
                    continue
                with suppress(FileNotFoundError, NotADirectoryError):
                    directory_fd = open_beneath(objects, name, _DIRECTORY)
                    try:
                        for file_name in map(os.fsencode, os.listdir(directory_fd)):
                            with suppress(FileNotFoundError):
                                files[b"objects/" + name + b"/" + file_name] = os.stat(
                                    file_name, dir_fd=directory_fd, follow_symlinks=False
                                )
                    finally:
                        os.close(directory_fd)
        finally:
            os.close(objects)
        return files

    @contextmanager
    def open_file(self, inner: bytes) -> Iterator[int]:
        """Open a file, without following links."""
        parent, name = split_path(inner)
        parent_fd = open_beneath(self.directory, parent, _DIRECTORY)
        try:
            file = os.open(name, READ, dir_fd=parent_fd)
        finally:
            os.close(parent_fd)
        try:
            yield file
        finally:
            os.close(file)

    # Damage

    def check_of(self, inner: bytes) -> Check | None:
        """Return a check of a file; None if its contents prove nothing."""
        create_check = check_of(inner, self.algorithm, self._recorded)
        return create_check() if create_check else None

    def _recorded(self, inner: bytes) -> bytes | None:
        size = DIGESTS[self.algorithm]
        distance = size if inner.endswith(b".pack") else 2 * size
        if inner.endswith(b".pack") and self.problem(inner):  # the hash at its end cannot be trusted
            return None
        try:
            with self.open_file(inner) as file:
                end = os.fstat(file).st_size
                return os.pread(file, size, end - distance) if end >= distance else None
        except OSError:
            return None

    def problem(self, inner: bytes) -> str:
        """Return the problem of a file, empty if it is sound; each file is read once."""
        if inner not in self._problems:
            self._problems[inner] = self._problem(inner)
            if self._problems[inner] and inner in self.files:
                self.damaged[inner] = self._problems[inner]
        return self._problems[inner]

    def _problem(self, inner: bytes) -> str:
        status = self.files.get(inner)
        if status is None:
            return "it is missing"
        if not stat.S_ISREG(status.st_mode):
            return "it is not a file"
        check = self.check_of(inner)
        if check is None:
            return ""
        try:
            with self.open_file(inner) as file:
                return problem_of_file(file, check)
        except OSError as error:
            return f"it cannot be read: {error.strerror}"

    def check_all(self, mirror: ObjectStore) -> None:
        """Check every object, and every pack and index if git reads it, here or in the mirror; ``damaged`` then has the damaged ones."""
        for inner in self.files:
            match = _JUDGED.fullmatch(inner)
            if LOOSE.fullmatch(inner) or (match and (self._has_pack(match[1]) or mirror._has_pack(match[1]))):
                self.problem(inner)

    def _has_pack(self, stem: bytes) -> bool:
        """Return whether there is a pack with its index, both of which are files or links, which git follows."""
        pair = [self.files.get(stem + suffix) for suffix in (b".pack", b".idx")]
        return all(each is not None and not stat.S_ISDIR(each.st_mode) for each in pair) and classify_path(stem + b".pack") != "transient"

    # Which objects there are

    def packs(self) -> list[bytes]:
        """Return the packs that have an index, without their suffixes."""
        return sorted(each[:-4] for each in self.files if each.endswith(b".idx") and each[:-4] + b".pack" in self.files)

    def _index(self, stem: bytes) -> PackIndex | None:
        """Return the index of a pack; None if the pack or the index is damaged."""
        if stem not in self._indexes:
            self._indexes[stem] = None
            if not self.problem(stem + b".pack") and not self.problem(stem + b".idx"):
                with suppress(OSError), self.open_file(stem + b".idx") as file:
                    self._indexes[stem] = PackIndex(os.dup(file), DIGESTS[self.algorithm])
        return self._indexes[stem]

    def names_in(self, stem: bytes) -> Iterator[str]:
        """Yield the names of the objects in a sound pack."""
        for name in self._index(stem) or ():
            yield name.hex()

    def count(self, stem: bytes) -> int:
        """Return the number of objects in a sound pack."""
        index = self._index(stem)
        return index.count if index else 0

    def names(self, stem: bytes, name: str) -> bool:
        """Return whether a sound pack has an object."""
        index = self._index(stem)
        return index is not None and bytes.fromhex(name) in index

    def has_in_pack(self, name: str) -> bool:
        """Return whether any sound pack has an object."""
        return any(self.names(stem, name) for stem in self.packs())

    def has_loose(self, name: str) -> bool:
        """Return whether a sound loose object exists."""
        loose = f"objects/{name[:2]}/{name[2:]}".encode()
        return loose in self.files and not self.problem(loose)

    def has(self, name: str) -> bool:
        """Return whether a sound object exists, loose or in a pack."""
        return self.has_loose(name) or self.has_in_pack(name)


def extracted_object(store: ObjectStore, name: str, environment: dict[str, str], how: dict[str, Any]) -> Iterator[bytes]:
    """Yield an object of a pack as the contents of a loose object's file.

    :param environment: for git, which sees the store's objects in it.
    :param how: further arguments of the process.
    :raises RepomanError: git cannot read it.
    """
    with Command(
        ["git", "cat-file", "--batch"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, **how
    ) as process:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("a process without pipes")
        with suppress(BrokenPipeError):
            process.stdin.write(name.encode() + b"\n")
            process.stdin.flush()
        head = process.stdout.readline(200).split()
        if len(head) != 3 or head[0] != name.encode():  # noqa: PLR2004 - name, kind and size
            process.kill()
            raise RepomanError(
                f"object {name} cannot be read from the mirror's pack in {os.fsdecode(store.path)}.", "repoman sync --verify"
            )
        remaining = int(head[2])
        deflate = zlib.compressobj(1)
        yield deflate.compress(head[1] + b" " + head[2] + b"\0")
        while remaining and (chunk := process.stdout.read(min(_PIECE, remaining))):
            remaining -= len(chunk)
            yield deflate.compress(chunk)
        yield deflate.flush()
        process.stdin.close()
        process.wait()
