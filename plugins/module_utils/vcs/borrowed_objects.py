# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Object directories that a git repository borrows objects from (``objects/info/alternates``), for sync and status alike.

A container writes the list, so it can name any place of the host. What is not below ``repos_root`` is refused by its path alone, before
anything there is looked at. What is below it is walked through held descriptors, and may hold files and directories only: git follows
links and waits for pipes.

A container can also exchange a directory for a link after that look. So git gets no path in a container: :meth:`HeldObjects.link_into`
makes object directories of ours, in which each part is a link to an inherited descriptor of the directory that was looked at.
"""

from __future__ import annotations

import errno
import os
import re
import resource
import stat
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

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
OPEN_FILES = 1 << 16
"""Descriptors that this process may have: an object directory has up to 257 parts, and several repositories are proven at once."""
OWN = "which is in its object directory"
BORROWED = "from which it borrows objects"
_PART = re.compile(rb"[0-9a-f]{2}|pack|info")
_OPEN = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_ESCAPES = {b"a": b"\a", b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


class BorrowedError(RepomanError):
    """Objects are borrowed from a place that git is not let near; the message is the reason, without a full stop."""


class OutsideError(BorrowedError):
    """The place is not below ``repos_root``, and was not looked at."""


@dataclass
class HeldDirectory:
    """An object directory that was looked at.

    :param path: where it was.
    :param whose: what it is to the repository, for messages.
    :param parts: an open descriptor of each directory in it that git reads.
    :param changed_ns: when each of them had changed last.
    """

    path: bytes
    whose: str
    parts: dict[bytes, int]
    changed_ns: dict[bytes, int]

    def look_again(self) -> None:
        """Look at the directories that changed since.

        :raises BorrowedError: something in one is neither a file nor a directory.
        """
        for part, fd in self.parts.items():
            if os.fstat(fd).st_ctime_ns != self.changed_ns[part]:
                _look_into(fd, os.path.join(self.path, part), FILES, self.whose)


@dataclass
class HeldObjects:
    """Object directories that are held open.

    :param named: the paths that the list names, resolved.
    :param own: the repository's own, if it is held too.
    :param borrowed: those that it borrows from, directly or through others.
    :param missing: those that do not exist.
    """

    named: list[bytes] = field(default_factory=list)
    own: HeldDirectory | None = None
    borrowed: list[HeldDirectory] = field(default_factory=list)
    missing: list[bytes] = field(default_factory=list)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """What a process must inherit to read the object directories that :meth:`link_into` makes."""
        return tuple(fd for each in self._all() for fd in each.parts.values())

    def _all(self) -> list[HeldDirectory]:
        return [*([self.own] if self.own else []), *self.borrowed]

    def link_into(self, base: bytes) -> dict[bytes, bytes]:
        """Make an object directory for each that is borrowed from; return their paths, with what each stands for."""
        made = {}
        for number, each in enumerate(self.borrowed):
            place = os.path.join(base, b"%d" % number)
            _link_parts(each, place)
            made[place] = each.path
        return made

    def link_own_into(self, place: bytes) -> None:
        """Make an object directory for the repository's own."""
        if self.own is not None:
            _link_parts(self.own, place)

    def look_again(self) -> None:
        """Look again at what changed since: git may have followed a link that took the place of a file.

        :raises BorrowedError: there is something else than files and directories.
        """
        for each in self._all():
            each.look_again()


