# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Forked workers and the standard streams of the process that starts them."""

from __future__ import annotations

import subprocess
import sys

START = """
import os, sys, threading
from ansible_collections.homelab.repoman.plugins.module_utils.process.pool import map_forked

def square(number):
    return number * number
"""
LOCKED = r"""
# A worker of ansible-core 2.18: its main thread holds the lock of the streams for as long as it lives.
lock = threading.RLock()
for stream in (sys.stdout.buffer, sys.stderr.buffer):
    def locked(*args, method=stream.flush):
        with lock:
            return method(*args)
    stream.flush = locked
results = []
with lock:
    thread = threading.Thread(target=lambda: results.append(map_forked(square, [1, 2, 3], 2)), daemon=True)
    thread.start()
    thread.join(20)
os.write(1, f"{results}\n".encode())
os._exit(0)  # the thread may wait for ever
"""
BUFFERED = """
print("once")
print(map_forked(square, [1, 2, 3], 2))
"""


def test_a_thread_starts_workers_without_the_streams() -> None:
    """A lock that another thread holds does not stop it."""
    done = subprocess.run([sys.executable, "-c", START + LOCKED], capture_output=True, text=True, check=True)
    assert done.stdout == "[[1, 4, 9]]\n"


def test_workers_write_nothing_that_was_buffered() -> None:
    """What the process that starts them has not yet written is written once."""
    done = subprocess.run([sys.executable, "-c", START + BUFFERED], capture_output=True, text=True, check=True)
    assert done.stdout == "once\n[1, 4, 9]\n"
