# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readers of streams on Incus's socket, for tests with damaged ones."""

from __future__ import annotations

import base64
import hashlib

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.incus.websocket import GUID, ProtocolError, WebSocket
from hostile_server import Server


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
