# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which project a path belongs to, read from the user's registry and overrides without Ansible.

The module that runs afterwards reads the registry again and reports what is wrong with it. Here only the paths count.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import tomllib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repoman.errors import NOT_FOUND, CliError

POINTER_BYTES = 4096
"""The longest file of git that names a directory."""
GIT_POINTER = "gitdir: "
"""How such a file begins in a worktree."""
SEARCH_DEPTH = 3
"""How deep in ``repos_root`` repositories without a project are looked for."""
REGISTRY_BYTES, TIMES_BYTES = 4 << 20, 16 << 20
"""The largest registry or override."""


@dataclass(frozen=True)
class Match:
    """A project whose repository holds a path.

    :param name: name of the project.
    :param subdirectory: the path in the repository; absolute for a linked worktree elsewhere; empty for the repository itself.
    """

    name: str
    subdirectory: str = ""


@dataclass(frozen=True)
class Repositories:
    """The repositories of the registry.

    :param root: ``repos_root``, absolute, as the user writes it.
    :param paths: name of each project to the path of its repository, as the user writes it.
    """

    root: str
    paths: dict[str, str]

    def find(self, path: str) -> Match | None:
        """Return the project whose repository holds a path; of nested repositories, the innermost.

        Links in the paths of repositories are followed only if nothing matches without, because another repository may be on a file
        system that does not answer.

        :param path: absolute; it need not exist.
        """
        real_path, real_root = os.path.realpath(path), os.path.realpath(self.root)
        return (
            _innermost(real_path, {name: self._below(real_root, repository) for name, repository in self.paths.items()})
            or _innermost(path, self.paths)
            or (
                _innermost(real_path, {name: os.path.realpath(repository) for name, repository in self.paths.items()})
                if is_inside(real_path, real_root)
                else None
            )
        )

    def find_link(self, path: str, match: Match) -> Match | None:
        """Return the project whose repository holds the link through which a path leads to another project; ``None`` without such a link.

        :param path: absolute, as the shell has it.
        :param match: the project that :meth:`find` returned for it.
        """
        spelled = _innermost(path, self.paths)
        if not spelled or spelled.name == match.name:
            return None
        repository = self.paths[spelled.name]
        is_nested = _innermost(os.path.dirname(repository), self.paths) is not None
        return spelled if is_nested or not is_inside(os.path.realpath(path), os.path.realpath(repository)) else None

    def find_main(self, path: str) -> Match | None:
        """Return the project of the main repository of the linked git worktree that holds a path."""
        worktree = main_git_directory(os.path.realpath(path))
        match = self.find(worktree) if worktree else None
        return Match(match.name, path) if match else None

    def directory(self, path: str, is_backup: bool = False) -> str:
        """Return the directory of ``repos_root`` that is the repository of a path without a project, relative to it.

        It is the innermost directory with a repository; without one, the directory directly in ``repos_root``.

        :param is_backup: return that directory in any case: it is what the backup copies as one.
        :returns: an empty string for ``repos_root`` itself and paths outside it.
        """
        relative_path = self.relative_path(path)
        while "/" in relative_path and not is_backup:
            if any(os.path.lexists(os.path.join(self.root, relative_path, name)) for name in (".git", ".hg")):
                return relative_path
            relative_path = os.path.dirname(relative_path)
        return relative_path.split("/")[0]

    def relative_path(self, path: str) -> str:
        """Return a path relative to ``repos_root``; an empty string for ``repos_root`` itself and paths outside it."""
        for spelling, root in ((os.path.realpath(path), os.path.realpath(self.root)), (path, self.root)):
            if spelling != root and is_inside(spelling, root):
                return os.path.relpath(spelling, root)
        return ""

    def without_project(self) -> list[str]:
        """Return the repositories that no project has, relative to ``repos_root`` and sorted.

        Those inside another repository are left out, as are those around the repository of a project: their containers would overlap.
        Links and hidden directories are not followed, and file systems that do not answer are left out.
        """
        from repoman.shared import module_util

        is_hung = module_util("host.hung_mounts").hung_mount
        if is_hung(self.root):
            return []
        root = os.path.realpath(self.root)
        taken = [self._below(root, path) if is_hung(path) else os.path.realpath(path) for path in self.paths.values()]
        return sorted(self._without_project(root, "", taken, SEARCH_DEPTH, is_hung))

    def _without_project(self, root: str, relative_path: str, taken: list[str], depth: int, is_hung: Callable[[str], str]) -> Iterator[str]:
        directory = os.path.join(root, relative_path)
        if any(is_inside(directory, known) for known in taken) or is_hung(directory):
            return
        if relative_path and is_repository(directory):
            if not any(is_inside(known, directory) for known in taken):
                yield relative_path
            return
        with suppress(OSError):
            names = [entry.name for entry in os.scandir(directory) if depth and entry.is_dir(follow_symlinks=False)]
            for name in names:
                if not name.startswith("."):
                    yield from self._without_project(root, os.path.join(relative_path, name), taken, depth - 1, is_hung)

    def _below(self, root: str, repository: str) -> str:
        """Return the path of a repository below another spelling of ``repos_root``."""
        return os.path.join(root, os.path.relpath(repository, self.root)) if is_inside(repository, self.root) else repository


