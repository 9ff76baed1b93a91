# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What can go wrong with one request to Incus: the tables of tests that make it go wrong at each request in turn."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from proxy import Hook, Refusal, Rewrite
from world import IncusRefusalError, World

SHORT, LONG = 1.0, 20.0
"""Limits of a response in seconds: for faults without a response, and for the others."""
LIMITS = {
    "projects.control.OPERATION_TIMEOUT": 12.0,
    "projects.create.OPERATION_TIMEOUT": 12.0,
    "projects.control.STOP_TIMEOUT": 8,
    "projects.control.BUSY_SECONDS": 8.0,
    "projects.instance_setup.START_TIMEOUT": 2.0,
}
"""Shorter limits of what is polled, for faults that stay; long enough for what goes well on a busy machine."""
SECONDS = ("ACCOUNT_TIMEOUT", "PROBE_TIMEOUT", "BOOT_TIMEOUT", "CLOUD_INIT_TIMEOUT")
QUICK = {f"projects.instance_setup.{name}": 5 for name in SECONDS}
"""Shorter limits of a command in the container, for faults that never answer."""
WORDS = "not in a test"
WRONG = ([1], "text", 7, {"a": {"b": []}}, [None], True, {"id": 3, "status_code": "x"})
"""Metadata of no shape that Incus's has."""


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    :param act: gets the fault; returns what a hook of the proxy returns.
    :param is_lasting: whether it concerns all later requests, too.
    :param kills: whether it kills the run.
    :param is_silent: whether the request is never answered.
    :param part: of the targets of the requests that it can concern.
    """

    name: str
    act: Callable[[Fault], Refusal | Rewrite | None]
    is_lasting: bool = False
    kills: bool = False
    is_silent: bool = False
    part: str = ""


class Fault:
    """A hook of the proxy: a fault at one request of a run.

    :param kind: of the fault.
    :param at: number of the request, from 0; requests in the background count as they come.
    """

    def __init__(self, world: World, kind: Kind, at: int) -> None:
        self.world, self.kind, self.at = world, kind, at
        self.count, self.request = 0, ("", "")
        self.over = threading.Event()
        """Set when the run has ended; requests without an answer wait for it."""
        self._lock = threading.Lock()

    def __call__(self, method: str, target: str) -> Refusal | Rewrite | None:
        """Look at a request."""
        with self._lock:
            number = self.count
            self.count += 1
        if number == self.at:
            self.request = (method, target)
        if number == self.at or (number > self.at and self.kind.is_lasting):
            return self.kind.act(self)
        return None

    def kill(self) -> None:
        """Kill the run."""
        assert self.world.logic
        self.world.logic.kill()


def _hang_up(_fault: Fault) -> None:
    raise ConnectionError


def _kill(fault: Fault) -> None:
    fault.kill()
    raise ConnectionError


def _wait(fault: Fault) -> None:
    fault.over.wait()
    raise ConnectionError


def _refuse(status: int) -> Callable[[Fault], Refusal]:
    return lambda _fault: (status, WORDS)


def _rewrite(change: Callable[[bytes, bytes], bytes]) -> Callable[[Fault], Rewrite]:
    return lambda _fault: change


def _with_body(head: bytes, body: bytes) -> bytes:
    head = re.sub(rb"(?i)\r\n(content-length|transfer-encoding):[^\r]*", b"", head)
    return head.replace(b"\r\n\r\n", b"\r\nContent-Length: %d\r\n\r\n" % len(body), 1) + body


def _kill_after(fault: Fault) -> Rewrite:
    def change(_head: bytes, _body: bytes) -> bytes:
        fault.kill()
        return b""

    return change


def _wait_after(fault: Fault) -> Rewrite:
    def change(_head: bytes, _body: bytes) -> bytes:
        fault.over.wait()
        return b""

    return change


def _wrong(fault: Fault) -> Rewrite:
    def change(head: bytes, body: bytes) -> bytes:
        with suppress(ValueError):
            body = json.dumps(json.loads(body) | {"metadata": WRONG[fault.at % len(WRONG)]}).encode()
        return _with_body(head, body)

    return change


def _error_after(head: bytes, _body: bytes) -> bytes:
    return _with_body(
        re.sub(rb"^HTTP/1.1 \d+", b"HTTP/1.1 500", head), json.dumps({"type": "error", "error": WORDS, "error_code": 500}).encode()
    )


def _cancel(fault: Fault) -> Rewrite:
    """Cancel the operation that a request starts, and answer as Incus did."""

    def change(head: bytes, body: bytes) -> bytes:
        with suppress(ValueError, KeyError, TypeError, IncusRefusalError):
            operation = json.loads(body)["operation"]
            if operation:
                fault.world.api("DELETE", operation)
        return head + body

    return change


def _failed(status: int, words: str) -> Callable[[Fault], Rewrite]:
    """Let an operation end with an error."""

    def change(head: bytes, body: bytes) -> bytes:
        document: dict[str, Any] = json.loads(body)
        if isinstance(document.get("metadata"), dict):
            document["metadata"] |= {"status_code": status, "err": words}
        return _with_body(head, json.dumps(document).encode())

    return lambda _fault: change


KINDS = (
    Kind("killed-before", _kill, kills=True),
    Kind("killed-after", _kill_after, kills=True),
    Kind("hung-up", _hang_up),
    Kind("lost-answer", _rewrite(lambda _head, _body: b"")),
    Kind("half-a-head", _rewrite(lambda head, _body: head[: len(head) // 2])),
    Kind("head-only", _rewrite(lambda head, _body: head)),
    Kind("half-a-body", _rewrite(lambda head, body: head + body[: len(body) // 2])),
    Kind("empty-body", _rewrite(lambda head, _body: _with_body(head, b""))),
    Kind("garbage", _rewrite(lambda head, body: _with_body(head, body[::-1]))),
    Kind("no-http", _rewrite(lambda _head, body: body + b"\r\n\r\n")),
    Kind("wrong-types", _wrong),
    Kind("500", _refuse(500)),
    Kind("503", _refuse(503)),
    Kind("412", _refuse(412)),
    Kind("404", _refuse(404)),
    Kind("403", _refuse(403)),
    Kind("500-after", _rewrite(_error_after)),
    Kind("cancelled", _cancel),
    Kind("operation-failed", _failed(400, WORDS), part="/wait"),
    Kind("operation-cancelled", _failed(401, ""), part="/wait"),
    Kind("silent", _wait, is_silent=True),
    Kind("silent-after", _wait_after, is_silent=True),
    Kind("gone", _hang_up, is_lasting=True),
    Kind("gone-after", _rewrite(lambda _head, _body: b""), is_lasting=True),
    Kind("always-500", _refuse(500), is_lasting=True),
    Kind("always-garbage", _rewrite(lambda head, body: _with_body(head, body[::-1])), is_lasting=True),
)


__all__ = ["KINDS", "LIMITS", "LONG", "QUICK", "SHORT", "Fault", "Hook", "Kind"]
