# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A repository that moves, is deleted and made again, or is named in another way: the container has what is there."""

from __future__ import annotations

from proxy import RecordingProxy
from world import World

BUSYBOX = ("--image", "busybox")


def in_shell(world: World, name: str, script: str) -> str:
    """Run a script in a project's shell."""
    return world.repoman("shell", name, "--", "sh", "-c", script).out


def test_a_repository_that_moved(ready: World, proxy: RecordingProxy) -> None:
    """The container follows it while it runs, with everything else that it has; a second run changes nothing. Its old name is not needed."""
    ready.git_repository("one")
    (ready.home / "link").symlink_to(ready.home)
    ready.repoman("new", "demo", "--repo", "./one", *BUSYBOX, cwd=ready.repos)
    assert in_shell(ready, "demo", "pwd") == f"{ready.repos}/one\n"
    ready.incus("exec", "--project=repoman", "demo", "--", "touch", "/etc/kept")
    proxy.clear()
    assert not ready.repoman("--json", "new", "demo", "--repo", f"{ready.home}/link/repos/one").data["changed"] and proxy.writes == []
    assert ready.run("mv", str(ready.repos / "one"), str(ready.repos / "two")).code == 0
    assert "does not exist" in ready.refused("new", "demo", code=3)
    told = ready.repoman("new", "demo", "--repo", ".", cwd=ready.repos / "two")
    assert "demo" in told.out and in_shell(ready, "demo", "pwd; touch file") == f"{ready.repos}/two\n"
    assert (ready.repos / "two/file").exists() and 'repo = "two"' in ready.registry.read_text()
    assert "kept" in ready.incus("exec", "--project=repoman", "demo", "--", "ls", "/etc")
    proxy.clear()
    assert not ready.repoman("--json", "new", "demo").data["changed"] and proxy.writes == []
    ready.git_repository("one")
    err = ready.refused("new", "demo", "--repo", "one", code=4)
    assert f"project 'demo' already exists, with the repository {ready.repos}/two." in err