def is_inside(path: str, directory: str) -> bool:
    """Return whether a path is a directory or lies in it, by their spelling."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def is_repository(directory: str) -> bool:
    """Return whether a directory is a git or Mercurial repository, with a work tree or bare, by the names in it."""
    if any(os.path.lexists(os.path.join(directory, name)) for name in (".git", ".hg")):
        return True
    return all(os.path.lexists(os.path.join(directory, name)) for name in ("HEAD", "objects", "refs"))


def _innermost(path: str, repositories: dict[str, str]) -> Match | None:
    matching = {name: repository for name, repository in repositories.items() if is_inside(path, repository)}
    if not matching:
        return None
    name = max(matching, key=lambda name: len(matching[name]))
    subdirectory = os.path.relpath(path, matching[name])
    return Match(name, "" if subdirectory == "." else subdirectory)


def main_git_directory(path: str) -> str:
    """Return the git directory that a linked worktree shares with its main repository; empty if a path is not in such a worktree.

    Both must name each other, as git demands, too, and what names the worktree must lie in the main repository.

    :param path: absolute and without links.
    """
    while path != "/" and not os.path.lexists(os.path.join(path, ".git")):
        path = os.path.dirname(path)
    pointer = os.path.join(path, ".git")
    line = _read_line(pointer)
    own = os.path.realpath(os.path.join(path, line.removeprefix(GIT_POINTER)))
    worktrees = os.path.dirname(own)
    if not line.startswith(GIT_POINTER) or os.path.basename(worktrees) != "worktrees":
        return ""
    if os.path.realpath(os.path.join(own, _read_line(os.path.join(own, "gitdir")))) != pointer:
        return ""
    # the worktree's own directory may be a forgery, too; only if it lies in the main repository, that repository agrees
    common = os.path.dirname(worktrees)
    return common if os.path.realpath(os.path.join(own, _read_line(os.path.join(own, "commondir")) or "../..")) == common else ""


def _read_line(path: str) -> str:
    """Return the path in a small file of git, which a container may have made; empty if it cannot be read, or is not a path."""
    with suppress(OSError):
        text = os.fsdecode(read_regular(path, POINTER_BYTES, os.O_NOFOLLOW)).removesuffix("\n")
        return "" if "\0" in text else text
    return ""


def read_regular(path: str | Path, limit: int, flags: int = 0) -> bytes:
    """Return the beginning of a file.

    :raises OSError: it cannot be read, or is a pipe or a device, on which reading may never end.
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | flags)
    with open(fd, "rb") as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "it is not a regular file")
        return file.read(limit)


def registry_path() -> Path:
    """Return the path of the registry."""
    return Path.home() / ".config/repoman/repoman.toml"


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file; empty if it cannot be read."""
    with suppress(OSError, ValueError, RecursionError):
        return _parse(path)
    return {}


def entries(registry: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the projects of a registry."""
    projects = registry.get("project")
    return [entry for entry in projects if isinstance(entry, dict)] if isinstance(projects, list) else []


def repos_root(registry: dict[str, Any]) -> str:
    """Return the directory of all repositories."""
    return _default(registry, "repos_root", "~/repos")


def backed_up(registry: dict[str, Any]) -> list[str]:
    """Return the names of the directories that ``sync`` backed up. They are noted on this host: the target itself may not answer."""
    with suppress(OSError, ValueError, RecursionError, AttributeError, TypeError):
        path = Path(_default(registry, "logdir", "~/.local/state/repoman"), "times/last_sync.json")
        return [name for times in json.loads(read_regular(path, TIMES_BYTES)).values() for name in times]
    return []


def _default(registry: dict[str, Any], key: str, default: str) -> str:
    """Return the directory that a key of the table ``defaults`` names."""
    defaults = registry.get("defaults")
    return _expand(_text(defaults.get(key) if isinstance(defaults, dict) else None, default))


def _text(value: Any, default: str) -> str:
    """Return a value if it is a text, or the default: what reads the registry in full says what is wrong with it."""
    return value if isinstance(value, str) else default


def load() -> Repositories:
    """Read the registry and the overrides, which may name another repository; an override alone may be of a project to come.

    :raises CliError: the registry exists, but it cannot be read.
    """
    path = registry_path()
    registry = _load_registry(path)
    root = repos_root(registry)
    repositories = {entry["name"]: _text(entry.get("repo"), entry["name"]) for entry in entries(registry) if _text(entry.get("name"), "")}
    repositories |= dict(_overridden(path.parent / "repos.d"))
    return Repositories(root, {name: _repository(root, repo) for name, repo in repositories.items()})


def _repository(root: str, repo: str) -> str:
    return os.path.normpath(os.path.join(root, _expand(repo) if repo[:1] in "~$" else repo))


def _load_registry(path: Path) -> dict[str, Any]:
    try:
        return _parse(path)
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = (error.strerror if isinstance(error, OSError) else "") or str(error)
        raise CliError(f"cannot read {path}: {reason}.", "repoman list", exit_code=NOT_FOUND) from error


def _overridden(directory: Path) -> Iterator[tuple[str, str]]:
    for path in sorted(directory.glob("*.toml")):
        repo = read_toml(path).get("repo")
        if isinstance(repo, str) and repo:
            yield path.stem, repo


def _parse(path: Path) -> dict[str, Any]:
    return tomllib.loads(read_regular(path, REGISTRY_BYTES).decode("utf-8"))


def _expand(path: str) -> str:
    return os.path.normpath(os.path.expanduser(os.path.expandvars(path)))
