# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What makes git and Mercurial on the host run programs, mounted read-only inside: an override's ``protect``.

The hooks and settings of a repository are mounted read-only over themselves. The directories on the way to them are mounted over
themselves too, writable as they were, because a mount cannot be renamed: the directory above it could be, and replaced by another.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotKnownError
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import VcsError, resolve_path

HOOKS, CONFIG = "hooks", "config"
PREFIX = "protect-"
DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_.-]{0,62}")
"""Device names that Incus takes."""
HG_FILES = ("hgrc", "hgrc-not-shared", "requires")
"""What Mercurial reads settings from; ``requires`` could send it to another repository's."""
READ_LIMIT = 1 << 20
DEPTH = 50
"""How deep in a repository a submodule's git directory may be."""
ENTRIES = 2000
"""What there may be in the directories of submodules and linked worktrees, together."""

Device = dict[str, str]


@dataclass(frozen=True)
class Mount:
    """A directory of the host that an instance has.

    :param source: on the host, links resolved.
    :param path: in the instance.
    """

    source: str
    path: str

    def inside(self, path: str) -> str:
        """Return where a path of the host, below :attr:`source`, is in the instance."""
        return self.path.rstrip("/") + path.removeprefix(self.source)


@dataclass
class Guard:
    """What is to be mounted read-only, as paths on the host.

    :param top: of the repository.
    :param seen: entries of directories, so far.
    """

    top: str
    seen: int = 0
    files: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)

    def file(self, *parts: str) -> None:
        """Add a file."""
        self.files.append(os.path.join(*parts))

    def directory(self, *parts: str) -> None:
        """Add a directory with all that is in it."""
        self.directories.append(os.path.join(*parts))

    def inner(self, *parts: str) -> list[str]:
        """Return the directories in one; none where there is none.

        :raises ConflictError: it is too deep, or has too many entries, with all that were seen before.
        """
        top = os.path.join(*parts)
        if not os.path.isdir(top) or os.path.islink(top):
            return []
        if top.removeprefix(self.top).count("/") > DEPTH:
            raise ConflictError(f"{top} is too deep for the git directory of a submodule, so it cannot be protected.", _look_at(self.top))
        with os.scandir(top) as entries:
            listed = list(islice(entries, ENTRIES + 1))
        self.seen += len(listed)
        if self.seen > ENTRIES:
            raise ConflictError(f"{top} has more in it than the {ENTRIES} entries that can be protected.", _look_at(top))
        return sorted(entry.path for entry in listed if entry.is_dir(follow_symlinks=False))


def devices(source: str, inside: str, protect: Iterable[str], others: Iterable[Device] = ()) -> dict[str, Device]:
    """Return the devices that protect a repository, by name; the repository itself is only read.

    :param source: of the repository on the host, links resolved.
    :param inside: its path in the instance.
    :param protect: what to: ``hooks``, ``config``.
    :param others: what else the instance has; where git's own directory, or the repository once more, can be reached through one,
        it is protected there.
    :raises NotKnownError: something to protect does not exist, so that the container could make it, or cannot be looked at.
    :raises ConflictError: something to protect is not what it should be, such as a link to elsewhere.
    """
    wanted = frozenset(protect)
    if not wanted:
        return {}
    try:
        return _devices(source, inside, wanted, others)
    except OSError as error:
        where = os.fsdecode(error.filename or source)
        raise NotKnownError(f"cannot read {where}, which may have to be protected: {error.strerror}.", _look_at(where)) from error
    except VcsError as error:
        raise ConflictError(f"{error.message}, so {source} cannot be protected.", _look_at(source)) from error


