# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings of a host: its registry, its overrides and the user's profile templates, and where each is on this host.

A setting has the same relative name on the target and in messages: ``repoman.toml``, ``repos.d/NAME.toml``, ``profiles.d/NAME.yml``.
Nothing here prints or logs the content of a file, because templates and overrides may hold secrets.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.core.bounded_toml import load_toml
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_bytes_limited
from ansible_collections.homelab.repoman.plugins.module_utils.host.hung_mounts import hung_mount

REGISTRY, OVERRIDES, TEMPLATES = "repoman.toml", "repos.d", "profiles.d"
SUFFIXES = {OVERRIDES: (".toml",), TEMPLATES: (".yml", ".yaml")}
"""The directories, and the suffixes of the files in them that are settings."""
FILE_BYTES = 16 << 20
"""The largest file: as large as the largest registry."""
TOTAL_BYTES = 64 << 20
"""All files together; they are held in memory."""
_PAIR = rb"""(?:last_sync|"last_sync"|'last_sync')[ \t]*=[ \t]*(?:"[^"\n]*"|'[^'\n]*')"""
LAST_SYNC = re.compile(rb"^[ \t]*%b(?:[ \t]*(?:\r?\n|\Z))?|(?:,|(?<=\{))[ \t]*%b" % (_PAIR, _PAIR), re.MULTILINE)
"""The time of a backup in a registry: a line, or a pair in an inline table. No part matches more than a line, so the time is linear."""


@dataclass(frozen=True)
class SettingsFile:
    """A file of the settings.

    :param data: its content.
    :param mtime_ns: its modification time.
    """

    data: bytes
    mtime_ns: int


@dataclass(frozen=True)
class Places:
    """The paths of the settings on this host.

    :param registry: path of the registry.
    :param overrides: directory of the overrides.
    :param templates: directory of the user's templates.
    """

    registry: str
    overrides: str
    templates: str

    @classmethod
    def of(cls, context: BackupContext) -> Places:
        """Return the places of the account whose backup it is."""
        return cls(context.path, os.path.join(os.path.dirname(context.path), OVERRIDES), context.user_dir)

    def directory(self, name: str) -> str:
        """Return the path of one of the directories."""
        return self.overrides if name == OVERRIDES else self.templates

    def path(self, name: str) -> str:
        """Return the path of a setting."""
        directory, _slash, file_name = name.rpartition("/")
        return os.path.join(self.directory(directory), file_name) if directory else self.registry


@dataclass
class HostSettings:
    """The current settings of this host.

    :param files: by relative name.
    :param problems: why a file, or a whole directory, cannot be read, by its relative name. Nothing is known about it, so what the backup
        has of it stays.
    """

    files: dict[str, SettingsFile] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)

    def is_unknown(self, name: str) -> bool:
        """Return whether a setting may exist, but cannot be read."""
        return name in self.problems or name.partition("/")[0] in self.problems


def is_setting(name: str) -> bool:
    """Return whether a relative name is that of a setting."""
    directory, _slash, file_name = name.rpartition("/")
    if not directory:
        return name == REGISTRY
    return directory in SUFFIXES and file_name[:1] not in (".", "") and file_name.lower().endswith(SUFFIXES[directory])


def read_settings(places: Places) -> HostSettings:
    """Read the settings of this host. Links are followed, with limits: people keep their configuration elsewhere and link to it."""
    settings = HostSettings()
    remaining = TOTAL_BYTES
    for name in [REGISTRY, *(name for directory in SUFFIXES for name in _list(places, directory, settings.problems))]:
        try:
            file = read_file(places.path(name), min(FILE_BYTES, remaining))
        except OSError as error:
            settings.problems[name] = _reason(error, places.path(name))
        else:
            settings.files[name] = file
            remaining -= len(file.data)
    return settings


def read_file(path: str, limit: int = FILE_BYTES) -> SettingsFile:
    """Read a file of this host, or one that a link names.

    :raises OSError: it cannot be read, is not a regular file, is larger than ``limit`` bytes, or is on a file system that does not answer.
    """
    check_answers(path)
    data, status = read_bytes_limited(path, limit, follow=True)
    return SettingsFile(data, status.st_mtime_ns)


def check_answers(path: str) -> None:
    """Check that the file systems to which a path and its links lead answer.

    :raises TimeoutError: one does not.
    """
    if mount := hung_mount(path):
        raise TimeoutError(0, f"the file system mounted at {mount} does not answer", path)


def _list(places: Places, directory: str, problems: dict[str, str]) -> Iterable[str]:
    """Return the relative names of the settings in a directory; a missing directory has none."""
    path = places.directory(directory)
    try:
        check_answers(path)
        names = os.listdir(path)
    except FileNotFoundError as error:
        if os.path.islink(path):
            problems[directory] = _reason(error, path)
        return []
    except OSError as error:
        problems[directory] = _reason(error, path)
        return []
    return [name for file_name in sorted(names) if is_setting(name := f"{directory}/{file_name}")]


def _reason(error: OSError, path: str) -> str:
    if isinstance(error, FileNotFoundError) and os.path.islink(path):
        return "the link leads nowhere"
    return error.strerror or str(error)


def digest(name: str, data: bytes) -> str:
    """Return a digest of a setting: equal if nothing differs but the times of backups, which each run writes into the registry."""
    return hashlib.sha256(without_last_sync(data) if name == REGISTRY else data).hexdigest()


def without_last_sync(registry: bytes) -> bytes:
    """Return the text of a registry without the times of backups."""
    return LAST_SYNC.sub(b"", registry)


def project_names(registry: bytes) -> list[str]:
    """Return the names of the projects in the text of a registry; none if it is not one."""
    try:
        return [str(entry["name"]) for entry in load_toml(registry.decode())["project"]]
    except (ValueError, KeyError, TypeError):
        return []
