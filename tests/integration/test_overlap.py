# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""A container that can write above another container's mount could put a link in its place: such projects are refused and reported."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest
from lab import private_incus, restart_incus
from proxy import RecordingProxy
from world import TIMEOUT, Me, SetUp, World, home_of

BUSYBOX = ("--image", "busybox")
OUTSIDE = "read from outside"


def nested(world: World) -> Path:
    """Make a repository with another one inside; return the inner one."""
    world.git_repository("sharks")
    return world.git_repository("sharks/inner")


def overlapping(world: World) -> tuple[Path, Path]:
    """Make two containers that overlap, as an earlier version left them; the outer one runs.

    :returns: the inner repository, and a directory with a secret that only root can read.
    """
    inner, secret, path = nested(world), world.home / "secret", f"{world.repos}/sharks"
    secret.mkdir(mode=0o700)
    (secret / "key").write_text(OUTSIDE)
    world.repoman("new", "inner", "--repo", "sharks/inner", *BUSYBOX)
    world.incus("stop", "--force", "--project=repoman", "inner")
    marks = {"project": "sharks", "state": "ready", "repo": path}
    world.incus("init", "--project=repoman", "busybox", "sharks", *(f"--config=user.repoman.{key}={mark}" for key, mark in marks.items()))
    world.incus("config", "device", "add", "--project=repoman", "sharks", "repo", "disk", f"source={path}", f"path={path}", "shift=true")
    world.incus("start", "--project=repoman", "sharks")
    return inner, secret


def inside(world: World, name: str, script: str) -> str:
    """Run a script in a container as root."""
    return world.incus("exec", "--project=repoman", name, "--", "sh", "-c", script)


def test_overlapping_projects_are_refused(ready: World, proxy: RecordingProxy) -> None:
    """Both ways, through links, by devices, and within one run; nothing is written, and other projects are not affected."""
    inner = nested(ready)
    ready.git_repository("other")
    (ready.repos / "alias").symlink_to(inner)
    ready.new("sharks")
    for name, repo in (("inner", "sharks/inner"), ("alias", "alias")):
        proxy.clear()
        err = ready.refused("new", name, "--repo", repo, *BUSYBOX, code=4)
        assert (
            f"{inner}, which the container '{name}' mounts, is inside {ready.repos}/sharks, which the container 'sharks' can write" in err
        )
        assert f"mv -T {inner} {ready.repos}/" in err or name == "alias"
        assert "repoman remove sharks" in err and proxy.writes == []
    assert list(ready.instances()) == ["sharks"] and "inner" not in ready.registry.read_text()
    ready.new("other")
    override = ready.write(
        ready.overrides / "other.toml", f'[devices.x]\ntype = "disk"\nsource = "{ready.repos}/sharks/.git"\npath = "/mnt/x"\n'
    )
    assert "'other' mounts" in ready.refused("new", "other", code=4) and "x" not in ready.instances()["other"]["devices"]
    for source, safe in ((ready.repos, False), (ready.repos / "sharks", True), (f"{ready.repos}/other/.git", False)):
        ready.write(override, f'[devices.x]\ntype = "disk"\nsource = "{source}"\npath = "/mnt/x"\n')
        if safe:
            ready.repoman("new", "other")
        else:
            ready.refused("new", "other", code=4)
    ready.write(override, f'[devices.x]\ntype = "disk"\nsource = "{ready.repos}"\npath = "/mnt/x"\nreadonly = "true"\n')
    ready.repoman("new", "other")

    ready.remove("sharks", "other")
    override.unlink()
    both = [{"name": "inner", "repo": "sharks/inner", "image": "busybox"}, {"name": "sharks", "image": "busybox"}]
    done = ready.playbook("homelab.repoman.new", code=2, repoman_projects=both)
    assert "which the container 'inner' mounts, is inside" in done.out and list(ready.instances()) == ["inner"]
    proxy.clear()
    err = ready.refused("new", "sharks", *BUSYBOX, code=4)
    assert "repoman remove inner" in err and proxy.writes == [] and list(ready.instances()) == ["inner"]
    assert ready.repoman("--json", "status").data["projects"][0]["overlaps"] == []


