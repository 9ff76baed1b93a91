# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single things, from a source tree into a mirror: each put there whole, and what it replaces set aside.

Nothing here follows a symbolic link of either tree: directories are opened part by part. What a copy returns is the entry that was
really copied, seen on the open file before and after; a mirror's manifest is made of these.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, Protocol, TypeAlias, TypeVar

from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.entry import TIME_RANGE, Entry, entry_of
from ansible_collections.homelab.repoman.plugins.module_utils.backup.manifest.unreadable import UnreadableError
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.attributes import read_attributes
from ansible_collections.homelab.repoman.plugins.module_utils.backup.mirror.contents import (
    SMALL_HOLES,
    SourceReadError,
    data_size,
    equal,
    transfer,
)
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_below
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path, shorten_path
from ansible_collections.homelab.repoman.plugins.module_utils.files.tree import remove_tree

T = TypeVar("T")

TICK_NS = 20_000_000
"""Two changes within this time may leave the same time stamps: kernels stamp files with the time of the last tick."""

CHUNK = 8 << 20
COPIED_TO_KEEP = 64 << 20
"""Where hard links cannot be made, files up to this size are copied to what is kept, so that there is one at every moment."""
ATTEMPTS = 3
NAME_MAX = 255
LEASE_SECONDS = 2.0
"""How long a file on which a program has a lease is waited for."""
NO_OWNERS = "the target cannot store owners"
NO_XATTRS = "the target cannot store extended attributes or access control lists"

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_DIRECTORY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_GONE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENXIO)
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EMLINK, errno.EXDEV)
_CANNOT_KEEP = (errno.EPERM, errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)
"""Errors of a target that has no such thing as an owner, a mode or a kind of file."""
_ENTRY_ALONE = (errno.EFBIG, errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
"""Errors of a target that are about one entry: others can still be written."""


shown = escape_path


class MirrorError(RepomanError):
    """Something of a mirror cannot be read or written."""


class UnwritableError(MirrorError):
    """One entry cannot be in the mirror, because the target cannot have such a file: it is too large for it, or its name is not allowed."""


class UnsoundError(Exception):
    """Raised by a :class:`Check` that has seen enough: the contents are damaged, and the rest of the file need not be read."""


class DamagedFileError(MirrorError):
    """The contents of a source file are not what its name or its own checksum says. The mirror was not touched.

    :param path: relative to the unit.
    :param reason: what is wrong with the contents.
    :param mirrored: the mirror's file has the same contents.
    """

    def __init__(self, path: bytes, reason: str, *, mirrored: bool = False) -> None:
        super().__init__(f"{escape_path(path)} is damaged: {reason}.")
        self.path, self.reason, self.mirrored = path, reason, mirrored


class Check(Protocol):
    """Checks the contents of one file during the copy; each attempt has its own instance."""

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes.

        :raises UnsoundError: they are damaged; no more is read.
        """

    def hole(self, size: int) -> None:
        """Add a hole of ``size`` zeros.

        :raises UnsoundError: there should be none.
        """

    def finish(self) -> str:
        """Return what is wrong with the contents, nothing if they are sound."""


def open_directory(top: int, path: bytes) -> int:
    """Open a directory below an open one, only to reach what is in it; raises as :func:`scan.open_below` does."""
    return open_below(top, path, _DIRECTORY)


class Held:
    """A directory that is open inside a ``with``, which gives its descriptor.

    :param descriptor: of the directory.
    :param closes: at the end it is closed; otherwise somebody else holds it.
    """

    __slots__ = ("closes", "descriptor")

    def __init__(self, descriptor: int, *, closes: bool) -> None:
        self.descriptor, self.closes = descriptor, closes

    def __enter__(self) -> int:
        return self.descriptor

    def __exit__(self, *error: object) -> None:
        if self.closes:
            os.close(self.descriptor)


def directory(top: int, path: bytes) -> Held:
    """Hold a directory open, as :func:`open_directory` opens it."""
    return Held(open_directory(top, path), closes=True)


def split(path: bytes) -> tuple[bytes, bytes]:
    """Return directory and name."""
    parent, _slash, name = path.rpartition(b"/")
    return parent, name


@contextmanager
def movable(*paths: bytes) -> Iterator[None]:
    """Let directories be moved to other parents inside a ``with``, whatever their modes forbid their owner; afterwards they have those again."""
    with ExitStack() as stack:
        for path in paths if os.geteuid() else ():
            with suppress(FileNotFoundError, NotADirectoryError):
                held = os.open(path, _DIRECTORY)
                stack.callback(os.close, held)
                mode = stat.S_IMODE(os.fstat(held).st_mode)
                if not mode & stat.S_IWUSR:
                    itself = b"/proc/self/fd/%d" % held
                    os.chmod(itself, mode | stat.S_IWUSR)
                    stack.callback(os.chmod, itself, mode)
        yield


def same(one: os.stat_result, other: os.stat_result) -> bool:
    """Tell whether nothing happened to a file between two looks."""
    return (one.st_ctime_ns, one.st_mtime_ns, one.st_size, one.st_ino, one.st_mode) == (
        other.st_ctime_ns,
        other.st_mtime_ns,
        other.st_size,
        other.st_ino,
        other.st_mode,
    )


def _unreadable(top: int, path: bytes, error: OSError) -> UnreadableError:
    return UnreadableError(os.path.join(os.readlink(b"/proc/self/fd/%d" % top), path), error)


def safe_mode(mode: int, wanted: tuple[int, int], owner: tuple[int, int]) -> int:
    """Return a file's mode without the bits that would let others act as its owner or group if it has not got the right ones."""
    if wanted[0] != owner[0]:
        mode &= ~(stat.S_ISUID | stat.S_ISGID)
    if wanted[1] != owner[1]:
        mode &= ~stat.S_ISGID
    return mode


def fresh(found: os.stat_result) -> bool:
    """Tell whether a file changed so lately that a further change could leave the same time stamp."""
    return 0 <= time.time_ns() - found.st_ctime_ns < TICK_NS


class _Judge:
    """A check under way, and its verdict.

    :param reason: why the contents are damaged, once that is known.
    """

    __slots__ = ("check", "reason")

    def __init__(self, check: Callable[[], Check]) -> None:
        self.check, self.reason = check(), ""

    def update(self, chunk: bytes) -> None:
        if not self.reason:
            try:
                self.check.update(chunk)
            except UnsoundError as error:
                self.reason = str(error)

    def hole(self, size: int) -> None:
        if not self.reason:
            try:
                self.check.hole(size)
            except UnsoundError as error:
                self.reason = str(error)

    def finish(self) -> str:
        return self.reason or self.check.finish()


class Large(Protocol):
    """Contents that were read before and are not in memory."""

    def __len__(self) -> int: ...

    def write_to(self, out: int) -> None:
        """Write them to an empty open file."""


Contents: TypeAlias = "bytes | Large"


class Copier:
    """Writes one unit's mirror.

    :param source: the unit's directory.
    :param top: directory the mirror is written in.
    :param kept: directory for what is replaced or removed; None deletes it (a first copy that nobody has seen yet).
    :param work: directory on the target for files that are not whole yet.
    :param new: the mirror is not in place yet: files may be written where they belong.
    :param pool: threads for operations that wait for the target.
    :param unowned: directories of which nothing but an empty one is mirrored, so that nobody misses their owner.
    """

    def __init__(
        self,
        source: bytes,
        top: bytes,
        *,
        kept: bytes | None,
        work: bytes,
        new: bool,
        xattrs: bool = False,
        acls: bool = False,
        pool: ThreadPoolExecutor | None = None,
        tell: Callable[[int, int], None] = lambda _files, _bytes: None,
        unowned: frozenset[bytes] = frozenset(),
    ) -> None:
        flags = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
        with ExitStack() as stack:
            opened = []
            for each, more in ((source, os.O_NOFOLLOW), (top, 0), (work, 0)):
                opened.append(os.open(each, flags | more))
                stack.callback(os.close, opened[-1])
            stack.pop_all()
        self.source, self.top, self.work = opened
        self.source_path, self.top_path, self.work_path, self.kept, self.new = source, top, work, kept, new
        self.xattrs, self.acls, self.pool, self.tell, self.unowned = xattrs, acls, pool, tell, unowned
        self.files = self.bytes = self.kept_bytes = 0
        self.notes: set[str] = set()
        self.opened: dict[bytes, int] = {}
        self._kept_names: set[bytes] = set()
        self._kept_directories: set[bytes] = set()
        self._held: dict[bytes, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._trees = False
        self._count = 0
        self._prefix = b"%d.%d." % (os.getpid(), id(self))
        self._uid, self._gid = os.geteuid(), os.getegid()
        self._groups = {self._gid, *os.getgroups()}

    def close(self) -> None:
        """Let go of the directories."""
        for each in (self.source, self.top, self.work):
            os.close(each)

    def clear(self) -> None:
        """Remove from ``work`` what is not whole yet, after an error: it may be what fills the target."""
        for name in map(os.fsencode, os.listdir(self.work_path)):
            if name.startswith(self._prefix):
                remove_tree(name, self.work)

    @contextmanager
    def inside(self, path: bytes) -> Iterator[None]:
        """Hold a directory of both trees open while many of its files are copied; nothing if one of them is not there."""
        held: list[int] = []
        try:
            with suppress(FileNotFoundError, NotADirectoryError):
                held.append(self._open(0, path))
                held.append(self._open(1, path))
                self._held[path] = (held[0], held[1])
            yield
        finally:
            self._held.pop(path, None)
            for each in held:
                os.close(each)

    def _open(self, side: int, path: bytes) -> int:
        """Open a directory of the source (0) or of the mirror (1), from the one above it if that is held."""
        above, name = split(path)
        if path and (found := self._held.get(above)):
            return open_directory(found[side], name)
        return open_directory((self.source, self.top)[side], path)

    def _either(self, side: int, path: bytes) -> Held:
        if found := self._held.get(path):
            return Held(found[side], closes=False)
        return Held(self._open(side, path), closes=True)

    def source_directory(self, path: bytes) -> Held:
        """Hold a directory of the source open, as :func:`open_directory` opens it."""
        return self._either(0, path)

    def _directory(self, path: bytes) -> Held:
        return self._either(1, path)

    def source_status(self, path: bytes) -> os.stat_result:
        """Return the status of a directory of the source.

        :raises FileNotFoundError: it is not there.
        :raises NotADirectoryError: it, or a part of the path, is no directory.
        """
        if not path:
            return os.fstat(self.source)
        parent, name = split(path)
        with self.source_directory(parent) as held:
            found = os.stat(name, dir_fd=held, follow_symlinks=False)
        if not stat.S_ISDIR(found.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "no directory", path)
        return found

    def has_source_directory(self, path: bytes) -> bool:
        """Tell whether the source has a directory there."""
        try:
            self.source_status(path)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True

    def each(self, do: Callable[[T], Any], items: Iterable[T]) -> None:
        """Do something with each item, at once where the target is far."""
        if self.pool is None:
            for item in items:
                do(item)
            return
        futures = [self.pool.submit(do, item) for item in items]
        _done, others = wait(futures, return_when=FIRST_EXCEPTION)
        for each in others:
            each.cancel()
        wait(futures)
        for each in futures:
            if not each.cancelled():
                each.result()

    def count(self, files: int = 0, size: int = 0, kept: int = 0) -> None:
        """Add to the counters."""
        with self._lock:
            self.files += files
            self.bytes += size
            self.kept_bytes += kept
        self.tell(files, size)

    def note(self, text: str) -> None:
        """Remember what could not be reproduced on the target; once, however often it happens."""
        self.notes.add(text)

    def temporary(self) -> bytes:
        """Return a name in ``work`` that nothing has."""
        with self._lock:
            self._count += 1
            return b"%s%d" % (self._prefix, self._count)

    # Files

    def file(self, path: bytes, old: Entry | None, *, patient: bool = True, check: Callable[[], Check] | None = None) -> Entry | None:
        """Copy a regular file.

        :param old: what the mirror has there.
        :param patient: wait for the clock's next tick where the file changed just now, so that the entry returned tells for sure
            which contents were copied.
        :param check: makes what judges the contents; it sees each byte once, while it is copied.
        :return: what was copied, with ``ctime_ns`` 0 if it changed all the while; None if the file is gone.
        :raises DamagedFileError: the contents did not pass the check; nothing was put into the mirror.
        """
        source = self._open_source(path)
        if source is None:
            return None
        try:
            return self._copy_file(path, old, source, patient=patient, check=check)
        except SourceReadError as error:
            raise UnreadableError(os.path.join(self.source_path, path), error) from error
        except OSError as error:
            raise self._located(error, path) from error
        finally:
            os.close(source)

    def _open_source(self, path: bytes) -> int | None:
        """Open a file of the source to be read; None if it is gone.

        :raises UnreadableError: it cannot be read.
        """
        parent, name = split(path)
        until = 0.0
        while True:
            try:
                with self.source_directory(parent) as held:
                    return os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=held)
            except OSError as error:
                if error.errno in _GONE:
                    return None
                # Another process has a lease on the file; the kernel has just asked it to release it.
                until = until or time.monotonic() + LEASE_SECONDS
                if error.errno != errno.EWOULDBLOCK or time.monotonic() > until:
                    raise UnreadableError(os.path.join(self.source_path, path), error) from error
                time.sleep(0.02)

    def _located(self, error: OSError, path: bytes) -> Exception:
        """Return a write error of the target that names the path; an error of this entry alone has its own class."""
        place = os.path.join(self.top_path, path)
        if error.errno in _ENTRY_ALONE:
            return UnwritableError(f"{shorten_path(place)} cannot be written: {error.strerror}. The target does not support such a file.")
        error.filename, error.filename2 = os.fsdecode(place), None
        return error

    def _copy_file(self, path: bytes, old: Entry | None, source: int, *, patient: bool, check: Callable[[], Check] | None) -> Entry | None:
        temporary = b"" if self.new and old is None else self.temporary()
        for attempt in range(ATTEMPTS):
            seen = os.fstat(source)
            if not stat.S_ISREG(seen.st_mode):
                return None
            early = seen.st_ctime_ns + TICK_NS - time.time_ns()
            if patient and 0 < early <= TICK_NS:
                time.sleep(early / 1e9)
                seen = os.fstat(source)
            try:
                put = self._contents(path, old, source, seen, temporary, again=attempt > 0, check=check)
            except DamagedFileError:
                if attempt < ATTEMPTS - 1 and not same(seen, os.fstat(source)):
                    continue
                raise
            after = os.fstat(source)
            if same(seen, after) and seen.st_nlink:
                put(seen)
                return entry_of(path, seen)
        put(after)
        return entry_of(path, after)._replace(size=seen.st_size, ctime_ns=0)

    def _contents(
        self,
        path: bytes,
        old: Entry | None,
        source: int,
        seen: os.stat_result,
        temporary: bytes,
        *,
        again: bool,
        check: Callable[[], Check] | None = None,
    ) -> Callable[[os.stat_result], None]:
        """Write a file's contents beside the mirror, and return what puts the file in its place.

        :raises DamagedFileError: they did not pass the check; nothing of them is left.
        """
        judge = _Judge(check) if check else None
        if old is not None and old.kind == "f" and old.size == seen.st_size:
            if self._equal(path, source, seen, judge):
                if judge and (reason := judge.finish()):
                    raise DamagedFileError(path, reason, mirrored=True)
                return lambda found: self._attributes_only(path, old, found)
            judge = _Judge(check) if check else None
        parent, name = split(path)
        direct = self.new and old is None
        with self._directory(parent) if direct else Held(self.work, closes=False) as held:
            temporary = name if direct else temporary
            if again:
                with suppress(FileNotFoundError):
                    os.unlink(temporary, dir_fd=held)
            out = self.willing(parent if direct else None, lambda: self._create(temporary, seen.st_uid, seen.st_mode, held))
            try:
                size = transfer(source, out, seen, judge, lambda: self.tell(0, 0))
                if judge and (reason := judge.finish()):
                    raise DamagedFileError(path, reason)
                self._dress(out, seen, source)
                os.utime(out, ns=(seen.st_atime_ns, seen.st_mtime_ns))
            except BaseException:
                with suppress(OSError):
                    os.unlink(temporary, dir_fd=held)
                raise
            finally:
                os.close(out)

        def put(found: os.stat_result) -> None:
            if found is not seen:
                with self._directory(parent) if direct else Held(self.work, closes=False) as held:
                    os.utime(temporary, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=held, follow_symlinks=False)
            if not direct:
                self.place(temporary, path, old)
            self.count(1, size)

        return put

    def _equal(self, path: bytes, source: int, seen: os.stat_result, judge: _Judge | None = None) -> bool:
        """Tell whether the mirror's file has the contents of the source's."""
        parent, name = split(path)
        try:
            with self._directory(parent) as held:
                mirrored = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=held)
        except OSError:
            return False
        try:
            if not stat.S_ISREG(os.fstat(mirrored).st_mode):
                return False
            return equal(source, mirrored, seen.st_size, judge, lambda: self.tell(0, 0))
        finally:
            os.close(mirrored)

    def _create(self, name: bytes, uid: int, mode: int, held: int) -> int:
        """Create a file and open it for writing; it is private until its owner is set."""
        mode = stat.S_IMODE(mode) & 0o777 if uid == self._uid else 0o600
        try:
            return os.open(name, _CREATE, mode, dir_fd=held)
        except PermissionError:  # perhaps one is there that may not be written
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=held)
            return os.open(name, _CREATE, mode, dir_fd=held)

    def _attributes_only(self, path: bytes, old: Entry, found: os.stat_result) -> None:
        entry = entry_of(path, found)
        self.attributes(entry)
        if (old.mode, old.uid, old.gid, old.mtime_ns) != (entry.mode, entry.uid, entry.gid, entry.mtime_ns):
            self.count(1)

    # Other kinds

    def link(self, entry: Entry, old: Entry | None) -> None:
        """Make a symbolic link."""
        if old is not None and old.kind == "l" and old.link == entry.link:
            self.attributes(entry)
            return
        temporary = self.temporary()
        try:
            os.symlink(entry.link, temporary, dir_fd=self.work)
        except OSError as error:
            if error.errno not in {errno.EPERM, errno.ENOTSUP, errno.ENOSYS}:
                raise self._located(error, entry.path) from error
            self.note("the target cannot store symbolic links")
            return
        self._finish(temporary, entry, old)

    def special(self, entry: Entry, old: Entry | None) -> None:
        """Make a pipe, a socket or a device."""
        if old is not None and old.kind == entry.kind and old.size == entry.size:
            self.attributes(entry)
            return
        temporary = self.temporary()
        device = entry.size if entry.kind in "bc" else 0
        try:
            os.mknod(temporary, entry.mode, device, dir_fd=self.work)
        except OSError as error:
            if error.errno not in {*_CANNOT_KEEP, errno.EIO}:  # exfat-fuse says EIO
                raise
            self.note("devices, pipes or sockets cannot be made on the target")
            return
        self._finish(temporary, entry, old)

    def _finish(self, temporary: bytes, entry: Entry, old: Entry | None) -> None:
        try:
            self._dress_path(temporary, self.work, entry)
            self.place(temporary, entry.path, old)
        except OSError as error:
            with suppress(OSError):
                os.unlink(temporary, dir_fd=self.work)
            raise self._located(error, entry.path) from error
        self.count(1)

    def hard_link(self, leader: bytes, entry: Entry, old: Entry | None) -> bool:
        """Make ``entry`` one file with ``leader``; return False where the target cannot."""
        with self._directory(split(leader)[0]) as held:
            try:
                leading = os.stat(split(leader)[1], dir_fd=held, follow_symlinks=False)
            except FileNotFoundError:  # such as a link or a pipe that the target cannot have
                return False
            with suppress(FileNotFoundError, NotADirectoryError), self._directory(entry.parent) as there:
                mirrored = os.stat(entry.name, dir_fd=there, follow_symlinks=False)
                if mirrored.st_ino == leading.st_ino:
                    return True
                old = old or entry_of(entry.path, mirrored)
            temporary = self.temporary()
            try:
                os.link(split(leader)[1], temporary, src_dir_fd=held, dst_dir_fd=self.work, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                self.note("hard links cannot be made on the target")
                return False
        self.place(temporary, entry.path, old)
        self.count(1)
        return True

    def mkdir(self, entry: Entry) -> None:
        """Make a directory that can be written for now, unless it is there; :meth:`attributes` gives it its mode later."""
        try:
            self._make_directory(entry)
        except OSError as error:
            if error.errno not in _ENTRY_ALONE:  # what is to be in it cannot be written either
                raise self._located(error, entry.path) from error
            raise

    def _make_directory(self, entry: Entry) -> None:
        with self._directory(entry.parent) as held:
            try:
                self.willing(entry.parent, lambda: os.mkdir(entry.name, stat.S_IMODE(entry.mode) & 0o777 | 0o700, dir_fd=held))
            except FileExistsError:
                found = os.stat(entry.name, dir_fd=held, follow_symlinks=False)
                if stat.S_ISDIR(found.st_mode):
                    return
                self.set_aside(entry.path, entry_of(entry.path, found))
                os.mkdir(entry.name, stat.S_IMODE(entry.mode) & 0o777 | 0o700, dir_fd=held)
        self.count(1)

    # Places

    def place(self, temporary: bytes, path: bytes, old: Entry | None) -> None:
        """Move a finished file to its place, in one step; what it replaces stays in ``kept``."""
        parent, name = split(path)
        if old is not None and old.kind == "d":
            self.set_aside(path, old)
        with self._directory(parent) as held:
            if old is None and self.kept is not None:  # somebody else's, or of a run whose end was lost with the machine
                with suppress(FileNotFoundError):
                    old = entry_of(path, os.stat(name, dir_fd=held, follow_symlinks=False))
            if old is not None and old.kind != "d" and self.kept is not None:
                self._keep_link(path, name, held, old)
            try:
                self.willing(parent, lambda: os.rename(temporary, name, src_dir_fd=self.work, dst_dir_fd=held))
            except (IsADirectoryError, NotADirectoryError, FileExistsError):
                self.set_aside(path, None)
                os.rename(temporary, name, src_dir_fd=self.work, dst_dir_fd=held)
        with suppress(FileNotFoundError):
            if old is not None and old.nlink > 1:
                os.unlink(temporary, dir_fd=self.work)

    def _keep_link(self, path: bytes, name: bytes, held: int, old: Entry) -> None:
        """Give a file that is about to be replaced a second name in ``kept``."""
        place = self.kept_place(path)
        try:
            os.link(name, place, src_dir_fd=held, follow_symlinks=False)
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if old.kind == "f" and old.size <= COPIED_TO_KEEP:
                self._keep_copy(name, held, place)
            else:
                self.willing(split(path)[0], lambda: os.rename(name, place, src_dir_fd=held))
        size = old.size if old.kind == "f" else 0
        if size > SMALL_HOLES:
            with suppress(FileNotFoundError):
                size = data_size(os.lstat(place))
        self.count(kept=size)

    def _keep_copy(self, name: bytes, held: int, place: bytes) -> None:
        """Copy a file to ``kept``, so that its own name is never without a file: a repository without its HEAD is none."""
        with open(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held), "rb", buffering=0) as source:
            found = os.fstat(source.fileno())
            with open(place, "xb", buffering=0) as file:
                while os.sendfile(file.fileno(), source.fileno(), None, CHUNK):
                    pass
                self._dress(file.fileno(), found, source.fileno())
                os.utime(file.fileno(), ns=(found.st_atime_ns, found.st_mtime_ns))

    def set_aside(self, path: bytes, old: Entry | None) -> None:
        """Move a thing out of the mirror into ``kept``, a directory with all that is in it; nothing if it is not there."""
        parent, name = split(path)
        try:
            with self._directory(parent) as held:
                found = os.stat(name, dir_fd=held, follow_symlinks=False)
                tree = stat.S_ISDIR(found.st_mode)
                if self.kept is None:
                    self.willing(parent, lambda: remove_tree(name, held))
                    return
                place = self.kept_place(path)
                self._trees |= tree
                if tree and (self._uid and found.st_mode & 0o700 != 0o700):  # noqa: PLR2004
                    os.chmod(name, 0o700, dir_fd=held)
                self.willing(parent, lambda: os.rename(name, place, src_dir_fd=held))
        except (FileNotFoundError, NotADirectoryError):
            return
        size = data_size(found) if stat.S_ISREG(found.st_mode) else 0
        if tree:
            size = sum(sizes(place))
        self.count(1, kept=size)

    def remove_directory(self, path: bytes) -> None:
        """Remove an empty directory, of which ``kept`` gets one, so that a restore by time has it again; one that is not empty stays."""
        parent, name = split(path)
        with suppress(FileNotFoundError, NotADirectoryError), self._directory(parent) as held:
            try:
                self.willing(parent, lambda: os.rmdir(name, dir_fd=held))
            except OSError as error:
                if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
                    raise
            else:
                self.count(1)
                if self.kept is not None:
                    with self._lock, suppress(FileExistsError, NotADirectoryError):
                        self._make_kept(os.path.join(self.kept, path))

    def kept_place(self, path: bytes) -> bytes:
        """Return a free path in ``kept`` for what is at ``path``, its directory made."""
        if self.kept is None:
            raise RuntimeError("a first copy keeps nothing")
        place = os.path.join(self.kept, path)
        with self._lock:
            parent = os.path.dirname(place)
            try:
                self._make_kept(parent)
            except (FileExistsError, NotADirectoryError):
                parent = _free(parent)
                make_private(parent)
                return os.path.join(parent, os.path.basename(place))
            if place in self._kept_names or place in self._kept_directories or (self._trees and os.path.lexists(place)):
                place = _free(place)
            self._kept_names.add(place)
        return place

    def _make_kept(self, path: bytes) -> None:
        """Make a directory of ``kept``, and those above it."""
        missing = []
        while path not in self._kept_directories:
            missing.append(path)
            if path == self.kept:
                break
            path = os.path.dirname(path)
        for each in reversed(missing):
            if each == self.kept:
                make_private(each)
            else:
                try:
                    os.mkdir(each, 0o700)
                except FileExistsError:
                    if not stat.S_ISDIR(os.lstat(each).st_mode):
                        raise
            self._kept_directories.add(each)

    def willing(self, parent: bytes | None, do: Callable[[], T]) -> T:
        """Do something in a directory of the mirror, opening it to ourselves first where its own mode forbids it; in None: of ``work``."""
        try:
            return do()
        except PermissionError:
            if parent is None:
                raise
            with self._directory(parent) as held:
                found = os.stat(b".", dir_fd=held)
                self.opened[parent] = found.st_mode
                os.chmod(b".", stat.S_IMODE(found.st_mode) | 0o700, dir_fd=held)
            return do()

    # Attributes

    def attributes(self, entry: Entry) -> None:
        """Give what the mirror has at the entry's path the entry's owner, mode and time."""
        with self._directory(entry.parent if entry.path else b"") as held:
            try:
                self._dress_path(entry.name or b".", held, entry)
            except FileNotFoundError:
                return

    def _dress_path(self, name: bytes, held: int, entry: Entry) -> None:
        made = os.stat(name, dir_fd=held, follow_symlinks=False)
        uid, gid = self._owner(made, entry.uid, entry.gid, is_noted=entry.path not in self.unowned)
        changed = (uid, gid) != (-1, -1)
        given = not changed or self._give(lambda: os.chown(name, uid, gid, dir_fd=held, follow_symlinks=False))
        mode = self._safe_mode(made, entry.uid, entry.gid, entry.mode, uid if given else -1, gid if given else -1)
        if entry.kind != "l" and (stat.S_IMODE(made.st_mode) != mode or (given and changed)):
            self._chmod(lambda: os.chmod(name, mode, dir_fd=held))
        if self.xattrs or self.acls:
            self._extended_of(entry, b"/proc/self/fd/%d/" % held + name)
        mtime = entry.mtime_ns if entry.mtime_ns not in TIME_RANGE else self._true_mtime(entry)
        if made.st_mtime_ns != mtime:
            os.utime(name, ns=(mtime, mtime), dir_fd=held, follow_symlinks=False)

    def _extended_of(self, entry: Entry, out: int | bytes) -> None:
        """Copy extended attributes and access control lists to an entry of the mirror, unless the type of its source has changed."""
        parent, name = split(entry.path) if entry.path else (b"", b".")
        with suppress(FileNotFoundError, NotADirectoryError), self.source_directory(parent) as there:
            if stat.S_IFMT(os.stat(name, dir_fd=there, follow_symlinks=False).st_mode) == stat.S_IFMT(entry.mode):
                self._extended(b"/proc/self/fd/%d/" % there + name, out)

    def _true_mtime(self, entry: Entry) -> int:
        """Return the time of something whose time is beyond what an entry holds, as the source has it."""
        with suppress(OSError), self.source_directory(entry.parent) as held:
            return os.stat(entry.name or b".", dir_fd=held, follow_symlinks=False).st_mtime_ns
        return entry.mtime_ns

    def _dress(self, out: int, seen: os.stat_result, source: int) -> None:
        self._own(out, seen.st_uid, seen.st_gid, seen.st_mode)
        if self.xattrs or self.acls:
            self._extended(source, out)

    def _own(self, out: int, wanted_uid: int, wanted_gid: int, mode: int) -> None:
        """Give an open file its owner and then its mode."""
        made = os.fstat(out)
        if (made.st_uid, made.st_gid, made.st_mode) == (wanted_uid, wanted_gid, mode):
            return
        uid, gid = self._owner(made, wanted_uid, wanted_gid)
        given = (uid == -1 and gid == -1) or self._give(lambda: os.fchown(out, uid, gid))
        mode = self._safe_mode(made, wanted_uid, wanted_gid, mode, uid if given else -1, gid if given else -1)
        if stat.S_IMODE(made.st_mode) != mode or (given and (uid != -1 or gid != -1)):
            self._chmod(lambda: os.fchmod(out, mode))

    def _safe_mode(self, made: os.stat_result, wanted_uid: int, wanted_gid: int, mode: int, uid: int, gid: int) -> int:
        """Return the mode for something that has been given an owner; without set-user-ID and set-group-ID if it is not the right one.

        :param uid: the owner it was given, -1 if it still has the one it was made with.
        :param gid: the new group.
        """
        mode = stat.S_IMODE(mode)
        if stat.S_ISDIR(made.st_mode):
            return mode
        owner = (made.st_uid if uid == -1 else uid, made.st_gid if gid == -1 else gid)
        safe = safe_mode(mode, (wanted_uid, wanted_gid), owner)
        if safe != mode:
            self.note("set-user-ID and set-group-ID bits were removed from files whose owner the target cannot store")
        return safe

    def _chmod(self, chmod: Callable[[], None]) -> None:
        """Change a mode, if the target has modes."""
        try:
            chmod()
        except OSError as error:
            if error.errno not in _CANNOT_KEEP:
                raise
            self.note("the target cannot store file modes")

    def _owner(self, made: os.stat_result, uid: int, gid: int, *, is_noted: bool = True) -> tuple[int, int]:
        """Return what is to be changed of a thing's owner, -1 for what is right or not ours to change."""
        new_uid = uid if made.st_uid != uid else -1
        new_gid = gid if made.st_gid != gid else -1
        if self._uid:
            if is_noted and (new_uid != -1 or (new_gid != -1 and gid not in self._groups)):
                self.note("owners that are not yours cannot be kept")
            new_uid = -1
            if gid not in self._groups or made.st_uid != self._uid:
                new_gid = -1
        return new_uid, new_gid

    def _give(self, chown: Callable[[], None]) -> bool:
        """Try to change an owner and return whether it worked: an NFS server may squash root."""
        try:
            chown()
        except OSError as error:
            if error.errno not in _CANNOT_KEEP:
                raise
            self.note(NO_OWNERS)
            return False
        return True

    def _extended(self, source: int | bytes, out: int | bytes) -> None:
        """Copy extended attributes and access lists, as far as they are wanted and the target has them."""
        try:
            wanted = read_attributes(source, xattrs=self.xattrs, acls=self.acls)
            have = read_attributes(out, xattrs=self.xattrs, acls=self.acls)
            follow = isinstance(out, int)
            for each in have.keys() - wanted.keys():
                os.removexattr(out, each, follow_symlinks=follow)
            for each, value in wanted.items():
                if have.get(each) != value:
                    os.setxattr(out, each, value, follow_symlinks=follow)
        except OSError as error:
            if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.EACCES, errno.ENODATA, errno.E2BIG, errno.ERANGE, errno.ENOSPC}:
                raise
            self.note(NO_XATTRS)

    # Contents that are in memory already

    def write(self, entry: Entry, data: Contents, old: Entry | None) -> None:
        """Put a file there whose contents were read before."""
        try:
            self._write_file(entry, data, old)
        except OSError as error:
            raise self._located(error, entry.path) from error

    def _write_file(self, entry: Entry, data: Contents, old: Entry | None) -> None:
        parent, name = split(entry.path)
        direct = self.new and old is None
        temporary = name if direct else self.temporary()
        with self._directory(parent) if direct else Held(self.work, closes=False) as held:
            out = self.willing(parent if direct else None, lambda: self._create(temporary, entry.uid, entry.mode, held))
            try:
                if isinstance(data, bytes):
                    _write(out, data)
                else:
                    data.write_to(out)
                self._own(out, entry.uid, entry.gid, entry.mode)
                if self.xattrs or self.acls:
                    self._extended_of(entry, out)
                mtime = entry.mtime_ns if entry.mtime_ns not in TIME_RANGE else self._true_mtime(entry)
                os.utime(out, ns=(mtime, mtime))
            finally:
                os.close(out)
        if not direct:
            self.place(temporary, entry.path, old)
        self.count(1, len(data))


