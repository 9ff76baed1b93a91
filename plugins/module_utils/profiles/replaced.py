# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Save profiles before an installation replaces them, in the format of ``incus profile edit``."""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timezone
from itertools import count

from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import Owner, ensure_private_directory, write_new_bytes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import DEFAULT_PROJECT
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command_line import instance_command
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.template import Body, canonical

DIRECTORY = "replaced"
"""Below the directory of the logs."""


class ReplacedProfile:
    """A profile that is about to be replaced.

    :param name: of the profile.
    :param body: of the profile as it is.
    :param directory: of the saved profiles.
    :param owner: of the file, if this process is root.
    :param socket: of Incus.
    :ivar path: of the file; no other file has it yet.
    """

    def __init__(self, name: str, body: Body, directory: str, owner: Owner, socket: str) -> None:
        self.name, self.body, self.directory, self.owner, self.socket = name, body, directory, owner, socket
        stem = f"{name}-{datetime.now(timezone.utc):%Y%m%dT%H%M%SZ}"
        paths = (os.path.join(directory, f"{stem}{f'-{number}' if number > 1 else ''}.yml") for number in count(1))
        self.path = next(path for path in paths if not os.path.lexists(path))

    def save(self) -> None:
        """Write the file.

        :raises RepomanError: it cannot be written.
        """
        ensure_private_directory(self.directory, self.owner)
        write_new_bytes(self.path, canonical(self.body).encode(), self.owner)

    def discard(self) -> None:
        """Remove the file, because the profile was not replaced."""
        with suppress(OSError):
            os.unlink(self.path)

    @property
    def restoring(self) -> str:
        """The command that brings the profile back."""
        return instance_command(self.socket, DEFAULT_PROJECT, "profile edit", self.name, f"<{shell_word(self.path)}")
