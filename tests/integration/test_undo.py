# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a run that ends early has stopped or made is as it was before, and what it says of that is so."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from proxy import RecordingProxy, RequestPause
from test_provision import command, drive, entries
from world import TIMEOUT, World

PROBE = f".repoman-probe-{0:016x}"


def statuses(world: World) -> dict[str, str]:
    """Return the status of every instance, once nothing is under way."""
    deadline = time.monotonic() + TIMEOUT
    while "running" in world.api("GET", "/1.0/operations?project=repoman"):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return {name: each["status"] for name, each in world.instances().items()}


def made(world: World, *names: str) -> None:
    """Make projects."""
    for name in names:
        world.git_repository(name)
    assert not drive(world, *names).get("failed")


def interrupted(world: World, proxy: RecordingProxy, hold: RequestPause, *names: str, **options: Any) -> Any:
    """Run the logic, interrupt it where ``hold`` holds it, and return its result."""
    proxy.on_request(hold)
    process: subprocess.Popen[bytes] = world.start(*command(world, *names, **options))
    assert hold.reached.wait(TIMEOUT)
    process.send_signal(signal.SIGINT)
    hold.go_on.set()
    out, err = process.communicate(timeout=TIMEOUT)
    proxy.on_request(None)
    assert json.loads(out)["exit_code"] == 130, (out, err)
    return json.loads(out)


@pytest.mark.parametrize("names", [["one"], ["one", "two"]])
def test_removal_interrupted_while_it_stops(ready: World, proxy: RecordingProxy, names: list[str]) -> None:
    """Alone or among several, what was asked to stop runs again, and is still a project."""
    made(ready, *names)
    result = interrupted(ready, proxy, RequestPause("PUT", "/instances/one/state"), *names, state="absent")
    assert "were rolled back" in result["msg"] and not [hint for hint in result["hints"] if "could not" in hint]
    assert statuses(ready) == dict.fromkeys(names, "Running") and sorted(entries(ready)) == sorted(names)


def test_removal_that_cannot_ask_all_to_stop(ready: World, proxy: RecordingProxy) -> None:
    """Incus hangs up on the second one: the first one runs again."""
    made(ready, "one", "two")
    asked = []

    def hang_up(method: str, target: str) -> None:
        if method == "PUT" and "/state" in target:
            asked.append(target)
            if len(asked) == 2:
                raise RuntimeError

    proxy.on_request(hang_up)
    result = drive(ready, "one", "two", state="absent")
    assert "closed the connection" in result["msg"] and result["exit_code"] == 1
    assert statuses(ready) == {"one": "Running", "two": "Running"} and sorted(entries(ready)) == ["one", "two"]


def test_protected_from_removal(ready: World, proxy: RecordingProxy) -> None:
    """By itself or by a profile: refused before it is stopped, in check mode too; the other one goes."""
    made(ready, "one", "two", "three")
    ready.incus("config", "set", "--project=repoman", "one", "security.protection.delete=true")
    ready.incus("profile", "create", "safe")
    ready.incus("profile", "set", "safe", "security.protection.delete=1")
    ready.incus("profile", "add", "--project=repoman", "two", "safe")
    proxy.clear()
    try:
        assert "config unset --project repoman local:one security" in ready.refused("-C", "remove", "one", code=4)
        assert "config set --project repoman local:two security.protection.delete=false" in ready.refused("remove", "--yes", "two", code=4)
        assert proxy.writes == []
        result = drive(ready, "one", "two", "three", state="absent")
        assert [line["action"] for line in result["projects"]] == ["failed", "failed", "removed"] and result["exit_code"] == 4
        assert statuses(ready) == {"one": "Running", "two": "Running"} and sorted(entries(ready)) == ["one", "two"]
    finally:
        for name in ready.instances():
            ready.incus("config", "set", "--project=repoman", name, "security.protection.delete=false")


def test_protection_keeps_nothing_unfinished(ready: World, proxy: RecordingProxy) -> None:
    """A container that is to be protected and cannot be finished goes all the same."""
    ready.git_repository("one")
    proxy.on_request(lambda method, target: (400, "not in a test") if method == "PUT" and "/state" in target else None)
    assert "not in a test" in drive(ready, "one", config={"security.protection.delete": True})["msg"]
    proxy.on_request(None)
    left = ready.instances()
    for name in left:
        ready.incus("config", "set", "--project=repoman", name, "security.protection.delete=false")
    assert left == {} and entries(ready) == []


