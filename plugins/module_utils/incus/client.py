# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One Incus daemon: one keep-alive connection, a limit on every wait, typed errors.

Source of the protocol: Incus's REST API documentation (``/1.0``, operations, ``ETag``).
"""

from __future__ import annotations

import http.client
import json
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import ConcurrentChangeError, RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.core.log import protect
from ansible_collections.homelab.repoman.plugins.module_utils.core.quoting import shell_word
from ansible_collections.homelab.repoman.plugins.module_utils.incus.shapes import (
    DOCUMENT,
    OPERATION,
    checked,
    has_shape,
    protocol_error,
)
from ansible_collections.homelab.repoman.plugins.module_utils.incus.transport import UnixConnection, exchange

SYSTEM_SOCKETS = ("/run/incus/unix.socket", "/var/lib/incus/unix.socket")
DEFAULT_PROJECT = "default"
HTTP_CONFLICT = 409
HTTP_NOT_FOUND = 404
HTTP_FORBIDDEN = 403
HTTP_PRECONDITION_FAILED = 412
LOG_HINT = "sudo journalctl --unit incus --lines 20   # the log of Incus; then run the command again"
RUNNING = 103
"""Status code of an instance that is running."""
PENDING_CODES = range(100, 200)
"""Status codes of an operation that has not ended."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
"""An escape of half a character, which only means one together with the other half: it can be neither sent back nor printed."""


class IncusError(RepomanError):
    """Incus responded with an error.

    :param code: HTTP status code of the response, or status code of the failed operation.
    :param reason: the error as Incus reports it.
    """

    def __init__(self, code: int, reason: str, message: str, *hints: str) -> None:
        super().__init__(message, *hints)
        self.code = code
        self.reason = reason

    def as_result(self) -> dict[str, Any]:
        """Return the error as the result of a module; without another hint, it names Incus's log."""
        return super().as_result() | {"hints": self.hints or [LOG_HINT]}


class UnreachableError(RepomanError):
    """Incus cannot be reached, or does not answer."""


class NotRunningError(UnreachableError):
    """Incus is not running: the socket is missing, refuses connections or denies access."""

    may_be_created_later = True


@dataclass(frozen=True)
class Response:
    """Incus's response to a request.

    :param data: ``metadata`` of the response.
    :param etag: the object's ``ETag``, for a later ``If-Match``.
    :param is_operation: whether ``data`` is an operation that was started, to be passed to :meth:`Client.wait_for_operation`.
    """

    data: Any
    etag: str
    is_operation: bool = False


def find_socket(configured: str | None = None) -> str:
    """Return the path of the socket: ``configured``, else ``INCUS_SOCKET``, else in ``INCUS_DIR``, else the system's.

    The order is that of the ``incus`` client.
    """
    if configured:
        return configured
    if os.environ.get("INCUS_SOCKET"):
        return os.environ["INCUS_SOCKET"]
    if os.environ.get("INCUS_DIR"):
        return os.path.join(os.environ["INCUS_DIR"], "unix.socket")
    return next((path for path in SYSTEM_SOCKETS if os.path.exists(path)), SYSTEM_SOCKETS[0])


def api_path(template: str, *parts: str, **query: str | int) -> str:
    """Return a request path: ``template`` with each ``{}`` replaced by a quoted part, and a query.

    >>> api_path("/1.0/profiles/{}", "a/b", project="default")
    '/1.0/profiles/a%2Fb?project=default'
    """
    path = template.format(*(quote(part, safe="") for part in parts))
    return f"{path}?{urlencode(query, quote_via=quote)}" if query else path


def etag(*fields: Any) -> str:
    """Return the ETag Incus gives an object made of ``fields``: SHA-256 of their JSON as Go writes it.

    With it, a write can have ``If-Match`` after a bulk read, which has no ETags of the objects. If a release of Incus includes other
    fields, it rejects the write with 412, and the caller reads that object.
    """
    import hashlib

    text = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return hashlib.sha256(f"{text}\n".encode()).hexdigest()


