# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of one restore, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.target import history
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import UsageError
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import repoman_command


@dataclass(frozen=True)
class RestoreOptions:
    """The parameters of the module ``repoman_restore``.

    :param name: project, or directory of ``repos_root``.
    :param to: directory to restore to; None to restore in place.
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
        if not params["name"]:
            raise UsageError("restore needs the name of a repository, or settings.", repoman_command("restore", [], "--settings"))
        objects = bool(params.get("objects"))
        if objects and (excluded_options := [option for option in ("to", "from", "paths", "overwrite") if params[option]]):
            raise UsageError(
                f"objects cannot be combined with {excluded_options[0]}.",
                repoman_command("restore", [params["name"]], "--objects"),
            )
        arguments = tuple(params["paths"] or ())
        return cls(
            name=params["name"],
            to=params["to"],
            from_time=params["from"],
            from_version=parse_time(params["from"]) if params["from"] else None,
            path_arguments=arguments,
            paths=tuple(validate_path(path) for path in arguments),
            overwrite=params["overwrite"],
            objects=objects,
            diff=params.get("_diff", True),
            probe_timeout=params["probe_timeout"],
            idle_timeout=params["idle_timeout"],
        )

    @property
    def has_all_paths(self) -> bool:
        """Whether the whole repository is requested."""
        return not self.paths or b"" in self.paths

    def command(self, *options: str | tuple[str, str]) -> str:
        """Return a command line for the same restore with other options."""
        version = [("--from", self.from_time)] if self.from_time else []
        return repoman_command("restore", [self.name], *version, *(("--path", path) for path in self.path_arguments), *options)


def parse_time(text: str) -> str:
    """Return the name of a run at some time.

    :param text: ISO 8601, or as ``--list-versions`` prints it; local time if it has no zone.
    :raises UsageError: it is not a valid time.
    """
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            f"{text!r} is not a valid time.",
            "as 'repoman sync --list-versions NAME' prints it: 20261125T120000Z",
            "or 2026-11-25, which means its start in local time, or '2026-11-25 12:00'",
        ) from None
    return when.astimezone(timezone.utc).strftime(history.VERSION_FORMAT)


def validate_path(path: str) -> bytes:
    """Return a path in a repository, normalized; empty for the repository itself.

    :raises UsageError: the path leads out of the repository.
    """
    normalized = os.path.normpath(path)
    if not path or os.path.isabs(path) or ".." in normalized.split("/") or "\0" in path:
        raise UsageError(f"{path!r} is not a path inside a repository.", "give it relative to the repository: src/main.c")
    return b"" if normalized == "." else os.fsencode(normalized)
