# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers on the socket that no Incus gives: an error that says so, never a wait or memory without an end."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import protect
from ansible_collections.homelab.repoman.plugins.module_utils.incus import shapes, transport
from ansible_collections.homelab.repoman.plugins.module_utils.incus.command import run_command
from answer_readers import VALID, chunked, client_of, read_instances, wait
from fuzzing import ODD, bounded, damaged_bytes, damaged_data, outcome
from hostile_server import DOCUMENT, INSTANCE, OPERATION, Answer, Server, endless, http_answer, serving, trickle
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server that the tests give its answers."""
    with serving() as running:
        yield running


@given(damaged=damaged_bytes(VALID) | damaged_bytes(chunked(json.dumps(DOCUMENT).encode()[:40], json.dumps(DOCUMENT).encode()[40:])))
def test_bytes_of_an_answer(server: Server, damaged: bytes) -> None:
    """Of its head, of its body, and of chunks."""
    server.answer = lambda _request: [damaged]
    outcome(lambda: read_instances(server))


@given(data=damaged_data(DOCUMENT))
def test_shapes_of_an_answer(server: Server, data: Any) -> None:
    """Each value may have each type."""
    server.answer = lambda _request: [http_answer(json.dumps(data).encode())]
    outcome(lambda: read_instances(server))


@given(data=damaged_data(DOCUMENT | {"type": "async", "metadata": OPERATION}))
def test_shapes_of_an_operation(server: Server, data: Any) -> None:
    """It ends, whatever it says."""
    text = json.dumps(data).replace('"status_code": 103', '"status_code": 200').encode()
    server.answer = lambda _request: [http_answer(text)]
    outcome(lambda: wait(server))


@given(value=st.sampled_from(ODD), shape=st.sampled_from([each for name, each in vars(shapes).items() if name.isupper()]))
def test_odd_values_have_no_shape_or_one(value: Any, shape: Any) -> None:
    """The check itself never fails."""
    assert shapes.has_shape(value, shape) in (True, False)


OK = b"HTTP/1.1 200 OK\r\n"
HUGE = f"{'9' * 18}".encode()
BOMBS: dict[str, tuple[Callable[[bytes], Answer], str]] = {
    "a length of exabytes": (lambda _request: [OK + b"Content-Length: " + HUGE + b"\r\n\r\n{}"], "closed the connection"),
    "a length of gigabytes": (lambda _request: [OK + b"Content-Length: 9999999999\r\n\r\n{}"], "closed the connection"),
    "a length of more than 64 bits": (lambda _request: [OK + b"Content-Length: " + HUGE * 2 + b"\r\n\r\n{}"], "closed the connection"),
    "a length of thousands of digits": (lambda _request: [OK + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n{}"], "Incus's protocol"),
    "a negative length": (lambda _request: [OK + b"Content-Length: -1\r\n\r\n{}"], "Incus's protocol"),
    "a length that is too short": (lambda _request: [OK + b"Content-Length: 1\r\n\r\n{}"], "Incus's protocol"),
    "a chunk of exabytes": (lambda _request: [OK + b"Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n{}"], "closed the connection"),
    "a chunk of more than 64 bits": (lambda _request: [OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"f" * 40 + b"\r\n{}"], "closed the connection"),
    "a negative chunk": (lambda _request: [OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}"], "Incus's protocol"),
    "no chunk": (lambda _request: [OK + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n{}"], "closed the connection"),
    "a header line without end": (endless(OK + b"X: ", b"a" * 65536), "Incus's protocol"),
    "headers without end": (endless(OK, b"X: a\r\n" * 1000), "Incus's protocol"),
    "a status without end": (endless(b"HTTP/1.1 200 ", b"a" * 65536), "Incus's protocol"),
    "lists": (lambda _request: [http_answer(b"[" * 1_000_000)], "Incus's protocol"),
    "digits": (lambda _request: [http_answer(b'{"type": "sync", "metadata": ' + b"9" * 1_000_000 + b"}")], "Incus's protocol"),
    "no number": (lambda _request: [http_answer(b'{"type": "sync", "metadata": [NaN]}')], "Incus's protocol"),
    "half a character": (lambda _request: [http_answer(json.dumps(DOCUMENT | {"metadata": [INSTANCE | {"name": "\ud800"}]}).encode())], "Incus's protocol"),
    "a key that is half a character": (lambda _request: [http_answer(json.dumps(DOCUMENT | {"\udcff": 1}).encode())], "Incus's protocol"),
    "nothing": (lambda _request: [], "closed the connection"),
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(server: Server, name: str) -> None:
    """The memory has a limit, and the error says what is wrong."""
    server.answer, expected = BOMBS[name]
    text = bounded(lambda: read_instances(server))
    assert text and expected in text


@pytest.mark.parametrize(
    "start",
    [OK + b"\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n"],
    ids=["without a length", "in chunks", "in a chunk of a negative length"],
)
def test_an_answer_without_end(server: Server, start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a limit, in time for any machine."""
    monkeypatch.setattr(transport, "MAX_BODY", 4 << 20)
    more = b" " * 65536
    server.answer = endless(start, b"10000\r\n" + more + b"\r\n" if start.endswith(b"chunked\r\n\r\n") else more)
    assert "does not speak Incus's protocol" in bounded(lambda: read_instances(server))


SLOW = {
    "a status": (b"HTTP/1.1 200 ", b"a"),
    "headers": (OK, b"X: a"),
    "more answers to come": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a body": (OK + b"Content-Length: 100000\r\n\r\n", b" "),
    "a body without a length": (OK + b"\r\n", b" "),
    "chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"),
    "what follows the chunks": (OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: a\r\n"),
}


@pytest.mark.parametrize("name", SLOW)
def test_slow_answers(server: Server, name: str) -> None:
    """The limit holds for the whole answer, not for each byte."""
    server.answer = trickle(*SLOW[name])
    assert "did not answer GET /1.0/instances within" in bounded(lambda: read_instances(server, timeout=0.3))


def test_a_second_answer_has_its_own_time(server: Server) -> None:
    """The limit begins again with each request on a connection."""

    def answer(_request: bytes) -> Answer:
        for _each in range(3):
            time.sleep(0.2)
            yield http_answer(json.dumps(DOCUMENT).encode())

    server.answer = answer
    with client_of(server, timeout=5) as client:
        for _each in range(3):
            assert client.get("/1.0/instances").data == [INSTANCE]
            client.timeout += 1


def test_deep_answers_in_a_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the parser takes, the search for secrets takes, too."""
    data: Any = {"password": "geheim"}
    for _each in range(100_000):
        data = [data]
    monkeypatch.setattr(logging.getLogger("repoman"), "level", logging.DEBUG)
    logging.getLogger("repoman").manager._clear_cache()  # type: ignore[attr-defined]
    protect(data)
    while isinstance(data, list):  # or the end of the test would take it apart by recursion
        data = data[0]


@given(
    data=damaged_data(
        DOCUMENT
        | {
            "type": "async",
            "metadata": {"id": "op-1", "status_code": 103, "metadata": {"fds": {"0": "a", "1": "b", "2": "c", "control": "d"}}},
        }
    )
)
def test_a_command(server: Server, data: Any) -> None:
    """Its streams do not open: an error, whatever the operation says."""
    server.answer = lambda _request: [http_answer(json.dumps(data).encode())]
    with client_of(server) as client:
        assert outcome(lambda: run_command(client, "web", "repoman", ["true"], 5))
