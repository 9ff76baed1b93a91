# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories with parts elsewhere: linked worktrees, submodules, and file systems mounted inside."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from proxy import RecordingProxy
from world import World

DEBIAN = ("--image", "debian")
WORK = "set -e; git status --short; touch new; git add new; git commit -q --allow-empty -m inside; git log -1 --format=%s; git fsck --no-dangling"


def run(world: World, script: str, cwd: Path | None = None) -> None:
    """Run a script as the user on the host, which must succeed."""
    result = world.run("sh", "-c", script, cwd=cwd or world.repos)
    assert result.code == 0, result


def work(world: World, name: str) -> str:
    """Commit in a project's container; return what git prints."""
    result = world.repoman("shell", name, "--", "sh", "-c", WORK)
    assert result.err == "", result
    return result.out


def test_linked_worktrees_and_submodules(ready: World, proxy: RecordingProxy) -> None:
    """git works inside, whichever of the repositories is a project; another repository is not to be had by a file that names it."""
    main = ready.git_repository("main")
    ready.git_repository("super")
    run(ready, "git -C main worktree add -q ../feature")
    run(ready, "git -c protocol.file.allow=always submodule add -q ../main sub && git commit -qm sub", cwd=ready.repos / "super")
    run(ready, "git config user.name Me && git config user.email me@example.org", cwd=ready.repos / "super/sub")
    ready.repoman("new", "feature", *DEBIAN)
    assert work(ready, "feature") == "inside\n"
    proxy.clear()
    assert not ready.repoman("--json", "new", "feature").data["changed"] and proxy.writes == []
    told = ready.repoman("--json", "status", "feature").data["projects"][0]
    assert (told["differences"], told["notes"], told["overlaps"]) == ([], [], [])
    ready.new("main")
    assert [each["overlaps"] for each in ready.repoman("--json", "status").data["projects"]] == [[], []]
    assert work(ready, "feature").startswith("inside\n") and ready.run("git", "fsck", cwd=main).code == 0

    ready.incus("config", "device", "remove", "--project=repoman", "feature", "repo-git")
    assert ready.repoman("--json", "status", "feature").data["projects"][0]["differences"] == ["device repo-git is missing"]
    ready.remove("feature", "main")

    ready.repoman("new", "sub", "--repo", "super/sub", *DEBIAN)
    assert work(ready, "sub") == "inside\n"
    assert ready.instances()["sub"]["devices"]["repo-git"]["source"] == f"{ready.repos}/super/.git/modules/sub"

    fake = ready.mkdir(ready.repos / "fake")
    for pointer in (f"{main}/.git", "../main/.git", f"{main}/.git/worktrees/feature"):
        ready.write(fake / ".git", f"gitdir: {pointer}\n")
        told_new = ready.repoman("--json", "--check", "new", "fake", "--image", "busybox").data
        assert "does not name this repository as its working tree" in told_new["warnings"][0]
        assert "repo-git" not in ready.repoman("--check", "--diff", "new", "fake", "--image", "busybox").out
    run(ready, "git init -q elsewhere && git -C elsewhere -c user.name=me -c user.email=me@x commit -q --allow-empty -m x", ready.home)
    run(ready, f"git worktree add -q {ready.repos}/far", ready.home / "elsewhere")
    err = ready.repoman("new", "far", *DEBIAN).err
    assert f"is outside {ready.repos}" in err
    line = err.split("begin repos.d/far.toml with: ")[1].splitlines()[0]
    ready.write(ready.overrides / "far.toml", f"{line}\n")
    assert "warning" not in ready.repoman("new", "far").err
    assert ready.repoman("shell", "far", "--", "git", "log", "-1", "--format=%s").out == "x\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_mounts_inside_and_notes(ready: World) -> None:
    """A mount inside the repository is named, with the lines that share it; so are set-user-ID files, and changes behind a protection."""
    repo = ready.git_repository("demo")
    data = ready.mkdir(repo / "data")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "data", str(data)], check=True)
    try:
        err = ready.repoman("new", "demo", "--image", "busybox").err
        assert f"{data} is a separate file system, and empty in the container" in err
        line = err.split("begin repos.d/demo.toml with: ")[1].splitlines()[0]
        ready.write(ready.overrides / "demo.toml", f'protect = ["hooks", "config"]\n{line}\n')
        ready.write(data / "shared", "yes\n")
        ready.incus("stop", "--force", "--project=repoman", "demo")
        assert "warning" not in ready.repoman("new", "demo").err
        assert ready.repoman("shell", "demo", "--", "cat", "data/shared").out == "yes\n"

        def notes() -> list[str]:
            return list(ready.repoman("--json", "status", "demo").data["projects"][0]["notes"])

        assert notes() == []
        inside = ("exec", "--project=repoman", "demo", "--cwd", str(repo), "--", "sh", "-c")
        ready.incus(*inside, "cp /bin/busybox tool && chmod 4755 tool")
        assert notes() == [f"set-user-ID or set-group-ID files, which run as their owner: {repo}/tool"]
        assert f"{repo}/tool" in ready.repoman("new", "demo").err
        ready.incus(*inside, "rm tool; umount .git/hooks && echo evil >.git/hooks/post-checkout && chmod 755 .git/hooks/post-checkout")
        (note,) = notes()
        assert note.startswith(f"protected, and changed since the last 'repoman new': {repo}/.git/hooks;")
        assert "root in the container" in " ".join(ready.repoman("status", "demo").out.split())
        ready.repoman("new", "demo")
        assert notes() == []
    finally:
        for name in ready.instances():
            ready.incus("delete", "--force", "--project=repoman", name)
        subprocess.run(["umount", str(data)], check=True)