class Client:
    """One Incus daemon.

    :param path: the socket's path; see :func:`find_socket`.
    :param timeout: seconds that a response may take.
    """

    def __init__(self, path: str, timeout: float = 30) -> None:
        self.path = path
        self.timeout = timeout
        self._connection: UnixConnection | None = None

    def get(self, target: str) -> Response:
        """Read an object.

        :param target: request path, made by :func:`api_path`.
        :raises IncusError: Incus rejects the request. :class:`UnreachableError`: it does not answer.
        """
        return self._request("GET", target)

    def get_or_none(self, target: str) -> Response | None:
        """Read an object; return ``None`` if it does not exist."""
        try:
            return self.get(target)
        except IncusError as error:
            if error.code == HTTP_NOT_FOUND:
                return None
            raise

    def get_text(self, target: str) -> str:
        """Read a file, such as the log of an instance."""
        status, _headers, body = self._send("GET", target, None, {}, self.timeout)
        text = body.decode("utf-8", errors="replace")
        if status != http.client.OK:
            raise IncusError(status, text, f"incus cannot give {target}: {text.strip()}")
        return text

    def post(self, target: str, data: Any) -> Response:
        """Create an object, or start an operation."""
        return self._request("POST", target, data)

    def put(self, target: str, data: Any, if_match: str = "") -> Response:
        """Replace an object.

        :param if_match: ETag of the object when it was read.
        :raises ConcurrentChangeError: the object has changed since.
        """
        return self._request("PUT", target, data, if_match=if_match)

    def patch(self, target: str, data: Any) -> Response:
        """Change the given keys of an object."""
        return self._request("PATCH", target, data)

    def delete(self, target: str) -> Response:
        """Delete an object."""
        return self._request("DELETE", target)

    def upload(self, target: str, content: bytes, headers: dict[str, str]) -> None:
        """Write a file or create a directory inside an instance; ``headers`` are Incus's ``X-Incus-*``."""
        self._parse_response(
            "POST", target, *self._send("POST", target, content, {"Content-Type": "application/octet-stream", **headers}, self.timeout)
        )

    def wait_for_operation(
        self, response: Response, timeout: float, on_progress: Callable[[dict[str, Any]], None] | None = None
    ) -> dict[str, Any]:
        """Wait for the operation that a request started, if any.

        :param response: the response to that request.
        :param timeout: seconds the operation may take; it is cancelled after that.
        :param on_progress: called with the operation's metadata while it runs, such as the progress of a download.
        :returns: the operation's own metadata.
        :raises IncusError: it failed, with its code and reason; or it took too long.
        """
        if not response.is_operation:
            return {}
        operation = self._operation(response)
        deadline = time.monotonic() + timeout
        while operation["status_code"] in PENDING_CODES:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                self._cancel(operation["id"])
                raise IncusError(
                    0, "timeout", f"incus did not finish '{operation.get('description', 'the operation')}' in {timeout:.0f} s."
                )
            step = min(remaining, 1.0) if on_progress else remaining
            target = api_path("/1.0/operations/{}/wait", operation["id"], timeout=max(1, round(step)))
            try:
                operation = self._operation(self._request("GET", target, timeout=step + self.timeout))
            except IncusError as error:  # some releases report an operation that is still running like this
                if "deadline exceeded" not in error.reason:
                    raise
                operation = self._operation(self.get(api_path("/1.0/operations/{}", operation["id"])))
            if on_progress and operation.get("metadata"):
                on_progress(operation["metadata"])
        if operation.get("err") or operation["status_code"] >= http.client.BAD_REQUEST:
            reason = str(operation.get("err") or operation.get("status") or "the operation was cancelled")
            raise _api_error(operation["status_code"], reason)
        return operation.get("metadata") or {}

    def read(self, target: str, shape: Any) -> Response:
        """Read an object that must have a shape; see :mod:`incus.shapes`.

        :raises RepomanError: it has another shape. Otherwise as :meth:`get`.
        """
        response = self.get(target)
        checked(response.data, shape, self.path)
        return response

    def read_or_none(self, target: str, shape: Any) -> Response | None:
        """Do the same; return ``None`` if the object does not exist."""
        response = self.get_or_none(target)
        if response is not None:
            checked(response.data, shape, self.path)
        return response

    def _operation(self, response: Response) -> dict[str, Any]:
        operation: dict[str, Any] = checked(response.data, OPERATION, self.path)
        return operation

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _cancel(self, operation: str) -> None:
        try:
            self.delete(api_path("/1.0/operations/{}", operation))
        except IncusError:
            return  # it has ended, or cannot be cancelled; the caller reports the timeout

    def _request(self, method: str, target: str, data: Any = None, if_match: str = "", timeout: float = 0) -> Response:
        protect(data)
        body = None if data is None else json.dumps(data).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        if if_match:
            headers["If-Match"] = if_match
        return self._parse_response(method, target, *self._send(method, target, body, headers, timeout or self.timeout))

    def _parse_response(self, method: str, target: str, status: int, headers: http.client.HTTPMessage, body: bytes) -> Response:
        try:
            document = json.loads(body)
            if _SURROGATE.search(body):
                json.dumps(document, ensure_ascii=False).encode()
        except (ValueError, RecursionError):
            document = None
        if not has_shape(document, DOCUMENT):
            raise protocol_error(self.path)
        protect(document)
        if document.get("type") == "error":
            code, reason = document.get("error_code") or status, document.get("error") or ""
            if code == HTTP_PRECONDITION_FAILED:
                raise ConcurrentChangeError(f"{target} was changed by another client at the same time.", "run the command again")
            raise _api_error(code, reason)
        return Response(document.get("metadata"), headers.get("ETag", ""), document.get("type") == "async")

    def _send(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str], timeout: float
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        reused = self._connection is not None
        try:
            return self._exchange(method, target, body, headers, timeout)
        except (http.client.RemoteDisconnected, http.client.IncompleteRead, ConnectionResetError, BrokenPipeError) as error:
            self.close()
            if reused and method == "GET":  # the daemon may close a connection that was idle
                return self._send(method, target, body, headers, timeout)
            raise UnreachableError(
                f"incus at {self.path} closed the connection during {method} {target}.", "is it being restarted? run the command again"
            ) from error
        except TimeoutError as error:
            self.close()
            raise UnreachableError(
                f"incus at {self.path} did not answer {method} {target} within {timeout:.0f} s.",
                f"INCUS_SOCKET={shell_word(self.path)} incus operation list --all-projects local:   # what it does",
                "allow more with the option 'timeout'",
            ) from error
        except OSError as error:
            self.close()
            raise self._unreachable(error) from error
        except http.client.HTTPException as error:
            self.close()
            raise protocol_error(self.path) from error
        except BaseException:
            self.close()
            raise

    def _exchange(
        self, method: str, target: str, body: bytes | None, headers: dict[str, str], timeout: float
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        if self._connection is None:
            self._connection = UnixConnection(self.path, timeout)
        self._connection.set_limit(timeout)
        return exchange(self._connection, method, target, body, headers)

    def _unreachable(self, error: OSError) -> UnreachableError:
        if isinstance(error, PermissionError):
            return NotRunningError(
                f"no permission to talk to incus at {self.path}.",
                "sudo usermod -aG incus-admin $USER   # then log in again",
                "the group 'incus' is not enough: it may neither share directories nor make projects",
            )
        if isinstance(error, FileNotFoundError):
            return NotRunningError(
                f"there is no incus socket at {self.path}.",
                "is incus installed and running? sudo systemctl start incus",
                "set INCUS_SOCKET if its socket is elsewhere",
            )
        if isinstance(error, ConnectionRefusedError):
            return NotRunningError(f"incus is not running: nothing listens at {self.path}.", "sudo systemctl start incus")
        return UnreachableError(f"cannot talk to incus at {self.path}: {error.strerror or error}.", "set INCUS_SOCKET to Incus's socket")


def _api_error(code: int, reason: str) -> IncusError:
    """Return the error for a request that Incus rejects."""
    if code == HTTP_FORBIDDEN:
        return IncusError(code, reason, f"incus does not allow it: {reason}.", "sudo usermod -aG incus-admin $USER   # then log in again")
    return IncusError(code, reason, f"incus refused: {reason.rstrip('.')}.")
