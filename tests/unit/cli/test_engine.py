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
from importlib.util import find_spec
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
print(*sorted(name.removeprefix("ansible.plugins.") for name in sys.modules if name.startswith("ansible.")))
"""
CALLBACK = """
from ansible.plugins.callback import CallbackBase
class CallbackModule(CallbackBase):
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "mine"
    CALLBACK_NEEDS_ENABLED = {needs_enabled}
    def v2_playbook_on_start(self, playbook):
        print("my callback")
"""
AGENT = "ansible._internal._ssh._ssh_agent"
OTHER_CALLBACKS = {"callback.junit", "callback.tree"}


def loaded(home: Path, *options: str, env: dict[str, str] | None = None) -> tuple[set[str], str]:
    """Run ``list`` in a home without a registry; return the modules of ansible that were loaded, and the output."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"} | (env or {})
    command = [sys.executable, "-c", LOADED, *options, "list"]
    done = subprocess.run(command, env=environment, cwd=home, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return set(done.stdout.splitlines()[-1].split()), done.stdout + done.stderr


def test_local_run_loads_what_it_needs(tmp_path: Path) -> None:
    """It loads no connection, shell and become plugins but its own, and no callback plugins that do nothing."""
    modules, output = loaded(tmp_path)
    assert "repoman setup" in output
    assert {"connection.local", "shell.sh"} <= modules
    assert modules.isdisjoint({"connection.ssh", "connection.winrm", "shell.powershell", "become.sudo", AGENT} | OTHER_CALLBACKS)


def test_run_on_other_hosts_has_all_plugins(tmp_path: Path) -> None:
    """How its hosts are reached is not known before."""
    (tmp_path / "hosts").write_text("localhost ansible_connection=local\n")
    modules, output = loaded(tmp_path, "-i", "hosts")
    assert "repoman setup" in output
    assert {"connection.local", "connection.ssh", "connection.winrm", "shell.sh", "shell.powershell", "become.sudo"} <= modules


@pytest.mark.skipif(not find_spec("ansible._internal"), reason="this ansible starts no agent")
def test_agent_for_ssh(tmp_path: Path) -> None:
    """The module that starts one is loaded if a setting asks for one."""
    modules, output = loaded(tmp_path, env={"ANSIBLE_SSH_AGENT": str(tmp_path / "none")})
    assert AGENT in modules and "Could not communicate with ssh-agent" in output, output


def test_callback_plugins_of_the_user(tmp_path: Path) -> None:
    """One in the user's directory runs; so do one that the user enables, and one of ansible itself that is enabled."""
    directory = tmp_path / ".ansible/plugins/callback"
    directory.mkdir(parents=True)
    file = directory / "mine.py"
    file.write_text(CALLBACK.format(needs_enabled=False))
    assert "my callback" in loaded(tmp_path)[1]
    file.write_text(CALLBACK.format(needs_enabled=True))
    assert "my callback" in loaded(tmp_path, env={"ANSIBLE_CALLBACKS_ENABLED": "mine"})[1]
    file.unlink()
    reports = tmp_path / "reports"
    loaded(tmp_path, env={"ANSIBLE_CALLBACKS_ENABLED": "junit", "JUNIT_OUTPUT_DIR": str(reports)})
    assert list(reports.iterdir())
