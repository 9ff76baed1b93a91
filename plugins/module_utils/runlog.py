# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The log of a run: a line of JSON for each unit, in a file of its own; the newest files are kept."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils import registry
from ansible_collections.homelab.repoman.plugins.module_utils.host import Account

KEEP = 50
NAME = re.compile(r"sync-\d{8}T\d{6}Z-\d+\.jsonl")


class RunLog:
    """An open log; a context manager.

    :param logdir: directory of the logs; made where it is missing.
    :param now: when the run began.
    """

    def __init__(self, logdir: Path, owner: Account, now: datetime) -> None:
        registry.make_directory(str(logdir), owner)
        self.path = logdir / f"sync-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}.jsonl"
        self.file = open(self.path, "x", encoding="utf-8", opener=_private)  # noqa: SIM115 - closed by __exit__

    def __enter__(self) -> RunLog:
        self.write({"event": "begin"})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.write({"event": "end"} | ({"error": str(error) or type(error).__name__} if error else {}))
        self.file.close()
        old = sorted(name for name in os.listdir(self.path.parent) if NAME.fullmatch(name))[:-KEEP]
        for name in old:
            (self.path.parent / name).unlink(missing_ok=True)

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record, with the time."""
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        self.file.write(json.dumps({"time": time, **record}) + "\n")
        self.file.flush()


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
