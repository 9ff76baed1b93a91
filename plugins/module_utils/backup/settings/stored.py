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

import json
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
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
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_bytes_limited, read_limited

FORMAT = 1
OWNER = "owner.json"
MAX_OWNER_BYTES = 16 << 20


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
    """The settings on a target."""

    def __init__(self, target: Target) -> None:
        self.directory = target.mirror(SETTINGS)

    def owner(self) -> Owner | None:
        """Return whose settings they are; None if there are none, or a killed run left them without an owner.

        :raises ConflictError: they have a format that this version does not know.
        :raises OSError: the target cannot be read.
        """
        path = self.directory / OWNER
        try:
            return parse_owner(read_limited(path, MAX_OWNER_BYTES), path)
        except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
            return None

    def names(self) -> list[str]:
        """Return the relative names of the files, sorted.

        :raises OSError: a directory cannot be read.
        """
        names = [REGISTRY] if os.path.lexists(self.directory / REGISTRY) else []
        for directory in SUFFIXES:
            with suppress(FileNotFoundError, NotADirectoryError):
                names += [name for file in os.listdir(self.directory / directory) if is_setting(name := f"{directory}/{file}")]
        return sorted(names)

    def read(self, name: str) -> tuple[bytes, int]:
        """Return content and modification time of a file.

        :raises OSError: it cannot be read, or is not a regular file.
        """
        data, status = read_bytes_limited(self.directory / name, FILE_BYTES)
        return data, status.st_mtime_ns

    def is_file(self, name: str) -> bool:
        """Return whether a name is that of a regular file."""
        return stat.S_ISREG(os.lstat(self.directory / name).st_mode)

    def digests(self) -> dict[str, str]:
        """Return the digests of the files themselves, by relative name; empty for what is not a regular file.

        :raises OSError: one cannot be read.
        """
        return {name: digest(name, self.read(name)[0]) if self.is_file(name) else "" for name in self.names()}

    def leftovers(self) -> Iterator[Path]:
        """Yield the temporary files of killed runs."""
        for directory in (self.directory, *(self.directory / name for name in SUFFIXES)):
            with suppress(FileNotFoundError, NotADirectoryError):
                yield from (directory / name for name in os.listdir(directory) if name.startswith(".") and name.endswith(".new"))
