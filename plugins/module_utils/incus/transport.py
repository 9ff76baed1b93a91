# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP to Incus: over its unix socket, or over TLS with the certificate that the user's client has stored for a server.

It uses ``http.client`` of the standard library: libraries for unix sockets (httpx) and pinned certificates (urllib3) would have to be
installed on each target host, to replace the few lines of this module.
"""

from __future__ import annotations

import http.client
import math
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger

_logger = get_logger("incus")

MAX_BODY = 256 << 20
"""Bytes of a response; all instances of a busy server are a tenth of that."""
PIECE = 1 << 20
"""Bytes to read at once."""


class DeadlineSocket(socket.socket):
    """A unix socket with limits for all reads together: a peer that sends a byte now and then, or never ends, cannot go on for ever."""

    def __init__(self) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self._deadline, self._room = math.inf, MAX_BODY

    def set_limit(self, seconds: float) -> None:
        """Set the seconds from now in which all reads, and each write, must end; and allow :data:`MAX_BODY` bytes again."""
        self._deadline, self._room = time.monotonic() + seconds, MAX_BODY
        self.settimeout(seconds)

    def recv_into(self, *arguments: Any) -> int:
        """As of the base class.

        :raises TimeoutError: the time is over. :class:`http.client.HTTPException`: there is too much.
        """
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("timed out")
        self.settimeout(None if remaining == math.inf else remaining)
        size = super().recv_into(*arguments)
        self._room -= size
        if self._room < 0:
            raise http.client.HTTPException(f"the response is larger than {MAX_BODY} bytes")
        return size


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("incus", timeout=timeout)
        self.path, self._seconds = path, timeout

    def set_limit(self, seconds: float) -> None:
        """Set the seconds that the next response may take."""
        self._seconds = seconds
        if isinstance(self.sock, DeadlineSocket):
            self.sock.set_limit(seconds)

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = connected = DeadlineSocket()
        connected.set_limit(self._seconds)
        connected.connect(self.path)


@contextmanager
def connect_tls(server: str, certificate: str, config_dir: Path, timeout: float) -> Iterator[http.client.HTTPSConnection]:
    """Connect to another Incus as the user.

    :param server: its URL.
    :param certificate: certificate that it must have, PEM; if empty, it needs one that the system trusts.
    :param config_dir: directory of the client's certificate and key.
    :param timeout: seconds that a response may take.
    :raises OSError: it cannot be reached, or has another certificate.
    """
    context = ssl.create_default_context()
    if certificate:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if (config_dir / "client.crt").exists():
        context.load_cert_chain(config_dir / "client.crt", config_dir / "client.key", password=lambda: "")
    address = urlsplit(server)
    connection = http.client.HTTPSConnection(address.hostname or "", address.port, timeout=timeout, context=context)
    try:
        connection.connect()
        connection.auto_open = 0  # a new connection would be to a server whose certificate was not checked
        if certificate and connection.sock.getpeercert(binary_form=True) != ssl.PEM_cert_to_DER_cert(certificate):
            raise OSError("its certificate is not the one that was stored for it")
        yield connection
    finally:
        connection.close()


def exchange(
    connection: http.client.HTTPConnection,
    method: str,
    target: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    limit: int | None = None,
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """Send a request; return status, headers and body of the response. The trace shows it without body and headers.

    :param limit: number of bytes that the body may have; by default :data:`MAX_BODY`.
    :raises OSError: no response arrives. :class:`http.client.HTTPException`: the response is not HTTP, or is too large.
    """
    server = "" if isinstance(connection, UnixConnection) else f"https://{connection.host}:{connection.port}"
    started, outcome = time.monotonic(), "no answer"
    try:
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        length = response.headers.get("Content-Length")
        if length is not None and not length.strip().isdecimal():  # http.client would wait for the end of the connection
            raise http.client.HTTPException(f"invalid length: {length}")
        content = _body(response, MAX_BODY if limit is None else limit)
        outcome = str(response.status)
        return response.status, response.headers, content
    finally:
        _logger.debug("%s %s%s %s %d ms", method, server, target, outcome, 1000 * (time.monotonic() - started))


def _body(response: http.client.HTTPResponse, limit: int) -> bytes:
    """Return the body of a response, read in pieces: ``http.client`` makes room at once for the length that a response or a chunk announces."""
    body = bytearray()
    try:
        while piece := response.read(PIECE):
            body += piece
            if len(body) > limit:
                raise http.client.HTTPException(f"the response is larger than {limit} bytes")
    except ValueError as error:
        raise http.client.HTTPException("a chunk has a negative length") from error
    if response.length:
        raise http.client.IncompleteRead(bytes(body), response.length)
    return bytes(body)
