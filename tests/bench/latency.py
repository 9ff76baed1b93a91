# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory on which every operation takes half a millisecond more, as over a network."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.processes import wait_until
from bench.worlds import Bench, BenchError

SOURCE = Path(__file__).parent / "slowfs.c"
NEEDS = ("fusermount3", "cc", "pkg-config")
PATIENCE = 20.0
"""Seconds in which it must be mounted."""
PATIENCE_BUSY = 5.0
"""Seconds in which it must be unmounted before that is forced, and in which its process must end after that."""


class SlowDirectory:
    """A mounted directory. :param path: where it is."""

    def __init__(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        self.path, self._process = path, process

    @contextmanager
    def fast(self) -> Iterator[None]:
        """Take the delay away for what is only prepared."""
        self._process.send_signal(signal.SIGUSR1)
        try:
            yield
        finally:
            self._process.send_signal(signal.SIGUSR2)


@contextmanager
def slow_directory(bench: Bench) -> Iterator[SlowDirectory]:
    """Mount one, empty, for a while.

    :raises BenchError: this machine has no FUSE.
    """
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        raise BenchError("/dev/fuse cannot be opened here")
    base = bench.fresh_directory("slow")
    backing, mounted, program = base / "backing", base / "mounted", base / "slowfs"
    for path in (backing, mounted):
        bench.make_directory(path)
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "fuse3"], check=True, capture_output=True, text=True).stdout.split()
    subprocess.run(["cc", "-O2", str(SOURCE), "-o", str(program), *flags], check=True)
    environment, options = {"PATH": os.environ["PATH"]}, ["-o", "max_threads=64"]
    if os.geteuid() == 0:  # the user may not be allowed to open the device
        environment |= {"SLOWFS_UID": str(bench.me.uid), "SLOWFS_GID": str(bench.me.gid)}
        options += ["-o", "allow_other"]
    command = [program, mounted, backing, "-f", *options]
    # In a new session, so that Ctrl-C does not end it before the programs that use it.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment, start_new_session=True)
    try:
        _wait_until_mounted(mounted, process)
        yield SlowDirectory(mounted, process)
    finally:
        unmount(mounted, process)


def unmount(path: Path, process: subprocess.Popen[bytes]) -> None:
    """Take a mounted directory away, and end what serves it, also if something still uses the directory."""

    def is_gone(*options: str) -> bool:
        if is_mounted(path):
            subprocess.run(["fusermount3", "-u", *options, path], check=False, stderr=subprocess.DEVNULL)
        return not is_mounted(path)

    if not wait_until(is_gone, PATIENCE_BUSY):
        is_gone("-z")
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE_BUSY)
    if process.poll() is None:
        process.kill()  # which also ends the waiting of what uses the directory
        process.wait()
    is_gone("-z")


def is_mounted(path: Path) -> bool:
    """Return whether something is mounted at a path."""
    return any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines())


def _wait_until_mounted(path: Path, process: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: is_mounted(path) or process.poll() is not None, PATIENCE)
    if not is_mounted(path):
        raise BenchError("the directory with latency cannot be mounted")
