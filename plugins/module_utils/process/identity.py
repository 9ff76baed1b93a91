# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The user that a child process runs as."""

from __future__ import annotations

import os
from typing import Protocol


class Identity(Protocol):
    """A user of this host, such as a ``host.account.Account``."""

    @property
    def name(self) -> str:
        """Login name."""

    @property
    def uid(self) -> int:
        """User ID."""

    @property
    def gid(self) -> int:
        """ID of the primary group."""

    @property
    def home(self) -> str:
        """Home directory."""


def drop_privileges(user: Identity) -> None:
    """Turn this process, if it is root's, into one of ``user``; in any case its new files are private."""
    os.umask(0o077)
    if os.geteuid() != 0 or user.uid == 0:
        return
    os.initgroups(user.name, user.gid)
    os.setresgid(user.gid, user.gid, user.gid)
    os.setresuid(user.uid, user.uid, user.uid)
    os.environ.update(HOME=user.home, USER=user.name, LOGNAME=user.name)
    os.chdir("/")