@pytest.mark.parametrize("names", [["one"], ["one", "two"]])
def test_removal_that_incus_refuses(ready: World, proxy: RecordingProxy, names: list[str]) -> None:
    """It was stopped for nothing and runs again; the other one goes."""
    made(ready, *names)
    proxy.on_request(
        lambda method, target: (400, "not in a test") if method == "DELETE" and target.startswith("/1.0/instances/one") else None
    )
    result = drive(ready, *names, state="absent")
    assert [line["action"] for line in result["projects"]] == ["failed", "removed"][: len(names)] and "not in a test" in result["msg"]
    assert statuses(ready) == {"one": "Running"} and entries(ready) == ["one"]


def test_removal_while_another_run_holds_one(ready: World) -> None:
    """It is not touched: it was asked to stop with the other one, which goes, and runs again."""
    made(ready, "one", "two")
    with ready.write(ready.registry.parent / "locks/one.lock", "").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = drive(ready, "one", "two", state="absent", lock_timeout=0)
    assert [line["action"] for line in result["projects"]] == ["failed", "removed"] and result["exit_code"] == 4
    assert statuses(ready) == {"one": "Running"} and entries(ready) == ["one"]


class SecondRequestPause(RequestPause):
    """A hold that lets the first request it is for pass."""

    passed = False

    def __call__(self, method: str, target: str) -> None:
        """Look at a request."""
        if self.passed or method != self._method or self._part not in target:
            super().__call__(method, target)
        else:
            self.passed = True


class RequestPauseAt(RequestPause):
    """A hold at the very request, before Incus sees it."""

    def __call__(self, method: str, target: str) -> None:
        """Look at a request."""
        if method == self._method and self._part in target and not self.reached.is_set():
            self.reached.set()
            self.go_on.wait(TIMEOUT)


@pytest.mark.parametrize(
    ("hold", "state"),
    [(SecondRequestPause("PUT", "/instances/one/state"), "stopped"), (RequestPauseAt("PATCH", "/instances/one?"), "started")],
    ids=["stopping", "marking"],
)
def test_interrupted_after_all_was_made(ready: World, proxy: RecordingProxy, hold: RequestPause, state: str) -> None:
    """While the new container is stopped again, or while Incus marks it as ready: it goes, and its entry."""
    repo = ready.git_repository("one")
    before = ready.registry.read_text()
    result = interrupted(ready, proxy, hold, "one", state=state)
    assert not [hint for hint in result["hints"] if "could not" in hint]
    assert statuses(ready) == {} and ready.registry.read_text() == before
    assert sorted(path.name for path in repo.iterdir()) == [".git"]


def unfinished(world: World, repo: Path) -> None:
    """Make what a killed run leaves of a project ``one``."""
    marks = {"project": "one", "state": "creating", "repo": str(repo)}
    world.incus("create", "busybox", "one", "--project=repoman", *(f"-cuser.repoman.{key}={value}" for key, value in marks.items()))


def test_killed_with_the_wrong_repository(ready: World, proxy: RecordingProxy) -> None:
    """The next run names the right one: it is made with that, and nothing is left in the other. What is not in repos_root is not ours."""
    wrong, right = ready.git_repository("wrong"), ready.git_repository("right")
    unfinished(ready, wrong)
    ready.write(wrong / PROBE, "")
    ready.repoman("new", "one", "--repo", "right", "--image", "busybox")
    instance = ready.instances()["one"]
    assert instance["status"] == "Running" and instance["devices"]["repo"]["source"] == str(right)
    assert [path.name for repo in (wrong, right) for path in repo.iterdir()] == [".git", ".git"]
    assert "already exists" in ready.refused("new", "one", "--repo", "wrong", code=4)
    ready.repoman("remove", "one", "--yes")
    unfinished(ready, ready.home / "elsewhere/one")
    proxy.clear()
    assert "not inside" in ready.refused("new", "one", "--repo", "right", "--image", "busybox", code=4)
    assert proxy.writes == []


