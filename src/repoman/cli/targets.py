# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""From ``.``, a path or the current directory to the project that it means.

A name without ``/`` that is neither ``.`` nor ``..`` is the name of a project. Everything else is a path of a repository on this host.
"""

from __future__ import annotations

import os
import re
import shlex
from argparse import Namespace
from collections.abc import Container, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repoman.current_directory import path_in_shell
from repoman.errors import CONFLICT, NOT_FOUND, USAGE, CliError

if TYPE_CHECKING:
    from repoman import repositories

PROJECT_NAME = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?\Z")
"""Names that a container can have; the modules have the same pattern."""
NAME_LENGTH = 63


@dataclass(frozen=True)
class Target:
    """A project that was named, or that a path means.

    :param name: its name.
    :param repo: for a new project with a repository of another name: the directory in ``repos_root``.
    :param subdirectory: the path in the repository, which may be absolute; empty for the repository, or if the project was named.
    """

    name: str
    repo: str = ""
    subdirectory: str = ""


def is_path(word: str) -> bool:
    """Return whether a word is a path and not the name of a project."""
    return "/" in word or word in (".", "..")


def is_relative_to_directory(path: str) -> bool:
    """Return whether a path starts with ``.`` or ``..``, so that it is relative to the current directory."""
    return path.split("/", maxsplit=1)[0] in (".", "..")


def container_target(options: Namespace, verb: str, word: str | None) -> Target:
    """Return the project of a container: the one named, the one of a path, or without a word the one of the current directory.

    A linked git worktree without a project means the project of its main repository.

    :raises CliError: the project does not exist, or the path is on another host.
    """
    target = _named(options, verb, word) or _Search(verb, word).container()
    if any("\ud800" <= character <= "\udfff" for character in target.subdirectory):  # Incus takes text only
        raise CliError(f"{target.subdirectory!r} is not UTF-8 text.", f"repoman {verb} {target.name}", exit_code=USAGE)
    return target


def new_target(options: Namespace, word: str | None, repo: str | None = None) -> Target:
    """Return the project to create or update: like :func:`container_target`, but a directory of ``repos_root`` gives a new project its name.

    :param repo: the requested repository, absolute or relative to ``repos_root``; without a word, it selects the project.
    :raises CliError: the directory cannot give it.
    """
    return _named(options, "new", word) or _Search("new", word or repo, is_repository=word is None and repo is not None).new()


def check_directory(options: Namespace, word: str, target: Target) -> None:
    """Check that a path for ``shell`` is not a file, which would be a command that was taken for a path.

    :param target: the project of the path.
    :raises CliError: it is a file.
    """
    path = path_in_shell(os.path.expanduser(word))
    if not os.path.isfile(path):
        return
    hint = f"repoman shell {target.name}"
    with suppress(CliError):
        if container_target(options, "shell", None).name == target.name:
            hint = f"repoman shell -- {shlex.join([word, *options.command])}   # runs it"
    raise CliError(f"{path} is not a directory.", hint, exit_code=USAGE)


def command_hints(options: Namespace) -> list[str]:
    """Return the hint for a command of ``shell`` whose first word was taken for the name of a project, if the current directory has one."""
    if not options.word or is_path(options.word):
        return []
    with suppress(CliError):
        search = _Search("shell", None)
        if search.match and options.word not in search.repositories.paths:
            return [f"repoman shell -- {shlex.join([options.word, *options.command])}   # runs it in {search.match.name}"]
    return []


def backup_names(options: Namespace, verb: str, words: Sequence[str]) -> list[str]:
    """Return names for the backup: of projects, and for paths without a project of the directory directly in ``repos_root``.

    :raises CliError: a path is outside ``repos_root``, or on another host.
    """
    return [(_named(options, verb, word) or _Search(verb, word).backup()).name for word in words]


def container_names(options: Namespace, verb: str, words: Sequence[str | None]) -> list[str]:
    """Return the names of projects, each once; see :func:`container_target`.

    :raises CliError: a path has no project, or is on another host.
    """
    return list(dict.fromkeys(container_target(options, verb, word).name for word in words))


def check_host(options: Namespace, path: str) -> None:
    """Check that a path does not have to be found on another host.

    :raises CliError: it would be.
    """
    if options.inventory or options.limit:
        raise CliError(f"{path} is a path on this host, but -i and -l work on others.", _list_elsewhere(options), exit_code=USAGE)


def _named(options: Namespace, verb: str, word: str | None) -> Target | None:
    if word is not None and not is_path(word):
        return Target(word)
    if word is not None:
        check_host(options, word)
    elif options.inventory or options.limit:
        raise CliError(
            "which project? With -i and -l, the current directory does not say.",
            _list_elsewhere(options),
            f"repoman {verb} --help",
            exit_code=USAGE,
        )
    return None


def _list_elsewhere(options: Namespace) -> str:
    words = [*(word for source in options.inventory or () for word in ("-i", source)), *(["-l", options.limit] if options.limit else [])]
    return f"repoman {shlex.join(words)} list   # shows the names"


class _Search:
    """Looks for the project of a path.

    :param verb: as typed, for hints.
    :param word: the path as typed; ``None`` for the current directory.
    :param is_repository: the path is that of a repository itself, and relative to ``repos_root``.
    """

    def __init__(self, verb: str, word: str | None, is_repository: bool = False) -> None:
        from repoman import repositories

        self.verb, self.is_current, self.is_repository = verb, word is None, is_repository
        self.repositories = repositories.load()
        path = os.path.expanduser(word or ".")
        self.path = path_in_shell(os.path.join(self.repositories.root, path) if is_repository else path)
        self.match = self.repositories.find(self.path)
        if self.match:
            self._check_link(self.match)

    def _check_link(self, match: repositories.Match) -> None:
        """Check that no link in a repository, which its container may have made, leads to another project.

        :raises CliError: one does.
        """
        linking = self.repositories.find_link(self.path, match)
        if linking:
            raise CliError(
                f"which project? {self.path} is in {linking.name}, but a link there leads to {match.name}.",
                *(f"repoman {self.verb} {name}" for name in (linking.name, match.name)),
                exit_code=USAGE,
            )

    def container(self) -> Target:
        """See :func:`container_target`."""
        match = self.match or (self.repositories.find_main(self.path) if self.verb != "remove" else None)
        if match:
            return Target(match.name, subdirectory=match.subdirectory)
        directory = self._directory()
        if not PROJECT_NAME.match(directory) or directory in self.repositories.paths:
            raise CliError(
                f"there is no project for {os.path.join(self.repositories.root, directory)}.",
                self._new_command(directory),
                "repoman list",
                exit_code=NOT_FOUND,
            )
        return Target(directory)  # its container may exist without an entry in the registry

    def new(self) -> Target:
        """See :func:`new_target`."""
        if self.is_repository:
            match = self.match if self.match and not self.match.subdirectory else None
        else:
            outside = not self.match and not self.repositories.directory(self.path)
            match = self.match or (self.repositories.find_main(self.path) if outside else None)
        if match:
            return Target(match.name)
        directory = self._directory()
        name = os.path.basename(directory)
        if not PROJECT_NAME.match(name):
            raise CliError(f"{name!r} cannot be the name of a project.", self._new_command(directory), exit_code=USAGE)
        if name in self.repositories.paths:
            raise CliError(
                f"the project {name!r} has another repository, {self.repositories.paths[name]}.",
                self._new_command(directory),
                exit_code=CONFLICT,
            )
        return Target(name, directory if directory != name else "")

    def backup(self) -> Target:
        """See :func:`backup_names`."""
        if self.match:
            return Target(self.match.name)
        directory = self._directory(is_backup=True)
        if directory in self.repositories.paths:
            raise CliError(
                f"the project {directory!r} has another repository, {self.repositories.paths[directory]}.",
                f"repoman {self.verb} --help",
                exit_code=CONFLICT,
            )
        return Target(directory)

    def _directory(self, is_backup: bool = False) -> str:
        """Return the directory of ``repos_root`` that is the repository, relative to it.

        :raises CliError: the path is not in a repository.
        """
        directory = self.repositories.relative_path(self.path) if self.is_repository else self.repositories.directory(self.path, is_backup)
        if directory:
            return directory
        question, root = "which project? " if self.is_current else "", self.repositories.root
        hints = ("repoman list   # shows the projects", f"repoman {self.verb} --help")
        if os.path.realpath(self.path) == os.path.realpath(root):
            raise CliError(f"{question}{self.path} is the directory of all repositories.", *hints, exit_code=USAGE)
        raise CliError(f"{question}{self.path} is not in a repository below {root}.", *hints, exit_code=USAGE)

    def _new_command(self, directory: str) -> str:
        """Return the command that makes a project of a directory in ``repos_root``, with a name that is free."""
        return new_command(_free_name(directory, self.repositories.paths) or "NAME", directory)


def new_command(name: str, directory: str) -> str:
    """Return the command that makes a project of a directory in ``repos_root``."""
    separator = "=" if directory.startswith("-") else " "
    repo = f" --repo{separator}{shlex.quote(directory)}" if name != directory else ""
    return f"repoman new {name}{repo}"


def unregistered_targets() -> list[Target]:
    """Return the projects to make of the repositories in ``repos_root`` that have none; those that no name suits are left out.

    :raises CliError: the registry cannot be read.
    """
    from repoman import repositories

    found = repositories.load()
    names, targets = set(found.paths), []
    for directory in found.without_project():
        name = _free_name(directory, names)
        if name and directory.isprintable():
            names.add(name)
            targets.append(Target(name, directory if directory != name else ""))
    return targets


def _free_name(directory: str, taken: Container[str]) -> str:
    """Return a name for the project of a directory that no other project has; empty if there is none.

    :param directory: relative to ``repos_root``.
    """
    names = (os.path.basename(directory), directory, f"{directory}-2", f"repo-{directory}")
    return next((name for name in map(_project_name, names) if name and name not in taken), "")


def _project_name(directory: str) -> str:
    """Return a name for the project of a directory; empty if no part of the directory's name can be used."""
    name = re.sub("[^A-Za-z0-9]+", "-", directory)
    return re.sub("^[^A-Za-z]+", "", name)[:NAME_LENGTH].strip("-")
