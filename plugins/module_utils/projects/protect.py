# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An override's ``protect``: the container cannot change the hooks and settings of a repository.

They can make git and Mercurial on the host run programs.

They are mounted read-only over themselves. So are the directories that lead to them, but writable: a mount cannot be renamed, while
an ordinary directory above it could be renamed and replaced by another.
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

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError, NotFoundError
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.sources import mounts_host_path
from ansible_collections.homelab.repoman.plugins.module_utils.projects.instance import host_mount, is_read_only
from ansible_collections.homelab.repoman.plugins.module_utils.vcs.confined_tree import VcsError, resolve_path

HOOKS, CONFIG = "hooks", "config"
PREFIX = "protect-"
DEVICE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9/_.-]{0,62}")
"""Device names that Incus accepts."""
HG_FILES = ("hgrc", "hgrc-not-shared", "requires")
"""Files from which Mercurial reads settings; ``requires`` could make it read those of another repository."""
MAX_FILE_BYTES = 1 << 20
MAX_DEPTH = 50
"""Levels below the repository at which the git directory of a submodule may be."""
MAX_ENTRIES = 2000
"""Entries that the directories of all submodules and linked worktrees may have together."""

Device = dict[str, str]


@dataclass(frozen=True)
class BindMount:
    """A directory of the host that is mounted in an instance.

    :param source: on the host, links resolved.
    :param path: in the instance.
    """

    source: str
    path: str

    def to_container_path(self, path: str) -> str:
        """Return the path in the instance of a path of the host below :attr:`source`."""
        return self.path.rstrip("/") + path.removeprefix(self.source)


@dataclass
class ProtectedPaths:
    """The paths on the host that are mounted read-only, whether they exist or not.

    :param root: path of the repository.
    :param entries_read: number of directory entries that were read.
    """

    root: str
    entries_read: int = 0
    files: list[str] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)

    def add_file(self, *parts: str) -> None:
        """Add a file."""
        self.files.append(os.path.join(*parts))

    def add_directory(self, *parts: str) -> None:
        """Add a directory with everything in it."""
        self.directories.append(os.path.join(*parts))

    def subdirectories(self, *parts: str) -> list[str]:
        """Return the directories in a directory; empty if it does not exist.

        :raises ConflictError: it is too deep, or the directories read so far have too many entries.
        """
        directory = os.path.join(*parts)
        if not os.path.isdir(directory) or os.path.islink(directory):
            return []
        if directory.removeprefix(self.root).count("/") > MAX_DEPTH:
            raise ConflictError(
                f"{directory} is too deep for the git directory of a submodule, so it cannot be protected.", _look_at(self.root)
            )
        with os.scandir(directory) as entries:
            listed = list(islice(entries, MAX_ENTRIES + 1))
        self.entries_read += len(listed)
        if self.entries_read > MAX_ENTRIES:
            raise ConflictError(f"{directory} has more in it than the {MAX_ENTRIES} entries that can be protected.", _look_at(directory))
        return sorted(entry.path for entry in listed if entry.is_dir(follow_symlinks=False))


def devices(host_path: str, container_path: str, protect: Iterable[str], other_devices: Iterable[Device] = ()) -> dict[str, Device]:
    """Return the devices that protect a repository, by name. The repository itself is only read.

    :param host_path: path of the repository on the host, links resolved.
    :param container_path: its path in the instance.
    :param protect: the parts to protect: ``hooks``, ``config``.
    :param other_devices: the other devices of the instance. If one of them leads to the repository or to git's own directory, the paths
        are protected there, too.
    :raises NotFoundError: a path to protect does not exist, so that the container could create it, or cannot be read.
    :raises ConflictError: a path to protect is not of the right kind, such as a link to somewhere else.
    """
    parts = frozenset(protect)
    if not parts:
        return {}
    try:
        return _devices(host_path, container_path, parts, other_devices)
    except OSError as error:
        path = os.fsdecode(error.filename) if isinstance(error.filename, str | bytes) else host_path
        raise NotFoundError(f"cannot read {path}, which may have to be protected: {error.strerror}.", _look_at(path)) from error
    except VcsError as error:
        raise ConflictError(f"{error.message}, so {host_path} cannot be protected.", _look_at(host_path)) from error