def test_killed_while_it_proved(ready: World, proxy: RecordingProxy) -> None:
    """A running container whose proof was left behind is proven again, four ways; a proof that may be under way stays."""
    made(ready, "one")
    left = ready.write(ready.repos / "one" / PROBE, "")
    proxy.clear()
    assert not drive(ready, "one")["changed"] and proxy.writes == [] and left.exists()
    os.utime(left, (0, 0))
    (planned,) = drive(ready, "one", check=True)["projects"]
    assert planned["action"] == "updated" and proxy.writes == [] and left.exists()
    assert drive(ready, "one")["projects"] == [planned]
    assert not left.exists() and [target for _method, target in proxy.writes if "/exec" in target]
    proxy.clear()
    for check in (False, True):
        assert not drive(ready, "one", check=check)["changed"]
    assert proxy.writes == []


@pytest.mark.parametrize(
    ("device", "word"),
    [
        ('eth0]\ntype = "nic"\nnetwork = "nosuch"', 'network "nosuch"'),
        ('root]\ntype = "disk"\npath = "/"\npool = "nosuch"', "Storage pool not found"),
    ],
)
def test_what_is_missing_is_no_image(ready: World, device: str, word: str) -> None:
    """A network or pool that is gone: Incus's own words, and not those for an image."""
    ready.git_repository("one")
    ready.write(ready.overrides / "one.toml", f"[devices.{device}\n")
    said = ready.refused("new", "one", "--image", "busybox", code=1)
    assert word in said and "cannot create the container 'one'" in said and "no image" not in said
    assert statuses(ready) == {} and entries(ready) == []


def test_incus_project_that_is_gone(ready: World, proxy: RecordingProxy) -> None:
    """Every verb that hears of it says how it is made again, and it is; some releases of Incus tell of no instances, others refuse."""
    made(ready, "one")
    ready.incus("delete", "--force", "--project=repoman", "one")
    ready.incus("project", "delete", "repoman")
    for image in ("busybox", "images:nosuch"):
        said = ready.refused("new", "one", "--image", image, code=3)
        assert "incus has no project 'repoman'" in said and "hint: repoman setup" in said
    proxy.on_request(lambda _method, target: (404, "Project not found") if target.startswith("/1.0/instances?") else None)
    for verb in (["list"], ["status"], ["new", "one"]):
        assert "hint: repoman setup" in ready.refused(*verb, code=3)
    proxy.on_request(None)
    ready.repoman("setup", "--non-interactive")
    ready.repoman("new", "one", "--image", "busybox")
    assert statuses(ready) == {"one": "Running"}


def test_start_that_fails(ready: World) -> None:
    """The container goes, and its log with it, but the cause is in the error, with a hint about it."""
    ready.git_repository("one")
    causes = {
        '[config]\n"raw.lxc" = "lxc.mount.entry = /nosuch nosuch none bind 0 0"\n': (
            "the log of the container ends with: ",
            "/nosuch",
            "hint: ",
        ),
        '[config]\n"raw.idmap" = "both 3000000000 1000"\n': ("Failed to set up id mapping", "hint: grep root: /etc/subuid /etc/subgid"),
        '[devices.g]\ntype = "gpu"\n': ('device "g"', "incus info --resources local:   # shows the GPUs"),
        '[devices.n]\ntype = "nic"\nnictype = "bridged"\nparent = "nosuch"\n': ("nosuch", "incus network list --project default local:"),
    }
    for override, parts in causes.items():
        ready.write(ready.overrides / "one.toml", override)
        error = ready.refused("new", "one", "--image", "busybox", code=1)
        assert all(part in error for part in parts) and "required: 'false'" not in error, error
        assert statuses(ready) == {} and entries(ready) == []


def test_removal_with_a_full_disk_of_the_registry(ready: World) -> None:
    """The container is gone and the entry stays, which is what the error says; later the entry goes as well."""
    if os.geteuid() != 0:
        pytest.skip("needs to mount a file system")
    made(ready, "one")
    directory, text = ready.registry.parent, ready.registry.read_text()
    options = f"size=64k,mode=700,uid={ready.me.uid},gid={ready.me.gid}"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "repoman-test", directory], check=True)
    try:
        ready.write(ready.registry, text)
        subprocess.run(["dd", "if=/dev/zero", f"of={directory}/full", "status=none"], check=False, stderr=subprocess.DEVNULL)
        error = ready.refused("remove", "one", "--yes", code=1)
        assert "the container 'one' was deleted, but its entry stays in the registry: cannot write " in error
        assert "it was not changed" in error and "hint: repoman remove one --yes   # removes" in error
        assert ready.instances() == {} and entries(ready) == ["one"]
        (directory / "full").unlink()
        ready.repoman("remove", "one", "--yes")
        assert entries(ready) == []
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True)
