# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A trace for bug reports: what a run read, decided and did, without secrets.

The logic logs with the standard library, at level DEBUG, to children of the logger ``repoman``. Nothing is written unless a run starts the
trace: into the file that ``REPOMAN_LOG`` names, and with ``-vvv`` to Ansible's display.

Forks log like their parent. They write to the file themselves, but Ansible's display works in one process only, so they leave their
lines in memory that all processes of the run share, and the process with the display passes them on.

Do not log values that may be secret. :func:`protect` is the second line of defence: it masks them in texts of other programs, such as errors of
Incus.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shlex
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters
from ansible_collections.homelab.repoman.plugins.module_utils.core.secrets import is_secret_key

FILE_VARIABLE = "REPOMAN_LOG"
MASK = "(secret)"
MIN_SECRET_LENGTH = 4
"""Shorter values are not masked, because they are part of too many texts."""
MAX_WORD_LENGTH = 80
"""Longer words of a command, such as a script, are cut."""

_logger = logging.getLogger("repoman")
_secrets: set[str] = set()


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a part of the logic, such as ``incus``."""
    return _logger.getChild(name)


@contextmanager
def tracing(emit: Callable[[str], None] | None = None) -> Iterator[None]:
    """Write the trace inside a ``with``.

    :param emit: gets each line, too, also those of forks; called in this process only.
    """
    handlers: list[_Handler] = []
    if emit is not None:
        handlers.append(_EmitHandler(emit))
    if path := os.environ.get(FILE_VARIABLE):
        handlers.append(_FileHandler(path))
    if not handlers:
        yield
        return
    level, propagate = _logger.level, _logger.propagate
    _logger.setLevel(logging.DEBUG)
    _logger.propagate = False  # Ansible's own log file must not get it a second time
    for handler in handlers:
        _logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            _logger.removeHandler(handler)
            handler.close()
        _logger.setLevel(level)
        _logger.propagate = propagate


def relay_forks() -> None:
    """Pass on the lines of forks; for a process that waits for them and logs nothing itself."""
    for handler in _logger.handlers:
        if isinstance(handler, _EmitHandler):
            handler.acquire()
            try:
                handler.relay()
            finally:
                handler.release()


def protect(data: Any, secret: bool = False) -> None:
    """Mask, in all later lines, the values of nested data that may be secret.

    :param secret: treat all values as secret.
    """
    if not _logger.isEnabledFor(logging.DEBUG):
        return
    if isinstance(data, dict):
        for key, value in data.items():
            protect(value, secret or is_secret_key(str(key)))
    elif isinstance(data, list | tuple):
        for value in data:
            protect(value, secret)
    elif secret and data is not None:
        text = str(data)
        _secrets.update(secret_text for secret_text in (text, *text.splitlines()) if len(secret_text.strip()) >= MIN_SECRET_LENGTH)


def format_command(argv: Sequence[str | bytes]) -> str:
    """Return a command as one line; long words, such as scripts, are cut."""
    words = [_masked(os.fsdecode(word)) for word in argv]
    return shlex.join(word if len(word) <= MAX_WORD_LENGTH else f"{word[:MAX_WORD_LENGTH]}…" for word in words)


def _masked(text: str) -> str:
    """Return a text with every known secret masked, long ones first."""
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, MASK)
    return text


class _Handler(logging.Handler):
    """Formats a record as one line without secrets."""

    def line(self, record: logging.LogRecord) -> str:
        """Return the line: time, process, part, message."""
        text = _masked(record.getMessage())
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        part = record.name.removeprefix("repoman.")
        return escape_control_characters(f"{when}.{int(record.msecs):03}Z {os.getpid()} {part}: {text}".replace("\n", " | "))


class _EmitHandler(_Handler):
    """Passes lines on; those of forks by way of shared memory.

    A trace that cannot be written, such as to a closed terminal, ends nothing and prevents no rollback.
    """

    def __init__(self, emit: Callable[[str], None]) -> None:
        super().__init__()
        self._emit_line, self._process, self._passed_on = emit, os.getpid(), 0
        self._fd = -1
        with suppress(OSError):  # a filter of system calls may forbid it; then the lines of forks are missing
            self._fd = os.memfd_create("repoman-trace", os.MFD_CLOEXEC)
            fcntl.fcntl(self._fd, fcntl.F_SETFL, os.O_APPEND)

    def emit(self, record: logging.LogRecord) -> None:
        """Pass the line on, after those that forks have left; in a fork, leave it."""
        line = self.line(record)
        if os.getpid() != self._process:
            with suppress(OSError):
                os.write(self._fd, f"{line}\n".encode(errors="backslashreplace"))
            return
        self.relay()
        self._pass_on(line)

    def relay(self) -> None:
        """Pass on the lines that forks have left; in a fork, do nothing."""
        if self._fd < 0 or os.getpid() != self._process:
            return
        data = os.pread(self._fd, os.fstat(self._fd).st_size - self._passed_on, self._passed_on)
        self._passed_on += len(data)
        for line in data.decode(errors="replace").splitlines():
            self._pass_on(line)

    def close(self) -> None:
        """Pass on the remaining lines, and free the memory."""
        self.relay()
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()

    def _pass_on(self, line: str) -> None:
        try:
            self._emit_line(line)
        except RunInterruptedError:
            raise
        except Exception:
            return


class _FileHandler(_Handler):
    """Appends to a file that only its owner can read; processes of one run share it. A file that cannot be written ends no run."""

    def __init__(self, path: str) -> None:
        super().__init__()
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except OSError:
            self._fd = -1

    def emit(self, record: logging.LogRecord) -> None:
        """Write the line with one call, so that lines of several processes do not mix."""
        if self._fd >= 0:
            try:
                os.write(self._fd, f"{self.line(record)}\n".encode(errors="backslashreplace"))
            except OSError:
                self.close()

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()
