# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a directory tree holds: one fast pass of ``lstat`` over it, as a compact manifest that compares and hashes well.

A manifest is a sequence of blocks, one per directory, in the order of a depth-first walk with sorted names. A block is the
directory's path and the packed records of what is in it. Two manifests are compared block by block, as bytes: only blocks that
differ are ever unpacked, so a million entries cost megabytes, not objects.
"""

from __future__ import annotations

import copyreg
import errno
import hashlib
import io
import os
import stat
import struct
from collections.abc import Container, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from typing import NamedTuple

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.tree_rules import TreeFilter, TreeRules
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_below
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import spread, stream

MAGIC = b"repoman manifest 1\n"
DIGEST_SIZE = 32
LOOSE = "(loose files)"
"""The unit of what lies directly in ``repos_root`` and is not a directory."""
SPILL = 4 << 20

RECORD = struct.Struct("<IIIQqqQIHH")
"""Mode with type, uid, gid, size (device number for devices), mtime, ctime, inode, links, length of name and of link target."""

TIMES = (-(1 << 63), (1 << 63) - 1)
"""The earliest and the latest time a record holds, the years 1677 and 2262; a file of another time counts as of one of these."""

HEAD = struct.Struct("<II")
"""Length of a block's directory path, and of its records."""

_KINDS = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
    stat.S_IFBLK: "b",
    stat.S_IFCHR: "c",
}
_by_name = itemgetter(0)
LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
"""How a directory is opened to be listed."""
REACH = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a directory is opened only to reach what is in it."""

UNSEEN_MOUNT = os.stat_result(
    (stat.S_IFDIR | 0o700, 0, -1, 2, os.geteuid(), os.getegid(), 0, 0, 0, 0), {"st_mtime_ns": 0, "st_ctime_ns": 0, "st_rdev": 0}
)
"""What stands for a mount point that cannot be looked at."""
HELD = 32
"""At most this many directories are held open by one walk."""
LAST = ".last"
"""Added to the name of a manifest while it is not true any more."""
DEEPEST = 3400
"""A directory whose path in its unit is longer, in bytes, is walked, but not what is in the directories in it: neither git nor rsync nor a
person reaches a path of more than 4096 bytes, and a tree of thousands of levels costs time and memory with the square of its depth."""
LONGEST_SHOWN = 400


@dataclass(frozen=True)
class Unit:
    """What is backed up as one: a directory directly in ``repos_root``, or the loose files of ``repos_root`` itself.

    :param name: the directory's name; for loose files a name to show.
    :param source: absolute path of the directory.
    :param loose: only what is no directory counts; the mirror is the backup's root itself.
    :param rules: rules for skipped paths.
    """

    name: str
    source: str
    loose: bool = False
    rules: TreeRules = field(default_factory=TreeRules)


class Entry(NamedTuple):
    """One thing in a tree.

    :param path: relative to the unit; empty for the unit's own directory.
    :param mode: as ``lstat`` has it, with the type.
    :param size: bytes; of a device its number.
    :param link: where a symbolic link points.
    """

    path: bytes
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int
    nlink: int
    link: bytes = b""

    @property
    def kind(self) -> str:
        """``f`` file, ``d`` directory, ``l`` link, ``p`` pipe, ``s`` socket, ``b`` and ``c`` devices."""
        return _KINDS.get(self.mode & 0o170000, "?")

    @property
    def name(self) -> bytes:
        """Return the last part of the path."""
        return self.path.rpartition(b"/")[2]

    @property
    def parent(self) -> bytes:
        """Return the directory's path."""
        return self.path.rpartition(b"/")[0]

    def record(self) -> bytes:
        """Return the entry as it stands in its directory's block."""
        name = self.name
        return RECORD.pack(*self[1:9], len(name), len(self.link)) + name + self.link


class UnreadableError(RepomanError):
    """A directory of a unit cannot be read, so nothing is known of what is in it.

    :param path: of the directory.
    """

    def __init__(self, path: bytes, error: OSError) -> None:
        shown = shortened(path)
        super().__init__(f"'{shown}' cannot be read: {error.strerror or error}.", f"ls -ld {shell_word(path)}")
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        """Let it be pickled: it has other arguments than an error in general."""
        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]