def _devices(host_path: str, container_path: str, parts: frozenset[str], other_devices: Iterable[Device]) -> dict[str, Device]:
    """Do the work of :func:`devices`; may also raise ``OSError``."""
    protected = _collect(host_path, parts)
    mounts = {
        os.path.normpath(device["path"]): os.path.realpath(device["source"])
        for device in other_devices
        if mounts_host_path(device) and not is_read_only(device)
    } | {container_path: host_path}
    protecting: dict[str, Device] = {}
    missing: list[str] = []
    for mount in (BindMount(directory, path) for path, directory in mounts.items()):
        for path in protected.directories + protected.files:
            if not path.startswith(f"{mount.source}/") or _is_shadowed(mount.to_container_path(path), mount.path, mounts):
                continue
            if not _check(path, mount.source, path in protected.directories):
                missing.append(path)
            for parent in _ancestors_between(mount.source, path):
                protecting[_device_name(mount.to_container_path(parent), container_path)] = _device(parent, mount)
            protecting[_device_name(mount.to_container_path(path), container_path)] = _device(path, mount) | {"readonly": "true"}
    if missing:
        raise _missing_error(missing, protected)
    return protecting


def devices_for_running_instance(
    desired: Mapping[str, Device], current: Mapping[str, Device], applied: Container[str], container_path: str
) -> tuple[dict[str, Device], list[str]]:
    """Return the devices to give an instance while it runs, and the names of devices that can only change while it is stopped.

    Mounts inside the repository do not change: if Incus removes a mount from a running instance, or fails to add one, it deletes
    the file or empty directory that was mounted over, and here that is the user's own.

    :param desired: the devices that it should have.
    :param current: the devices that it has.
    :param applied: names of the devices that repoman gave it.
    :param container_path: path of the repository in the instance.
    """

    def is_changeable(name: str, device: Device) -> bool:
        return not name.startswith(PREFIX) and not os.path.normpath(device.get("path", "")).startswith(f"{container_path}/")

    staying = {name: device for name, device in current.items() if name in applied and not is_changeable(name, device)}
    allowed = {name: device for name, device in desired.items() if is_changeable(name, device) and name not in staying} | staying
    return allowed, sorted(name for name in {*desired, *staying} if desired.get(name) != allowed.get(name))


def _collect(repository: str, parts: frozenset[str]) -> ProtectedPaths:
    """Return the paths of a repository that must be protected, whether they exist or not."""
    protected = ProtectedPaths(repository)
    git, hg = os.path.join(repository, ".git"), os.path.join(repository, ".hg")
    if os.path.isfile(git) and not os.path.islink(git):
        protected.add_file(git)
        _collect_git(protected, _common_dir(_read_pointer(git, "gitdir: ")), parts)
    elif os.path.lexists(git):
        _collect_git(protected, git, parts)
    elif os.path.lexists(os.path.join(repository, "HEAD")) and os.path.isdir(os.path.join(repository, "objects")):
        _collect_git(protected, repository, parts)
    if os.path.lexists(hg):
        _collect_mercurial(protected, hg)
    return protected


def _collect_git(protected: ProtectedPaths, directory: str, parts: frozenset[str]) -> None:
    """Collect the paths of a git directory, of its linked worktrees and of its submodules."""
    if HOOKS in parts:
        protected.add_directory(directory, "hooks")
    if CONFIG in parts:
        protected.add_file(directory, "config")
    by_worktree = CONFIG in parts and "worktreeconfig" in _read_text(os.path.join(directory, "config")).lower()
    redirect = os.path.join(directory, "commondir")
    if os.path.lexists(redirect):
        if _common_dir(directory) != resolve_path(directory):
            raise ConflictError(
                f"{redirect} sends git elsewhere for its settings and hooks; git makes no such file there.", f"rm {shlex.quote(redirect)}"
            )
        protected.add_file(redirect)
    worktrees = protected.subdirectories(directory, "worktrees")
    for linked in worktrees:
        protected.add_file(linked, "commondir")
    for git_dir in (directory, *worktrees) if by_worktree else ():
        protected.add_file(git_dir, "config.worktree")
    for module in _submodule_git_dirs(protected, os.path.join(directory, "modules")):
        _collect_git(protected, module, parts)


