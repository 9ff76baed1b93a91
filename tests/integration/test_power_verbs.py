# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""start, stop and restart, and verbs that take the project from the current directory."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

from proxy import RecordingProxy, RequestPause
from world import TIMEOUT, Result, World


def states(world: World) -> list[str]:
    """Return the states of all containers, by name."""
    return [instance["status"] for _name, instance in sorted(world.instances().items())]


def wait_for_states(world: World, wanted: list[str]) -> None:
    """Wait until the containers have these states: Incus calls one running that could not be started until LXC has cleaned up."""
    deadline = time.monotonic() + TIMEOUT
    while states(world) != wanted:
        assert time.monotonic() < deadline, states(world)
        time.sleep(0.1)


def test_start_stop_restart(ready: World, proxy: RecordingProxy) -> None:
    """Check mode changes nothing; an unchanged container is reported; one that cannot start does not prevent the rest."""
    for name in ("a", "b", "c"):
        ready.git_repository(name)
    ready.new("a", "b", image="debian")
    ready.write(ready.registry, ready.registry.read_text() + '\n[[project]]\nname = "c"\nrepo = "c"\n')
    proxy.clear()
    assert ready.repoman("-C", "stop", "--all").out == "would stop a\nwould stop b\n2 projects to be stopped\n"
    assert proxy.writes == [] and states(ready) == ["Running", "Running"]
    assert ready.repoman("stop", "--all").out == "==> stopped a\n==> stopped b\n2 projects are stopped\n"
    assert states(ready) == ["Stopped", "Stopped"]
    proxy.clear()
    assert ready.repoman("stop", "a", "./b", cwd=ready.repos).out == "2 projects are stopped already\n"
    assert proxy.writes == []
    refused = ready.repoman("start", "b", "c", "nosuch", code=4)
    assert refused.out == "==> started b\n3 projects: 1 started, 2 failed\n"
    assert [line for line in refused.err.splitlines() if "nosuch" not in line] == [
        "starting b…",
        "repoman: error: the project 'c' has no container.",
        "hint: repoman new c",
        "hint: repoman list",
    ]
    assert "there is no project called 'nosuch' in" in refused.err and states(ready) == ["Stopped", "Running"]
    restarted = ready.repoman("--json", "restart", "a", "b").data
    assert [project["action"] for project in restarted["projects"]] == ["started", "restarted"] and states(ready) == ["Running"] * 2
    proxy.clear()
    assert not ready.repoman("--json", "start", "--all").data["changed"] and proxy.writes == []
    repo = ready.repos / "a"
    shutil.rmtree(repo)
    assert ready.repoman("stop", "a").out == "==> stopped a\n"
    ready.refused("start", "a", code=3)
    ready.git_repository("a")
    assert ready.repoman("start", cwd=repo).out == "==> started a\n"
    shutil.rmtree(repo)
    ready.git_repository("a")
    assert "==> remounted ~/repos/a in a\n" in ready.repoman("start", "a").out
    (repo / "seen").touch()
    assert ready.repoman("shell", "a", "ls").out == "seen\n"

    data = ready.mkdir(ready.home / "data")
    ready.write(ready.overrides / "b.toml", f'[devices.data]\ntype = "disk"\nsource = "{data}"\npath = "/data"\n')
    assert ready.repoman("restart", "b").out.splitlines()[1:] == ["==> updated the configuration of b", "==> restarted b"]
    data.rmdir()
    assert str(data) in ready.refused("restart", "b", code=1) and states(ready) == ["Running", "Running"]
    data.touch()  # it exists, but a file cannot be mounted on the directory in the container
    error = ready.refused("restart", "b", code=1)
    assert error.endswith("hint: repoman start b   # it is stopped; fix the cause first\n") and "rolled back" not in error
    wait_for_states(ready, ["Running", "Stopped"])
    data.unlink()
    data.mkdir()
    hold = RequestPause("PUT", "/a/state")
    proxy.on_request(hold)
    process = ready.start("repoman", "restart", "a")
    assert hold.reached.wait(TIMEOUT)
    os.kill(process.pid, signal.SIGINT)
    hold.go_on.set()
    process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130 and states(ready) == ["Running", "Stopped"]


def in_shell(world: World, script: str, directory: Path) -> Result:
    """Run a line as a shell does that went to a directory: ``PWD`` has the links of its path."""
    return world.run("sh", "-c", f"cd {directory} && {script}")


def test_where_you_are(ready: World) -> None:
    """A shell opens in the directory that it is called in; new takes the repository there; a command needs no ``--``."""
    main = ready.git_repository("main")
    ready.mkdir(main / "src/deep")
    ready.mkdir(main / "-odd dir")
    created = in_shell(ready, "repoman new --image debian", main / "src")
    assert created.code == 0 and "==> created container main" in created.out, created
    shown = in_shell(
        ready, "repoman shell -- pwd && repoman shell . sh -c 'pwd; exit 7' -l; echo $?; repoman shell main pwd", main / "src/deep"
    )
    assert shown.out == f"{main}/src/deep\n" * 2 + f"7\n{main}\n" and shown.err == ""
    assert in_shell(ready, "repoman shell -- pwd", main / "'-odd dir'").out == f"{main}/-odd dir\n"
    assert in_shell(ready, "repoman shell main ls --color=never -d src", main).out == "src\n"

    assert ready.run("sh", "-c", "git worktree add -q ../feature && git worktree add -q inside && mkdir inside/x", cwd=main).code == 0
    assert in_shell(ready, "repoman shell -- git rev-parse --show-toplevel", main / "inside/x").out == f"{main}/inside\n"
    elsewhere = in_shell(ready, "repoman shell -- pwd", ready.repos / "feature")
    assert elsewhere.code == 1 and elsewhere.out == ""
    assert elsewhere.err == (
        f"repoman: error: the container has no directory '{ready.repos}/feature' that {ready.me.name} can enter.\n"
        "hint: repoman shell main   # opens its repository\n"
    )

    moved = ready.home.with_name(f"{ready.home.name}-link")
    moved.symlink_to(ready.home)
    try:
        assert in_shell(ready, "repoman shell -- pwd", moved / "repos/main/src").out == f"{main}/src\n"
    finally:
        moved.unlink()
    mistaken = in_shell(ready, "repoman shell make test", main)
    assert (mistaken.code, mistaken.err.splitlines()[-1]) == (3, "hint: repoman shell -- make test   # runs it in main")
    outside = in_shell(ready, "repoman shell", ready.home)
    assert outside.code == 2 and f"{ready.home} is not in a repository below {ready.repos}." in outside.err
    assert ready.repoman("--json", "new", "main", "-p", "default").data["changed"] is False