class TooDeepError(UnreadableError):
    """What is in a directory is not backed up because its path is too long."""

    def __init__(self, message: str, *hints: str, path: bytes) -> None:
        super().__init__(path, OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG)))
        self.args, self.message, self.hints = (message,), message, list(hints)


def too_deep(path: bytes) -> TooDeepError:
    """Return the error for a directory whose path is too long."""
    return TooDeepError(
        f"{shortened(path)!r} is nested too deep: its path has {len(path)} bytes, so its contents cannot be backed up.",
        "move it closer to the top, or remove it",
        path=path,
    )


def shortened(path: bytes) -> str:
    """Return a path as a text of one line; one that is too long to be shown, without its middle."""
    if len(path) > LONGEST_SHOWN:
        path = path[: LONGEST_SHOWN // 2] + b"[...]" + path[-LONGEST_SHOWN // 2 :]
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in path.decode("utf-8", "backslashreplace"))


class Manifest:
    """What one unit held when it was scanned: in memory, or in a file that is read block by block.

    :param data: the blocks, one after the other.
    :param path: file that holds them instead.
    :param digest: hash over every field of every entry, in hexadecimal.
    """

    __slots__ = ("data", "digest", "path")

    def __init__(self, data: bytes = b"", *, path: str = "", digest: str = "") -> None:
        self.data, self.path = data, path
        self.digest = digest or hashlib.blake2b(data, digest_size=DIGEST_SIZE).hexdigest()

    def blocks(self) -> Iterator[tuple[bytes, bytes]]:
        """Yield path and records of every directory."""
        with open(self.path, "rb") if self.path else io.BytesIO(self.data) as file:
            if self.path:
                file.seek(len(MAGIC) + DIGEST_SIZE)
            while head := file.read(HEAD.size):
                path_size, size = HEAD.unpack(head)
                both = file.read(path_size + size)
                yield both[:path_size], both[path_size:]

    def entries(self) -> Iterator[Entry]:
        """Yield every entry."""
        for directory, block in self.blocks():
            yield from unpack(directory, block)

    def count(self) -> int:
        """Return the number of entries."""
        return sum(count(block) for _directory, block in self.blocks())

    def save(self, path: str) -> None:
        """Write the manifest to a file, whole or not at all."""
        with Writer(path) as writer:
            for directory, block in self.blocks():
                writer.add(HEAD.pack(len(directory), len(block)) + directory + block)
            writer.finish()

    @classmethod
    def load(cls, path: str) -> Manifest | None:
        """Open a manifest; None if there is none, or the file is not whole."""
        try:
            with open(path, "rb") as file:
                head = file.read(len(MAGIC) + DIGEST_SIZE)
                digest = hashlib.blake2b(digest_size=DIGEST_SIZE)
                while chunk := file.read(SPILL):
                    digest.update(chunk)
        except FileNotFoundError:
            return None
        return cls(path=path, digest=digest.hexdigest()) if head == MAGIC + digest.digest() else None


class Writer:
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

    def __enter__(self) -> Writer:
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
        if self._size > SPILL:
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
        """Return the hash over what was added."""
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


def order(path: bytes) -> bytes:
    """Return the key that sorts paths as a manifest has its directories."""
    return path.replace(b"/", b"\0")


def count(block: bytes) -> int:
    """Return how many entries a block has."""
    found = at = 0
    while at < len(block):
        name_size, link_size = RECORD.unpack_from(block, at)[8:]
        at += RECORD.size + name_size + link_size
        found += 1
    return found


def unpack(directory: bytes, block: bytes) -> Iterator[Entry]:
    """Yield the entries of one block."""
    prefix = directory + b"/" if directory else b""
    at, end, size = 0, len(block), RECORD.size
    unpack_from = RECORD.unpack_from
    new = tuple.__new__  # a named tuple's own takes twice as long, for every entry of every manifest
    while at < end:
        mode, uid, gid, length, mtime, ctime, inode, nlink, name_size, link_size = unpack_from(block, at)
        at += size
        name = block[at : at + name_size]
        at += name_size
        link = block[at : at + link_size]
        at += link_size
        yield new(Entry, (prefix + name if name else directory, mode, uid, gid, length, mtime, ctime, inode, nlink, link))


def pack(directory: bytes, records: Iterable[bytes]) -> bytes:
    """Return a block with its head."""
    block = b"".join(records)
    return HEAD.pack(len(directory), len(block)) + directory + block


