# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Object directories that a git repository borrows objects from (``objects/info/alternates``), for both sync and status.

A container can write the list, so it can name any path of the host. A path that is not below ``repos_root`` is refused before anything in
it is opened. Directories below it are opened through descriptors, and may contain only files and directories: git would follow links
and wait for pipes.

A container can also replace a directory with a link after this check. So git gets no path in a container: :meth:`HeldObjects.link_into`
makes object directories of repoman, in which each part is a link to an inherited descriptor of the directory that was checked.
"""

from __future__ import annotations

import errno
import os
import re
import resource
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files import source_files
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import close_all, open_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.paths import escape_path

DEPTH = 5
"""How deep git itself follows alternates."""
MAX_DIRECTORIES = 100
FILES = 1 << 20
"""Maximum number of files to check."""
LIST_BYTES = 1 << 20
LINKS = 40
OPEN_FILES = 1 << 16
"""Descriptors that this process may have: an object directory has up to 257 parts, and several repositories are proven at once."""
OWN = "which is in its object directory"
BORROWED = "from which it borrows objects"
_PART = re.compile(rb"[0-9a-f]{2}|pack|info")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class BorrowedError(RepomanError):
    """Objects are borrowed from a directory that git must not read; the message is the reason, without a full stop."""


class OutsideError(BorrowedError):
    """The directory is not below ``repos_root``; it was not opened."""


@dataclass
class HeldDirectory:
    """An object directory that was checked and is open.

    :param path: its path when it was opened.
    :param whose: its relation to the repository, for messages.
    :param parts: an open descriptor of each directory in it that git reads.
    :param changed_ns: when each of them was last changed.
    """

    path: bytes
    whose: str
    parts: dict[bytes, int]
    changed_ns: dict[bytes, int]

    def recheck(self) -> None:
        """Check the directories that have changed since.

        :raises BorrowedError: something in one is neither a file nor a directory.
        """
        for part, fd in self.parts.items():
            if os.fstat(fd).st_ctime_ns != self.changed_ns[part]:
                _check_entries(fd, os.path.join(self.path, part), FILES, self.whose)


@dataclass
class HeldObjects:
    """Object directories that are open.

    :param named: the paths that the list names, resolved.
    :param own: the repository's own, if it is open too.
    :param borrowed: those that it borrows from, directly or through others.
    :param missing: those that do not exist.
    """

    named: list[bytes] = field(default_factory=list)
    own: HeldDirectory | None = None
    borrowed: list[HeldDirectory] = field(default_factory=list)
    missing: list[bytes] = field(default_factory=list)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """Descriptors that a process must inherit to read the object directories that :meth:`link_into` makes."""
        return tuple(fd for directory in self._all() for fd in directory.parts.values())

    def _all(self) -> list[HeldDirectory]:
        return [*([self.own] if self.own else []), *self.borrowed]

    def link_into(self, base: bytes) -> dict[bytes, bytes]:
        """Make an object directory of links for each borrowed one; return their paths, each with the path of the borrowed one."""
        paths = {}
        for number, directory in enumerate(self.borrowed):
            path = os.path.join(base, b"%d" % number)
            _link_parts(directory, path)
            paths[path] = directory.path
        return paths

    def link_own_into(self, path: bytes) -> None:
        """Make an object directory for the repository's own."""
        if self.own is not None:
            _link_parts(self.own, path)

    def recheck(self) -> None:
        """Check the parts that have changed since: git may have followed a link that replaced a file.

        :raises BorrowedError: something is neither a file nor a directory.
        """
        for directory in self._all():
            directory.recheck()


