# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL reaches only the command's own process: what works for it ends at once, and the next run works."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from proxy import RecordingProxy, RequestPause
from test_provision import assert_works, entries
from world import TIMEOUT, World


def leftovers(world: World) -> list[Path]:
    """Return the temporary directories of Ansible in the home."""
    return list((world.home / ".ansible/tmp").iterdir())


def children(pid: int) -> list[int]:
    """Return the child processes of a process."""
    return [int(child) for file in Path(f"/proc/{pid}/task").glob("*/children") for child in file.read_text().split()]


def killed(world: World, proxy: RecordingProxy, pause: RequestPause, *argv: str) -> None:
    """Start ``repoman``, and kill its process while ``pause`` pauses the worker at a request; the worker has ended, although the request is still paused."""
    proxy.on_request(pause)
    process = world.start("repoman", *argv)
    assert pause.reached.wait(TIMEOUT)
    workers = children(process.pid)
    assert workers
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=TIMEOUT)  # all that had its output open have ended
    assert process.returncode == -signal.SIGKILL
    deadline = time.monotonic() + TIMEOUT
    while any(os.path.exists(f"/proc/{worker}") for worker in workers):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_killed_while_it_works_on_a_project(ready: World, proxy: RecordingProxy) -> None:
    """While Incus creates, starts or stops for it, the next run is not refused and finishes; no temporary directory stays."""
    ready.git_repository("one")
    for pause in (RequestPause("POST", "/1.0/instances?"), RequestPause("PUT", "/instances/one/state")):
        killed(ready, proxy, pause, "new", "one", "--image", "busybox")
        assert entries(ready) == []
        assert len(leftovers(ready)) == 1
        ready.repoman("new", "one", "--image", "busybox")
        pause.go_on.set()
        assert_works(ready, "one")
        assert leftovers(ready) == []
        removal = RequestPause("PUT", "/instances/one/state")
        killed(ready, proxy, removal, "remove", "one", "--yes")
        ready.repoman("remove", "one", "--yes")
        removal.go_on.set()
        assert ready.instances() == {} and entries(ready) == []


def test_killed_while_it_works_on_several(ready: World, proxy: RecordingProxy) -> None:
    """The processes of the projects end, too; the next run finishes or replaces what they left."""
    names = ("one", "two", "three")
    for name in names:
        ready.git_repository(name)
    pause = RequestPause("PUT", "/instances/one/state")
    killed(ready, proxy, pause, "new", *names, "--image", "busybox")
    assert "one" not in entries(ready)
    ready.repoman("new", *names, "--image", "busybox")
    pause.go_on.set()
    assert sorted(entries(ready)) == sorted(names)
    for name, instance in ready.instances().items():
        assert instance["status"] == "Running" and instance["config"]["user.repoman.state"] == "ready", name
    assert not ready.repoman("--json", "new", *names).data["changed"]
