# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of WebSocket (RFC 6455) that the output of a command needs: a connection over a unix socket whose data is read in pieces.

Incus gives the output of a command in two ways: in files, without a limit and in the volume of the instance, or over WebSocket
connections, which can be closed at any time. A library for these few lines would have to be installed on each target host.
"""

from __future__ import annotations

import base64
import hashlib
import os
import socket
import time
from contextlib import suppress

from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""Constant of RFC 6455 for the answer to a handshake."""
MAX_HEAD = 16384
"""Bytes that the response to a handshake may have."""
PIECE = 65536
"""Bytes to read at once."""
CONTINUATION, TEXT, BINARY, PING, PONG = 0, 1, 2, 9, 10
"""Types of frames. All others mark the end of a stream: an empty text, or a close frame."""
HEAD_LENGTH = 2
"""Bytes of the head of a frame, without the longer length."""
SHORT_LENGTH, LONG_LENGTH = 126, 127
"""Lengths in the second byte of a frame that announce a longer field."""


_logger = get_logger("incus")


class ProtocolError(Exception):
    """The peer does not speak WebSocket."""


class WebSocket:
    """A connection whose data frames are read without keeping more than a piece of them in memory.

    :param path: of the unix socket.
    :param target: request path.
    :param timeout: seconds that connecting may take, and each read after it.
    :raises OSError: it cannot be connected. :class:`ProtocolError`: the peer refuses, or does not speak WebSocket.
    """

    def __init__(self, path: str, target: str, timeout: float) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.is_open = True
        self.has_pending = False
        """True if data came with the handshake: the next read returns it, and a selector does not know about it."""
        self._buffer = b""
        self._remaining = 0
        """Bytes of the current frame that are still to come."""
        self._is_data = False
        try:
            self.socket.settimeout(timeout)
            self.socket.connect(path)
            self._shake_hands(target, time.monotonic() + timeout)
            self.socket.settimeout(timeout)
        except BaseException:
            self.close()
            raise

    def fileno(self) -> int:
        """Return the file descriptor, for a selector."""
        return self.socket.fileno()

    def send(self, data: bytes) -> None:
        """Send at most 125 bytes; nothing if Incus has closed the connection already.

        :raises OSError: the connection failed.
        """
        self._send_frame(BINARY, data)

    def send_end(self) -> None:
        """Send an empty text frame, with which Incus marks the end of a stream; nothing if Incus has closed the connection already."""
        self._send_frame(TEXT, b"")

    def _send_frame(self, opcode: int, data: bytes) -> None:
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(data))
        with suppress(BrokenPipeError, ConnectionResetError):  # a command that ends at once may end before this is sent
            self.socket.sendall(bytes((0x80 | opcode, 0x80 | len(data))) + mask + masked)

    def read(self) -> bytes:
        """Read from the socket, at most once, and return the data in it; the stream has ended if :attr:`is_open` is false then.

        :raises OSError: the connection failed. :class:`ProtocolError`: the peer sends something else.
        """
        if self.has_pending:
            self.has_pending = False
        elif piece := self.socket.recv(PIECE):
            self._buffer += piece
        else:
            self.is_open = False
            return b""
        data = b""
        while self.is_open and (self._remaining or self._next_frame()):
            content, self._buffer = self._buffer[: self._remaining], self._buffer[self._remaining :]
            self._remaining -= len(content)
            data += content if self._is_data else b""
            if not self._buffer:
                break
        return data

    def close(self) -> None:
        """Close the connection."""
        self.is_open = False
        self.socket.close()

    def _next_frame(self) -> bool:
        """Take the head of the next frame from the buffer; return whether it was complete."""
        if len(self._buffer) < HEAD_LENGTH:
            return False
        opcode, length, start = self._buffer[0] & 0x0F, self._buffer[1], HEAD_LENGTH
        if length & 0x80:
            raise ProtocolError("a frame of the server is masked")
        if length in (SHORT_LENGTH, LONG_LENGTH):
            start = 4 if length == SHORT_LENGTH else 10
            if len(self._buffer) < start:
                return False
            length = int.from_bytes(self._buffer[HEAD_LENGTH:start], "big")
        self._buffer, self._remaining = self._buffer[start:], length
        self._is_data = opcode in (BINARY, CONTINUATION)
        self.is_open = self._is_data or opcode in (PING, PONG)
        return True

    def _shake_hands(self, target: str, deadline: float) -> None:
        _logger.debug("WebSocket %s", target.partition("?")[0])  # the query has a secret
        key = base64.b64encode(os.urandom(16)).decode()
        request = (
            f"GET {target} HTTP/1.1\r\nHost: incus\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.socket.sendall(request.encode())
        head = b""
        while b"\r\n\r\n" not in head:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                raise TimeoutError("timed out")
            self.socket.settimeout(remaining)
            piece = self.socket.recv(PIECE)
            if not piece or len(head) > MAX_HEAD:
                raise ProtocolError("no answer to the handshake")
            head += piece
        head, _end, self._buffer = head.partition(b"\r\n\r\n")
        self.has_pending = bool(self._buffer)
        accepted = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest())  # noqa: S324 - RFC 6455 prescribes it
        status, *headers = head.split(b"\r\n")
        values = {name.strip().lower(): value.strip() for name, _colon, value in (header.partition(b":") for header in headers)}
        if status.split(b" ")[1:2] != [b"101"] or values.get(b"sec-websocket-accept") != accepted:
            raise ProtocolError(f"the answer to the handshake is {status[:80]!r}")