def _devices(source: str, inside: str, wanted: frozenset[str], others: Iterable[Device]) -> dict[str, Device]:
    """See :func:`devices`, with what the operating system raises besides."""
    guard = _guard(source, wanted)
    mounts = {os.path.normpath(each["path"]): os.path.realpath(each["source"]) for each in others if _shares(each)} | {inside: source}
    found: dict[str, Device] = {}
    missing: list[str] = []
    for mount in (Mount(directory, path) for path, directory in mounts.items()):
        for path in guard.directories + guard.files:
            if not path.startswith(f"{mount.source}/") or _covered(mount.inside(path), mount.path, mounts):
                continue
            if not _check(path, mount.source, path in guard.directories):
                missing.append(path)
            for parent in _between(mount.source, path):
                found[_name(mount.inside(parent), inside)] = _device(parent, mount)
            found[_name(mount.inside(path), inside)] = _device(path, mount) | {"readonly": "true"}
    if missing:
        raise _nothing_there(missing, guard)
    return found


def while_running(
    wanted: Mapping[str, Device], now: Mapping[str, Device], applied: Container[str], inside: str
) -> tuple[dict[str, Device], list[str]]:
    """Return the devices to give an instance while it runs, and the names of those that must wait until it does not.

    What is mounted inside the repository stays as it is: Incus deletes the place of a mount that it takes away from a running
    instance, where that is a file or an empty directory, and here that would be the user's own. It does so too when an addition fails.

    :param wanted: what repoman wants to give it.
    :param now: what it has.
    :param applied: names of those that repoman gave it.
    :param inside: path of the repository in the instance.
    """

    def may_come_and_go(name: str, device: Device) -> bool:
        return not name.startswith(PREFIX) and not os.path.normpath(device.get("path", "")).startswith(f"{inside}/")

    staying = {name: device for name, device in now.items() if name in applied and not may_come_and_go(name, device)}
    settled = {name: device for name, device in wanted.items() if may_come_and_go(name, device) and name not in staying} | staying
    return settled, sorted(name for name in {*wanted, *staying} if wanted.get(name) != settled.get(name))


def _guard(source: str, wanted: frozenset[str]) -> Guard:
    """Return what is to be guarded of a repository, whether it is there or not."""
    guard = Guard(source)
    git, hg = os.path.join(source, ".git"), os.path.join(source, ".hg")
    if os.path.isfile(git) and not os.path.islink(git):
        guard.file(git)
        _git(guard, _common(_named(git, "gitdir: ")), wanted)
    elif os.path.lexists(git):
        _git(guard, git, wanted)
    elif os.path.isfile(os.path.join(source, "HEAD")) and os.path.isdir(os.path.join(source, "objects")):
        _git(guard, source, wanted)
    if os.path.lexists(hg):
        _mercurial(guard, hg)
    return guard


def _git(guard: Guard, directory: str, wanted: frozenset[str]) -> None:
    """Guard a git directory, those of its linked worktrees and those of its submodules."""
    if HOOKS in wanted:
        guard.directory(directory, "hooks")
    if CONFIG in wanted:
        guard.file(directory, "config")
    by_worktree = CONFIG in wanted and "worktreeconfig" in _text(os.path.join(directory, "config")).lower()
    redirect = os.path.join(directory, "commondir")
    if os.path.lexists(redirect):
        if _common(directory) != resolve_path(directory):
            raise ConflictError(
                f"{redirect} sends git elsewhere for its settings and hooks; git makes no such file there.", f"rm {shlex.quote(redirect)}"
            )
        guard.file(redirect)
    worktrees = guard.inner(directory, "worktrees")
    for linked in worktrees:
        guard.file(linked, "commondir")
    for each in (directory, *worktrees) if by_worktree else ():
        guard.file(each, "config.worktree")
    for module in _modules(guard, os.path.join(directory, "modules")):
        _git(guard, module, wanted)


def _mercurial(guard: Guard, directory: str) -> None:
    """Guard a Mercurial repository, whose hooks are settings, and the settings of the one it shares its store with."""
    for name in HG_FILES:
        guard.file(directory, name)
    shared = os.path.join(directory, "sharedpath")
    if os.path.isfile(shared):
        guard.file(shared)
        guard.file(_named(shared), "hgrc")


