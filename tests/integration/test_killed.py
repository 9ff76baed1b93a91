# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""SIGKILL reaches only the command's own process: what works for it ends at once, and the next run works."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from invariants import leftovers as of_repoman
from invariants import problems
from proxy import RecordingProxy, RequestPause
from test_provision import assert_works, entries
from world import TIMEOUT, World

MOMENTS = int(os.environ.get("REPOMAN_ROUNDS", "1"))
"""At how many moments a clone is killed."""
SEED = int(os.environ.get("REPOMAN_SEED", "0"))


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


@pytest.mark.parametrize("kind", ["git", "hg"])
def test_killed_while_it_clones(ready: World, kind: str) -> None:
    """At any moment: typed again, the command ends with a sound clone, its container, and nothing else."""
    ready.mkdir(ready.repos)
    source = ready.mkdir(ready.home / "elsewhere")
    script = f"cd {source} && head -c 3000000 /dev/urandom >big && " + (
        "git init -q && git add . && git -c user.name=me -c user.email=me@example.org commit -q -m one"
        if kind == "git"
        else "hg init && hg add -q && hg commit -q -u me -m one"
    )
    assert ready.run("sh", "-c", script).code == 0
    command = ["new", "--clone", str(source), "fresh", "--image", "busybox"]
    begun = time.monotonic()
    ready.repoman(*command)
    seconds = time.monotonic() - begun
    for number in range(MOMENTS):
        ready.repoman("remove", "fresh", "--yes")
        assert ready.run("rm", "-rf", str(ready.repos / "fresh")).code == 0
        process = ready.start("repoman", *command)
        time.sleep(seconds * ((number + SEED * 0.618 + 0.25) / MOMENTS % 1))
        process.kill()
        process.communicate(timeout=TIMEOUT)
        ready.repoman(*command)
        check = ["git", "fsck", "--full", "--strict"] if kind == "git" else ["hg", "verify", "-q"]
        assert ready.run(*check, cwd=ready.repos / "fresh").code == 0
        assert ready.run("cmp", str(source / "big"), str(ready.repos / "fresh/big")).code == 0
        assert not problems(ready) and not of_repoman(ready)
        # A directory without a lock, of a run that was killed while it made it, is removed after a day.
        assert [path for path in leftovers(ready) if (path / "repoman.lock").exists()] == []
        assert ready.repoman("shell", "fresh", "--", "cmp", "big", "big").code == 0
        assert not ready.repoman("--json", *command).data["changed"]