def entry_of(path: bytes, found: os.stat_result, link: bytes = b"") -> Entry:
    """Return the entry for what ``lstat`` said."""
    mode = found.st_mode
    size = found.st_rdev if stat.S_ISBLK(mode) or stat.S_ISCHR(mode) else found.st_size
    mtime, ctime = found.st_mtime_ns, found.st_ctime_ns
    if not (TIMES[0] < mtime < TIMES[1] and TIMES[0] < ctime < TIMES[1]):
        mtime, ctime = (max(TIMES[0], min(each, TIMES[1])) for each in (mtime, ctime))
    return Entry(path, mode, found.st_uid, found.st_gid, size, mtime, ctime, found.st_ino, found.st_nlink, link)


def walk(
    top: bytes | int,
    start: bytes = b"",
    *,
    loose: bool = False,
    skip: frozenset[bytes] = frozenset(),
    closed: dict[bytes, UnreadableError] | None = None,
    named: bytes = b"",
    tree: TreeFilter | None = None,
) -> Iterator[bytes]:
    """Yield the blocks of a tree, with their heads, in a manifest's order.

    Never follows a symbolic link, even if one replaces a directory during the walk; stays on the file system, unless ``tree`` follows
    mounts; skips what vanishes.

    :param top: base directory: its path, or a descriptor, which the caller closes.
    :param start: directory below it to begin with; its own record is not part of the walk unless it is ``top`` itself.
    :param loose: leave out directories, and ``top`` itself.
    :param skip: paths of directories whose inside is left out.
    :param closed: takes the directories below ``start`` that cannot be read, or lie too deep; they have no block. Without it those that
        cannot be read raise, and nothing is too deep.
    :param named: the path of ``top`` that errors show.
    :param tree: rules for skipped paths in the whole tree; it also learns about mounted file systems.
    :raises UnreadableError: a directory cannot be read.
    :raises FileNotFoundError: ``start`` is not there.
    :raises NotADirectoryError: ``start``, or a part of its path, is not a directory.
    """
    if isinstance(top, int):
        yield from _Walk(top, named or os.readlink(b"/proc/self/fd/%d" % top), loose, skip, closed, tree).blocks(start)
        return
    held = os.open(top, REACH)
    try:
        yield from _Walk(held, named or top, loose, skip, closed, tree).blocks(start)
    finally:
        os.close(held)


class _Level:
    """A parent directory of the current position of a walk.

    :param held: its descriptor; -1 once it is closed because too many others are open.
    :param waiting: names of the directories in it that are still to be walked, the next one last.
    """

    __slots__ = ("held", "path", "waiting")

    def __init__(self, held: int, path: bytes, waiting: list[bytes]) -> None:
        self.held, self.path, self.waiting = held, path, waiting

    def close(self) -> None:
        """Close the descriptor."""
        if self.held >= 0:
            os.close(self.held)
            self.held = -1


