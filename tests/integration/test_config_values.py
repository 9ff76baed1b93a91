# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Values that a playbook gives as ``config`` and ``devices``, as Incus has them in the end."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml
from world import Result, World, changes

USER_DATA = {"packages": ["git"], "write_files": [{"path": "/etc/x", "content": "a: {{ b }}\n"}]}


def project_play(world: World, projects: list[dict[str, Any]], *arguments: str, code: int = 0) -> Result:
    """Run the module with a list of projects."""
    task = {"homelab.repoman.repoman_project": {"projects": "{{ wanted }}"}}
    book = world.write(world.home / "site.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]))
    variables = world.write(world.home / "variables.json", json.dumps({"wanted": projects}).replace("{{ b }}", "b"))
    return world.playbook(str(book), "-e", f"@{variables}", *arguments, code=code)


def test_values_of_all_kinds(ready: World) -> None:
    """YAML for cloud-init, numbers and booleans arrive; null takes a key away; a malformed device stops no other project."""
    for name in ("one", "two", "three"):
        ready.git_repository(name)
    one = {"name": "one", "image": "busybox", "config": {"cloud-init.vendor-data": USER_DATA, "limits.processes": 500, "user.mine": "x"}}
    two = {"name": "two", "image": "busybox", "devices": {"data": "disk"}}
    three = {"name": "three", "image": "busybox", "config": {"user.list": [1]}}
    failed = project_play(ready, [two, one, three], code=2)
    assert "the device 'data' must be a mapping" in failed.out and "the key user.list must be text" in failed.out, failed
    assert set(ready.instances()) == {"one"}
    config = ready.instances()["one"]["config"]
    assert config["limits.processes"] == "500" and config["user.mine"] == "x"
    text = config["cloud-init.vendor-data"]
    assert text.startswith("#cloud-config\n") and yaml.safe_load(text)["packages"] == ["git"]
    assert changes(project_play(ready, [one])) == 0
    without = one | {"config": one["config"] | {"user.mine": None}}  # type: ignore[operator]
    assert changes(project_play(ready, [without], "--check")) == 1
    assert changes(project_play(ready, [without])) == 1
    config = ready.instances()["one"]["config"]
    assert "user.mine" not in config and config["limits.processes"] == "500"
    assert changes(project_play(ready, [without])) == 0


def test_diffs_show_what_the_user_wrote(ready: World) -> None:
    """Without the keys of repoman itself and without secrets, when a container is made, changed and removed."""
    ready.git_repository("demo")
    override = '[config]\n"environment.TOKEN" = "hush{0}"\n"limits.processes" = "{0}"\n"user.notes" = "a\\nb: c"\n'
    ready.write(ready.overrides / "demo.toml", override.format(400))
    made = ready.repoman("--diff", "new", "demo", "--image", "busybox")
    ready.write(ready.overrides / "demo.toml", override.format(500))
    changed = ready.repoman("--diff", "new", "demo")
    removed = ready.repoman("--diff", "remove", "demo", "--yes")
    for result in (made, changed, removed):
        assert "user.repoman." not in result.out and "hush" not in result.out and "user.notes: |-\n" in result.out, result
        assert re.search(r"cloud-init.user-data: \(not shown, \d+ lines\)", result.out), result
    assert "-  environment.TOKEN: (not shown)\n-  limits.processes: '400'\n+  environment.TOKEN: (not shown, another one)\n" in changed.out
    play = [{"name": "demo", "image": "busybox", "config": {"cloud-init.vendor-data": USER_DATA}}]
    done = project_play(ready, play, "--diff")
    assert "user.repoman." not in done.out and re.search(r"cloud-init.vendor-data: \(not shown, \d+ lines\)", done.out), done
