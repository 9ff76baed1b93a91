# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Each module returns what its documentation says, in every state, in check mode, and if it fails."""

from __future__ import annotations

import json
from typing import Any

import pytest
from documented import RUNS, problems
from world import World


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
