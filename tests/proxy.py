# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A recording proxy in front of Incus's socket: tests count requests with it, and stop, fail or hold them."""

from __future__ import annotations

import json
import select
import shutil
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol

Request = tuple[str, str]
"""Method and target (path with query) of a request."""
Refusal = tuple[int, str]
"""HTTP status and words of an error that the proxy answers with in Incus's place."""
Rewrite = Callable[[bytes, bytes], bytes]
"""Gets head and body of Incus's answer, and returns what the client gets in its place before the connection ends."""
Hook = Callable[[str, str], Refusal | Rewrite | None]

PIECE = 65536
LINE_END = b"\r\n"
HEAD_END = b"\r\n\r\n"
READS = ("GET", "HEAD", "OPTIONS")
SWITCHING_PROTOCOLS = 101
NO_CONTENT = 204
NOT_MODIFIED = 304
FIRST_FINAL_STATUS = 200


class RequestPause:
    """A hook that holds a run while Incus works for it: at the first request after the one that began the work.

    :param method: of the request that begins the work. :param part: of its target.
    :param limit: seconds after which the run goes on all the same.
    """

    def __init__(self, method: str, part: str, limit: float = 180) -> None:
        self._method, self._part, self._limit = method, part, limit
        self._asked = False
        self.reached, self.go_on = threading.Event(), threading.Event()

    def __call__(self, method: str, target: str) -> None:
        """Look at a request."""
        if method == self._method and self._part in target:
            self._asked = True
        elif self._asked and not self.reached.is_set():
            self.reached.set()
            self.go_on.wait(self._limit)


class _HungUpError(Exception):
    """The peer closed its connection."""


class _Sink(Protocol):
    """Takes bytes."""

    def send(self, data: bytes) -> None:
        """Take ``data``."""


class _Nowhere:
    """Takes bytes and forgets them."""

    def send(self, data: bytes) -> None:
        """Forget ``data``."""


class _Stream:
    """One end of a connection, read by heads, lines and lengths.

    :param sock: a connected socket.
    """

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = b""

    def _fill(self) -> None:
        piece = self.sock.recv(PIECE)
        if not piece:
            raise _HungUpError
        self.buffer += piece

    def until(self, end: bytes) -> bytes:
        """Return everything up to and with ``end``."""
        while end not in self.buffer:
            self._fill()
        found, _end, self.buffer = self.buffer.partition(end)
        return found + end

    def copy(self, length: int, to: _Sink) -> None:
        """Hand ``length`` bytes on as they come."""
        while length:
            if not self.buffer:
                self._fill()
            piece, self.buffer = self.buffer[:length], self.buffer[length:]
            length -= len(piece)
            to.send(piece)

    def copy_chunks(self, to: _Sink) -> None:
        """Hand a chunked body on, chunk by chunk, with its trailers."""
        while True:
            line = self.until(LINE_END)
            to.send(line)
            length = int(line.split(b";")[0], 16)
            if length == 0:
                break
            self.copy(length + len(LINE_END), to)
        while True:
            line = self.until(LINE_END)
            to.send(line)
            if line == LINE_END:
                return

    def copy_rest(self, to: _Sink) -> None:
        """Hand everything on until the peer hangs up."""
        with suppress(_HungUpError, OSError):
            while True:
                if not self.buffer:
                    self._fill()
                piece, self.buffer = self.buffer, b""
                to.send(piece)

    def send(self, data: bytes) -> None:
        """Write ``data``."""
        self.sock.sendall(data)