def test_containers_of_other_incus_projects(ready: World, proxy: RecordingProxy) -> None:
    """They count like those of repoman's: what they can write cannot hold a new project, and status names existing ones."""
    inner = nested(ready)
    ready.git_repository("apart")
    try:
        ready.incus("init", "busybox", "web")
        ready.incus("config", "device", "add", "web", "x", "disk", f"source={ready.repos}/sharks", "path=/mnt/x")
        proxy.clear()
        err = ready.refused("new", "inner", "--repo", "sharks/inner", *BUSYBOX, code=4)
        assert f"{inner}, which the container 'inner' mounts, is inside {ready.repos}/sharks, which the container 'default/web' can" in err
        command = next(line for line in err.splitlines() if "# a container of the Incus project 'default'" in line)
        assert "path: /mnt/x" in ready.run("sh", "-c", command.removeprefix("hint: ")).out and proxy.writes == []
        hints = {line.partition("   # ")[2]: line.partition("   # ")[0].removeprefix("hint: ") for line in err.splitlines()}
        for remark in ("if it needs only to read there", "or if it can do without that directory"):
            assert ready.run("sh", "-c", hints[remark]).code == 0
            assert ready.repoman("--json", "-C", "new", "inner", "--repo", "sharks/inner", *BUSYBOX).data["changed"]
            ready.incus("config", "device", "remove", "web", "x", check=False)
            ready.incus("config", "device", "add", "web", "x", "disk", f"source={ready.repos}/sharks", "path=/mnt/x")
        ready.new("sharks")  # the same directory can only be written, not replaced
        ready.new("apart")
        ready.incus("config", "device", "set", "web", "x", f"source={ready.repos}")
        overlaps = {project["name"]: project["overlaps"] for project in ready.repoman("--json", "status").data["projects"]}
        assert [each["writer"] for each in overlaps["apart"]] == ["default/web"] == [each["writer"] for each in overlaps["sharks"]]
        assert ready.repoman("--json", "new", "apart").data["projects"][0]["action"] == "unchanged"
        ready.incus("config", "device", "set", "web", "x", "readonly=true")
        assert not any(project["overlaps"] for project in ready.repoman("--json", "status").data["projects"])
    finally:
        ready.incus("delete", "--force", "web")


def test_two_runs_that_overlap(ready: World, proxy: RecordingProxy) -> None:
    """Neither sees the other when it plans: the one that starts last finds the other's container, and leaves nothing."""
    nested(ready)
    reached, go_on = threading.Event(), threading.Event()

    def pause(method: str, target: str) -> None:
        if method == "POST" and target.startswith("/1.0/instances?") and not reached.is_set():
            reached.set()
            go_on.wait(TIMEOUT)

    proxy.on_request(pause)
    process = ready.start("repoman", "new", "inner", "--repo", "sharks/inner", *BUSYBOX)
    assert reached.wait(TIMEOUT)
    ready.new("sharks")
    go_on.set()
    _out, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 4 and b"is inside" in err, err
    assert list(ready.instances()) == ["sharks"]


