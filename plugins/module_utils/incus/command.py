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
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError, UnreachableError, api_path
from ansible_collections.homelab.repoman.plugins.module_utils.incus.shapes import COMMAND_RESULT, STARTED_COMMAND, checked
from ansible_collections.homelab.repoman.plugins.module_utils.incus.websocket import ProtocolError, WebSocket

MAX_OUTPUT = 1 << 20
"""Bytes that a command may print, to both streams together, before it is ended."""
MAX_TEXT = 4096
"""Bytes of one text that are kept; the beginning has the cause."""
TIMEOUT_REASON = "timeout"
STDIN, STDOUT, STDERR, CONTROL = "0", "1", "2", "control"

_logger = get_logger("incus")


class OutputLimitError(RepomanError):
    """A command in an instance printed too much, and was ended."""


class TimeLimit:
    """The time that a command in an instance may take.

    :param instance: the name of the instance.
    :param seconds: from now.
    """

    def __init__(self, instance: str, seconds: float) -> None:
        self.instance, self.seconds = instance, seconds
        self._end = time.monotonic() + seconds

    def remaining(self) -> float:
        """Return the seconds that are left.

        :raises IncusError: none.
        """
        remaining = self._end - time.monotonic()
        if remaining <= 0:
            raise self.error()
        return remaining

    def error(self) -> IncusError:
        """Return the error for a command that took longer."""
        return IncusError(0, TIMEOUT_REASON, f"a program in the container {self.instance!r} did not end in {self.seconds:.0f} s.")


class CommandOutput:
    """What a command in an instance prints, read as it comes and limited.

    :param instance: the name of the instance.
    :ivar stderr: the beginning of the standard error that was read so far.
    """

    def __init__(self, instance: str, stdout: WebSocket, stderr: WebSocket) -> None:
        self.instance, self.stderr = instance, b""
        self._stdout, self._streams = stdout, {stdout, stderr}
        self._text, self._total = bytearray(b"\n"), 0

    def read_until(self, mark: str, limit: TimeLimit) -> str | None:
        """Read the standard output up to a line ``mark``; return the beginning of the text before it, or ``None`` if it ends without that line.

        :raises IncusError: it took too long. :class:`OutputLimitError`: there was too much.
        """
        line, searched = f"\n{mark}\n".encode(), 0
        while (end := self._text.find(line, searched)) < 0:
            if not self._streams:
                return None
            searched = max(0, len(self._text) - len(line) + 1)  # the program may print single bytes
            self._read(limit)
        text = _beginning(self._text[1:end])
        del self._text[: end + len(line) - 1]  # the line break stays: the next mark may follow at once
        return text

    def read_all(self, limit: TimeLimit) -> str:
        """Read both streams to their ends; return the beginning of the standard output since the last mark.

        :raises IncusError: it took too long. :class:`OutputLimitError`: there was too much.
        """
        while self._streams:
            self._read(limit)
        return _beginning(self._text[1:])

    def _read(self, limit: TimeLimit) -> None:
        """Wait until there is something to read, and read it."""
        readable = [stream for stream in self._streams if stream.has_pending]
        for stream in readable or select.select(self._streams, [], [], limit.remaining())[0]:
            data = stream.read()
            self._total += len(data)
            if stream is self._stdout:
                self._text += data
            else:
                self.stderr = (self.stderr + data)[:MAX_TEXT]
            if not stream.is_open:
                self._streams.discard(stream)
        if self._total > MAX_OUTPUT:
            _logger.debug("the command in %s printed more than %d bytes and is ended", self.instance, MAX_OUTPUT)
            raise OutputLimitError(
                f"a program in the container {self.instance!r} printed more than {MAX_OUTPUT >> 20} MiB while it was set up; it was ended.",
                *another_image_hints(self.instance),
            )


class RunningCommand:
    """A command that runs as root inside a running instance. Its input is the lines that it is sent.

    Use it as a context manager: leaving it ends the command if it still runs.

    :param timeout: seconds it may take; :meth:`continue_with` starts a new limit.
    :raises IncusError: Incus cannot run it.
    """

    def __init__(self, client: Client, instance: str, project: str, command: list[str], timeout: float) -> None:
        self.client, self.instance = client, instance
        self._limit = TimeLimit(instance, timeout)
        self._result: tuple[int, str] | None = None
        target = api_path("/1.0/instances/{}/exec", instance, project=project)
        request = {"command": command, "record-output": False, "wait-for-websocket": True, "interactive": False, "cwd": "/"}
        self._operation = client.post(target, request)
        checked(self._operation.data, STARTED_COMMAND, client.path)
        self._stack = ExitStack()
        try:
            with self._connection_errors():
                streams = _connect(client, self._operation.data, self._stack)
        except BaseException:
            self.close()
            raise
        self._stdin, self._output = streams[STDIN], CommandOutput(instance, streams[STDOUT], streams[STDERR])

    def __enter__(self) -> RunningCommand:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections; that ends the command if it still runs."""
        self._stack.close()

    @property
    def stderr(self) -> str:
        """The beginning of the standard error that was read so far."""
        return _beginning(self._output.stderr)

    def read_until(self, mark: str) -> str | None:
        """Read its output up to a line ``mark``; return the beginning of the text before it, or ``None`` if it ends without that line.

        :raises IncusError: it took too long. :class:`OutputLimitError`: it printed too much.
        """
        with self._connection_errors():
            return self._output.read_until(mark, self._limit)

    def continue_with(self, timeout: float, line: str = "") -> None:
        """Start a new time limit, and send a line to the command.

        :param timeout: seconds from now.
        :param line: without the end of the line; nothing is sent if it is empty.
        """
        self._limit = TimeLimit(self.instance, timeout)
        if line:
            with self._connection_errors():
                self._stdin.send(f"{line}\n".encode())

    def finish(self) -> tuple[int, str]:
        """Wait for its end; return its exit status, and the beginning of what it has printed since the last mark.

        :raises IncusError: it failed, or took too long. :class:`OutputLimitError`: it printed too much.
        """
        if self._result is None:
            with self._connection_errors():
                self._stdin.send_end()
                text = self._output.read_all(self._limit)
            try:
                metadata = self.client.wait_for_operation(self._operation, self._limit.remaining())
            except IncusError as error:
                raise (self._limit.error() if error.reason == TIMEOUT_REASON else error) from error
            self._result = int(checked(metadata, COMMAND_RESULT, self.client.path)["return"]), text
        return self._result

    @contextmanager
    def _connection_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ProtocolError, KeyError, TypeError) as error:
            raise UnreachableError(
                f"incus at {self.client.path} does not give the output of a command in {self.instance!r}: {error}.", "run the command again"
            ) from error


def run_command(client: Client, instance: str, project: str, command: list[str], timeout: float) -> tuple[int, str]:
    """Run ``command`` as root inside a running instance, with no input.

    :param timeout: seconds it may take; it is ended after that.
    :returns: its exit status, and the beginning of its standard error.
    :raises IncusError: Incus cannot run it, or it took too long. :class:`OutputLimitError`: it printed too much.
    """
    with RunningCommand(client, instance, project, command, timeout) as running:
        code, _text = running.finish()
        return code, running.stderr


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
    return streams


def _beginning(text: bytes | bytearray) -> str:
    return text[:MAX_TEXT].decode("utf-8", errors="replace")


def another_image_hints(instance: str) -> list[str]:
    """Return how a container gets another image, whether or not it exists."""
    word = shell_word(instance)
    return [
        f"repoman remove {word}   # if the container exists; the repository stays",
        f"repoman new {word} --image IMAGE   # another image",
    ]