class _Head:
    """First line and headers of a request or an answer.

    :param raw: as they came, with the empty line.
    """

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        first, *lines = raw.decode("latin-1").split("\r\n")
        self.words = first.split(" ")
        pairs = (line.partition(":") for line in lines if line)
        self.headers = {name.strip().lower(): value.strip() for name, _colon, value in pairs}

    @property
    def chunked(self) -> bool:
        """Whether the body comes in chunks."""
        return self.headers.get("transfer-encoding", "").lower() == "chunked"

    @property
    def length(self) -> int | None:
        """Length of the body, where it is told."""
        told = self.headers.get("content-length")
        return None if told is None else int(told)

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this message."""
        return self.headers.get("connection", "").lower() == "close"


class RecordingProxy:
    """A unix socket that hands every request on to ``upstream`` and keeps a record of it.

    Use it as a context manager. Connections are kept alive as the two ends keep them; long answers and
    waits pass through as they are.

    :param upstream: path of the socket of the real Incus.
    """

    def __init__(self, upstream: str) -> None:
        """Make the directory of the socket; ``with`` listens."""
        self._upstream = upstream
        self._directory = Path(tempfile.mkdtemp(prefix="repoman-proxy-", dir="/var/tmp"))
        self.path = str(self._directory / "unix.socket")
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._hook: Hook | None = None
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._closing = False
        self.connections = 0

    def __enter__(self) -> RecordingProxy:
        """Listen."""
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Hang up on everybody and remove the socket."""
        with self._lock:
            self._closing = True
            ends = [self._listener, *self._sockets]
        for end in ends:
            _shut(end)
        self._listener.close()
        for thread in list(self._threads):
            thread.join(5)
        shutil.rmtree(self._directory, ignore_errors=True)

    @property
    def requests(self) -> list[Request]:
        """Every request so far, in the order they came."""
        with self._lock:
            return list(self._requests)

    @property
    def writes(self) -> list[Request]:
        """Every request so far that was to change something."""
        return [request for request in self.requests if request[0] not in READS]

    def clear(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._requests.clear()
            self.connections = 0

    def settle(self, limit: float = 60) -> None:
        """Wait until everybody who was connected has hung up, and what they asked for has reached Incus."""
        deadline = time.monotonic() + limit
        for thread in self._threads[1:]:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive()

    def on_request(self, hook: Hook | None) -> None:
        """Call ``hook(method, target)`` before a request is handed on; ``None`` takes it away.

        It may take its time. A refusal that it returns is answered in Incus's place; if it raises, the connection is
        dropped. In both cases Incus never sees the request. A function that it returns rewrites Incus's answer.
        """
        self._hook = hook

    def _start(self, run: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=run, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                end, _address = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self.connections += 1
            self._start(self._serve, end)

    def _adopt(self, end: socket.socket) -> socket.socket:
        with self._lock:
            if self._closing:
                raise _HungUpError
            self._sockets.add(end)
        return end

    def _serve(self, end: socket.socket) -> None:
        upstream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            client, server = _Stream(self._adopt(end)), _Stream(self._adopt(upstream))
            upstream.connect(self._upstream)
            while self._one(client, server):
                pass
        except (_HungUpError, OSError, ValueError):
            pass  # one end hung up: so does the other, below
        finally:
            for each in (end, upstream):
                _shut(each)
                each.close()
                with self._lock:
                    self._sockets.discard(each)

    def _one(self, client: _Stream, server: _Stream) -> bool:
        """Hand one request on and its answer back; return whether more may come."""
        if not client.buffer:
            ready, _write, _error = select.select([client.sock, server.sock], [], [])
            if server.sock in ready:
                return False  # upstream ended an idle connection
        request = _Head(client.until(HEAD_END))
        method, target = request.words[:2]
        with self._lock:
            self._requests.append((method, target))
        said = None
        if self._hook is not None:
            try:
                said = self._hook(method, target)
            except Exception:  # whatever the test throws means: hang up
                return False
            if isinstance(said, tuple):
                _copy_body(request, client, _Nowhere())
                client.send(_refuse(*said))
                return False
        server.send(request.raw)
        _copy_body(request, client, server)
        if said is not None:
            client.send(said(*_whole_answer(method, server)))
            return False
        return self._answer(method, client, server) and not request.closes

    def _answer(self, method: str, client: _Stream, server: _Stream) -> bool:
        while True:
            answer = _Head(server.until(HEAD_END))
            client.send(answer.raw)
            status = int(answer.words[1])
            if status == SWITCHING_PROTOCOLS:
                self._start(client.copy_rest, server)
                server.copy_rest(client)
                return False
            if status >= FIRST_FINAL_STATUS:
                break
        if method == "HEAD" or status in (NO_CONTENT, NOT_MODIFIED):
            return not answer.closes
        if answer.chunked:
            server.copy_chunks(client)
        elif answer.length is not None:
            server.copy(answer.length, client)
        else:
            server.copy_rest(client)
            return False
        return not answer.closes


def _copy_body(request: _Head, client: _Stream, to: _Sink) -> None:
    if request.chunked:
        client.copy_chunks(to)
    else:
        client.copy(request.length or 0, to)


class _Memory:
    """Takes bytes and keeps them."""

    def __init__(self) -> None:
        self.data = b""

    def send(self, data: bytes) -> None:
        """Keep ``data``."""
        self.data += data


def _whole_answer(method: str, server: _Stream) -> tuple[bytes, bytes]:
    """Return head and body of a response. The chunks of a body are not decoded."""
    head, body = _Head(server.until(HEAD_END)), _Memory()
    if method == "HEAD" or int(head.words[1]) in (SWITCHING_PROTOCOLS, NO_CONTENT, NOT_MODIFIED):
        return head.raw, b""
    if head.chunked:
        server.copy_chunks(body)
    elif head.length is not None:
        server.copy(head.length, body)
    return head.raw, body.data


def _refuse(status: int, words: str) -> bytes:
    body = json.dumps({"type": "error", "error": words, "error_code": status, "metadata": None}).encode()
    head = f"HTTP/1.1 {status} Refused\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def _shut(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
