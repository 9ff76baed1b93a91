# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The wire to Incus: real sockets, a daemon that answers by script, and the recording proxy."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, RepomanError, RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.incus import client as incus
from ansible_collections.homelab.repoman.plugins.module_utils.incus.client import (
    Client,
    IncusError,
    Response,
    UnreachableError,
    api_path,
    etag,
    find_socket,
)
from hypothesis import given
from hypothesis import strategies as st
from proxy import RecordingProxy

Daemon = Any
"""The scripted daemon of conftest.py."""
Reply = Callable[..., Any]
"""What makes an answer of it."""

RUNNING_OPERATION = {"id": "op-1", "status_code": 103, "description": "Creating instance", "metadata": None, "err": ""}
DONE_OPERATION = RUNNING_OPERATION | {"status_code": 200, "metadata": {"return": 0}}


@pytest.fixture
def client(daemon: Daemon) -> Client:
    """Return a client of the scripted daemon."""
    return Client(daemon.path)


# Paths and sockets


@pytest.mark.parametrize(
    ("parts", "query", "expected"),
    [
        ((), {}, "/1.0/profiles"),
        (("a/b",), {"project": "default"}, "/1.0/profiles/a%2Fb?project=default"),
        (("a b?c#d",), {}, "/1.0/profiles/a%20b%3Fc%23d"),
        (("größe",), {}, "/1.0/profiles/gr%C3%B6%C3%9Fe"),
        (("a\r\nX: y",), {}, "/1.0/profiles/a%0D%0AX%3A%20y"),
        (("{}%",), {"recursion": 1}, "/1.0/profiles/%7B%7D%25?recursion=1"),
        (("x",), {"project": "a&b=c d", "n": 2}, "/1.0/profiles/x?project=a%26b%3Dc%20d&n=2"),
    ],
)
def test_paths_are_quoted(parts: tuple[str, ...], query: dict[str, str | int], expected: str) -> None:
    """No name can become a path, a query or a header."""
    assert api_path("/1.0/profiles" + "/{}" * len(parts), *parts, **query) == expected


