# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""new of several projects, and of all."""

from __future__ import annotations

import os
import re

from proxy import RecordingProxy, RequestPause
from test_provision import entries
from test_undo import interrupted
from world import World


def test_several_and_all(ready: World, proxy: RecordingProxy) -> None:
    """Everything is checked first, a failure stops no other, and ``--all`` asks about repositories without a project."""
    for name in ("isurus", "lamna", "galeus"):
        ready.git_repository(name)
    ready.write(ready.overrides / "b.toml", 'repo = "lamna"\nprofiles = ["default", "x"]\n')
    ready.write(ready.overrides / "c.toml", 'repo = "galeus"\nprofiles = ["y", "x"]\n')
    result = ready.repoman("new", "isurus", "gone", "b", "c", "--image", "busybox", code=4)
    assert result.out.splitlines()[-2:] == ["4 projects: 1 created, 3 failed", "next: repoman shell isurus"]
    lines = result.err.splitlines()
    missing = lines.index("hint: repoman profile install x y")
    assert lines[missing - 2 : missing] == [
        "repoman: error: b: container references profile 'x' but it's not installed in incus.",
        "repoman: error: c: container references profiles 'y', 'x' but they're not installed in incus.",
    ]
    assert sum(line.startswith("repoman: error: ") and f"{ready.repos}/gone" in line for line in lines) == 1
    assert {name: each["status"] for name, each in ready.instances().items()} == {"isurus": "Running"}
    for name in "bc":
        (ready.overrides / f"{name}.toml").unlink()
    ready.incus("stop", "--force", "--project=repoman", "isurus")
    ready.write(ready.registry, re.sub(r"(?m)^default_image = .*", 'default_image = "busybox"', ready.registry.read_text()))
    left = ready.repoman("new", "--all")
    assert "==> started isurus" in left.out and list(ready.instances()) == ["isurus"]
    assert left.err.splitlines()[1:] == ["2 repositories have no project; to create containers:", "hint: repoman new galeus lamna"]
    trace = ready.home / "trace"
    asked = ready.on_terminal(f"REPOMAN_LOG={trace} repoman new --all", "\n")
    creators = re.findall(r"(?m)^\S+ (\d+) plan: start: create container", trace.read_text())
    assert len(creators) == 2 and len(set(creators)) == min(2, len(os.sched_getaffinity(0)))  # at the same time, if there are processors
    assert asked.out.count("Create containers for them, too? [Y/n]") == 1 and "3 projects: 2 created, 1 up to date" in asked.out, asked
    assert {name: each["status"] for name, each in ready.instances().items()} == dict.fromkeys(("galeus", "isurus", "lamna"), "Running")
    proxy.clear()
    again = ready.repoman("new", "--all")
    assert "3 projects are up to date" in again.out and again.err == "" and proxy.writes == [] and len(proxy.requests) == 2


def test_interrupted(ready: World, proxy: RecordingProxy) -> None:
    """What is being created is rolled back, what is finished stays, and the same command does the rest."""
    names = ["one", "two", "three", "four"]
    for name in names:
        ready.git_repository(name)
    hold = RequestPause("PUT", "/instances/one/state")
    result = interrupted(ready, proxy, hold, *names, image="busybox")
    assert "were rolled back" in result["msg"]
    instances = ready.instances()
    assert "one" not in instances and sorted(entries(ready)) == sorted(instances)
    assert all(each["status"] == "Running" and each["config"]["user.repoman.state"] == "ready" for each in instances.values())
    ready.repoman("new", *names, "--image", "busybox")
    assert sorted(entries(ready)) == sorted(names) == sorted(ready.instances())
    assert not ready.repoman("--json", "new", *names).data["changed"]


def test_a_failure_of_incus_stops_no_other(ready: World, proxy: RecordingProxy) -> None:
    """What Incus refuses for one project is its error; it is rolled back, and the others are created."""
    names = ["one", "two", "three"]
    for name in names:
        ready.git_repository(name)
    proxy.on_request(lambda method, target: (400, "not in a test") if method == "PUT" and "/instances/two/state" in target else None)
    failed = ready.repoman("new", *names, "--image", "busybox", code=1)
    proxy.on_request(None)
    assert "two" in failed.err and "not in a test" in failed.err and "3 projects: 2 created, 1 failed" in failed.out
    assert sorted(entries(ready)) == sorted(ready.instances()) == ["one", "three"]
