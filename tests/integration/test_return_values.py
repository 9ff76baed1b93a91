# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module returns what its documentation says, in every state, in check mode, and if it fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from documented import problems
from world import World

RUNS: dict[str, list[dict[str, Any]]] = {
    "repoman_registry": [{}, {}, {"user": "nosuch"}, {"output": "loud"}, {"timeout": -1}],
    "repoman_profile": [
        {"names": ["tiny"]},
        {"names": ["tiny"]},
        {"names": ["tiny", "nosuch"], "lan_ip": "192.0.2.7"},
        {"names": ["a/b"]},
        {"all": True},
        {"names": ["tiny"], "all": True},
        {},
        {"names": ["llm-share"], "state": "copied"},
        {"names": ["llm-share"], "state": "copied"},
        {"names": ["dotfiles"], "state": "copied", "new_name": "own"},
        {"names": ["tiny", "nosuch"], "state": "absent"},
        {"names": ["default"], "state": "absent"},
    ],
    "repoman_profile_info": [
        {},
        {"names": ["dotfiles", "tiny", "broken"]},
        {"names": ["dotfiles", "nosuch", "a/b"]},
        {"names": ["tiny", "dotfiles"], "rendered": True, "raw": True, "diff": True},
        {"names": ["tiny", "broken"], "raw": True},
        {"names": ["tiny", "broken"], "rendered": True},
        {"names": ["dotfiles"], "vendor_diff": True},
        {"rendered": True},
        {"names": ["tiny"], "raw": True, "socket": "/nonexistent"},
        {"names": ["tiny"], "diff": True, "socket": "/nonexistent"},
    ],
    "repoman_project": [
        {"name": "demo", "image": "busybox", "state": "started"},
        {"name": "demo"},
        {"name": "demo", "config": {"limits.processes": 500}},
        {"projects": [{"name": "demo"}, {"name": "gone"}, {"name": "other", "config": {"x": []}}]},
        {"name": "demo", "state": "stopped"},
        {"name": "demo", "state": "stopped"},
        {"name": "dem", "state": "absent"},
        {"name": "gone", "predict": True, "image": "busybox"},
        {"projects": []},
        {"name": "A"},
        {"name": "demo", "state": "absent"},
        {"name": "demo", "state": "absent"},
    ],
    "repoman_project_info": [{}, {"status": True}, {"names": ["demo"], "status": True}, {"names": ["nosuch"]}, {"vcs_timeout": 0}],
    "repoman_sync": [
        {},
        {"init": True, "allow_local": True},
        {},
        {"verify": True},
        {"full": True, "names": ["demo"]},
        {"names": ["nosuch"]},
        {"list_versions": "demo"},
        {"jobs": -1},
        {"idle_timeout": 0},
    ],
    "repoman_restore": [
        {"name": "nosuch"},
        {"name": "demo", "to": "~/copy"},
        {"name": "demo", "paths": ["README"], "overwrite": True},
        {"name": "demo", "objects": True},
        {"name": "demo", "to": "~/copy"},
        {"name": "demo", "probe_timeout": -3},
    ],
}


@pytest.fixture
def filled(ready: World) -> World:
    """A home with repositories, templates, a project and a backup."""
    for name in ("demo", "other"):
        repository = ready.git_repository(name)
        ready.write(repository / "README", "text\n")
    ready.template("tiny", "description: tiny ${HOST_LAN_IP}\n")
    ready.template("broken", "config: [\n")
    ready.write(ready.registry, ready.registry.read_text() + '\n[[project]]\nname = "lost"\nrepo = "lost"\n')
    target = ready.mkdir(ready.home / "backup")
    ready.write(ready.registry, ready.registry.read_text().replace('backup_root = "/nfs/repos"', f'backup_root = "{target}"'))
    return ready


@pytest.mark.parametrize("module", RUNS)
def test_results_are_documented(filled: World, module: str) -> None:
    """All keys are documented, and all that are always returned are there."""
    if module == "repoman_restore":
        filled.repoman("sync", "--init", "--allow-local")
    if module == "repoman_project_info":
        filled.repoman("new", "demo", "--image", "busybox")
    tasks: list[dict[str, Any]] = []
    names = []
    for number, arguments in enumerate(RUNS[module]):
        for check in (True, False):
            names.append(f"run_{number}_{int(check)}")
            task = {f"homelab.repoman.{module}": arguments, "check_mode": check, "register": names[-1], "ignore_errors": True}
            tasks.append(task)
    content = "{{ [" + ", ".join(names) + "] | to_json }}"
    tasks.append({"ansible.builtin.copy": {"content": content, "dest": str(filled.home / "results.json"), "mode": "0644"}})
    book = filled.write(filled.home / "site.yml", json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    filled.playbook(str(book))
    results = json.loads((filled.home / "results.json").read_text())
    assert {name: found for name, result in zip(names, results, strict=True) if (found := problems(module, result))} == {}
    for predicted, done in zip(results[::2], results[1::2], strict=True):
        if module == "repoman_project" and not done.get("failed"):
            states = [[project["state"] for project in result["projects"]] for result in (predicted, done)]
            assert states[0] == states[1], "check mode reports the state that a run leaves"
    assert {bool(result.get("failed")) for result in results} == {True, False}