def test_the_socket_is_found_as_the_incus_client_finds_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What is given, INCUS_SOCKET, INCUS_DIR, the first that exists of the system's, the first of the system's."""
    newer, older = tmp_path / "newer", tmp_path / "older"
    monkeypatch.setattr(incus, "SYSTEM_SOCKETS", (str(newer), str(older)))
    monkeypatch.setenv("INCUS_SOCKET", "/s/socket")
    monkeypatch.setenv("INCUS_DIR", "/d")
    assert find_socket("/given") == "/given"
    assert find_socket() == "/s/socket"
    monkeypatch.setenv("INCUS_SOCKET", "")
    assert find_socket(None) == "/d/unix.socket"
    monkeypatch.delenv("INCUS_DIR")
    assert find_socket("") == str(newer)
    older.touch()
    assert find_socket() == str(older)
    newer.touch()
    assert find_socket() == str(newer)


def test_the_systems_sockets_are_those_of_the_packages() -> None:
    """Newer packages first."""
    assert incus.SYSTEM_SOCKETS == ("/run/incus/unix.socket", "/var/lib/incus/unix.socket")


def test_the_etag_is_the_digest_of_the_json_that_go_writes() -> None:
    """Keys sorted, no spaces, a newline at the end; <, >, & and the line separators escaped, other letters not."""
    config, devices = {"b": "<1>&", "a": "ü\u2028"}, {"root": {"type": "disk", "path": "/"}}
    text = '[{"a":"ü\\u2028","b":"\\u003c1\\u003e\\u0026"},"about",{"root":{"path":"/","type":"disk"}}]\n'
    assert etag(config, "about", devices) == hashlib.sha256(text.encode()).hexdigest()
    assert etag({}, "", {}) == hashlib.sha256(b'[{},"",{}]\n').hexdigest()


@given(st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=3), st.text(max_size=8))
def test_the_etag_does_not_hang_on_the_order_of_keys_but_on_every_field(config: dict[str, str], description: str) -> None:
    """Two objects that differ have different ETags."""
    assert etag(config, description) == etag(dict(reversed(config.items())), description)
    assert etag(config, description) != etag(config, description + "x")
    assert etag(config | {"more": "x"}, description) != etag(config | {"more": "y"}, description)


# Requests and answers


def test_many_requests_use_one_connection(daemon: Daemon, client: Client) -> None:
    """Reads and writes alike; the daemon gets what was meant."""
    for number in range(10):
        assert client.get(f"/1.0/{number}").data == {"echo": f"/1.0/{number}"}
    client.post("/1.0/profiles", {"name": "größe"})
    client.put("/1.0/profiles/x", {"config": {}}, if_match="abc")
    client.put("/1.0/profiles/x", {"config": {}})
    client.delete("/1.0/profiles/x")
    assert daemon.connections == 1
    assert [seen.method for seen in daemon.seen[10:]] == ["POST", "PUT", "PUT", "DELETE"]
    post, with_match, without, delete = daemon.seen[10:]
    assert json.loads(post.body) == {"name": "größe"}
    assert post.headers["Content-Type"] == "application/json"
    assert with_match.headers["If-Match"] == "abc"
    assert "If-Match" not in without.headers
    assert delete.body == b""


def test_an_answer_carries_data_etag_and_whether_something_was_begun(daemon: Daemon, client: Client, reply: Reply) -> None:
    """The three things later requests need."""
    daemon.say(reply({"x": 1}, headers={"ETag": "abc"}), reply({"id": "op"}, status=202, kind="async"))
    assert client.get("/1.0") == Response({"x": 1}, "abc", False)
    assert client.post("/1.0/instances", {}) == Response({"id": "op"}, "", True)


def test_a_chunked_answer_is_put_together(daemon: Daemon, client: Client, reply: Reply) -> None:
    """Incus sends large lists so; the connection stays usable."""
    daemon.say(reply(chunks=[b'{"type":"sync","meta', b'data":[1,', b"2]}"]))
    assert client.get("/1.0").data == [1, 2]
    assert client.get("/1.0/x").data == {"echo": "/1.0/x"}
    assert daemon.connections == 1


def test_an_upload_sends_bytes_and_headers_as_they_are(daemon: Daemon, client: Client) -> None:
    """Directories and files inside an instance."""
    client.upload("/1.0/instances/x/files?path=/home", b"\x00\xff", {"X-Incus-type": "file", "X-Incus-uid": "1500"})
    (seen,) = daemon.seen
    assert (seen.method, seen.body) == ("POST", b"\x00\xff")
    assert (seen.headers["X-Incus-type"], seen.headers["X-Incus-uid"]) == ("file", "1500")
    assert seen.headers["Content-Type"] == "application/octet-stream"


def test_an_error_is_told_in_the_words_of_incus(daemon: Daemon, client: Client, reply: Reply) -> None:
    """With its code; the connection stays usable."""
    daemon.say(reply(status=500, kind="error", error="Profile is currently in use", error_code=500))
    with pytest.raises(IncusError, match="Profile is currently in use") as caught:
        client.delete("/1.0/profiles/x")
    assert (caught.value.code, caught.value.reason, caught.value.exit_code) == (500, "Profile is currently in use", 1)
    client.get("/1.0")
    assert daemon.connections == 1


def test_what_does_not_exist_may_be_asked_for(daemon: Daemon, client: Client, reply: Reply) -> None:
    """Only 404 is that; other errors stay errors."""
    daemon.say(reply(status=404, kind="error", error="not found", error_code=404), reply({"x": 1}))
    assert client.get_or_none("/1.0/profiles/x") is None
    assert client.get_or_none("/1.0/profiles/x") == Response({"x": 1}, "")
    daemon.say(reply(status=500, kind="error", error="database is locked", error_code=500))
    with pytest.raises(IncusError, match="database is locked"):
        client.get_or_none("/1.0/profiles/x")


def test_forbidden_says_which_group_is_needed(daemon: Daemon, client: Client, reply: Reply) -> None:
    """A member of the group incus meets this."""
    daemon.say(reply(status=403, kind="error", error="not authorized", error_code=403))
    with pytest.raises(IncusError, match="not authorized") as caught:
        client.post("/1.0/projects", {})
    (hint,) = caught.value.hints
    assert "incus-admin" in hint
    assert subprocess.run(["sh", "-n", "-c", hint], check=False, capture_output=True).returncode == 0


def test_a_write_on_a_changed_object_is_stale(daemon: Daemon, client: Client, reply: Reply) -> None:
    """The caller plans again."""
    daemon.say(reply(status=412, kind="error", error="Precondition failed", error_code=412))
    with pytest.raises(ConcurrentChangeError, match=r"/1\.0/profiles/x"):
        client.put("/1.0/profiles/x", {}, if_match="old")


# Connections that end


def test_a_connection_closed_while_idle_is_opened_again_for_a_read(daemon: Daemon, client: Client, reply: Reply) -> None:
    """Daemons restart and close idle connections; a read can be repeated without harm."""
    daemon.say(reply({"n": 1}, close_after=True))
    assert client.get("/1.0/a").data == {"n": 1}
    time.sleep(0.05)
    assert client.get("/1.0/b").data == {"echo": "/1.0/b"}
    assert daemon.requests == [("GET", "/1.0/a"), ("GET", "/1.0/b")]
    assert daemon.connections == 2


def test_a_daemon_that_says_it_closes_is_believed(daemon: Daemon, client: Client, reply: Reply) -> None:
    """Then a write may follow on a new connection."""
    daemon.say(reply({"n": 1}, headers={"Connection": "close"}, close_after=True))
    client.get("/1.0/a")
    client.post("/1.0/b", {})
    assert daemon.requests == [("GET", "/1.0/a"), ("POST", "/1.0/b")]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_a_write_is_never_sent_twice(method: str, daemon: Daemon, client: Client, reply: Reply) -> None:
    """Nobody knows whether Incus did it; the next request works."""
    client.get("/1.0/a")
    daemon.say(reply(hang_up=True))
    send = {"POST": lambda: client.post("/1.0/b", {}), "PUT": lambda: client.put("/1.0/b", {}), "DELETE": lambda: client.delete("/1.0/b")}[
        method
    ]
    with pytest.raises(UnreachableError, match=f"{method} /1.0/b"):
        send()
    assert daemon.requests == [("GET", "/1.0/a"), (method, "/1.0/b")]
    assert client.get("/1.0/c").data == {"echo": "/1.0/c"}


def test_a_daemon_that_hangs_up_on_every_read_is_given_up(daemon: Daemon, client: Client, reply: Reply) -> None:
    """One repetition, not more."""
    client.get("/1.0/a")
    daemon.default = lambda seen: reply(hang_up=True)
    with pytest.raises(UnreachableError, match="closed the connection"):
        client.get("/1.0/b")
    assert daemon.requests == [("GET", "/1.0/a"), ("GET", "/1.0/b"), ("GET", "/1.0/b")]


def test_an_answer_cut_off_in_the_middle_is_unreachable(daemon: Daemon, client: Client, reply: Reply) -> None:
    """Half an answer is none."""
    daemon.say(*[reply(raw=b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"type":')] * 2)
    with pytest.raises(UnreachableError):
        client.post("/1.0/a", {})


def test_a_late_answer_is_an_error_and_not_the_answer_to_the_next_question(daemon: Daemon, reply: Reply) -> None:
    """The error says how long was waited and how to allow more."""
    client, gate = Client(daemon.path, timeout=0.2), threading.Event()
    daemon.say(reply({"late": True}, gate=gate))
    with pytest.raises(UnreachableError, match=r"did not answer GET /1\.0/a") as caught:
        client.get("/1.0/a")
    assert any("timeout" in hint for hint in caught.value.hints)
    gate.set()
    client.timeout = 30
    assert client.get("/1.0/b").data == {"echo": "/1.0/b"}


def test_a_socket_that_takes_connections_and_says_nothing_times_out(silent_socket: str) -> None:
    """A daemon may hang at its start."""
    with pytest.raises(UnreachableError, match=silent_socket):
        Client(silent_socket, timeout=0.1).get("/1.0")


def test_an_interruption_in_the_middle_leaves_a_client_that_can_be_used(
    daemon: Daemon, client: Client, reply: Reply, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The undoing after a signal talks to Incus with the same client."""
    client.get("/1.0/a")
    daemon.say(reply({"answer": "to the interrupted request"}))

    def interrupted(connection: http.client.HTTPConnection) -> None:
        deadline = time.monotonic() + 30
        while daemon.script and time.monotonic() < deadline:  # the request has not arrived
            time.sleep(0.001)
        raise RunInterruptedError("interrupted by SIGINT")

    with monkeypatch.context() as patch:
        patch.setattr(http.client.HTTPConnection, "getresponse", interrupted)
        with pytest.raises(RunInterruptedError):
            client.post("/1.0/b", {})
    assert client.delete("/1.0/c").data == {"echo": "/1.0/c"}


