# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Streams as no Incus sends them: an error, or their data."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from fuzzing import bounded, damaged_bytes, outcome
from hostile_server import Server, endless, serving, trickle
from hypothesis import given
from stream_readers import FRAMES, handshake, read_stream


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that the tests give its answers."""
    with serving() as running:
        yield running


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