def _modules(guard: Guard, top: str) -> Iterator[str]:
    """Yield the git directories of submodules; their names may have slashes."""
    for directory in guard.inner(top):
        if os.path.lexists(os.path.join(directory, "HEAD")):
            yield directory
        else:
            yield from _modules(guard, directory)


def _common(directory: str) -> str:
    """Return the directory that has the settings of a git directory: its own, or the one it names; links resolved."""
    file = os.path.join(directory, "commondir")
    return _named(file) if os.path.isfile(file) else resolve_path(directory)


def _named(file: str, prefix: str = "") -> str:
    """Return the path that a file of git's or Mercurial's names, links resolved."""
    return resolve_path(os.path.join(os.path.dirname(file), _text(file).removeprefix(prefix).rstrip("\r\n").replace("\0", "")))


def _text(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(READ_LIMIT)


def _look_at(path: str) -> str:
    return f"ls -ld {shlex.quote(path)}"


def _shares(device: Device) -> bool:
    """Whether a device is a writable directory of the host."""
    return device.get("type") == "disk" and os.path.isabs(device.get("source", "")) and device.get("readonly") not in ("true", "1")


def _covered(path: str, by: str, mounts: Iterable[str]) -> bool:
    """Whether a path in the instance belongs to a mount further down than the one at ``by``."""
    return any(len(each) > len(by) and (path == each or path.startswith(f"{each}/")) for each in mounts)


def _between(top: str, path: str) -> list[str]:
    """Return the directories below ``top`` that lead to ``path``, the outermost first."""
    found: list[str] = []
    while (path := os.path.dirname(path)) != top:
        found.insert(0, path)
    return found


def _check(path: str, top: str, is_directory: bool) -> bool:
    """Return whether ``path`` exists, no part of it below ``top`` being a link and nobody having another way to write to it.

    :raises ConflictError: it is something else.
    """
    for each in (*_between(top, path), path):
        try:
            found = os.lstat(each)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if stat.S_ISLNK(found.st_mode):
            raise ConflictError(
                f"{each} is a link, so what it leads to cannot be protected.", f"put what it leads to in its place: {shlex.quote(each)}"
            )
    if is_directory != stat.S_ISDIR(found.st_mode) or not (is_directory or stat.S_ISREG(found.st_mode)):
        raise ConflictError(f"{path} is no {'directory' if is_directory else 'file'}, so it cannot be protected.", "git status")
    if not is_directory and found.st_nlink > 1:
        quoted = shlex.quote(path)
        raise ConflictError(
            f"{path} has a second name (a hard link), through which it could be written.",
            f"cp -p {quoted} {quoted}.new && mv {quoted}.new {quoted}",
        )
    return True


def _device(path: str, mount: Mount) -> Device:
    return {"type": "disk", "source": path, "path": mount.inside(path), "shift": "true"}


def _name(path: str, inside: str) -> str:
    """Return the name of a device: it shows the path in the repository where Incus takes that as a name."""
    name = PREFIX + (path.removeprefix(f"{inside}/") if path.startswith(f"{inside}/") else path.lstrip("/"))
    return name if DEVICE_NAME.fullmatch(name) else PREFIX + hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _nothing_there(missing: list[str], guard: Guard) -> NotKnownError:
    unique = sorted(set(missing))
    directories = [shlex.quote(path) for path in unique if path in guard.directories]
    files = [shlex.quote(path) for path in unique if path not in guard.directories]
    what = "does not exist" if len(unique) == 1 else "do not exist"
    return NotKnownError(
        f"{', '.join(unique)} {what}, and what does not exist cannot be protected: the container could make it.",
        *([f"mkdir {' '.join(directories)}"] if directories else []),
        *([f"touch {' '.join(files)}"] if files else []),
    )