def test_a_closed_client_opens_a_new_connection(daemon: Daemon, client: Client) -> None:
    """Closing twice does no harm."""
    client.get("/1.0/a")
    client.close()
    client.close()
    client.get("/1.0/b")
    assert daemon.connections == 2


# Nobody there


def test_no_socket_says_so(short_dir: Path) -> None:
    """With hints at starting Incus and at INCUS_SOCKET."""
    path = str(short_dir / "none")
    with pytest.raises(UnreachableError, match=f"no incus socket at {path}") as caught:
        Client(path).get("/1.0")
    assert any("INCUS_SOCKET" in hint for hint in caught.value.hints)
    assert caught.value.exit_code == 1


def test_a_socket_nobody_listens_on_says_so(short_dir: Path) -> None:
    """A daemon that died leaves one."""
    path = str(short_dir / "dead")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(path)
    with pytest.raises(UnreachableError, match=f"nothing listens at {path}") as caught:
        Client(path).get("/1.0")
    assert caught.value.hints


def test_no_permission_says_which_group_gives_it(
    short_dir: Path, daemon: Daemon, unprivileged: Callable[[Callable[[], object]], str]
) -> None:
    """In a process that is not root."""
    os.chmod(daemon.path, 0o600)
    if os.geteuid() != 0:
        os.chmod(daemon.path, 0)

    def attempt() -> object:
        try:
            Client(daemon.path).get("/1.0")
        except UnreachableError as error:
            return [error.message, *error.hints]
        return "connected"

    said = unprivileged(attempt)
    assert f"no permission to talk to incus at {daemon.path}" in said
    assert "incus-admin" in said
    assert daemon.seen == []


