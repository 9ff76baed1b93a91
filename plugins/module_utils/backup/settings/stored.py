# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The settings as the target has them.

::

    .repoman/settings/owner.json                        whose they are, and a digest of each file
    .repoman/settings/repoman.toml, repos.d, profiles.d the files

``owner.json`` is written last, so that a killed run leaves digests that do not match. Then, and with ``full``, the files are read.
"""

from __future__ import annotations

import errno
import json
import os
import stat
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.backup.settings.files import (
    FILE_BYTES,
    REGISTRY,
    SUFFIXES,
    digest,
    is_setting,
)
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.paths import SETTINGS, Target
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConflictError
from ansible_collections.homelab.repoman.plugins.module_utils.files.beneath import open_beneath, read_beneath
from ansible_collections.homelab.repoman.plugins.module_utils.files.directory_cursor import LIST, REACH

FORMAT = 1
OWNER = "owner.json"
MAX_OWNER_BYTES = 16 << 20
NOT_DIRECTORY = (errno.ENOTDIR, errno.ELOOP)
"""Errors of opening a link, or something else that is not a directory, as a directory."""


@dataclass(frozen=True)
class Owner:
    """Whose settings a backup has.

    :param host: name of the host.
    :param user: login name.
    :param home: home directory, absolute.
    :param time: when they were last backed up, ISO 8601.
    :param digests: a digest of each file, by relative name.
    """

    host: str
    user: str
    home: str
    time: str = ""
    digests: dict[str, str] = field(default_factory=dict, compare=False)

    def is_same_account(self, other: Owner) -> bool:
        """Return whether both are of the same user on the same host, whatever the home."""
        return (self.host, self.user) == (other.host, other.user)

    def is_same(self, other: Owner) -> bool:
        """Return whether both differ only in time and files."""
        return self.is_same_account(other) and self.home == other.home

    def as_json(self) -> bytes:
        """Return the text of the file."""
        data = {"format": FORMAT, "host": self.host, "user": self.user, "home": self.home, "time": self.time, "files": self.digests}
        return json.dumps(data, indent=1, sort_keys=True).encode() + b"\n"


def parse_owner(text: str, path: Path) -> Owner | None:
    """Return the owner in the text of ``owner.json``; None if it is not one.

    :raises ConflictError: it has a format that this version does not know.
    """
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ConflictError(
                f"{path} is of format {str(data['format'])[:20]!r}, which this repoman does not know; the settings were not touched.",
                "upgrade repoman",
            )
        digests = {str(name): str(value) for name, value in data["files"].items()}
        return Owner(str(data["host"]), str(data["user"]), str(data["home"]), str(data["time"]), digests)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


class StoredSettings:
    """The settings on a target. Links in it are never followed, and what is not a regular file of a possible size is not a setting."""

    def __init__(self, target: Target) -> None:
        self.directory = target.mirror(SETTINGS)

    def owner(self) -> Owner | None:
        """Return the owner of the settings; None if ``owner.json`` is missing, damaged or unreadable.

        :raises ConflictError: they have a format that this version does not know.
        """
        try:
            text = read_beneath(str(self.directory), OWNER, MAX_OWNER_BYTES)[0].decode()
        except (OSError, UnicodeDecodeError):
            return None
        return parse_owner(text, self.directory / OWNER)

    def names(self) -> list[str]:
        """Return the relative names of the files that are settings, sorted.

        :raises OSError: a directory cannot be read.
        """
        return [name for name in self._entries() if self.is_sound(name)]

    def _entries(self) -> list[str]:
        """Return the relative names of everything that has the name of a setting, sorted."""
        entries = [REGISTRY] if REGISTRY in self.list_directory("") else []
        for directory in SUFFIXES:
            entries += [name for file in self.list_directory(directory) if is_setting(name := f"{directory}/{file}")]
        return sorted(entries)

    def list_directory(self, name: str) -> list[str]:
        """Return the names in one of the directories, empty for that of all settings; none if it is not a directory.

        :raises OSError: it cannot be read.
        """
        try:
            root_fd = os.open(self.directory, LIST)
            try:
                fd = os.open(name or ".", LIST, dir_fd=root_fd)
            finally:
                os.close(root_fd)
        except OSError as error:
            if error.errno in (errno.ENOENT, *NOT_DIRECTORY):
                return []
            error.filename = str(self.directory / name)
            raise
        try:
            return os.listdir(fd)
        finally:
            os.close(fd)

    def read(self, name: str) -> tuple[bytes, int]:
        """Return content and modification time of a file.

        :raises OSError: it cannot be read, is not a regular file, or is too large.
        """
        data, status = read_beneath(str(self.directory), name, FILE_BYTES)
        return data, status.st_mtime_ns

    def is_sound(self, name: str) -> bool:
        """Return whether a name is that of a regular file of a possible size."""
        directory, _slash, file_name = name.rpartition("/")
        try:
            root_fd = os.open(self.directory, REACH)
            try:
                fd = open_beneath(root_fd, os.fsencode(directory), REACH)
            finally:
                os.close(root_fd)
            try:
                status = os.stat(file_name, dir_fd=fd, follow_symlinks=False)
            finally:
                os.close(fd)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return stat.S_ISREG(status.st_mode) and status.st_size <= FILE_BYTES

    def digests(self) -> dict[str, str]:
        """Return the digests of the files themselves, by relative name; empty for what is not a setting but has the name of one.

        :raises OSError: one cannot be read.
        """
        return {name: self.digest(name) for name in self._entries()}

    def digest(self, name: str) -> str:
        """Return the digest of a file; empty for what is not a setting.

        :raises OSError: it cannot be read.
        """
        return digest(name, self.read(name)[0]) if self.is_sound(name) else ""

    def other_digests(self, names: Collection[str]) -> dict[str, str]:
        """Return the digests of the files that have none of some names; see :meth:`digests`."""
        return {name: self.digest(name) for name in self._entries() if name not in names}
