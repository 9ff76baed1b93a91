# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A record of the profiles that repoman installed, so that profiles made or changed by others are saved before they are replaced.

Without the record, or if it cannot be written, all profiles are saved.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import (
    Owner,
    discard_staged,
    ensure_private_directory,
    write_atomic,
)
from ansible_collections.homelab.repoman.plugins.module_utils.files.small_files import read_json
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Body

FILE = "profiles.json"
"""Name of the record, in the directory of the logs."""
MAX_BYTES = 4 << 20


class InstallRecord:
    """The digests of the profiles as repoman installed them last, by name.

    :param directory: of the file.
    :param owner: of the file, if this process is root.
    """

    def __init__(self, directory: str, owner: Owner) -> None:
        self.path, self.owner = os.path.join(directory, FILE), owner
        self._new: dict[str, str] = {}

    def is_own(self, name: str, body: Body) -> bool:
        """Return whether a profile is as repoman installed it last."""
        return self._old.get(name) == _digest(body)

    def add(self, name: str, body: Body) -> None:
        """Note that a profile was installed; :meth:`write` writes it."""
        self._new[name] = _digest(body)

    def write(self) -> None:
        """Write what was added, if anything. A failure has no other effect than that those profiles are saved the next time."""
        if not self._new:
            discard_staged(self.path)  # what a killed run left
            return
        try:
            ensure_private_directory(os.path.dirname(self.path), self.owner)
            write_atomic(self.path, json.dumps(self._read() | self._new, indent=1, sort_keys=True) + "\n", self.owner)
        except RepomanError as error:
            get_logger("profiles").debug("cannot write the record: %s", error.message)

    @cached_property
    def _old(self) -> dict[str, str]:
        return self._read()

    def _read(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            data = read_json(Path(self.path), MAX_BYTES)
            if isinstance(data, dict):
                return {name: digest for name, digest in data.items() if isinstance(digest, str)}
        return {}


def _digest(body: Body) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()
