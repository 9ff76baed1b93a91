# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The trace's handlers of ``logging``, which few runs have; see :mod:`core.log`."""

from __future__ import annotations

import fcntl
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress

from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RunInterruptedError
from ansible_collections.homelab.repoman.plugins.module_utils.core.formatting import escape_control_characters


@contextmanager
def handled(name: str, handlers: Sequence[Handler]) -> Iterator[None]:
    """Let handlers have what is logged inside a ``with``.

    :param name: of the logger.
    """
    logger = logging.getLogger(name)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.DEBUG)
    logger.propagate = False  # Ansible's own log file must not get it a second time
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate


def relay_forks(name: str) -> None:
    """Pass on the lines of forks; see :func:`core.log.relay_forks`.

    :param name: of the logger.
    """
    for handler in logging.getLogger(name).handlers:
        if isinstance(handler, EmitHandler):
            handler.acquire()
            try:
                handler.relay()
            finally:
                handler.release()


class Handler(logging.Handler):
    """Formats a record as one line without secrets.

    :param mask: masks the secrets in a text.
    """

    def __init__(self, mask: Callable[[str], str]) -> None:
        super().__init__()
        self._mask = mask

    def line(self, record: logging.LogRecord) -> str:
        """Return the line: time, process, part, message."""
        text = self._mask(record.getMessage())
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        part = record.name.removeprefix("repoman.")
        return escape_control_characters(f"{when}.{int(record.msecs):03}Z {os.getpid()} {part}: {text}".replace("\n", " | "))


class EmitHandler(Handler):
    """Passes lines on; those of forks by way of shared memory.

    A trace that cannot be written, such as to a closed terminal, ends nothing and prevents no rollback.
    """

    def __init__(self, emit: Callable[[str], None], mask: Callable[[str], str]) -> None:
        super().__init__(mask)
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


class FileHandler(Handler):
    """Appends to a file that only its owner can read; processes of one run share it. A file that cannot be written ends no run."""

    def __init__(self, path: str, mask: Callable[[str], str]) -> None:
        super().__init__(mask)
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
