# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Output of commands over WebSocket, from a server that sends frames in any pieces, or nonsense."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, IncusError
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command import (
    MAX_OUTPUT,
    MAX_TEXT,
    CommandOutput,
    TimeLimit,
    run_command,
)
from ansible_collections.homelab.repoman.plugins.module_utils.incus.websocket import GUID, ProtocolError, WebSocket
from hypothesis import given
from hypothesis import strategies as st

END = b"\x81\x00"
CLOSE = b"\x88\x02\x03\xe8"
PING = b"\x89\x03abc"


def frame(data: bytes, opcode: int = 2) -> bytes:
    """Return a frame of a server."""
    length = len(data)
    head = (
        bytes([length]) if length < 126 else b"\x7e" + length.to_bytes(2, "big") if length < 65536 else b"\x7f" + length.to_bytes(8, "big")
    )
    return bytes([0x80 | opcode]) + head + data


@contextmanager
def server(pieces: list[bytes], answer: bytes | None = None, *, hold: bool = False) -> Iterator[str]:
    """Serve one connection: shake hands, or send ``answer``; then send the pieces and hang up, or ``hold`` it until the client does.

    Yields the path of the socket.
    """
    with tempfile.TemporaryDirectory() as place, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{place}/s")
        listener.listen()

        def serve() -> None:
            end, _address = listener.accept()
            with end, suppress(OSError):
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    head += end.recv(4096)
                key = re.search(rb"Sec-WebSocket-Key: (\S+)", head)
                assert key
                accept = base64.b64encode(hashlib.sha1(key[1] + GUID.encode()).digest())  # noqa: S324 - as RFC 6455 prescribes
                end.sendall(answer or b"HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: " + accept + b"\r\n\r\n")
                for piece in pieces:
                    end.sendall(piece)
                while hold and end.recv(4096):
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield f"{place}/s"
        thread.join()


@contextmanager
def reading(stdout: str, stderr: str) -> Iterator[CommandOutput]:
    """Read the output of a command from two servers."""
    out, err = WebSocket(stdout, "/", 10), WebSocket(stderr, "/", 10)
    try:
        yield CommandOutput("x", out, err)
    finally:
        out.close()
        err.close()


def read_all(path: str) -> bytes:
    """Return all data of a stream."""
    stream, data = WebSocket(path, "/1.0/x", 10), b""
    while stream.is_open:
        data += stream.read()
    stream.close()
    return data


@given(st.lists(st.integers(0, 70000), max_size=4), st.lists(st.integers(0, 300000), max_size=5), st.sampled_from([END, CLOSE, b""]))
def test_frames_in_any_pieces(lengths: list[int], cuts: list[int], end: bytes) -> None:
    """Frames of all lengths, cut anywhere, with pings between them, give the data; an empty text, a close frame or hanging up ends it."""
    contents = [bytes([number % 251]) * length for number, length in enumerate(lengths)]
    sent = b"".join(PING + frame(content) for content in contents) + end
    edges = sorted({0, len(sent), *(min(cut, len(sent)) for cut in cuts)})
    pieces = [sent[start:stop] for start, stop in pairwise(edges)]
    with server(pieces) as path:
        assert read_all(path) == b"".join(contents)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 403 Forbidden\r\n\r\n",
        b"HTTP/1.1 101 x\r\nSec-WebSocket-Accept: other\r\n\r\n",
        b"\r\n\r\n",
        b"no end",
        b"x" * 100000,
    ],
)
def test_a_server_that_does_not_shake_hands(answer: bytes) -> None:
    """It is no WebSocket, whatever it says."""
    with server([], answer) as path, pytest.raises((ProtocolError, ConnectionResetError)):
        WebSocket(path, "/1.0/x", 10)


def test_masked_frames_are_refused() -> None:
    """Servers do not mask."""
    with server([b"\x82\x81abcdx"]) as path, pytest.raises(ProtocolError):
        read_all(path)


class Searched(bytearray):
    """Counts the bytes in which a text is looked for."""

    looked_at = 0

    def find(self, *args: Any) -> int:
        """Find a text from a position on."""
        self.looked_at += len(self) - args[1]
        return super().find(*args)


