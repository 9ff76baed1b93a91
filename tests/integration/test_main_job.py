# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The main job from end to end, and without a word about deprecation: part of what ``make test-matrix`` runs on each ansible-core."""

from __future__ import annotations

import json
import re

import pytest
from world import CHECKOUT, Result, World

LOUD = {"ANSIBLE_DEPRECATION_WARNINGS": "1", "PYTHONWARNINGS": "always::DeprecationWarning,always::PendingDeprecationWarning"}
OURS = ("homelab/repoman/", "homelab.repoman", "site-packages/repoman/", "modules/repoman_", "AnsiballZ_repoman")
BOOK = """\
- hosts: localhost
  gather_facts: false
  tasks:
    - homelab.repoman.repoman_profile_info: {}
    - homelab.repoman.repoman_project_info: {}
    - homelab.repoman.repoman_profile_info: {}
      environment: {SHIPPED: "1"}
"""
PROJECTS = """\
plugin: homelab.repoman.projects
strict: true
keyed_groups:
  - {key: repoman_vcs, prefix: vcs, default_value: none}
compose:
  width: repoman_profiles | length
"""


def complaints(result: Result) -> list[str]:
    """Return the lines about deprecation that name a file or plugin of ours, with the line after each."""
    text = (result.out + result.err).splitlines()
    told = [" ".join(text[number : number + 4]) for number, line in enumerate(text) if "deprecat" in line.lower()]
    return [line for line in told if any(name in line for name in OURS)]


def test_the_main_job(ready: World) -> None:
    """setup, profile install, new, list, shell, remove: the demo's core."""
    repo = ready.git_repository("demo")
    ready.mkdir(ready.home / ".claude")
    assert "nothing to do" in ready.repoman("setup", "--non-interactive").out
    ready.repoman("profile", "install", "dotfiles")
    ready.repoman("new", "demo", "--image", "busybox", "--profile", "default", "--profile", "dotfiles")
    listed = ready.repoman("--json", "list").data["projects"]
    assert [(line["name"], line["state"]) for line in listed] == [("demo", "Running")]
    assert ready.repoman("shell", "demo", "--", "sh", "-c", "pwd; id -u; echo inside >file").out == f"{repo}\n{ready.me.uid}\n"
    assert (repo / "file").read_text() == "inside\n"
    target = ready.mkdir(ready.home / "target")
    ready.write(ready.registry, re.sub(r'(?m)^backup_root = ".*"', f'backup_root = "{target}"', ready.registry.read_text()))
    assert ready.repoman("remove", "demo", "--yes").out == "==> removed demo (repository ~/repos/demo untouched)\n"
    assert ready.instances() == {} and (repo / "file").exists()
    assert ready.module("sync", init=True, allow_local=True)["changed"]
    ready.new("demo")
    (again,) = ready.repoman("--json", "list").data["projects"]
    assert again["last_sync"], "made again, it has the last backup of its mirror"
    removed = ready.repoman("remove", "demo", "--yes", "--json").data
    assert removed["projects"][0]["kept"] == {"repo": str(repo), "mirror": str(target / "demo")}


def test_documents_of_every_verb(ready: World) -> None:
    """Each follows the schema, whether it is a result or a failure; failures have a message and hints."""
    ready.git_repository("demo")
    ready.mkdir(ready.home / "target")
    ready.write(ready.registry, re.sub(r'(?m)^backup_root = ".*"', f'backup_root = "{ready.home}/target"', ready.registry.read_text()))
    lines = {
        "setup --diff": 0,
        "new demo --image busybox --diff": 0,
        "new demo nosuch": 3,
        "stop demo nosuch": 3,
        "start demo": 0,
        "restart demo --check": 0,
        "doctor": None,
        "list": 0,
        "status": 0,
        "sync --init --allow-local": 0,
        "sync nosuch": 3,
        "sync --list-versions demo": 0,
        "sync --verify": 0,
        "restore demo": 0,
        "restore demo --objects": 0,
        "restore nosuch": 3,
        "profile list": 0,
        "profile install dotfiles nosuch": 3,
        "profile diff dotfiles": 0,
        "profile diff llm-share": 1,
        "profile show dotfiles": 0,
        "profile show nosuch": 3,
        "profile copy dotfiles": 0,
        "profile remove dotfiles": 0,
        "profile remove dotfiles --diff": 1,
        "remove nosuch --yes": 3,
        "remove demo nosuch --yes": 3,
    }
    for line, code in lines.items():
        result = ready.run("repoman", *line.split(), "--json")
        document = result.data
        assert result.code == document["exit_code"] and code in (None, result.code), result
        fails = code not in (None, 0) and not line.startswith("profile diff")
        assert (document["failed"], bool(document["msg"]), bool(document["hints"])) == (fails, fails, fails), document