class _Walk:
    """A walk of one tree, see :func:`walk`.

    Each directory is opened by its name in the one above it, which is held open until its last directory has been opened. So no
    exchange of names leads out of the tree. At most ``HELD`` are open: of a deeper tree those at the top are opened again later.
    """

    def __init__(
        self,
        top: int,
        named: bytes,
        loose: bool,
        skip: frozenset[bytes],
        closed: dict[bytes, UnreadableError] | None,
        tree: TreeFilter | None = None,
    ) -> None:
        self.top, self.named, self.loose, self.skip, self.closed, self.tree = top, named, loose, skip, closed, tree
        self.levels: list[_Level] = []
        self.device = -1

    def blocks(self, start: bytes) -> Iterator[bytes]:
        """Yield the blocks of ``start`` and of the directories below it."""
        at: tuple[bytes, int] | None = (start, self._begin(start))
        try:
            while at is not None:
                block = self._enter(*at, begin=at[0] == start)
                if block is not None:
                    yield block
                at = self._next()
        finally:
            for level in self.levels:
                level.close()

    def _shown(self, directory: bytes) -> bytes:
        return os.path.join(self.named, directory) if directory else self.named

    def _begin(self, start: bytes) -> int:
        above, _slash, name = start.rpartition(b"/")
        try:
            parent = open_below(self.top, above, REACH)
            try:
                return open_below(parent, name, LIST)
            finally:
                os.close(parent)
        except (FileNotFoundError, NotADirectoryError):
            raise
        except OSError as error:
            raise UnreadableError(self._shown(start), error) from error

    def _refuse(self, directory: bytes, error: OSError, *, begin: bool = False) -> None:
        """Note that a directory cannot be read."""
        unreadable = UnreadableError(self._shown(directory), error)
        if self.closed is None or begin:
            raise unreadable from error
        self.closed[directory] = unreadable

    def _enter(self, directory: bytes, held: int, *, begin: bool) -> bytes | None:
        """Return the block of an open directory, which is closed unless there are directories in it to be walked."""
        below: list[bytes] = []
        try:
            own = os.fstat(held)
            if begin:
                self.device = own.st_dev
            elif own.st_dev != self.device and (self.tree is None or not self.tree.is_followed(directory)):
                return None
            tree = self.tree
            if tree is not None and tree.is_target(directory, own):
                return None
            found = _list(held, self._mounted(directory))
            if tree is not None:
                found = tree.keep(directory, held, found)
            block, below, outside = _block(directory, own, found, self.loose)
            if tree is not None and (outside or tree.rules.mounts):
                below = tree.enter(directory, below, outside)
            if below and (self.skip or len(directory) > DEEPEST):
                below = self._wanted(directory, below)
            return block
        except OSError as error:
            self._refuse(directory, error, begin=begin)
            return None
        finally:
            if below:
                below.reverse()
                self.levels.append(_Level(held, directory, below))
                if len(self.levels) > HELD:
                    self.levels[-HELD - 1].close()
            else:
                os.close(held)

    def _mounted(self, directory: bytes) -> frozenset[bytes]:
        """Return on which names in a directory something is mounted."""
        if self.tree is None or not self.tree.rules.mounts:
            return frozenset()
        return frozenset(path.rpartition(b"/")[2] for path in self.tree.rules.mounts if path.rpartition(b"/")[0] == directory)

    def _wanted(self, directory: bytes, names: list[bytes]) -> list[bytes]:
        """Return the subdirectories to walk."""
        prefix = directory + b"/" if directory else b""
        wanted = [each for each in names if prefix + each not in self.skip]
        if self.closed is None or len(directory) <= DEEPEST:
            return wanted
        for each in wanted:
            self.closed[prefix + each] = too_deep(self._shown(prefix + each))
        return []

    def _next(self) -> tuple[bytes, int] | None:
        """Return the next directory's path and descriptor; None if there are no more."""
        while self.levels:
            level = self.levels[-1]
            name = level.waiting.pop()
            directory = level.path + b"/" + name if level.path else name
            try:
                if level.held < 0:
                    self._reopen()
                return directory, os.open(name, LIST, dir_fd=level.held)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                if error.errno != errno.ELOOP:
                    self._refuse(directory, error)
            finally:
                if not level.waiting:
                    level.close()
                    self.levels.pop()
        return None

    def _reopen(self) -> None:
        """Open the last levels again, beginning at the top."""
        levels = {level.path: level for level in self.levels[-HELD:]}
        held, path = os.dup(self.top), b""
        try:
            for part in (*self.levels[-1].path.split(b"/"), b""):
                level = levels.get(path)
                if level is not None and level.held < 0:
                    level.held = os.dup(held)
                if part:
                    inner = open_below(held, part, REACH)
                    os.close(held)
                    held, path = inner, path + b"/" + part if path else part
        finally:
            os.close(held)


def _block(
    directory: bytes, own: os.stat_result, found: list[tuple[bytes, os.stat_result, bytes]], loose: bool
) -> tuple[bytes, list[bytes], list[bytes]]:
    """Return a directory's block, with its head, and the names of the directories in it: on its file system, and on others."""
    device = own.st_dev
    record, is_dir = RECORD.pack, stat.S_IFDIR
    devices = (stat.S_IFBLK, stat.S_IFCHR)
    records: list[bytes] = []
    below: list[bytes] = []
    outside: list[bytes] = []
    if not directory and not loose:
        records.append(entry_of(b"", own).record())
    for name, seen, link in found:
        mode = seen.st_mode
        kind = mode & 0o170000
        if kind == is_dir:
            if loose:
                continue
            (below if seen.st_dev == device else outside).append(name)
        try:
            records.append(
                record(
                    mode,
                    seen.st_uid,
                    seen.st_gid,
                    seen.st_rdev if kind in devices else seen.st_size,
                    seen.st_mtime_ns,
                    seen.st_ctime_ns,
                    seen.st_ino,
                    seen.st_nlink,
                    len(name),
                    len(link),
                )
                + name
                + link
            )
        except struct.error:  # a time beyond what a record holds
            records.append(entry_of(name, seen, link).record())
    block = b"".join(records)
    return HEAD.pack(len(directory), len(block)) + directory + block, below, outside


