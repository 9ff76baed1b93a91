# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The log of a run: a file with one line of JSON for each unit. The newest logs are kept."""

from __future__ import annotations

import io
import json
import os
import re
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import TracebackType
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.files.atomic import ensure_private_directory
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account

KEEP = 50
NAME = re.compile(r"sync-\d{8}T\d{6}Z-\d+\.jsonl")


class RunLog:
    """An open log; a context manager. The run goes on if the log cannot be written.

    :param logdir: directory of the logs, which is created if needed.
    :param now: when the run began.
    """

    def __init__(self, logdir: Path, owner: Account, now: datetime) -> None:
        self.path = logdir / f"sync-{now:%Y%m%dT%H%M%SZ}-{os.getpid()}.jsonl"
        self.problems: list[str] = []
        self._now = now
        self._file: io.TextIOWrapper | None = None
        try:
            ensure_private_directory(str(logdir), owner)
            self._file = open(self.path, "x", encoding="utf-8", opener=_private)  # noqa: SIM115 - closed by __exit__
        except RepomanError as error:
            self._give_up(error.message.rstrip("."))
        except OSError as error:
            self._give_up(f"{self.path}: {error.strerror}")

    def __enter__(self) -> RunLog:
        self.write({"event": "begin"})
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.write({"event": "end"} | ({"error": str(error) or type(error).__name__} if error else {}))
        if self._file is None:
            return
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            for name in self._old():
                (self.path.parent / name).unlink(missing_ok=True)

    def _old(self) -> list[str]:
        """Return the logs beyond the newest ones; those that a wrong clock dated after this run count as the oldest."""
        last = f"sync-{self._now + timedelta(days=1):%Y%m%dT%H%M%SZ}"
        names = [name for name in os.listdir(self.path.parent) if NAME.fullmatch(name) and name != self.path.name]
        names.sort(key=lambda name: (name <= last, name))
        return names[: max(0, len(names) + 1 - KEEP)]

    def write(self, record: Mapping[str, Any]) -> None:
        """Append a record, with the time."""
        if self._file is None:
            return
        time = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        try:
            self._file.write(json.dumps({"time": time, **record}) + "\n")
            self._file.flush()
        except OSError as error:
            file, self._file = self._file, None
            with suppress(OSError):  # closing tries to write again
                file.close()
            self._give_up(f"{self.path}: {error.strerror}")

    def _give_up(self, problem: str) -> None:
        self.problems.append(f"the log of this run cannot be written: {problem}. The backup continued without it.")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)
