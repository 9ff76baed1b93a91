# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the unit tests share: an account, a daemon that answers by script, a child process without privileges."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import socket
import socketserver
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import quickhg
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from backup_fixture import BackupHome
from hypothesis import HealthCheck, settings
from newest import newest

# Where nobody looks, the same examples each time, so that a red run can be run again; at a desk, new ones.
settings.register_profile(
    "repoman",
    deadline=None,
    max_examples=60,
    derandomize=bool(os.environ.get("CI")),
    suppress_health_check=[HealthCheck.too_slow],  # how fast a busy machine is, is no fault
)
settings.load_profile("repoman")

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it, and so would all they start
os.umask(0o022)  # modes that tests expect, whoever runs them

NOBODY = 65534

MATRICES = {"test_git_damage": 2, "test_object_restore": 2, "test_hg_damage": 3, "test_hg_damage_kinds": 3}
"""Files whose large tables of cases cost minutes: ``make test`` runs every second or third case, ``make test-long`` all of them."""
LARGE = 7


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Thin out large tables of cases, the same way in each process."""
    if os.environ.get("REPOMAN_ZOO"):
        return
    tables: dict[tuple[str, str], list[pytest.Item]] = {}
    for item in items:
        if item.path.stem in MATRICES and isinstance(item, pytest.Function):
            tables.setdefault((item.path.stem, item.originalname), []).append(item)
    left_out = {
        id(item)
        for (file, _name), cases in tables.items()
        if len(cases) > LARGE
        for number, item in enumerate(cases)
        if number % MATRICES[file]
    }
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if id(item) in left_out])
        items[:] = [item for item in items if id(item) not in left_out]


def pytest_collection_finish() -> None:
    """Exclude the collected tests from garbage collection, which would copy all their pages in each fork."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """End what the tests keep running."""
    quickhg.end()


@dataclass
class Reply:
    """What the scripted daemon answers.

    :param data: ``metadata`` of the answer, or of the operation.
    :param delay: seconds to wait first.
    :param gate: what to wait for first.
    :param raw: bytes to send as they are, and hang up.
    :param hang_up: close the connection without a word.
    :param close_after: close the connection after the answer, without having said so.
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


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """pytest's own, which ``make test`` has in memory; a directory on the disk for tests with the mark ``disk``."""
    if not request.node.get_closest_marker("disk"):
        yield tmp_path
        return
    parent = Path(tempfile.mkdtemp(prefix="repoman-test-", dir="/var/tmp"))
    directory = parent / "tmp"  # nothing that is not the test's beside it
    directory.mkdir()
    yield directory
    shutil.rmtree(parent, ignore_errors=True)


@pytest.fixture
def empty_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> BackupHome:
    """A home without repositories."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USER", "alice")
    return BackupHome(tmp_path)


@pytest.fixture
def newest_git() -> Path:
    """The newest git, of a Debian newer than the machine's."""
    return newest("git")


@pytest.fixture
def newest_hg() -> Path:
    """The newest Mercurial."""
    return newest("hg")


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


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """Return a directory whose path leaves room for a socket's name, open to every user."""
    directory = Path(tempfile.mkdtemp(prefix="repoman-test-", dir=os.environ.get("TEST_TMP", "/var/tmp")))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def daemon(short_dir: Path) -> Iterator[Daemon]:
    """Return a running scripted daemon."""
    script = Daemon(str(short_dir / "unix.socket"))
    server = _Server(script.path, type("Handler", (_Handler,), {"daemon": script}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield script
    server.shutdown()
    server.server_close()


@pytest.fixture
def reply() -> type[Reply]:
    """Return the class of the scripted daemon's answers."""
    return Reply


@pytest.fixture
def me(tmp_path: Path) -> Account:
    """Return an account of this process whose home is empty."""
    home = tmp_path / "home"
    home.mkdir()
    return Account(name="alice", uid=os.getuid(), gid=os.getgid(), group="alice", home=str(home), shell="/bin/sh")


@pytest.fixture
def unprivileged() -> Callable[[Callable[[], object]], str]:
    """Return a function that calls another in a child process that is not root, and returns its result, or its traceback, as a text."""

    def run(action: Callable[[], object]) -> str:
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                if os.geteuid() == 0:
                    os.setgroups([])
                    os.setgid(NOBODY)
                    os.setuid(NOBODY)
                try:
                    output = str(action())
                except BaseException:
                    output = traceback.format_exc()
                os.write(write_end, output.encode())
            os._exit(0)
        os.close(write_end)
        with os.fdopen(read_end, "rb") as pipe:
            output = pipe.read().decode()
        os.waitpid(child, 0)
        return output

    return run


@pytest.fixture
def silent_socket(short_dir: Path) -> Iterator[str]:
    """Return the path of a socket that takes connections and says nothing."""
    path = str(short_dir / "silent.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen(8)
        yield path
