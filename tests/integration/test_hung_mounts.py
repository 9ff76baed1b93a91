# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Repositories and sources of devices on a file system whose server does not answer: no verb waits for it."""

from __future__ import annotations

import os

import pytest
from hung import hung_mount
from world import TIMEOUT, World

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
LIMIT = 5.0 * TIMEOUT
"""No command may take longer than ``TIMEOUT``, so none waits for this."""
BUSYBOX = ("--image", "busybox")


def test_a_dead_server(ready: World) -> None:
    """list, status and doctor name the mount, and show the rest; new refuses what needs it, and only that; restore does not need it."""
    backup = ready.mkdir(ready.home / "backup")
    ready.write(ready.registry, ready.registry.read_text().replace('"/nfs/repos"', f'"{backup}"'))
    kept = ready.git_repository("kept")
    for name in ("well", "far"):
        ready.git_repository(name)
        ready.repoman("new", name, *BUSYBOX)
    assert ready.module("sync", init=True, allow_local=True)["changed"]
    assert ready.run("rm", "-rf", str(kept)).code == 0
    dead = ready.mkdir(ready.home / "dead")
    override = f'[devices.x]\ntype = "disk"\nsource = "{dead}/x"\npath = "/mnt/x"\nrequired = "false"\n'
    ready.write(ready.overrides / "well.toml", override)
    ready.repoman("new", "well")
    with hung_mount(dead, LIMIT) as by_device, hung_mount(ready.repos / "far", LIMIT) as by_repository:
        answer = f"the file system mounted at {ready.repos}/far does not answer"
        projects = {project["name"]: project for project in ready.repoman("--json", "list").data["projects"]}
        assert answer in projects["far"]["problem"] and projects["far"]["repo_exists"] and projects["far"]["repo_real_path"] == ""
        assert not projects["well"]["problem"]
        assert f"hint: findmnt {ready.repos}/far" in ready.repoman("list").err
        projects = {project["name"]: project for project in ready.repoman("--json", "status").data["projects"]}
        assert answer in projects["far"]["problem"] and projects["well"]["vcs"]["kind"] == "git"
        assert f"{dead}/x cannot be read: the file system mounted at {dead} does not answer" in projects["well"]["problem"]
        assert answer in ready.refused("new", "far", code=1)
        assert f"mounted at {dead} does not answer" in ready.refused("new", "well", code=1)
        checks = {each["name"]: each for each in ready.repoman("--json", "doctor", code=1).data["checks"]}
        assert checks["sources"]["status"] == "fail" and checks["repos_root"]["status"] == "ok"
        assert f"{dead}/x".replace(str(ready.home), "~") in checks["sources"]["message"] and answer in checks["sources"]["message"]
        assert answer in checks["containers"]["message"] and f"findmnt {dead}   # shows its server" in checks["sources"]["hints"]
        ready.git_repository("more")
        ready.repoman("new", "more", *BUSYBOX)
        assert ready.repoman("--json", "restore", "kept").data["remounted"] == [] and (kept / ".git").is_dir()
        assert not by_device.is_set() and not by_repository.is_set()
    projects = {project["name"]: project for project in ready.repoman("--json", "list").data["projects"]}
    assert projects["far"]["repo_real_path"] == str(ready.repos / "far") and not projects["far"]["problem"]
