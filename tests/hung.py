# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system whose server does not answer."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LIMIT = 60.0
"""Seconds after which its server is gone, so that what hangs on it goes on."""
MNT_DETACH = 2


@contextmanager
def hung_mount(place: Path, limit: float = LIMIT) -> Iterator[threading.Event]:
    """Mount a FUSE file system that never answers; the event is set once it was given up, because something hung on it."""
    libc, gave_up = ctypes.CDLL(None, use_errno=True), threading.Event()
    try:
        device = os.open("/dev/fuse", os.O_RDWR)
        options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other"
        if libc.mount(b"hung", os.fsencode(place), b"fuse", 0, options.encode()) != 0:
            raise OSError(ctypes.get_errno(), "mount")
    except OSError as error:
        pytest.skip(f"no FUSE here: {error}")

    def give_up() -> None:
        gave_up.set()
        os.close(device)

    watch = threading.Timer(limit, give_up)
    watch.start()
    try:
        yield gave_up
    finally:
        watch.cancel()
        watch.join()
        libc.umount2(os.fsencode(place), MNT_DETACH)
        if not gave_up.is_set():
            os.close(device)
