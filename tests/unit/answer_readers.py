# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Readers of answers on Incus's socket, for tests with damaged ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import Client, api_path
from hostile_server import DOCUMENT, Server, http_answer


def chunked(*chunks: bytes) -> bytes:
    """Return an answer in chunks."""
    body = b"".join(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n" for chunk in (*chunks, b""))
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body


@contextmanager
def client_of(server: Server, timeout: float = 30) -> Iterator[Client]:
    """A client of the server."""
    client = Client(server.path, timeout=timeout)
    try:
        yield client
    finally:
        client.close()


def read_instances(server: Server, timeout: float = 30) -> None:
    """Read what must be a list of instances."""
    with client_of(server, timeout) as client:
        for instance in client.read("/1.0/instances", [shapes.INSTANCE]).data:
            str(instance["config"]).encode()
            api_path("/1.0/instances/{}", instance["name"])


def wait(server: Server, timeout: float = 30, seconds: float = 1) -> None:
    """Start an operation, and wait for it for some seconds."""
    with client_of(server, timeout) as client:
        client.wait_for_operation(client.post("/1.0/instances", {}), seconds, lambda _metadata: None)


VALID = http_answer(json.dumps(DOCUMENT).encode(), "ETag: abc\r\n")