def alternates_variable(places: Iterable[bytes]) -> str:
    """Return the value of ``GIT_ALTERNATE_OBJECT_DIRECTORIES``."""
    return os.fsdecode(b":".join(b'"' + each.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"' for each in places))


def _link_parts(held: HeldDirectory, place: bytes) -> None:
    os.makedirs(place, exist_ok=True)
    for part, fd in held.parts.items():
        os.symlink(b"/proc/self/fd/%d" % fd, os.path.join(place, part))
    for part in (b"info", b"pack"):
        os.makedirs(os.path.join(place, part), exist_ok=True)


@contextmanager
def hold_borrowed(objects: bytes, lines: list[bytes], root: bytes) -> Iterator[HeldObjects]:
    """Hold the object directories that a list names and those that they borrow from, after a look at them.

    :param objects: the object directory with the list.
    :param lines: of the list, as :func:`parse_alternates` returns them.
    :param root: the directory that nothing is looked at outside of.
    :raises OutsideError: one is not below it.
    :raises BorrowedError: something in one is neither a file nor a directory, or there is too much.
    """
    with ExitStack() as stack:
        root_fd = stack.enter_context(_open_root(root))
        yield _hold_borrowed(stack, root_fd, objects, lines, root)


@contextmanager
def hold_all(objects: bytes, lines: list[bytes], root: bytes) -> Iterator[HeldObjects]:
    """Hold a repository's own object directory, and those that it borrows from; see :func:`hold_borrowed`."""
    with ExitStack() as stack:
        yield _hold_repository(stack, objects, lines, root)


def _hold_repository(stack: ExitStack, objects: bytes, lines: list[bytes], root: bytes) -> HeldObjects:
    root_fd = stack.enter_context(_open_root(root))
    fd = _open_inside(root_fd, os.path.relpath(objects, os.path.realpath(root)))
    if fd is None:
        return HeldObjects()
    try:
        own, _budget = _hold(stack, fd, objects, FILES, OWN)
    finally:
        os.close(fd)
    held = _hold_borrowed(stack, root_fd, objects, lines, root)
    held.own = own
    return held


def _hold_borrowed(stack: ExitStack, root_fd: int, objects: bytes, lines: list[bytes], root: bytes) -> HeldObjects:
    _check_count(lines)
    places = [_place(objects, line, root, root_fd) for line in lines]
    held = HeldObjects([os.path.join(root, each) for each in places])
    waiting = [(each, 0) for each in dict.fromkeys(places)]
    seen = {*places, _place(objects, b".", root, root_fd)} if lines else set()
    budget = FILES
    while waiting:
        place, depth = waiting.pop()
        path = os.path.join(root, place)
        fd = _open_inside(root_fd, place)
        if fd is None:
            held.missing.append(path)
            continue
        try:
            found, budget = _hold(stack, fd, path, budget, BORROWED)
            further = _alternates_in(fd)
        finally:
            os.close(fd)
        held.borrowed.append(found)
        _check_count(further)
        for line in further:
            inner = _place(path, line, root, root_fd)
            if inner not in seen:
                if depth >= DEPTH or len(seen) >= PLACES:
                    raise _too_many()
                seen.add(inner)
                waiting.append((inner, depth + 1))
    return held


def _alternates_in(fd: int) -> list[bytes]:
    return parse_alternates(source_files.read_regular(fd, b"info/alternates", LIST_BYTES) or b"")


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


def _hold(stack: ExitStack, fd: int, where: bytes, budget: int, whose: str) -> tuple[HeldDirectory, int]:
    """Look at what git reads in an object directory, and hold it; return how many files may still be looked at."""
    _allow_descriptors()
    with os.scandir(fd) as listing:
        parts = [each for each in map(os.fsencode, (entry.name for entry in listing)) if _PART.fullmatch(each)]
    held = HeldDirectory(where, whose, {}, {})
    for part in parts:
        path = os.path.join(where, part)
        mode = os.stat(part, dir_fd=fd, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            raise BorrowedError(f"{escape_path(path)}, {whose}, is not a directory")
        try:
            inner = os.open(part, _OPEN, dir_fd=fd)
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE}:
                raise BorrowedError(f"{escape_path(where)}, {whose}, holds too many files") from error
            raise
        stack.callback(os.close, inner)
        changed_ns = os.fstat(inner).st_ctime_ns
        budget = _look_into(inner, path, budget, whose)
        if part != b"info":  # git would read the list of alternates in it; it can do without the rest
            held.parts[part], held.changed_ns[part] = inner, changed_ns
    return held, budget


def _look_into(fd: int, path: bytes, budget: int, whose: str) -> int:
    with os.scandir(fd) as listing:
        for each in listing:
            budget -= 1
            if budget < 0:
                raise BorrowedError(f"{escape_path(os.path.dirname(path))}, {whose}, holds too many files")
            if not each.is_file(follow_symlinks=False) and not each.is_dir(follow_symlinks=False):
                raise BorrowedError(
                    f"{escape_path(os.path.join(path, os.fsencode(each.name)))}, {whose}, is neither a file nor a directory"
                )
    return budget


def _allow_descriptors() -> None:
    """Raise the number of files that this process may have open, which many systems set to 1024, as far as it may be raised."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