def _list(held: int, mounted: Container[bytes] = ()) -> list[tuple[bytes, os.stat_result, bytes]]:
    """Return name, status and link target of what is in an open directory, sorted; without what vanishes meanwhile.

    :param mounted: names of mount points. One that cannot even be looked at, such as another user's FUSE mount or one whose server is
        gone, does not make its neighbours unreadable: it counts as a directory on another file system.
    """
    found: list[tuple[bytes, os.stat_result, bytes]] = []
    add, encode, is_link = found.append, os.fsencode, stat.S_IFLNK
    with os.scandir(held) as listing:
        for each in listing:
            try:
                seen = each.stat(follow_symlinks=False)
                name = encode(each.name)
                add((name, seen, os.readlink(name, dir_fd=held) if seen.st_mode & 0o170000 == is_link else b""))
            except FileNotFoundError:
                continue
            except OSError as error:
                if encode(each.name) in mounted:
                    add((encode(each.name), UNSEEN_MOUNT, b""))
                elif error.errno != errno.EINVAL:  # a link that became something else
                    raise
    found.sort(key=_by_name)
    return found


def scan(unit: Unit) -> Manifest:
    """Look at everything a unit holds.

    :raises UnreadableError: a directory of it cannot be read.
    :raises FileNotFoundError: it is not there.
    """
    return Manifest(b"".join(walk(os.fsencode(unit.source), loose=unit.loose, tree=TreeFilter(unit.rules))))


@dataclass
class Scan:
    """What scanning a unit came to.

    :param digest: of what was found; empty if it failed.
    :param path: file with the manifest; empty where the digest was the known one, or it failed.
    :param error: why it failed.
    :param closed: directories that cannot be read.
    :param skipped: directories that another file system is mounted on, which was not looked at.
    :param followed: those with one that was.
    :param excluded: how many things were excluded.
    """

    unit: Unit
    digest: str = ""
    path: str = ""
    error: RepomanError | None = None
    closed: dict[bytes, UnreadableError] = field(default_factory=dict)
    skipped: list[bytes] = field(default_factory=list)
    followed: list[bytes] = field(default_factory=list)
    excluded: int = 0

    def manifest(self) -> Manifest:
        """Return what was found."""
        return Manifest(path=self.path, digest=self.digest)


def scan_one(unit: Unit, known: str, path: str) -> Scan:
    """Scan a unit, and leave its manifest in a file unless its digest is the one that is known."""
    tree = TreeFilter(unit.rules)
    result = Scan(unit, skipped=tree.skipped, followed=tree.followed)
    try:
        with Writer(path) as writer:
            for block in walk(os.fsencode(unit.source), loose=unit.loose, closed=result.closed, tree=tree):
                writer.add(block)
            result.excluded, result.digest = tree.excluded, writer.digest
            if writer.digest != known:
                writer.finish()
                result.path = path
            return result
    except RepomanError as error:
        return Scan(unit, error=error)
    except OSError as error:
        return Scan(unit, error=RepomanError(f"{unit.source} cannot be read: {error.strerror}."))
    except Exception as error:  # whatever it is, it is this unit's alone
        return Scan(unit, error=RepomanError(f"{unit.source} cannot be read: {told(error)}."))


def told(error: Exception) -> str:
    """Return an error that nobody foresaw as a text: its type, and what it says."""
    if isinstance(error, MemoryError):
        return "there is not enough memory"
    if isinstance(error, RecursionError):
        return "it is nested too deep"
    return f"{type(error).__name__}: {error}".encode("utf-8", "backslashreplace").decode()