def _collect_mercurial(protected: ProtectedPaths, directory: str) -> None:
    """Collect the settings of a Mercurial repository, which include its hooks, and those of the repository whose store it shares."""
    for name in HG_FILES:
        protected.add_file(directory, name)
    shared = os.path.join(directory, "sharedpath")
    if os.path.isfile(shared):
        protected.add_file(shared)
        protected.add_file(_read_pointer(shared), "hgrc")


def _submodule_git_dirs(protected: ProtectedPaths, parent: str) -> Iterator[str]:
    """Yield the git directories of submodules, whose names may contain slashes."""
    for directory in protected.subdirectories(parent):
        if os.path.lexists(os.path.join(directory, "HEAD")):
            yield directory
        else:
            yield from _submodule_git_dirs(protected, directory)


def _common_dir(directory: str) -> str:
    """Return the common directory of a git directory, which has its settings: itself or the one that it names; links resolved."""
    pointer = os.path.join(directory, "commondir")
    return _read_pointer(pointer) if os.path.isfile(pointer) else resolve_path(directory)


def _read_pointer(path: str, prefix: str = "") -> str:
    """Return the path that a file of git or Mercurial contains, links resolved."""
    return resolve_path(os.path.join(os.path.dirname(path), _read_text(path).removeprefix(prefix).rstrip("\r\n").replace("\0", "")))


def _read_text(path: str) -> str:
    if not os.path.isfile(path):
        return ""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read(MAX_FILE_BYTES)


def _look_at(path: str) -> str:
    return f"ls -ld {shlex.quote(path)}"


def _is_shadowed(path: str, mount_path: str, mounts: Iterable[str]) -> bool:
    """Return whether another mount, below the one at ``mount_path``, covers a path in the instance."""
    return any(len(target) > len(mount_path) and (path == target or path.startswith(f"{target}/")) for target in mounts)


def _ancestors_between(root: str, path: str) -> list[str]:
    """Return the directories between ``root`` and ``path``, without both, outermost first."""
    directories: list[str] = []
    while (path := os.path.dirname(path)) != root:
        directories.insert(0, path)
    return directories


def _check(path: str, root: str, is_directory: bool) -> bool:
    """Return whether ``path`` exists.

    :raises ConflictError: it is of another type, has a second name through which it could be written, or leads through a link below ``root``.
    """
    for component in (*_ancestors_between(root, path), path):
        try:
            status = os.lstat(component)
        except (FileNotFoundError, NotADirectoryError):
            return False
        if stat.S_ISLNK(status.st_mode):
            raise ConflictError(
                f"{component} is a link, so what it leads to cannot be protected.",
                f"put what it leads to in its place: {shlex.quote(component)}",
            )
    if is_directory != stat.S_ISDIR(status.st_mode) or not (is_directory or stat.S_ISREG(status.st_mode)):
        raise ConflictError(f"{path} is not a {'directory' if is_directory else 'file'}, so it cannot be protected.", "git status")
    if not is_directory and status.st_nlink > 1:
        quoted = shlex.quote(path)
        raise ConflictError(
            f"{path} has a second name (a hard link), through which it could be written.",
            f"cp -p {quoted} {quoted}.new && mv {quoted}.new {quoted}",
        )
    return True


def _device(path: str, mount: BindMount) -> Device:
    return host_mount(path, mount.to_container_path(path))


def _device_name(path: str, container_path: str) -> str:
    """Return the name of a device: it contains the path in the repository if Incus accepts that as a name."""
    name = PREFIX + (path.removeprefix(f"{container_path}/") if path.startswith(f"{container_path}/") else path.lstrip("/"))
    return name if DEVICE_NAME.fullmatch(name) else PREFIX + hashlib.sha256(os.fsencode(path)).hexdigest()[:16]


def _missing_error(missing: list[str], protected: ProtectedPaths) -> NotFoundError:
    unique = sorted(set(missing))
    directories = [shlex.quote(path) for path in unique if path in protected.directories]
    files = [shlex.quote(path) for path in unique if path not in protected.directories]
    verb = "does not exist" if len(unique) == 1 else "do not exist"
    return NotFoundError(
        f"{', '.join(unique)} {verb}, so it cannot be protected: the container could create it.",
        *([f"mkdir {' '.join(directories)}"] if directories else []),
        *([f"touch {' '.join(files)}"] if files else []),
    )