@pytest.mark.skipif(os.geteuid() != 0, reason="keeps a secret that only root can read")
def test_overlaps_of_earlier_versions(ready: World) -> None:
    """The danger is real, status names it for both with commands that end it, and no verb starts the container that is in danger."""
    inner, secret = overlapping(ready)
    told = {project["name"]: project["overlaps"] for project in ready.repoman("--json", "status").data["projects"]}
    assert [(each["container"], each["writer"], each["source"]) for each in told["inner"]] == [("inner", "sharks", str(inner))]
    assert [each["hints"][-1].split("   #")[0] for each in told["sharks"]] == ["repoman remove inner"]
    command = told["inner"][0]["hints"][-1].split("   #")[0]
    assert command.endswith("inner boot.autostart=false") and ready.run("sh", "-c", command).code == 0
    assert ready.instances()["inner"]["config"]["boot.autostart"] == "false"
    page = ready.repoman("status", "inner").out
    assert "danger        " in page and "repoman remove sharks" in page
    for verb in (("shell", "inner", "--", "true"), ("new", "inner")):
        assert "could replace it by a link" in ready.refused(*verb, code=4)
    assert ready.instances()["inner"]["status"] == "Stopped"
    assert "could replace it by a link" in ready.repoman("new", "sharks").err

    look = f"cat {inner}/key 2>/dev/null; true"
    inside(ready, "sharks", f"mv {inner} {inner}.away && ln -s {secret} {inner}")
    ready.incus("start", "--project=repoman", "inner")
    assert inside(ready, "inner", look) == OUTSIDE  # so it is: Incus follows the link
    ready.incus("stop", "--force", "--project=repoman", "inner")
    inside(ready, "sharks", f"rm {inner} && mv {inner}.away {inner}")

    command = next(hint for hint in told["inner"][0]["hints"] if hint.startswith("mv ")).split("   #")[0]
    assert ready.run("sh", "-c", command).code == 0, command
    assert all(not project["overlaps"] for project in ready.repoman("--json", "status").data["projects"])
    ready.incus("config", "set", "--project=repoman", "inner", "boot.autostart=true")
    inside(ready, "sharks", f"ln -s {secret} {inner}")
    ready.incus("stop", "--force", "--project=repoman", "inner")
    ready.incus("start", "--project=repoman", "inner")
    assert inside(ready, "inner", look) == ""
    started = ready.instances()["inner"]["last_used_at"]
    ready.incus("exec", "--project=repoman", "inner", "--", "reboot", check=False)  # it is ended by what it starts
    deadline = time.monotonic() + TIMEOUT
    while (state := ready.instances()["inner"])["last_used_at"] == started or state["status"] != "Running":
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert inside(ready, "inner", look) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="keeps a secret that only root can read")
def test_a_host_that_boots(me: Me, installation: Path, set_up: SetUp) -> None:
    """Incus starts an overlapping container without asking: status names it, with the command that prevents that; no verb starts it."""
    with home_of(me) as home, private_incus() as socket:
        world = World(me, home, installation, socket)
        set_up.copy_to(world)
        inner, secret = overlapping(world)
        look = f"cat {inner}/key 2>/dev/null; true"
        for name in ("inner", "sharks"):
            world.incus("config", "set", "--project=repoman", name, "boot.autostart=true")
        inside(world, "sharks", f"mv {inner} {inner}.away && ln -s {secret} {inner}")

        restart_incus(socket)
        wait_running(world, "inner", "sharks")
        assert inside(world, "inner", look) == OUTSIDE  # it is too late for what repoman can do
        overlaps = {project["name"]: project["overlaps"] for project in world.repoman("--json", "status").data["projects"]}
        assert [(each["container"], each["writer"]) for each in overlaps["inner"]] == [("inner", "sharks")] and overlaps["sharks"]
        command, _hash, remark = overlaps["inner"][0]["hints"][-1].partition("   # ")
        assert "when the host boots" in remark and world.run("sh", "-c", command).code == 0

        restart_incus(socket)
        wait_running(world, "sharks")
        assert world.instances()["inner"]["status"] == "Stopped"
        inside(world, "sharks", f"rm {inner} && mv {inner}.away {inner}")
        for verb in ("new", "shell"):
            assert "could replace it by a link" in world.refused(verb, "inner", code=4)
        assert world.instances()["inner"]["status"] == "Stopped"
        world.clean()


def wait_running(world: World, *names: str) -> None:
    """Wait until Incus has started containers."""
    deadline = time.monotonic() + TIMEOUT
    while any(world.instances()[name]["status"] != "Running" for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.1)