def test_first_steps_of_the_readme(world: World) -> None:
    """As they stand, they end with a container that has the dotfiles and the agent's state, and a shell in it."""
    block = (CHECKOUT / "README.md").read_text().split("## First steps\n\n")[1].split("\n\n")[0]
    steps = [line.strip() for line in block.splitlines()]
    assert [step.split()[1] for step in steps] == ["setup", "profile", "new", "shell", "list"]
    world.mkdir(world.repos / "isurus")
    world.git_repository("isurus")
    world.mkdir(world.home / ".claude")
    world.write(world.home / ".claude/state", "history")
    world.write(world.home / ".local/bin/claude", "#!/bin/sh")
    world.write(world.home / ".gitconfig", "[user]\nname = Me\n")
    for step in steps:
        assert world.run("sh", "-c", step).code == 0, step
        if "setup" in step:
            text = world.registry.read_text()
            world.write(
                world.registry, re.sub(r'(?m)^(default_image = )".*?"', r'\1"busybox"', text).replace('lan_ip = ""', 'lan_ip = "192.0.2.1"')
            )
    assert world.instances()["isurus"]["profiles"] == ["default", "dotfiles", "claude-share"]
    inside = world.repoman(
        "shell", "isurus", "--", "sh", "-c", "cat ~/.claude/state; grep name ~/.gitconfig; ls /usr/local/bin/claude; pwd"
    )
    assert inside.out == f"historyname = Me\n/usr/local/bin/claude\n{world.repos}/isurus\n"


@pytest.mark.parametrize("words", ["", "[DEPRECATION WARNING]: x. This is deprecated\nin homelab/repoman/plugins"])
def test_a_complaint_is_seen(words: str) -> None:
    """What the test below looks for is found where it is."""
    assert bool(complaints(Result(0, "", words))) is bool(words)


def test_nothing_of_ours_is_deprecated(ready: World) -> None:
    """The playbooks by name, modules in a playbook of one's own, and the inventory, with every warning on."""
    ready.git_repository("demo")
    book = ready.write(ready.home / "site.yml", BOOK)
    projects = [{"name": "demo", "image": "busybox"}]
    odd = ready.write(ready.home / "odd.toml", ready.registry.read_text() + '\n[[project]]\nname = "odd"\nrepo = "{{ 1 + 1 }}"\n')
    inventory = ready.write(ready.home / "lab.repoman.yml", f"{PROJECTS}registry_path: {odd}\n")
    runs = [
        ready.playbook("homelab.repoman.setup", env=LOUD),
        ready.playbook("homelab.repoman.profile_install", env=LOUD, repoman_profile_names=["dotfiles"]),
        ready.playbook("homelab.repoman.new", env=LOUD, repoman_projects=projects),
        ready.playbook("homelab.repoman.list", env=LOUD | {"ANSIBLE_STDOUT_CALLBACK": "homelab.repoman.report", "REPOMAN_FORMAT": "json"}),
        ready.playbook(str(book), env=LOUD),
        ready.playbook("homelab.repoman.status", env=LOUD),
        ready.run("ansible-inventory", "-i", str(inventory), "--list", env=LOUD),
        ready.playbook("homelab.repoman.remove", env=LOUD, repoman_projects=[{"name": "demo"}]),
    ]
    assert [line for run in runs for line in complaints(run)] == []
    assert json.loads(runs[3].out)["projects"][0]["name"] == "demo"
    assert runs[6].code == 0 and {"demo", "odd"} == set(json.loads(runs[6].out)["repoman_projects"]["hosts"]), runs[6]
    assert ready.instances() == {}
