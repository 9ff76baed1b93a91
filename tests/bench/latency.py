# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A directory on which every operation takes half a millisecond more, as over a network."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.worlds import Bench, BenchError, need

SOURCE = Path(__file__).parent / "slowfs.c"
PATIENCE = 20.0
"""Seconds in which it must be mounted."""


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
    need("fusermount3")
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
    process = subprocess.Popen([program, mounted, backing, "-f", *options], stdin=subprocess.DEVNULL, env=environment)
    try:
        _wait_until_mounted(mounted, process)
        yield SlowDirectory(mounted, process)
    finally:
        subprocess.run(["fusermount3", "-u", mounted], check=False)
        process.wait()


def _wait_until_mounted(path: Path, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not any(line.split()[4] == str(path) for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        if process.poll() is not None or time.monotonic() > deadline:
            raise BenchError("the directory with latency cannot be mounted")
        time.sleep(0.01)
