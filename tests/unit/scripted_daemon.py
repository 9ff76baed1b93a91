# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A unix-socket HTTP server whose answers are a script: for tests of the wire, not of Incus."""

from __future__ import annotations

import json
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any


@dataclass
class Reply:
    """What the scripted daemon answers.

    :param data: ``metadata`` of the answer, or of the operation.
    :param delay: seconds to wait first.
    :param gate: what to wait for first.
    :param raw: bytes to send as they are, and hang up.
    :param hang_up: close the connection without a word.
    :param close_after: close the connection after the answer, without announcing it.
    :param chunks: send these as a chunked body instead.
    """

    data: Any = None
    status: int = 200
    kind: str = "sync"
    error: str = ""
    error_code: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    gate: threading.Event | None = None
    raw: bytes | None = None
    body: bytes | None = None
    hang_up: bool = False
    close_after: bool = False
    chunks: list[bytes] | None = None

    def payload(self) -> bytes:
        """Return the answer's body."""
        if self.body is not None:
            return self.body
        return json.dumps({"type": self.kind, "metadata": self.data, "error": self.error, "error_code": self.error_code}).encode()


@dataclass
class Seen:
    """A request as the scripted daemon got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


class Daemon:
    """A unix-socket HTTP server whose answers are a script: tests of the wire, not of Incus.

    :param path: of its socket.
    """

    def __init__(self, path: str) -> None:
        """Start with no script: every request is echoed."""
        self.path = path
        self.seen: list[Seen] = []
        self.connections = 0
        self.script: list[Reply] = []
        self.default: Callable[[Seen], Reply] = lambda seen: Reply({"echo": seen.target})

    @property
    def requests(self) -> list[tuple[str, str]]:
        """Method and target of every request."""
        return [(seen.method, seen.target) for seen in self.seen]

    def say(self, *replies: Reply) -> None:
        """Answer the next requests so."""
        self.script.extend(replies)

    def next_reply(self, seen: Seen) -> Reply:
        """Return the answer to ``seen``."""
        self.seen.append(seen)
        return self.script.pop(0) if self.script else self.default(seen)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    daemon: Daemon

    def setup(self) -> None:
        super().setup()
        self.daemon.connections += 1

    def address_string(self) -> str:
        return "unix"

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class calls it so
        pass

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while length := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _serve(self) -> None:
        body = self._read_body()
        reply = self.daemon.next_reply(Seen(self.command, self.path, dict(self.headers.items()), body))
        time.sleep(reply.delay)
        if reply.gate:
            reply.gate.wait(60)
        if reply.hang_up or reply.raw is not None:
            self.wfile.write(reply.raw or b"")
            self.close_connection = True
            return
        payload = reply.payload()
        self.send_response(reply.status)
        for key, value in reply.headers.items():
            self.send_header(key, value)
        if reply.chunks is None:
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            self.wfile.write(payload)
        else:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for chunk in reply.chunks:
                self.wfile.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")
        if reply.close_after:
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = _serve  # noqa: N815 - the base class calls them so


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that hang up are part of the tests."""


@contextmanager
def serve(path: str) -> Iterator[Daemon]:
    """Run a scripted daemon on a socket."""
    script = Daemon(path)
    server = _Server(script.path, type("Handler", (_Handler,), {"daemon": script}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield script
    finally:
        server.shutdown()
        server.server_close()
