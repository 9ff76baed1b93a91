# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Many projects in one call."""

from __future__ import annotations

import json
import tomllib

from proxy import RecordingProxy
from world import World

MANY = 50


def entries(world: World) -> list[str]:
    """Return the names in the registry."""
    return [entry["name"] for entry in tomllib.loads(world.registry.read_text()).get("project", [])]


def test_fifty_projects(ready: World, proxy: RecordingProxy) -> None:
    """Made, looked at again, listed and removed; the number of reads does not grow."""
    names = [f"p{number}" for number in range(MANY)]
    for name in names:
        ready.mkdir(ready.repos / name / ".git")
    projects = [{"name": name, "image": "busybox"} for name in names]
    play = ("homelab.repoman.new",)
    proxy.clear()
    ready.playbook(*play, "--check", repoman_projects=projects)
    assert proxy.writes == [] and len(proxy.requests) == 3
    ready.playbook(*play, repoman_projects=projects)
    assert {name: each["status"] for name, each in ready.instances().items()} == dict.fromkeys(names, "Running")
    assert sorted(entries(ready)) == sorted(names)  # in the order in which they were finished
    proxy.clear()
    ready.playbook(*play, repoman_projects=projects)
    assert proxy.writes == [] and len(proxy.requests) == 2
    proxy.clear()
    listed = ready.repoman("--json", "list").data["projects"]
    assert {line["name"]: line["state"] for line in listed} == dict.fromkeys(names, "Running") and len(proxy.requests) == 1
    removed = ready.repoman("--json", "remove", "--yes", *names).data
    assert [line["action"] for line in removed["projects"]] == ["removed"] * MANY
    assert ready.instances() == {} and entries(ready) == []
    assert all((ready.repos / name / ".git").is_dir() for name in names)
    proxy.clear()
    again = ready.playbook("homelab.repoman.remove", repoman_projects=[{"name": name} for name in names])
    assert "changed=0" in again.out and proxy.writes == [], json.dumps(again.out)