def alternates_variable(paths: Iterable[bytes]) -> str:
    """Return the value of ``GIT_ALTERNATE_OBJECT_DIRECTORIES``."""
    return os.fsdecode(b":".join(b'"' + path.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' for path in paths))


def _link_parts(directory: HeldDirectory, path: bytes) -> None:
    os.makedirs(path, exist_ok=True)
    for part, fd in directory.parts.items():
        os.symlink(b"/proc/self/fd/%d" % fd, b"%b/%b" % (path, part))
    for part in (b"info", b"pack"):
        os.makedirs(os.path.join(path, part), exist_ok=True)


@contextmanager
def hold_borrowed(objects: bytes, lines: list[bytes], root: bytes) -> Iterator[HeldObjects]:
    """Open and check the object directories that a list names and those that they borrow from.

    :param objects: the object directory with the list.
    :param lines: of the list, as :func:`parse_alternates` returns them.
    :param root: nothing outside of this directory is opened.
    :raises OutsideError: one is not below it.
    :raises BorrowedError: something in one is neither a file nor a directory, or there is too much.
    """
    with ExitStack() as stack:
        root_fd = stack.enter_context(_open_root(root))
        yield _hold_borrowed(stack, root_fd, objects, lines, root)


@contextmanager
def hold_all(objects: bytes, lines: list[bytes], root: bytes) -> Iterator[HeldObjects]:
    """Open a repository's own object directory, and those that it borrows from; see :func:`hold_borrowed`."""
    with ExitStack() as stack:
        yield _hold_repository(stack, objects, lines, root)


def _hold_repository(stack: ExitStack, objects: bytes, lines: list[bytes], root: bytes) -> HeldObjects:
    root_fd = stack.enter_context(_open_root(root))
    fd = _open_inside(root_fd, os.path.relpath(objects, os.path.realpath(root)))
    if fd is None:
        return HeldObjects()
    try:
        own_directory, _budget = _hold(stack, fd, objects, FILES, OWN)
    finally:
        os.close(fd)
    borrowed = _hold_borrowed(stack, root_fd, objects, lines, root)
    borrowed.own = own_directory
    return borrowed


def _hold_borrowed(stack: ExitStack, root_fd: int, objects: bytes, lines: list[bytes], root: bytes) -> HeldObjects:
    _check_count(lines)
    named_paths = [_resolve_alternate(objects, line, root, root_fd) for line in lines]
    borrowed = HeldObjects([os.path.join(root, path) for path in named_paths])
    waiting = [(path, 0) for path in dict.fromkeys(named_paths)]
    visited = {*named_paths, _resolve_alternate(objects, b".", root, root_fd)} if lines else set()
    budget = FILES
    while waiting:
        relative_path, depth = waiting.pop()
        path = os.path.join(root, relative_path)
        fd = _open_inside(root_fd, relative_path)
        if fd is None:
            borrowed.missing.append(path)
            continue
        try:
            directory, budget = _hold(stack, fd, path, budget, BORROWED)
            further_lines = _alternates_in(fd)
        finally:
            os.close(fd)
        borrowed.borrowed.append(directory)
        _check_count(further_lines)
        for line in further_lines:
            target = _resolve_alternate(path, line, root, root_fd)
            if target not in visited:
                if depth >= DEPTH or len(visited) >= MAX_DIRECTORIES:
                    raise _too_many()
                visited.add(target)
                waiting.append((target, depth + 1))
    return borrowed


def _alternates_in(fd: int) -> list[bytes]:
    return parse_alternates(source_files.read_regular(fd, b"info/alternates", LIST_BYTES) or b"")


def _check_count(lines: list[bytes]) -> None:
    if len(lines) > MAX_DIRECTORIES:
        raise _too_many()


def _too_many() -> BorrowedError:
    return BorrowedError(f"it borrows objects from more than {MAX_DIRECTORIES} places, or through a chain of more than {DEPTH} alternates")


def parse_alternates(data: bytes) -> list[bytes]:
    """Return the paths in a list of alternates; source: ``git help gitrepository-layout``, and of quoted ones ``git help git``."""
    return [_unquoted(line) if line.startswith(b'"') else line for line in data.split(b"\n") if line and not line.startswith(b"#")]


def _unquoted(line: bytes) -> bytes:
    match = re.fullmatch(rb'"((?:[^"\\]|\\.)*)"', line, re.DOTALL)
    if match is None:
        return line
    return re.sub(rb"\\([0-7]{3}|.)", _unescape, match[1], flags=re.DOTALL)


def _unescape(match: re.Match[bytes]) -> bytes:
    text = match[1]
    return bytes([int(text, 8) & 0xFF]) if len(text) == 3 else _ESCAPES.get(text, text)  # noqa: PLR2004


@contextmanager
def _open_root(root: bytes) -> Iterator[int]:
    fd = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


def _resolve_alternate(objects: bytes, line: bytes, root: bytes, root_fd: int) -> bytes:
    """Resolve the path in a line to a path below the root; nothing outside the root is accessed.

    :raises OutsideError: it leads outside.
    """
    roots = {root.rstrip(b"/"), os.path.realpath(root)}
    parts: list[bytes] = []
    remaining_parts = _steps(os.path.join(objects, line), roots, line)
    followed = 0
    while remaining_parts:
        part = remaining_parts.pop()
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
            parts, remaining_parts = [], remaining_parts + _steps(target, roots, line)
        else:
            remaining_parts += target.split(b"/")[::-1]
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


def _hold(stack: ExitStack, fd: int, directory_path: bytes, budget: int, whose: str) -> tuple[HeldDirectory, int]:
    """Check the parts of an object directory that git reads, and keep them open; return it, and the number of files that may still be checked."""
    _allow_descriptors()
    with os.scandir(fd) as listing:
        parts = [name for name in map(os.fsencode, (entry.name for entry in listing)) if _PART.fullmatch(name)]
    directory = HeldDirectory(directory_path, whose, {}, {})
    held: list[int] = []
    stack.callback(close_all, held)
    for part in parts:
        path = b"%b/%b" % (directory_path, part)
        try:
            part_fd = os.open(part, _OPEN, dir_fd=fd)
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                raise BorrowedError(f"{escape_path(directory_path)}, {whose}, holds too many files") from error
            if error.errno in {errno.ENOTDIR, errno.ELOOP}:
                raise BorrowedError(f"{escape_path(path)}, {whose}, is not a directory") from error
            raise
        held.append(part_fd)
        changed_ns = os.fstat(part_fd).st_ctime_ns
        budget = _check_entries(part_fd, path, budget, whose)
        if part != b"info":  # git would read the list of alternates in it; it can do without the rest
            directory.parts[part], directory.changed_ns[part] = part_fd, changed_ns
    return directory, budget


def _check_entries(fd: int, path: bytes, budget: int, whose: str) -> int:
    with os.scandir(fd) as entries:
        for entry in entries:
            budget -= 1
            if budget < 0:
                raise BorrowedError(f"{escape_path(os.path.dirname(path))}, {whose}, holds too many files")
            if not entry.is_file(follow_symlinks=False) and not entry.is_dir(follow_symlinks=False):
                raise BorrowedError(
                    f"{escape_path(os.path.join(path, os.fsencode(entry.name)))}, {whose}, is neither a file nor a directory"
                )
    return budget


def _allow_descriptors() -> None:
    """Raise the number of files that this process may have open, which many systems set to 1024, as far as it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < limit:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