@pytest.mark.parametrize("name", ["x" * 200, "plain"])
def test_a_path_that_can_be_no_socket_says_so(name: str, short_dir: Path) -> None:
    """Too long for a socket, or a plain file."""
    path = short_dir / name
    path.touch()
    with pytest.raises(UnreachableError, match=str(path)):
        Client(str(path)).get("/1.0")


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail ready\r\n",
        b"\x00\x01\x02\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nnull",
        b'HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n"x"',
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n\xff\xfe\xfd\xfc",
        b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 13\r\n\r\n<html></html>",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nnot a chunk\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 200 " + b"x" * 70000 + b"\r\n\r\n",
    ],
    ids=lambda raw: repr(raw[:40]),
)
def test_what_is_not_incus_is_told_apart(raw: bytes, daemon: Daemon, client: Client, reply: Reply) -> None:
    """Whatever it says, the user gets a sentence with the socket's path."""
    daemon.default = lambda seen: reply(raw=raw)
    with pytest.raises(RepomanError, match=daemon.path):
        client.get("/1.0")


# Operations


def test_what_began_nothing_needs_no_wait(daemon: Daemon, client: Client) -> None:
    """Not even a request."""
    assert client.wait_for_operation(Response({"x": 1}, ""), 5) == {}
    assert daemon.requests == []


def test_an_operation_is_waited_for_with_one_request(daemon: Daemon, client: Client, reply: Reply) -> None:
    """Incus holds the answer until it is done; its metadata is the result."""
    daemon.say(reply(DONE_OPERATION, delay=0.1))
    assert client.wait_for_operation(Response(RUNNING_OPERATION, "", True), 5) == {"return": 0}
    assert daemon.requests == [("GET", "/1.0/operations/op-1/wait?timeout=5")]


def test_an_operation_that_is_done_at_once_needs_no_request(daemon: Daemon, client: Client) -> None:
    """Its metadata came with it."""
    assert client.wait_for_operation(Response(DONE_OPERATION, "", True), 5) == {"return": 0}
    assert daemon.requests == []


def test_a_long_wait_may_take_longer_than_an_answer(daemon: Daemon, reply: Reply) -> None:
    """The limit of an operation is its own."""
    daemon.say(reply(DONE_OPERATION, delay=0.4))
    assert Client(daemon.path, timeout=0.2).wait_for_operation(Response(RUNNING_OPERATION, "", True), 60) == {"return": 0}


def test_progress_is_told_while_it_runs(daemon: Daemon, client: Client, reply: Reply) -> None:
    """Asked for in short waits."""
    steps = [RUNNING_OPERATION | {"metadata": {"download_progress": f"{percent}%"}} for percent in (10, 60)]
    daemon.say(reply(RUNNING_OPERATION), *(reply(step) for step in steps), reply(DONE_OPERATION))
    told: list[dict[str, Any]] = []
    assert client.wait_for_operation(Response(RUNNING_OPERATION, "", True), 60, told.append) == {"return": 0}
    assert told[:2] == [{"download_progress": "10%"}, {"download_progress": "60%"}]
    assert {target for _method, target in daemon.requests} == {"/1.0/operations/op-1/wait?timeout=1"}


