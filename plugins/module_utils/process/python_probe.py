# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Probe a file system whose server may be down: system calls on it may never return, so a child process makes them."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.process.identity import Identity
from ansible_collections.homelab.repoman.plugins.module_utils.process.runner import PATH, CommandError, CommandRunner

PROBE_TIMEOUT = 3.0
"""Seconds that a file system may take to answer."""


def run_python(account: Identity, script: str, *arguments: str) -> Any:
    """Run a small Python program as the account, with a time limit of :data:`PROBE_TIMEOUT`; return the JSON that it prints.

    :raises CommandError: it failed, or did not end in time; the message does not name Python, but what it says of the file system, such
        as ``did not answer within 3 s``.
    """
    command = [sys.executable, "-IS", "-c", script, *arguments]
    try:
        done = CommandRunner(account, PROBE_TIMEOUT).run(command, {"PATH": PATH, "LC_ALL": "C.UTF-8"}, "/")
    except CommandError as error:
        raise CommandError(error.message.removeprefix(f"{os.path.basename(sys.executable)} ")) from error
    try:
        return json.loads(done.out)
    except ValueError:
        raise CommandError(done.error_summary()) from None
