# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Commands in an instance: with limits on the time and on what is read of their output.

The programs that run there are not trusted. Their output is read over connections that can be closed, never from files that Incus would
keep in the volume of the instance.
"""

from __future__ import annotations

import select
import time
from contextlib import ExitStack
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError, UnreachableError, api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.shapes import COMMAND_RESULT, STARTED_COMMAND, checked
from ansible_collections.homelab.repoman.plugins.module_utils.incus.websocket import ProtocolError, WebSocket

MAX_OUTPUT = 1 << 20
"""Bytes that a command may print, to both streams together, before it is ended."""
MAX_STDERR = 4096
"""Bytes of its standard error that are kept; the beginning has the cause."""
TIMEOUT_REASON = "timeout"
STDIN, STDOUT, STDERR, CONTROL = "0", "1", "2", "control"

_logger = get_logger("incus")


class OutputLimitError(RepomanError):
    """A command in an instance printed too much, and was ended."""


def run_command(client: Client, instance: str, project: str, command: list[str], timeout: float) -> tuple[int, str]:
    """Run ``command`` as root inside a running instance, with no input.

    :param timeout: seconds it may take; it is ended after that.
    :returns: its exit status, and the beginning of its standard error.
    :raises IncusError: Incus cannot run it, or it took too long. :class:`OutputLimitError`: it printed too much.
    """
    target = api_path("/1.0/instances/{}/exec", instance, project=project)
    request = {"command": command, "record-output": False, "wait-for-websocket": True, "interactive": False, "cwd": "/"}
    response = client.post(target, request)
    checked(response.data, STARTED_COMMAND, client.path)
    deadline = time.monotonic() + timeout
    with ExitStack() as stack:
        try:
            streams = _connect(client, response.data, stack)
            stderr = _read_output(streams, deadline, instance)
        except (OSError, ProtocolError, KeyError, TypeError) as error:
            raise UnreachableError(
                f"incus at {client.path} does not give the output of a command in {instance!r}: {error}.", "run the command again"
            ) from error
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise _timeout_error(instance, timeout)
        try:
            metadata = client.wait_for_operation(response, remaining)
        except IncusError as error:
            raise (_timeout_error(instance, timeout) if error.reason == TIMEOUT_REASON else error) from error
        return int(checked(metadata, COMMAND_RESULT, client.path)["return"]), stderr.decode("utf-8", errors="replace")


def _connect(client: Client, operation: dict[str, Any], stack: ExitStack) -> dict[str, WebSocket]:
    """Connect to the streams of a command; Incus starts it when all are connected.

    The connections are closed with ``stack``; that ends the command if it still runs.
    """
    secrets: dict[str, str] = operation["metadata"]["fds"]
    streams: dict[str, WebSocket] = {}
    for name in (CONTROL, STDIN, STDOUT, STDERR):  # the control first: without it, nothing would end the command
        target = api_path("/1.0/operations/{}/websocket", str(operation["id"]), secret=secrets[name])
        streams[name] = WebSocket(client.path, target, client.timeout)
        stack.callback(streams[name].close)
    streams[STDIN].send_end()
    return streams


def _read_output(streams: dict[str, WebSocket], deadline: float, instance: str) -> bytes:
    """Read until both streams have ended, or until the deadline; return the beginning of the standard error.

    :raises OutputLimitError: there was too much.
    """
    stderr, total = b"", 0
    outputs = {streams[STDOUT], streams[STDERR]}
    while outputs:
        readable = [stream for stream in outputs if stream.has_pending]
        readable = readable or select.select(outputs, [], [], max(0.0, deadline - time.monotonic()))[0]
        if not readable:
            return stderr  # the caller reports the timeout
        for stream in readable:
            data = stream.read()
            total += len(data)
            if stream is streams[STDERR]:
                stderr = (stderr + data)[:MAX_STDERR]
            if not stream.is_open:
                outputs.discard(stream)
        if total > MAX_OUTPUT:
            _logger.debug("the command in %s printed more than %d bytes and is ended", instance, MAX_OUTPUT)
            raise OutputLimitError(
                f"a program in the container {instance!r} printed more than {MAX_OUTPUT >> 20} MiB while it was set up; it was ended.",
                *another_image_hints(instance),
            )
    return stderr


def another_image_hints(instance: str) -> list[str]:
    """Return how a container gets another image, whether or not it exists."""
    word = shell_word(instance)
    return [
        f"repoman remove {word}   # if the container exists; the repository stays",
        f"repoman new {word} --image IMAGE   # another image",
    ]


def _timeout_error(instance: str, timeout: float) -> IncusError:
    return IncusError(0, TIMEOUT_REASON, f"a program in the container {instance!r} did not end in {timeout:.0f} s.")
