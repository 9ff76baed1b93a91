# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Object directories that a git repository borrows objects from (``objects/info/alternates``), for sync and status alike.

A container writes the list, so it can name any place of the host. What is not below ``repos_root`` is refused by its path alone, before
anything there is looked at. What is below it is walked through held descriptors, and may hold files and directories only: git follows
links and waits for pipes.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

DEPTH = 5
"""How deep git itself follows alternates."""
PLACES = 100
FILES = 1 << 20
"""Maximum number of files to check."""
LIST_BYTES = 1 << 20
LINKS = 40
_PART = re.compile(rb"[0-9a-f]{2}|pack|info")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class BorrowedError(RepomanError):
    """Objects are borrowed from a place that git is not let near; the message is the reason, without a full stop."""


class OutsideError(BorrowedError):
    """The place is not below ``repos_root``, and was not looked at."""


def check_borrowed(objects: bytes, lines: list[bytes], root: bytes) -> list[bytes]:
    """Return the object directories that a list names, after a look at them and at those that they borrow from.

    :param objects: the object directory with the list.
    :param lines: of the list, as :func:`parse_alternates` returns them.
    :param root: the directory that nothing is looked at outside of.
    :raises OutsideError: one is not below it.
    :raises BorrowedError: something in one is neither a file nor a directory, or there is too much.
    """
    with _open_root(root) as root_fd:
        _check_count(lines)
        places = [_place(objects, line, root, root_fd) for line in lines]
        waiting = [(each, 0) for each in places]
        seen = {*places, _place(objects, b".", root, root_fd)} if lines else set()
        budget = FILES
        while waiting:
            place, depth = waiting.pop()
            fd = _open_inside(root_fd, place)
            if fd is None:
                continue
            try:
                budget = _look(fd, os.path.join(root, place), budget)
                further = parse_alternates(source_files.read_regular(fd, b"info/alternates", LIST_BYTES) or b"")
            finally:
                os.close(fd)
            _check_count(further)
            for line in further:
                inner = _place(os.path.join(root, place), line, root, root_fd)
                if inner not in seen:
                    if depth >= DEPTH or len(seen) >= PLACES:
                        raise _too_many()
                    seen.add(inner)
                    waiting.append((inner, depth + 1))
    return [os.path.join(root, each) for each in places]


def check_own(objects: bytes, root: bytes) -> None:
    """Check a repository's own object directory: it may contain only files and directories if git reads it in place.

    :raises BorrowedError: there is something else in it.
    """
    with _open_root(root) as root_fd:
        fd = _open_inside(root_fd, os.path.relpath(objects, os.path.realpath(root)))
        if fd is None:
            return
        try:
            _look(fd, objects, FILES, "which is in its object directory")
        finally:
            os.close(fd)


def _check_count(lines: list[bytes]) -> None:
    if len(lines) > PLACES:
        raise _too_many()


def _too_many() -> BorrowedError:
    return BorrowedError(f"it borrows objects from more than {PLACES} places, or through a chain of more than {DEPTH} alternates")


def parse_alternates(data: bytes) -> list[bytes]:
    """Return the paths in a list of alternates; source: ``git help gitrepository-layout``, and of quoted ones ``git help git``."""
    return [_unquoted(line) if line.startswith(b'"') else line for line in data.split(b"\n") if line and not line.startswith(b"#")]


def _unquoted(line: bytes) -> bytes:
    found = re.fullmatch(rb'"((?:[^"\\]|\\.)*)"', line, re.DOTALL)
    if found is None:
        return line
    return re.sub(rb"\\([0-7]{3}|.)", _unescape, found[1], flags=re.DOTALL)


def _unescape(found: re.Match[bytes]) -> bytes:
    text = found[1]
    return bytes([int(text, 8) & 0xFF]) if len(text) == 3 else _ESCAPES.get(text, text)  # noqa: PLR2004


@contextmanager
def _open_root(root: bytes) -> Iterator[int]:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _place(objects: bytes, line: bytes, root: bytes, root_fd: int) -> bytes:
    """Resolve the path in a line to a path below the root; nothing outside the root is accessed.

    :raises OutsideError: it leads outside.
    """
    roots = {root.rstrip(b"/"), os.path.realpath(root)}
    parts: list[bytes] = []
    left = _steps(os.path.join(objects, line), roots, line)
    followed = 0
    while left:
        part = left.pop()
        if part in {b"", b"."}:
            continue
        if part == b"..":
            if not parts:
                raise _outside(line)
            parts.pop()
            continue
        target = _link_at(root_fd, b"/".join(parts), part)
        if target is None:
            parts.append(part)
            continue
        followed += 1
        if followed > LINKS:
            raise BorrowedError(f"{escape_path(line)}, from which it borrows objects, has more than {LINKS} symbolic links on its path")
        if target.startswith(b"/"):
            parts, left = [], left + _steps(target, roots, line)
        else:
            left += target.split(b"/")[::-1]
    return b"/".join(parts)


def _steps(path: bytes, roots: set[bytes], line: bytes) -> list[bytes]:
    """Return the parts of an absolute path below one of the roots, the last one first."""
    for root in roots:
        if path == root or path.startswith(root + b"/"):
            return path[len(root) :].split(b"/")[::-1]
    raise _outside(line)


def _outside(line: bytes) -> OutsideError:
    return OutsideError(f"it borrows objects from outside repos_root, which is not backed up ({escape_path(line)})")


def _link_at(root_fd: int, parent: bytes, name: bytes) -> bytes | None:
    fd = _open_inside(root_fd, parent)
    if fd is None:
        return None
    try:
        return os.readlink(name, dir_fd=fd)
    except OSError:
        return None
    finally:
        os.close(fd)


def _open_inside(root_fd: int, path: bytes) -> int | None:
    """Open a directory below the root without following links; None if it does not exist."""
    try:
        return open_beneath(root_fd, path, _OPEN)
    except OSError:
        return None


def _look(fd: int, where: bytes, budget: int, whose: str = "from which it borrows objects") -> int:
    """Look at what git reads in an object directory; return how many files may still be looked at."""
    with os.scandir(fd) as listing:
        parts = [each for each in map(os.fsencode, (entry.name for entry in listing)) if _PART.fullmatch(each)]
    for part in parts:
        path = os.path.join(where, part)
        mode = os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            raise BorrowedError(f"{escape_path(path)}, {whose}, is not a directory")
        inner = os.open(part, _OPEN, dir_fd=fd)
        try:
            with os.scandir(inner) as listing:
                for each in listing:
                    budget -= 1
                    if budget < 0:
                        raise BorrowedError(f"{escape_path(where)}, {whose}, holds too many files")
                    if not each.is_file(follow_symlinks=False) and not each.is_dir(follow_symlinks=False):
                        raise BorrowedError(
                            f"{escape_path(os.path.join(path, os.fsencode(each.name)))}, {whose}, is neither a file nor a directory"
                        )
        finally:
            os.close(inner)
    return budget