@pytest.mark.parametrize(("code", "words"), [(400, "Failed to run: no space left on device"), (401, "Operation cancelled"), (401, "")])
def test_an_operation_that_fails_or_was_cancelled_is_an_error(code: int, words: str, daemon: Daemon, client: Client, reply: Reply) -> None:
    """With Incus's words, where it has any."""
    daemon.say(reply(RUNNING_OPERATION | {"status_code": code, "err": words, "metadata": None}))
    with pytest.raises(IncusError) as caught:
        client.wait_for_operation(Response(RUNNING_OPERATION, "", True), 5)
    assert caught.value.code == code
    assert words in caught.value.message


def test_an_operation_that_takes_too_long_is_cancelled(daemon: Daemon, client: Client, reply: Reply) -> None:
    """The error names it and the limit."""
    daemon.default = lambda seen: reply(RUNNING_OPERATION, delay=0.15) if seen.method == "GET" else reply()
    with pytest.raises(IncusError, match="Creating instance"):
        client.wait_for_operation(Response(RUNNING_OPERATION, "", True), 1)
    assert daemon.requests[-1] == ("DELETE", "/1.0/operations/op-1")
    assert {method for method, _target in daemon.requests[:-1]} == {"GET"}


def test_an_operation_that_cannot_be_cancelled_still_took_too_long(daemon: Daemon, client: Client, reply: Reply) -> None:
    """The user hears of the limit, not of the cancelling."""
    refused = reply(status=400, kind="error", error="can't be cancelled", error_code=400)
    daemon.default = lambda seen: reply(RUNNING_OPERATION, delay=0.15) if seen.method == "GET" else refused
    with pytest.raises(IncusError, match="did not finish"):
        client.wait_for_operation(Response(RUNNING_OPERATION, "", True), 0.2)


def test_a_wait_that_ends_before_the_operation_is_asked_again(daemon: Daemon, client: Client, reply: Reply) -> None:
    """Some releases answer so with an error; how far it is, is read then and told."""
    late = reply(status=400, kind="error", error="context deadline exceeded", error_code=400)
    done = RUNNING_OPERATION | {"status_code": 200, "metadata": {"done": "yes"}}
    heard: list[Any] = []

    def answer(seen: Any) -> Any:
        if "/wait" not in seen.target:
            return reply(RUNNING_OPERATION | {"metadata": {"download_progress": "rootfs: 5%"}})
        return reply(done) if heard else late

    daemon.default = answer
    assert client.wait_for_operation(Response(RUNNING_OPERATION, "", True), 5, heard.append) == {"done": "yes"}
    assert heard == [{"download_progress": "rootfs: 5%"}, {"done": "yes"}]


# The recording proxy


def test_the_proxy_hands_on_and_records(daemon: Daemon, reply: Reply) -> None:
    """Bodies, headers, statuses and chunks pass as they are, on one connection at either side."""
    with RecordingProxy(daemon.path) as proxy:
        client = Client(proxy.path)
        daemon.say(
            reply({"x": 1}, headers={"ETag": "abc"}),
            reply(chunks=[b'{"type":"sync",', b'"metadata":"' + b"x" * 100000 + b'"}']),
            reply(status=412, kind="error", error="Precondition failed", error_code=412),
        )
        assert client.get("/1.0/a?recursion=1").etag == "abc"
        assert client.get("/1.0/b").data == "x" * 100000
        with pytest.raises(ConcurrentChangeError):
            client.put("/1.0/c", {"big": "y" * 100000}, if_match="old")
        assert client.delete("/1.0/d").data == {"echo": "/1.0/d"}
        assert proxy.requests == [("GET", "/1.0/a?recursion=1"), ("GET", "/1.0/b"), ("PUT", "/1.0/c"), ("DELETE", "/1.0/d")]
        assert proxy.requests == daemon.requests
        assert proxy.writes == [("PUT", "/1.0/c"), ("DELETE", "/1.0/d")]
        assert json.loads(daemon.seen[2].body) == {"big": "y" * 100000}
        assert daemon.seen[2].headers["If-Match"] == "old"
        assert (proxy.connections, daemon.connections) == (1, 1)
        proxy.clear()
        assert (proxy.requests, proxy.writes) == ([], [])
        client.get("/1.0/e")
        assert proxy.requests == [("GET", "/1.0/e")]
    assert not os.path.exists(proxy.path)


