# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A callback plugin of a homelab: the numbers of each host as JSON, and failures."""

from __future__ import annotations

import json
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: ours
type: stdout
short_description: Numbers as JSON
description: [Numbers as JSON.]
"""


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Prints little."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "ours"

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        """Print the result of a task that failed."""
        self._display.display(f"failed: {self._dump_results(getattr(result, 'result', None) or result._result)}")

    def v2_playbook_on_stats(self, stats: Any) -> None:
        """Print the numbers."""
        self._display.display(json.dumps({host: stats.summarize(host) for host in stats.processed}))
