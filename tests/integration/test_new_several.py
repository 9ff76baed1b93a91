# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""new of several projects, and of all."""

from __future__ import annotations

import re

from proxy import RecordingProxy
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
    asked = ready.on_terminal("repoman new --all", "\n")
    assert asked.out.count("Create containers for them, too? [Y/n]") == 1 and "3 projects: 2 created, 1 up to date" in asked.out, asked
    assert {name: each["status"] for name, each in ready.instances().items()} == dict.fromkeys(("galeus", "isurus", "lamna"), "Running")
    proxy.clear()
    again = ready.repoman("new", "--all")
    assert "3 projects are up to date" in again.out and again.err == "" and proxy.writes == [] and len(proxy.requests) == 2
