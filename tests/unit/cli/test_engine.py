# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Interrupts of a run, which wait for the rollback; what a run loads."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupt_waits_for_the_worker(number: int) -> None:
    """The interrupt arrives once the last process that was started inside has ended; repeated signals count once."""
    from repoman import engine

    with engine._restored_signal_handlers():
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt), engine.InterruptHandler(local_only=True):
            child = os.fork()
            if not child:
                for each in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(each, signal.SIG_IGN)
                time.sleep(0.7)
                os._exit(0)
            try:
                os.kill(os.getpid(), number)
            finally:
                os.kill(os.getpid(), number)
        assert time.monotonic() - began >= 0.6
        os.waitpid(child, 0)


def test_second_interrupt_ends_the_waiting() -> None:
    """Whoever insists is let go."""
    from repoman import engine

    with engine._restored_signal_handlers():
        interrupts = engine.InterruptHandler(local_only=True)
        reading, writing = os.pipe()
        with pytest.raises(KeyboardInterrupt), interrupts:
            child = os.fork()
            if not child:
                signal.signal(signal.SIGINT, signal.SIG_IGN)
                os.read(reading, 1)
                time.sleep(engine.SIGNAL_DEBOUNCE_SECONDS + 0.1)
                os.kill(os.getppid(), signal.SIGINT)
                time.sleep(300)
                os._exit(0)
            try:
                os.kill(os.getpid(), signal.SIGINT)
            finally:
                os.write(writing, b"x")  # the first was noticed
        assert interrupts.count == 2
        assert os.waitpid(child, os.WNOHANG) == (0, 0)  # it was not waited for
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


LOADED = """
import sys
from repoman.cli import main
main(sys.argv[1:])
print(*sorted(name.rpartition(".")[2] for name in sys.modules if name.startswith("ansible.plugins.connection.")))
"""


@pytest.mark.parametrize(("options", "is_local"), [([], True), (["-i", "hosts"], False)])
def test_connection_plugins(tmp_path: Path, options: list[str], is_local: bool) -> None:
    """A run on this host loads no connection plugin but its own; one on other hosts has all of ansible's."""
    (tmp_path / "hosts").write_text("localhost ansible_connection=local\n")
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LANG": "C.UTF-8"}
    command = [sys.executable, "-c", LOADED, *options, "list"]
    done = subprocess.run(command, env=environment, cwd=tmp_path, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert "repoman setup" in done.stderr, done
    loaded = set(done.stdout.splitlines()[-1].split())
    assert "local" in loaded
    assert {"ssh", "winrm"}.isdisjoint(loaded) if is_local else {"ssh", "winrm"} <= loaded
