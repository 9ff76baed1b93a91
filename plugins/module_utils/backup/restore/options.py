# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of one restore, checked."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command

WHICH = ("name", "names", "all")
"""Options that say what to restore; they exclude each other."""


@dataclass(frozen=True)
class RestoreOptions:
    """The parameters of the module ``repoman_restore``.

    :param name: project, or directory of ``repos_root``; empty if there are several.
    :param names: several of them.
    :param all: restore all units.
    :param jobs: units at once; 0 for the default.
    :param to: directory to restore to, or with several the directory above them; None to restore in place.
    :param from_time: the requested time, as given; None for the mirror's state.
    :param from_version: name of the oldest run to take back; None for the mirror's state.
    :param path_arguments: paths in the repository, as given.
    :param paths: the same, normalized; empty for the whole repository.
    :param overwrite: replace existing files.
    :param objects: restore only missing or damaged objects.
    :param probe_timeout: seconds that the target may take to answer first.
    :param idle_timeout: seconds without progress after which an unresponsive target is an error.
    """

    name: str
    names: tuple[str, ...]
    all: bool
    jobs: int
    to: str | None
    from_time: str | None
    from_version: str | None
    path_arguments: tuple[str, ...]
    paths: tuple[bytes, ...]
    overwrite: bool
    objects: bool
    diff: bool
    probe_timeout: float
    idle_timeout: float

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> RestoreOptions:
        """Return the options for a module's parameters.

        :raises UsageError: a time or path is invalid, or options exclude each other.
        """
        _check(params)
        arguments = tuple(params["paths"] or ())
        return cls(
            name=params["name"] or "",
            names=tuple(params["names"] or ()),
            all=params["all"],
            jobs=params["jobs"],
            to=params["to"],
            from_time=params["from"],
            from_version=parse_time(params["from"]) if params["from"] else None,
            path_arguments=arguments,
            paths=tuple(validate_path(path) for path in arguments),
            overwrite=params["overwrite"],
            objects=params["objects"],
            diff=params.get("_diff", True),
            probe_timeout=params["probe_timeout"],
            idle_timeout=params["idle_timeout"],
        )

    @property
    def is_several(self) -> bool:
        """Whether the result is that of several units, even if there is only one."""
        return not self.name

    def of_unit(self, name: str, path: str) -> RestoreOptions:
        """Return the options of one of several units.

        :param name: of the unit, or of its project.
        :param path: of the repository, in ``repos_root``.
        """
        return replace(self, name=name, names=(), all=False, to=os.path.join(self.to, path) if self.to else None)

    @property
    def has_all_paths(self) -> bool:
        """Whether the whole repository is requested."""
        return not self.paths or b"" in self.paths

    def command(self, *options: str | tuple[str, str]) -> str:
        """Return a command line for the same restore with other options."""
        same: list[str | tuple[str, str]] = ["--all"] if self.all else []
        same += [("--from", self.from_time)] if self.from_time else []
        same += [("--path", path) for path in self.path_arguments]
        same += [("--to", self.to)] if self.to and "--to" not in [option[0] for option in options] else []
        return repoman_command("restore", [self.name] if self.name else self.names, *same, *options)


def _check(params: Mapping[str, Any]) -> None:
    """Refuse options that exclude each other.

    :raises UsageError: they do.
    """
    which = [option for option in WHICH if params[option]]
    if not which:
        raise UsageError(
            "restore needs name, names or all.",
            "repoman restore NAME",
            "repoman restore --all   # everything that the backup has",
        )
    if len(which) > 1:
        raise UsageError(f"{which[0]} cannot be combined with {which[1]}.", "repoman restore --help")
    if params["paths"] and which != ["name"]:
        raise UsageError(f"paths are those of one repository, so they cannot be combined with {which[0]}.", "repoman restore NAME --path P")
    if params["objects"] and (excluded := [option for option in ("to", "from", "paths", "overwrite") if params[option]]):
        names = [params["name"]] if params["name"] else params["names"] or []
        options = ["--all", "--objects"] if params["all"] else ["--objects"]
        raise UsageError(f"objects cannot be combined with {excluded[0]}.", repoman_command("restore", names, *options))
    if params["jobs"] < 0:
        raise UsageError(f"jobs is {params['jobs']}, but must be 0 or more.", "ansible-doc homelab.repoman.repoman_restore")


def parse_time(text: str) -> str:
    """Return the name of a run at some time.

    :param text: ISO 8601, or as ``--list-versions`` prints it; local time if it has no zone.
    :raises UsageError: it is not a valid time.
    """
    try:
        when = datetime.fromisoformat(text).astimezone(timezone.utc)
    except (ValueError, OverflowError):
        raise UsageError(
            f"{text!r} is not a valid time.",
            "as 'repoman sync --list-versions NAME' prints it: 20261125T120000Z",
            "or 2026-11-25, which means its start in local time, or '2026-11-25 12:00'",
        ) from None
    return f"{when.year:04}{when.strftime(history.VERSION_FORMAT)[-len('0101T000000Z') :]}"


def validate_path(path: str) -> bytes:
    """Return a path in a repository, normalized; empty for the repository itself.

    :raises UsageError: the path leads out of the repository.
    """
    normalized = os.path.normpath(path)
    if not path or os.path.isabs(path) or ".." in normalized.split("/") or "\0" in path:
        raise UsageError(f"{path!r} is not a path inside a repository.", "give it relative to the repository: src/main.c")
    return b"" if normalized == "." else os.fsencode(normalized)