def differences(before: Manifest, now: Manifest) -> Iterator[tuple[bytes, list[tuple[Entry | None, Entry | None]]]]:
    """Yield every directory in which two manifests differ, in order, with the pairs of entries that do (None: not there)."""
    olds, news = before.blocks(), now.blocks()
    old, new = next(olds, None), next(news, None)
    while old or new:
        if old and new and old[0] == new[0]:
            if old[1] != new[1]:
                were = {entry.path: entry for entry in unpack(*old)}
                pairs: list[tuple[Entry | None, Entry | None]] = []
                for entry in unpack(*new):
                    was = were.pop(entry.path, None)
                    if was != entry:
                        pairs.append((was, entry))
                pairs += [(was, None) for was in were.values()]
                yield new[0], pairs
            old, new = next(olds, None), next(news, None)
        elif old and (new is None or order(old[0]) < order(new[0])):
            yield old[0], [(was, None) for was in unpack(*old)]
            old = next(olds, None)
        elif new:
            yield new[0], [(None, entry) for entry in unpack(*new)]
            new = next(news, None)


def aligned(*manifests: Manifest) -> Iterator[tuple[bytes, list[bytes | None]]]:
    """Yield every directory that one of some manifests has, in order, with its block of each (None: not there)."""
    rests = [each.blocks() for each in manifests]
    heads = [next(each, None) for each in rests]
    while any(heads):
        directory = min((head[0] for head in heads if head), key=order)
        here = [head is not None and head[0] == directory for head in heads]
        yield directory, [head[1] if head and hit else None for head, hit in zip(heads, here, strict=True)]
        heads = [next(rest, None) if hit else head for rest, head, hit in zip(rests, heads, here, strict=True)]


def rewrite(now: Manifest, known: Mapping[bytes, Entry | None], path: str) -> Manifest:
    """Write a manifest again, with some entries otherwise than it has them (None: without)."""
    by_directory: dict[bytes, dict[bytes, Entry | None]] = {}
    for each, entry in known.items():
        by_directory.setdefault(each.rpartition(b"/")[0], {})[each] = entry
        if entry is not None and entry.kind == "d":
            by_directory.setdefault(each, {})
    missing = set(by_directory)
    for directory, _block in now.blocks():
        missing.discard(directory)
    extra = iter(sorted(missing, key=order))
    waiting = next(extra, None)

    def records(directory: bytes, entries: dict[bytes, Entry]) -> bytes:
        entries |= {each: entry for each, entry in by_directory[directory].items() if entry is not None}
        for each, entry in by_directory[directory].items():
            if entry is None:
                entries.pop(each, None)
        return pack(directory, [entries[each].record() for each in sorted(entries)])

    with Writer(path) as writer:
        for directory, block in now.blocks():
            while waiting is not None and order(waiting) < order(directory):
                writer.add(records(waiting, {}))
                waiting = next(extra, None)
            if directory in by_directory:
                writer.add(records(directory, {entry.path: entry for entry in unpack(directory, block)}))
            else:
                writer.add(HEAD.pack(len(directory), len(block)) + directory + block)
        while waiting is not None:
            writer.add(records(waiting, {}))
            waiting = next(extra, None)
        return writer.finish()


def scan_each(units: Iterable[Unit], known: Mapping[str, str], scratch: str) -> Iterator[Scan]:
    """Scan units in parallel, and yield each result when it is ready.

    :param known: digest of each unit's last manifest, by the unit's name.
    :param scratch: local directory for the manifests of units that differ.
    """
    jobs = [(unit, known.get(unit.name, ""), os.path.join(scratch, f"{number}.manifest")) for number, unit in enumerate(units)]

    def lost(job: tuple[Unit, str, str]) -> Scan:
        error = RepomanError(
            f"{job[0].source} cannot be read: the process that scanned it was killed.",
            "was there enough memory? journalctl -k -g 'Out of memory'",
        )
        return Scan(job[0], error=error)

    for _number, result in stream(lambda job, _tell: scan_one(*job), jobs, os.cpu_count() or 1, lost=lost):
        yield result


def scan_all(units: Iterable[Unit], known: Mapping[str, str], scratch: str, *, processes: int = 0) -> list[Scan]:
    """Scan units, several at once.

    :param known: digest of each unit's last manifest, by the unit's name.
    :param scratch: local directory for the manifests of units that differ.
    :param processes: how many at once; as many as there are processors by default.
    :return: one result each, in the order given.
    """
    wanted = list(units)
    jobs = [(unit, known.get(unit.name, ""), os.path.join(scratch, f"{number}.manifest")) for number, unit in enumerate(wanted)]
    return spread(lambda job: scan_one(*job), jobs, processes or os.cpu_count() or 1)