class SingleBytes:
    """A stream that gives one byte at a time."""

    has_pending, is_open = True, True

    def __init__(self, text: bytes) -> None:
        self.rest = iter(text)

    def read(self) -> bytes:
        """Return the next byte."""
        return bytes([next(self.rest)])


def test_output_byte_by_byte_is_not_searched_from_its_beginning() -> None:
    """Otherwise a program could keep a processor of the host busy by printing single bytes."""
    length = 3000
    stream: Any = SingleBytes(b"x" * length + b"\nmark\n")
    output = CommandOutput("x", stream, stream)
    output._text = searched = Searched(output._text)
    assert output.read_until("mark", TimeLimit("x", 60)) == ("x" * length)[:MAX_TEXT]
    assert length < searched.looked_at < 20 * length


@pytest.mark.parametrize("size", [0, 10, MAX_TEXT + 1, MAX_OUTPUT + 1])
def test_limits_on_output(size: int) -> None:
    """The beginning of standard error is kept; too much of both together ends the command."""
    sent = b"".join(frame(b"e" * min(60000, size - start)) for start in range(0, size, 60000)) + END
    with server([sent]) as err, server([END]) as out, reading(out, err) as output:
        if size > MAX_OUTPUT:
            with pytest.raises(RepomanError, match="printed more than 1 MiB") as caught:
                output.read_all(TimeLimit("x", 60))
            assert [hint.split("   #")[0] for hint in caught.value.hints] == ["repoman remove x", "repoman new x --image IMAGE"]
        else:
            assert output.read_all(TimeLimit("x", 60)) == "" and output.stderr == b"e" * min(size, MAX_TEXT)


@given(st.lists(st.integers(1, 60), max_size=5))
def test_marks_in_any_pieces(cuts: list[int]) -> None:
    """A mark is a whole line, in any pieces; each text starts after the previous mark. Without a mark, the result is ``None``."""
    sent = b"a mark\nmarked\nmark\nmark\nsecond\nmark\nthe rest"
    edges = sorted({0, len(sent), *(min(cut, len(sent)) for cut in cuts)})
    pieces = [frame(sent[start:stop]) for start, stop in pairwise(edges)]
    limit = TimeLimit("x", 60)
    with server([*pieces, END]) as out, server([END]) as err, reading(out, err) as output:
        assert [output.read_until("mark", limit) for _number in range(4)] == ["a mark\nmarked", "", "second", None]
        assert output.read_all(limit) == "the rest"


def test_a_command_that_takes_too_long() -> None:
    """The error has the limit of the part that took too long."""
    with server([END]) as err, server([frame(b"mark\n")], hold=True) as out, reading(out, err) as output:
        assert output.read_until("mark", TimeLimit("x", 60)) == ""
        with pytest.raises(IncusError, match=r"'x' did not end in 0 s\."):
            output.read_all(TimeLimit("x", 0))


def test_a_line_that_is_sent() -> None:
    """The frames of a client are masked; only what the mask hides is the line."""
    client, end = socket.socketpair()
    stream = WebSocket.__new__(WebSocket)
    stream.socket = client
    stream.send(b"a line\n")
    sent = end.recv(1000)
    assert sent[:2] == b"\x82\x87" and bytes(byte ^ sent[2 + index % 4] for index, byte in enumerate(sent[6:])) == b"a line\n"
    client.close()
    end.close()


@pytest.mark.parametrize(
    "data", [None, {}, {"id": "x"}, {"id": "x", "metadata": {"fds": []}}, {"id": "x", "metadata": {"fds": {"0": "a"}}}]
)
def test_an_operation_without_streams(data: object, daemon: object, reply: object) -> None:
    """It is a sentence, not a traceback."""
    daemon.say(reply(data, status=202, kind="async"))  # type: ignore[attr-defined, operator]
    with pytest.raises(RepomanError, match=r"does not speak Incus's protocol|does not give the output of a command in 'x'"):
        run_command(Client(daemon.path), "x", "p", ["true"], 5)  # type: ignore[attr-defined]


def test_the_input_of_a_command_that_has_ended() -> None:
    """A command that ends at once may be gone before the end of its input is sent; that is no error."""
    client, server = socket.socketpair()
    server.close()
    stream = WebSocket.__new__(WebSocket)
    stream.socket = client
    stream.send_end()
    assert client.recv(1) == b""
    client.close()
