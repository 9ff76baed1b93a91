# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An environment for git: only the git directory's own configuration, no network, no prompts, no helper programs."""

from __future__ import annotations

import os

from ansible_collections.homelab.repoman.plugins.module_utils.process.identity import Identity
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import PATH

HARDENING = {
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_SYSTEM": os.devnull,
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_NO_REPLACE_OBJECTS": "1",
    "GIT_LITERAL_PATHSPECS": "1",
    "GIT_ALLOW_PROTOCOL": "none",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_ASKPASS": "false",
    "SSH_ASKPASS": "false",
    "GIT_SSH_COMMAND": "false",
    "GIT_PAGER": "cat",
    "GIT_EDITOR": "false",
}


def hardened_environment(path: str, home: str = "/nonexistent", **more: str) -> dict[str, str]:
    """Return the environment for git on an untrusted repository.

    :param path: search path for commands.
    :param home: home directory of the account; by default a path that does not exist.
    :param more: further variables, such as ``GIT_DIR``.
    """
    return {"XDG_CONFIG_HOME": "/nonexistent", "PATH": path, "HOME": home, **HARDENING, **more}


def account_environment(account: Identity) -> dict[str, str]:
    """Return the environment in which git reads only the configuration of its git directory, and has no network."""
    environment = hardened_environment(PATH, account.home)
    del environment["XDG_CONFIG_HOME"]
    if os.environ.get("XDG_CONFIG_HOME") and os.geteuid() == account.uid:
        environment["XDG_CONFIG_HOME"] = os.environ["XDG_CONFIG_HOME"]
    return environment
