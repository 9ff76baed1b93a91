# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams as no Incus sends them: an error, or their data."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.incus.websocket import GUID, ProtocolError, WebSocket
from fuzzing import bounded, damaged_bytes, outcome
from hostile_server import Server, endless, serving, trickle
from hypothesis import given


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that the tests give its answers."""
    with serving() as running:
        yield running


def handshake(request: bytes) -> bytes:
    """Return the answer to a handshake."""
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accepted = base64.b64encode(hashlib.sha1(key + GUID.encode()).digest()).decode()  # noqa: S324
    return f"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accepted}\r\n\r\n".encode()


def read_stream(server: Server, timeout: float = 30) -> bytes:
    """Read a stream to its end, at most a mebibyte."""
    data = b""
    try:
        stream = WebSocket(server.path, "/x", timeout)
        try:
            while stream.is_open and len(data) < 1 << 20:
                data += stream.read()
        finally:
            stream.close()
    except ProtocolError as error:
        raise RepomanError(f"protocol: {error}") from error
    return data


FRAMES = b"\x82\x03abc" + b"\x89\x00" + b"\x82\x7e\x01\x00" + b"x" * 256 + b"\x02\x01a\x80\x01b" + b"\x81\x00"


@given(damaged=damaged_bytes(FRAMES))
def test_frames(server: Server, damaged: bytes) -> None:
    """Any bytes after the handshake."""
    server.answer = lambda request: [handshake(request) + damaged[:7], damaged[7:]]
    outcome(lambda: read_stream(server))


@given(damaged=damaged_bytes(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n"))
def test_handshakes(server: Server, damaged: bytes) -> None:
    """Another answer."""
    server.answer = lambda _request: [damaged]
    assert "protocol: " in outcome(lambda: read_stream(server))


def test_a_frame_of_exabytes(server: Server) -> None:
    """It is read in pieces."""
    server.answer = lambda request: endless(handshake(request) + b"\x82\x7f" + b"\x7f" + b"\xff" * 7, b"x" * 65536)(b"")
    assert bounded(lambda: read_stream(server)) == ""


def test_a_handshake_without_end(server: Server) -> None:
    """It has a limit of size, and one of time."""
    server.answer = endless(b"HTTP/1.1 101 ", b"a" * 4096)
    assert "no answer to the handshake" in bounded(lambda: read_stream(server))
    server.answer = trickle(b"HTTP/1.1 101 ", b"a")
    assert "timed out" in bounded(lambda: read_stream(server, timeout=0.3))
