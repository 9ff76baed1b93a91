# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Run a program on an untrusted repository with limits on its time, its memory and its output."""

from __future__ import annotations

import os
import resource
import selectors
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from ansible_collections.homelab.repoman.plugins.module_utils.process.command import Command

LINE_BYTES = 64 << 10
"""The rest of a longer line is dropped."""
MEMORY_BYTES = 8 << 30
"""Memory of its own that a program may take; files that it maps do not count."""
_READ_BYTES = 64 << 10

OnLine = Callable[[bytes], object]


class _Reader(Protocol):
    """Processes the output of a program."""

    def feed(self, data: bytes) -> None:
        """Process the next piece of output; it is empty at the end."""

    def finish(self) -> None:
        """Process the end of the output."""


class _Lines:
    """Splits output into lines."""

    def __init__(self, on_line: OnLine, end: bytes) -> None:
        self.on_line, self.end, self.rest = on_line, end, b""

    def feed(self, data: bytes) -> None:
        rest_of_line, *lines = data.split(self.end)
        self.rest += rest_of_line[: LINE_BYTES - len(self.rest)]
        for line in lines:
            self.on_line(self.rest)
            self.rest = line

    def finish(self) -> None:
        if self.rest:
            self.on_line(self.rest)


class _Tail:
    """Keeps the end of output."""

    def __init__(self, size: int) -> None:
        self.size, self.data = size, bytearray()

    def feed(self, data: bytes) -> None:
        self.data += data
        del self.data[: max(0, len(self.data) - self.size)]

    def finish(self) -> None:
        pass


def run_lines(
    command: Sequence[str | bytes],
    *,
    env: Mapping[str, str],
    seconds: float,
    out: OnLine,
    err: OnLine | None = None,
    end: bytes = b"\n",
    stdin: int = subprocess.DEVNULL,
    **how: Any,
) -> int:
    """Run a program and pass on each line of its output; return its exit status.

    :param out: gets each line of standard output; an exception that it raises ends the program.
    :param err: gets each line of standard error; without it, standard error is dropped.
    :param end: what ends a line.
    :param how: further arguments for the process.
    :raises FileNotFoundError: the program does not exist.
    :raises TimeoutError: it took too long.
    """
    memory = (resource.RLIMIT_DATA, MEMORY_BYTES)
    errors = _Lines(err, end) if err is not None else None
    return _run(command, _Lines(out, end), errors, seconds=seconds, memory=memory, env=env, stdin=stdin, **how)


def run_tail(
    command: Sequence[str | bytes], *, env: Mapping[str, str], seconds: float, memory: int, size: int, **how: Any
) -> tuple[int, bytes, bytes]:
    """Run a program; return its exit status and the end of its output and of its errors.

    :param memory: address space in bytes that the program may use.
    :param size: maximum number of bytes to return of each.
    :param how: further arguments for the process.
    :raises FileNotFoundError: the program does not exist.
    :raises TimeoutError: it took too long.
    """
    out, err = _Tail(size), _Tail(size)
    limit = (resource.RLIMIT_AS, memory)
    status = _run(command, out, err, seconds=seconds, memory=limit, env=env, stdin=subprocess.DEVNULL, **how)
    return status, bytes(out.data), bytes(err.data)


def _run(command: Sequence[str | bytes], out: _Reader, err: _Reader | None, *, seconds: float, memory: tuple[int, int], **how: Any) -> int:
    """Run a program and pass on its output; return its exit status.

    :param memory: the resource to limit, and the limit in bytes.
    """
    deadline = time.monotonic() + seconds
    process = Command(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE if err else subprocess.DEVNULL, **how)
    try:
        limit_memory(process.pid, *memory)
        with selectors.DefaultSelector() as selector:
            for stream, reader in ((process.stdout, out), (process.stderr, err)):
                if stream is not None and reader is not None:
                    selector.register(stream, selectors.EVENT_READ, reader)
            while selector.get_map():
                for key, _events in selector.select(max(0.0, deadline - time.monotonic())):
                    data = os.read(key.fd, _READ_BYTES)
                    key.data.feed(data)
                    if not data:
                        key.data.finish()
                        selector.unregister(key.fileobj)
                if time.monotonic() > deadline:
                    raise TimeoutError
        return process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired as error:
        raise TimeoutError from error
    finally:
        process.end()


def limit_memory(pid: int, resource_type: int = resource.RLIMIT_DATA, size: int = MEMORY_BYTES) -> None:
    """Limit the memory of a process that has been started.

    :param resource_type: the limit, of ``resource``.
    :param size: bytes.
    """
    with suppress(ProcessLookupError, PermissionError):
        resource.prlimit(pid, resource_type, (size, size))