def _write(out: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(out, view) :]


def _free(path: bytes) -> bytes:
    """Return a path like another, in the same directory, that nothing has; the name is cut if it would be too long."""
    parent, name = os.path.split(path)
    number = 1
    while True:
        suffix = b".~%d~" % number
        free = os.path.join(parent, name[: NAME_MAX - len(suffix)] + suffix)
        if not os.path.lexists(free):
            return free
        number += 1


def make_private(path: str | bytes) -> None:
    """Make a directory, and those above it that are missing, for ourselves alone, whatever the umask."""
    missing = []
    path = os.fsencode(path)
    while not os.path.isdir(path):
        missing.append(path)
        path = os.path.dirname(path)
    for each in reversed(missing):
        try:
            os.mkdir(each, 0o700)
        except FileExistsError:
            if not os.path.isdir(each):
                raise


def is_directory(path: str | bytes) -> bool:
    """Tell whether there is a directory, and no link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


def exchange(one: bytes, other: bytes, there: int | None = None) -> bool:
    """Let two names change places in one step; return False where the filesystem cannot.

    :param there: directory that ``other`` is relative to.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    if rename(_AT_FDCWD, ctypes.c_char_p(one), _AT_FDCWD if there is None else there, ctypes.c_char_p(other), _RENAME_EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code in {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP}:
        return False
    raise OSError(code, os.strerror(code), os.fsdecode(other))


def sizes(path: bytes) -> Iterator[int]:
    """Yield the size, without holes, of each file below a directory, however deep it lies, as far as directories can be read."""
    waiting = [path]
    while waiting:
        with suppress(OSError), os.scandir(waiting.pop()) as listing:
            for each in listing:
                if each.is_dir(follow_symlinks=False):
                    waiting.append(each.path)
                else:
                    yield data_size(each.stat(follow_symlinks=False))
