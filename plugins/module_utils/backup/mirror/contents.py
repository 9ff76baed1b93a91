# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare and copy the contents of open files.

Every read is bounded by the size from the first stat: data appended later is not read. Holes are
neither read nor written, so a sparse file costs what its data costs, whatever its size.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from typing import NoReturn, Protocol

from ansible_collections.homelab.repoman.plugins.module_utils.files.source_files import open_regular

BLOCK = 1 << 20
CHUNK = 8 << 20
SMALL_HOLES = 64 << 10
"""Files up to this size count with their full size in reports: some file systems know the blocks of a new file only later."""
HOLE_PROBE = 64 << 20
"""A file whose holes are larger in total is only written if the target supports holes, or has the space for them."""
_NO_SEEK = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


class SourceReadError(OSError):
    """The source file cannot be read; other errors come from writing the copy."""


class Judge(Protocol):
    """Takes in the contents while they are read; see :class:`checks.Check`."""

    reason: str

    def update(self, chunk: bytes) -> None:
        """Take in the next bytes."""

    def hole(self, size: int) -> None:
        """Add a hole of ``size`` zeros."""


def data_size(status: os.stat_result) -> int:
    """Return a file's size without its holes."""
    size, allocated = status.st_size, status.st_blocks * 512
    return size if size <= SMALL_HOLES or allocated >= size else allocated


def is_sparse(status: os.stat_result) -> bool:
    """Return whether a file has holes."""
    return status.st_blocks * 512 < status.st_size


def same_contents(one: int, other: int, path: bytes) -> bool:
    """Return whether two trees have the same regular file at a path.

    :param one: open directory at the top of one tree.
    :param other: open directory at the top of the other tree.
    """
    files: list[int] = []
    try:
        for top in (one, other):
            file = open_regular(top, path)
            if file is None:
                return False
            files.append(file)
        return equal(files[0], files[1], os.fstat(files[0]).st_size)
    except OSError:
        return False
    finally:
        for file in files:
            os.close(file)


def equal(source: int, mirrored: int, size: int, judge: Judge | None = None, progress: Callable[[], object] = lambda: None) -> bool:
    """Return whether two open files have the same contents.

    :param size: size of the source file; nothing after it is read.
    :param judge: receives the contents up to the first difference.
    :param progress: is called now and then.
    :raises SourceReadError: the source file cannot be read. A mirrored file that cannot be read is not equal.
    """
    mirrored_status = os.fstat(mirrored)
    if mirrored_status.st_size != size:
        return False
    sparse = is_sparse(mirrored_status) or is_sparse(os.fstat(source))
    at = 0
    while at < size:
        end = size
        if sparse:
            begin = min(_next_data(source, at, size), _next_data(mirrored, at, size))
            if judge and begin > at:
                judge.hole(begin - at)
            at = begin
            end = max(_next_hole(source, at, size), _next_hole(mirrored, at, size))
        if at >= size:
            break
        length = min(BLOCK, max(end - at, 1))
        part = _read_source(source, length, at)
        try:
            mirrored_part = _read_at(mirrored, length, at)
        except OSError:
            return False
        if part != mirrored_part or len(part) < length:
            return False
        if judge:
            judge.update(part)
        at += length
        if size > BLOCK:
            progress()
    return True


def transfer(source: int, out: int, status: os.stat_result, judge: Judge | None, progress: Callable[[], object]) -> int:
    """Copy contents, including holes, up to the size from the first stat.

    :param judge: gets the contents; once it finds damage, the copy stops.
    :param progress: is called now and then.
    :return: number of bytes written.
    :raises SourceReadError: the source's file cannot be read.
    """
    size = status.st_size
    if is_sparse(status):
        return _transfer_sparse(source, out, status, judge, progress)
    if judge is None and size > BLOCK:
        return _send(source, out, size, progress)
    return _transfer_range(source, out, 0, size, judge, progress if size > BLOCK else None)


def _transfer_range(source: int, out: int, begin: int, end: int, judge: Judge | None, progress: Callable[[], object] | None) -> int:
    """Copy a range of bytes; return the number of bytes copied."""
    # One read serves both the judge and the copy: other bytes than those that were judged must not get into the mirror.
    at = begin
    while at < end and not (judge and judge.reason):
        try:
            chunk = os.pread(source, min(BLOCK, end - at), at)
        except OSError as error:
            raise SourceReadError(*error.args) from error
        if not chunk:
            break
        if judge:
            judge.update(chunk)
        done = os.pwrite(out, chunk, at)
        while done < len(chunk):
            done += os.pwrite(out, memoryview(chunk)[done:], at + done)
        at += done
        if progress is not None:
            progress()
    return at - begin


def _send(source: int, out: int, size: int, progress: Callable[[], object]) -> int:
    done = 0
    while done < size:
        try:
            sent = os.sendfile(out, source, done, min(CHUNK, size - done))
        except OSError as error:
            _blame(source, done, min(CHUNK, size - done), error)
        if not sent:
            break
        done += sent
        progress()
    return done


def _blame(source: int, begin: int, length: int, error: OSError) -> NoReturn:
    """Raise the error of a copy by the kernel, which does not report which of the two files failed."""
    for at in range(begin, begin + length, BLOCK):
        _read_source(source, BLOCK, at)
    raise error


def _transfer_sparse(source: int, out: int, status: os.stat_result, judge: Judge | None, progress: Callable[[], object]) -> int:
    size, done, at = status.st_size, 0, 0
    if size - status.st_blocks * 512 > HOLE_PROBE:
        _check_holes(out, size)
    while at < size:
        begin = _next_data(source, at, size)
        if judge and begin > at:
            judge.hole(begin - at)
        if begin >= size:
            break
        at = max(_next_hole(source, begin, size), begin + 1)
        copied = _transfer_range(source, out, begin, at, judge, progress)
        done += copied
        if copied < at - begin:
            break
    os.ftruncate(out, size)
    return done


def _check_holes(out: int, size: int) -> None:
    """Refuse a file whose holes would fill the target.

    :raises OSError: they would (EFBIG).
    """
    os.ftruncate(out, HOLE_PROBE)
    if os.fstat(out).st_blocks * 512 < HOLE_PROBE // 2:
        return
    space = os.fstatvfs(out)
    if space.f_bavail * space.f_frsize < size:
        raise OSError(errno.EFBIG, "the target does not support sparse files, and has no space to store the holes as data")


def _next_data(file: int, at: int, size: int) -> int:
    """Return where data begins next; ``size`` if only a hole follows."""
    try:
        return min(os.lseek(file, at, os.SEEK_DATA), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        if error.errno in _NO_SEEK:
            return at
        raise


def _next_hole(file: int, at: int, size: int) -> int:
    """Return the offset of the next hole; ``size`` if only data follows."""
    try:
        return min(os.lseek(file, at, os.SEEK_HOLE), size)
    except OSError as error:
        if error.errno in _NO_SEEK or error.errno == errno.ENXIO:
            return size
        raise


def _read_source(file: int, length: int, at: int) -> bytes:
    try:
        return _read_at(file, length, at)
    except OSError as error:
        raise SourceReadError(*error.args) from error


def _read_at(file: int, length: int, at: int) -> bytes:
    """Read exactly this number of bytes, or fewer at the end of the file."""
    data = os.pread(file, length, at)
    while data and len(data) < length and (more := os.pread(file, length - len(data), at + len(data))):
        data += more
    return data
