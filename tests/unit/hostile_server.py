# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A server on a unix socket that sends any bytes, also without an end, and answers of Incus to damage."""

from __future__ import annotations

import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

Answer = Iterable[bytes]

OPERATION = {
    "id": "op-1",
    "status_code": 200,
    "description": "Creating",
    "err": "",
    "metadata": {"return": 0},
    "resources": {"instances": ["/1.0/a"]},
}
INSTANCE = {
    "name": "web", "status": "Running", "config": {"limits.cpu": "2"}, "devices": {"root": {"type": "disk"}}, "profiles": ["default"],
    "expanded_config": {}, "expanded_devices": {}, "state": {"network": {"eth0": {"addresses": [{"address": "::1", "family": "inet6", "scope": "l"}]}}},
}  # fmt: skip
DOCUMENT = {"type": "sync", "status": "Success", "status_code": 200, "error": "", "error_code": 0, "metadata": [INSTANCE]}


def http_answer(body: bytes, head: str = "") -> bytes:
    """Return an answer as Incus gives it."""
    return f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body


class Server:
    """Answers each connection in the same way, and closes it.

    :ivar answer: gets the request and yields what to send; a thread for each connection runs it.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.answer: Callable[[bytes], Answer] = lambda _request: ()
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(path)
        self._listener.listen(16)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                piece = connection.recv(65536)
                if not piece:
                    return
                request += piece
            for piece in self.answer(request):
                connection.sendall(piece)
            connection.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@contextmanager
def serving() -> Iterator[Server]:
    """Run a server."""
    with tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMP", "/var/tmp")) as directory:
        running = Server(str(Path(directory, "socket")))
        try:
            yield running
        finally:
            running.close()


def endless(start: bytes, more: bytes) -> Callable[[bytes], Answer]:
    """Return an answer that goes on until the client hangs up."""

    def answer(_request: bytes) -> Answer:
        yield start
        while True:
            yield more

    return answer


def trickle(start: bytes, more: bytes) -> Callable[[bytes], Answer]:
    """Return an answer that goes on for ever, a little at a time."""

    def answer(_request: bytes) -> Answer:
        yield start
        while True:
            time.sleep(0.05)
            yield more

    return answer
