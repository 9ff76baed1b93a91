# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Standard streams that are closed, whose reader has gone away, or that cannot be written to.

None of these may stop a run in the middle of its work: ansible and its callback plugin would fail at the first line that they print.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any

from repoman.errors import CliError, print_error

STDIN, STDOUT, STDERR = 0, 1, 2


class Output(io.RawIOBase):
    """The file below a standard stream. After an error, the rest of the output is dropped.

    :ivar error: the error; ``None`` also if the reader has gone away.
    """

    def __init__(self, fd: int) -> None:
        super().__init__()
        self.fd = fd
        self.error: OSError | None = None

    def writable(self) -> bool:
        """Return true."""
        return True

    def fileno(self) -> int:
        """Return the file descriptor."""
        return self.fd

    def isatty(self) -> bool:
        """Return whether it is a terminal."""
        return os.isatty(self.fd)

    def write(self, data: Any, /) -> int:
        """Write, and after an error continue with ``/dev/null``, also for the programs that this process starts."""
        try:
            return os.write(self.fd, data)
        except BrokenPipeError:
            _discard(self.fd)
        except OSError as error:
            self.error = error
            _discard(self.fd)
        return memoryview(data).nbytes


_stdout: Output | None = None


def prepare() -> None:
    """Open ``/dev/null`` for streams that are closed, make the others blocking, and keep their errors from stopping the run.

    A caller such as rsync makes the streams non-blocking, which ansible refuses.

    Call it first: a file that is opened later could become standard output. Streams that a caller has replaced stay.
    """
    global _stdout  # noqa: PLW0603 - the standard streams are global, too
    for fd in (STDIN, STDOUT, STDERR):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDONLY if fd == STDIN else os.O_WRONLY)  # the lowest free number, which is this one
            os.set_inheritable(fd, True)
        else:
            os.set_blocking(fd, True)
    if sys.stdin is None:
        sys.stdin = open(STDIN, closefd=False)  # noqa: SIM115 - for the rest of the process
    if sys.stdout is sys.__stdout__:
        _stdout = Output(STDOUT)
        sys.stdout = _text(_stdout, sys.__stdout__)
    if sys.stderr is sys.__stderr__:
        sys.stderr = _text(Output(STDERR), sys.__stderr__)


def finish(code: int) -> int:
    """Write what is still in buffers; return the exit code of the run, which is a failure if its output could not be written.

    :param code: exit code so far.
    """
    sys.stdout.flush()
    if _stdout is not None and _stdout.error is not None:
        error, _stdout.error = _stdout.error, None
        print_error(CliError(f"cannot write the output: {error.strerror or error}.", "df -h"))
        code = code or 1
    sys.stderr.flush()
    return code


def _text(raw: Output, previous: io.TextIOBase | None) -> io.TextIOWrapper:
    """Return a text stream on ``raw``, like ``previous``."""
    encoding, errors = getattr(previous, "encoding", None), getattr(previous, "errors", None)
    is_line_buffered = raw.fd == STDERR or raw.isatty()
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors or "backslashreplace", line_buffering=is_line_buffered)


def _discard(fd: int) -> None:
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, fd)
    os.close(null)
