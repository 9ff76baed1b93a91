# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTP to Incus: over its unix socket, or over TLS with the certificate that the user's client has stored for a server.

It uses ``http.client`` of the standard library: libraries for unix sockets (httpx) and pinned certificates (urllib3) would have to be
installed on each target host, to replace the few lines of this module.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from ansible_collections.homelab.repoman.plugins.module_utils.core.log import get_logger

_logger = get_logger("incus")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a unix socket."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("incus", timeout=timeout)
        self.path = path

    def connect(self) -> None:
        """Connect to the socket file."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


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

    :param limit: number of bytes of the body to read at most.
    :raises OSError: there is no response. :class:`http.client.HTTPException`: it is not HTTP.
    """
    server = "" if isinstance(connection, UnixConnection) else f"https://{connection.host}:{connection.port}"
    started, outcome = time.monotonic(), "no answer"
    try:
        connection.request(method, target, body=body, headers=headers or {})
        response = connection.getresponse()
        length = response.headers.get("Content-Length")
        if length is not None and not length.strip().isdecimal():  # http.client would wait for the end of the connection
            raise http.client.HTTPException(f"invalid length: {length}")
        content = response.read(limit)
        outcome = str(response.status)
        return response.status, response.headers, content
    finally:
        _logger.debug("%s %s%s %s %d ms", method, server, target, outcome, 1000 * (time.monotonic() - started))
