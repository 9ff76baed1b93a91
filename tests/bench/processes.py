# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Nothing stays behind: processes end with all that they started, directories go also if they are read-only, and signals stop the bench."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

PATIENCE = 10.0
"""Seconds that a process has to end by itself after SIGTERM."""
POLL = 0.02
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopped(KeyboardInterrupt):
    """A signal asked the bench to end. :ivar code: its exit status."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


@contextmanager
def stoppable() -> Iterator[Callable[[], None]]:
    """Let the first of the signals raise :class:`Stopped`, so that all is taken away; later ones do not disturb that.

    It yields what ends this: signals do nothing any more when only the taking away is left.
    """
    is_stopped = False

    def finish() -> None:
        nonlocal is_stopped
        is_stopped = True

    def stop(number: int, _frame: FrameType | None) -> None:
        nonlocal is_stopped
        if is_stopped:
            return
        is_stopped = True
        if number == signal.SIGHUP:
            _let_go_of_the_terminal()
        raise Stopped(number)

    # The background jobs of a shell ignore SIGINT, and so would what they start. nohup must stay in force.
    chosen = [number for number in SIGNALS if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN]
    before = {number: signal.signal(number, stop) for number in chosen}
    try:
        yield finish
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _let_go_of_the_terminal() -> None:
    """Write to nothing from now on if output goes to a terminal: it may be gone, and an error would hide what was measured."""
    with open(os.devnull, "wb") as nothing:
        for descriptor in (1, 2):
            if os.isatty(descriptor):
                os.dup2(nothing.fileno(), descriptor)


def descendants(process: int) -> list[int]:
    """Return the processes below one, those that it started first."""
    found: list[int] = []
    pending = [process]
    while pending:
        with suppress(OSError):
            for path in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
                below = [int(number) for number in path.read_text().split()]
                found += below
                pending += below
    return found


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """End a process that leads a session, with all below it, unless it was waited for meanwhile."""
    try:
        yield
    finally:
        if process.returncode is None:
            _end(process)


def run_all(
    command: Sequence[str | Path], *, data: bytes | None = None, timeout: float | None = None, **more: Any
) -> tuple[int, bytes, bytes]:
    """Run a command in a session, and end all that it started if it is not over in time, or if this is stopped.

    :param data: its input. :param more: for ``Popen``. :returns: its exit status, its output, and its errors if they are pipes.
    :raises subprocess.TimeoutExpired: it was not over in time.
    """
    stdin = subprocess.DEVNULL if data is None else subprocess.PIPE
    with subprocess.Popen(command, stdin=stdin, start_new_session=True, **more) as process, ended(process):
        output, errors = process.communicate(data, timeout)
    return process.returncode, output or b"", errors or b""


def _end(process: subprocess.Popen[bytes]) -> None:
    with ExitStack() as stack:
        handles: list[int] = []  # a number could be that of another process by then
        for number in descendants(process.pid):  # the workers of Ansible have sessions of their own
            with suppress(ProcessLookupError):
                handles.append(os.pidfd_open(number))
                stack.callback(os.close, handles[-1])
        _signal_group(process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE)
        _signal_group(process.pid, signal.SIGKILL)
        for handle in handles:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        process.wait()


def _signal_group(leader: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, number)


def remove_tree(path: Path) -> None:
    """Remove a directory, also if directories in it are read-only, as in the module cache of Go."""
    _make_writable(path)
    for above, names, _files in os.walk(path):
        for name in names:
            _make_writable(Path(above, name))
    shutil.rmtree(path)


def _make_writable(path: Path) -> None:
    mode = path.lstat().st_mode
    if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
        path.chmod(stat.S_IRWXU)


def wait_until(is_so: Callable[[], bool], seconds: float) -> bool:
    """Return whether something becomes true in time."""
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL)
    return True
