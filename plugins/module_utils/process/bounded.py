# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a program on an untrusted repository and read its output line by line, however much it prints."""

from __future__ import annotations

import os
import resource
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.log import format_command, get_logger

LINE_BYTES = 64 << 10
"""The rest of a longer line is dropped."""
MEMORY_BYTES = 8 << 30
"""Memory of its own that a program may take; files that it maps do not count."""
_READ_BYTES = 64 << 10

_logger = get_logger("process")

Hear = Callable[[bytes], object]


class _Lines:
    """Cuts what comes from a pipe into lines."""

    def __init__(self, hear: Hear, end: bytes) -> None:
        self.hear, self.end, self.rest = hear, end, b""

    def take(self, data: bytes) -> None:
        first, *others = data.split(self.end)
        self.rest += first[: LINE_BYTES - len(self.rest)]
        for each in others:
            self.hear(self.rest)
            self.rest = each

    def finish(self) -> None:
        if self.rest:
            self.hear(self.rest)


def run_lines(
    command: Sequence[str | bytes],
    *,
    env: Mapping[str, str],
    seconds: float,
    out: Hear,
    err: Hear | None = None,
    end: bytes = b"\n",
    stdin: int = subprocess.DEVNULL,
    **how: Any,
) -> int:
    """Run a program and pass on each line of its output; return its exit status.

    :param out: gets each line of standard output; what it raises ends the program.
    :param err: the same of standard error, which is dropped without it.
    :param end: what ends a line.
    :param how: further arguments of the process.
    :raises FileNotFoundError: there is no such program.
    :raises TimeoutError: it took too long.
    """
    started = time.monotonic()
    process = subprocess.Popen(
        command, env=env, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE if err else subprocess.DEVNULL, **how
    )
    until = started + seconds
    try:
        with suppress(ProcessLookupError, PermissionError):
            resource.prlimit(process.pid, resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
        with selectors.DefaultSelector() as selector:
            for stream, hear in ((process.stdout, out), (process.stderr, err)):
                if stream is not None and hear is not None:
                    selector.register(stream, selectors.EVENT_READ, _Lines(hear, end))
            while selector.get_map():
                for key, _events in selector.select(max(0.0, until - time.monotonic())):
                    data = os.read(key.fd, _READ_BYTES)
                    key.data.take(data)
                    if not data:
                        key.data.finish()
                        selector.unregister(key.fileobj)
                if time.monotonic() > until:
                    raise TimeoutError
        return process.wait(max(0.0, until - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        _logger.debug("exit %d after %d ms: %s", process.returncode, 1000 * (time.monotonic() - started), format_command(command))
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