def test_the_proxy_hands_on_a_chunked_request(daemon: Daemon) -> None:
    """Go's clients send these."""
    with RecordingProxy(daemon.path) as proxy, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.connect(proxy.path)
        raw.sendall(b"POST /1.0/a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n")
        raw.sendall(b"GET /1.0/b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        said = b"".join(iter(lambda: raw.recv(65536), b""))
    assert [(seen.method, seen.body) for seen in daemon.seen] == [("POST", b"abcde"), ("GET", b"")]
    assert said.count(b"HTTP/1.1 200") == 2


def test_the_proxy_waits_as_long_as_incus_does(daemon: Daemon, reply: Reply) -> None:
    """Other connections go on meanwhile."""
    with RecordingProxy(daemon.path) as proxy:
        gate = threading.Event()
        daemon.default = lambda seen: reply({"slow": True}, gate=gate) if seen.target == "/1.0/slow" else reply({"fast": True})
        slow: list[Any] = []
        waiting = threading.Thread(target=lambda: slow.append(Client(proxy.path).get("/1.0/slow").data))
        waiting.start()
        while ("GET", "/1.0/slow") not in daemon.requests:
            time.sleep(0.01)
        assert Client(proxy.path).get("/1.0/fast").data == {"fast": True}
        assert slow == []
        gate.set()
        waiting.join()
        assert slow == [{"slow": True}]


def test_the_proxy_closes_an_idle_connection_that_incus_closed(daemon: Daemon, reply: Reply) -> None:
    """A client behind it meets what it would meet without it."""
    with RecordingProxy(daemon.path) as proxy:
        client = Client(proxy.path)
        daemon.say(reply({"n": 1}, close_after=True))
        client.get("/1.0/a")
        time.sleep(0.1)
        assert client.get("/1.0/b").data == {"echo": "/1.0/b"}
        assert proxy.connections == 2


def test_the_proxy_asks_before_it_hands_on(daemon: Daemon) -> None:
    """The hook may hold a request, answer it in Incus's place, or end the connection; Incus sees only what passes."""
    with RecordingProxy(daemon.path) as proxy:
        seen_by_daemon: list[int] = []

        def hook(method: str, target: str) -> tuple[int, str] | None:
            seen_by_daemon.append(len(daemon.requests))
            if target == "/1.0/refused":
                return 500, "no space left on device"
            if target == "/1.0/dropped":
                raise ConnectionAbortedError
            return None

        proxy.on_request(hook)
        client = Client(proxy.path)
        client.get("/1.0/a")
        with pytest.raises(IncusError, match="no space left on device") as caught:
            client.post("/1.0/refused", {})
        assert caught.value.code == 500
        with pytest.raises(UnreachableError):
            client.post("/1.0/dropped", {})
        proxy.on_request(None)
        client.get("/1.0/b")
        assert daemon.requests == [("GET", "/1.0/a"), ("GET", "/1.0/b")]
        assert proxy.requests == [("GET", "/1.0/a"), ("POST", "/1.0/refused"), ("POST", "/1.0/dropped"), ("GET", "/1.0/b")]
        assert seen_by_daemon == [0, 1, 1]


def test_the_proxy_passes_a_connection_that_changes_its_protocol(short_dir: Path) -> None:
    """A command with a terminal is a websocket."""
    path = str(short_dir / "upgrade.socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def upgrade() -> None:
            end, _address = listener.accept()
            with end:
                while b"\r\n\r\n" not in end.recv(65536):
                    pass
                end.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nhello")
                end.sendall(end.recv(100).upper())

        thread = threading.Thread(target=upgrade)
        thread.start()
        with RecordingProxy(path) as proxy, socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
            raw.settimeout(60)
            raw.connect(proxy.path)
            raw.sendall(b"GET /1.0/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
            said = b""
            while b"hello" not in said:
                said += raw.recv(100)
            raw.sendall(b"ping")
            assert raw.recv(100) == b"PING"
            assert proxy.requests == [("GET", "/1.0/ws")]
        thread.join(5)


def test_the_proxy_without_an_upstream_hangs_up(short_dir: Path) -> None:
    """As a daemon that died does."""
    with RecordingProxy(str(short_dir / "none")) as proxy, pytest.raises(UnreachableError):
        Client(proxy.path).post("/1.0", {})
