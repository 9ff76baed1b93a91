# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""``new --clone``: from its arguments to the project, and the clone that comes before the container."""

from __future__ import annotations

import os
import shlex
from argparse import Namespace
from dataclasses import dataclass
from typing import Any

from repoman import clone, repositories
from repoman.cli.targets import PROJECT_NAME, is_path, new_command
from repoman.errors import CONFLICT, INTERRUPTED, USAGE, CliError, escape_control_characters
from repoman.playbook import Playbook
from repoman.shared import module_util


@dataclass(frozen=True)
class ClonedProject:
    """A project whose repository is a clone.

    :param repo: directory relative to ``repos_root`` that the registry does not have yet and that is not the name; empty otherwise.
    :param directory: of the clone, absolute.
    :param repos_root: the directory of all repositories.
    """

    source: clone.Source
    name: str
    repo: str
    directory: str
    repos_root: str


def cloned_project(options: Namespace, repo: str | None) -> ClonedProject:
    """Return the project of ``new --clone``.

    :param repo: the requested directory, absolute or relative to ``repos_root``.
    :raises CliError: wrong usage, or the registry cannot be read.
    """
    if options.inventory or options.limit:
        raise CliError("--clone works on this host only.", "repoman new --help", exit_code=USAGE)
    names = options.names or []
    if len(names) > 1:
        raise CliError(
            "--clone is the repository of one project, but several are named.",
            "repoman new --clone URL NAME   # one at a time",
            exit_code=USAGE,
        )
    source = clone.parse_source(options.clone)
    name = names[0] if names else source.name
    if is_path(name) or not PROJECT_NAME.match(name):
        hint = _clone_command(options, "NAME", "the name of the project")
        raise CliError(f"{name!r} cannot be the name of a project.", hint, exit_code=USAGE)
    found = repositories.load()
    directory = (
        os.path.normpath(os.path.join(found.root, os.path.expanduser(repo))) if repo else found.paths.get(name, f"{found.root}/{name}")
    )
    relative_path = _relative_path(found, name, directory)
    is_known = not repo and (name in found.paths or relative_path == name)
    return ClonedProject(source, name, "" if is_known else relative_path, directory, found.root)


def _relative_path(found: repositories.Repositories, name: str, directory: str) -> str:
    """Return the path of the clone relative to ``repos_root``. It may lead through links that a container has made.

    :raises CliError: it is outside ``repos_root``, or in a repository that a container can change.
    """
    match = found.find(directory)
    if match and (match.name != name or match.subdirectory):
        raise CliError(
            f"{directory} is in the repository of {match.name}.",
            "repoman new --clone URL NAME   # clones to repos_root/NAME",
            exit_code=CONFLICT,
        )
    relative_path = found.relative_path(directory)
    parent = os.path.realpath(os.path.dirname(directory))
    if not relative_path or not repositories.is_inside(parent, os.path.realpath(found.root)):
        raise CliError(
            f"{directory} is not below {found.root}.", "repoman new --clone URL NAME   # clones to repos_root/NAME", exit_code=USAGE
        )
    return relative_path


def run_with_clone(playbook: Playbook, options: Namespace) -> int:
    """Clone the repository, unless a clone of it exists, and create the container.

    :raises CliError: it cannot be cloned.
    """
    project: ClonedProject = options.cloned
    exists = os.path.lexists(project.directory)
    if exists and not clone.is_clone_of(project.directory, project.source):
        raise CliError(
            f"{project.directory} exists, and is not a clone of {project.source.shown}.",
            f"{_new_command(options, project)}   # creates a container for what is there",
            _clone_command(options, "NAME", "another name"),
            exit_code=CONFLICT,
        )
    if exists:
        return playbook.run().exit_code
    place = str(module_util("core.formatting").shorten_home(project.directory, os.path.expanduser("~")))
    where = f"{project.source.shown} to {place}"
    if playbook.check:
        _say(playbook, f"would clone {where}")
        return playbook.run().exit_code
    clone.clone(clone.find_kind(project.source), project.directory, project.repos_root)
    _say(playbook, f"==> cloned {where}")
    return _create(playbook, f"{_new_command(options, project)}   # the clone stays in {place}")


def _create(playbook: Playbook, hint: str) -> int:
    """Create the container.

    :param hint: the command that does it later, if it fails.
    """
    from repoman.errors import print_hints

    try:
        code = playbook.run().exit_code
    except KeyboardInterrupt:
        raise CliError("interrupted.", hint, exit_code=INTERRUPTED) from None
    except CliError as error:
        error.hints.append(hint)
        raise
    if code:
        print_hints([hint])
    return code


def _new_command(options: Namespace, project: ClonedProject) -> str:
    """Return the command that creates the container of the clone."""
    return " ".join([new_command(project.name, project.repo or project.name), *_settings(options)])


def _clone_command(options: Namespace, name: str, remark: str) -> str:
    """Return the command that clones the same source for a project of another name."""
    is_shown = clone.without_secrets(options.clone) == options.clone
    url, secret = (shlex.quote(options.clone), "") if is_shown else ("URL", ", with the URL that you gave")
    return f"{' '.join(['repoman new --clone', url, name, *_settings(options)])}   # {remark}{secret}"


def _settings(options: Namespace) -> list[str]:
    """Return the options of the project as words for a shell, without the directory of its repository."""
    words: list[Any] = ["--image", options.image] if options.image else []
    words += [word for name in options.profile or () for word in ("-p", name)]
    words += ["--no-backup"] if options.no_backup else []
    words += ["--adopt"] if options.adopt else []
    words += ["--target", options.target] if options.target else []
    return [shlex.quote(word) for word in words]


def _say(playbook: Playbook, line: str) -> None:
    """Print a line of the report, unless it is JSON."""
    if not playbook.json:
        print(escape_control_characters(line), flush=True)  # noqa: T201
