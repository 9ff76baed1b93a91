# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A connection to this machine on which every operation takes as long as over a network; used by the bench only."""

from __future__ import annotations

import time
from typing import Any

from ansible.plugins.connection.local import Connection as Local

DOCUMENTATION = """
name: slow_connection
short_description: This machine with latency
description: Each operation takes 50 ms more.
author: the repoman contributors
extends_documentation_fragment:
  - connection_pipelining
"""
DELAY = 0.05


class Connection(Local):  # type: ignore[misc]
    """The connection to this machine, but late."""

    transport = "slow_connection"

    def exec_command(self, *args: Any, **keywords: Any) -> Any:
        """Run a command, late."""
        time.sleep(DELAY)
        return super().exec_command(*args, **keywords)

    def put_file(self, *args: Any, **keywords: Any) -> Any:
        """Copy a file there, late."""
        time.sleep(DELAY)
        return super().put_file(*args, **keywords)

    def fetch_file(self, *args: Any, **keywords: Any) -> Any:
        """Copy a file from there, late."""
        time.sleep(DELAY)
        return super().fetch_file(*args, **keywords)
