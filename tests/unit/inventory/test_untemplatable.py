# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The text of registries, overrides, repositories and containers is data: Ansible evaluates none of it, whatever an inventory composes of it."""

from __future__ import annotations

import json
import os
import pwd
from pathlib import Path
from typing import Any

import pytest
from real_ansible import play, run_ansible
from scripted_daemon import Daemon, Reply

WAYS = {
    "same": "{value}",
    "joined": "'x' ~ {value}",
    "chosen": "{value} | default('none')",
    "listed": "[{value}]",
    "first": "[{value}] | first",
    "mapped": "{{'key': {value}}}",
    "nested": "{{'key': [{{'inner': {value} ~ ''}}]}}",
    "combined": "['x', {value}] | join(' ')",
    "changed": "{value} | replace('x', 'y')",
}
SOURCES = {
    "repoman_image": "registered",
    "repoman_repo": "registered",
    "repoman_created": "registered",
    "repoman_profiles | last": "running",
    "repoman_state": "running",
}
CALL = "lookup('pipe', 'touch {mark}; echo x')"
FORMS = ("{{{{ " + CALL + " }}}}", "{{% set x = " + CALL + " %}}", CALL)
"""A template, a statement, and an expression, which a condition evaluates without braces."""


def registry(form: str, mark: Path) -> dict[str, Any]:
    """Return an evil text for each value of a registry."""
    return {key: form.format(mark=mark / key) for key in ("image", "default_image", "root", "created", "override", "last_sync", "name")}


def instance(text: str) -> dict[str, Any]:
    """Return a container with evil texts, as Incus might describe it."""
    return {
        "name": "running",
        "status": text,
        "profiles": ["default", text],
        "config": {
            "user.repoman.project": "running",
            "user.repoman.uid": str(os.getuid()),
            "user.repoman.owner": pwd.getpwuid(os.getuid()).pw_name,
            "image.description": text,
        },
        "devices": {"repo": {"type": "disk", "source": f"/{text}", "path": f"/{text}"}},
        "expanded_config": {},
        "expanded_devices": {},
    }


@pytest.fixture(params=FORMS, ids=["template", "statement", "expression"])
def inventory(request: pytest.FixtureRequest, tmp_path: Path, daemon: Daemon) -> Path:
    """An inventory of evil projects, whose texts leave files in ``marks`` if they are evaluated."""
    marks = tmp_path / "marks"
    marks.mkdir()
    text = registry(request.param, marks)
    daemon.default = lambda _seen: Reply([instance(request.param.format(mark=marks / "instance"))])
    projects = [
        {"name": "registered", "repo": text["root"], "created": text["created"], "last_sync": text["last_sync"]},
        {"name": "other", "image": text["image"]},
        {"name": "overridden"},
        {"name": text["name"], "repo": "named"},
    ]
    lines = ["[repoman]", "schema = 3", "[defaults]", f"repos_root = {json.dumps(str(tmp_path / text['root'].replace('/', '_')))}"]
    lines += [f"default_image = {json.dumps(text['default_image'])}"]
    for project in projects:
        lines += ["[[project]]", *(f"{key} = {json.dumps(value)}" for key, value in ({"repo": project["name"]} | project).items())]
    (tmp_path / "repoman.toml").write_text("\n".join(lines) + "\n")
    (tmp_path / "repos.d").mkdir()
    (tmp_path / "repos.d/overridden.toml").write_text(f"image = {json.dumps(text['override'])}\n")
    composed = {
        f"{way}_{number}": expression.format(value=f"({value})") for way, expression in WAYS.items() for number, value in enumerate(SOURCES)
    }
    options = {
        "plugin": "homelab.repoman.projects",
        "registry_path": str(tmp_path / "repoman.toml"),
        "socket": daemon.path,
        "compose": composed,
        "groups": {"imaged": "repoman_image != ''", "profiled": "'default' in repoman_profiles"},
        "keyed_groups": [{"key": key, "prefix": "by"} for key in ("repoman_image", "repoman_profiles", "repoman_state")],
    }
    (tmp_path / "lab.repoman.yml").write_text(json.dumps(options))
    return tmp_path / "lab.repoman.yml"


def test_nothing_of_an_inventory_is_evaluated(inventory: Path) -> None:
    """Neither while it is read, nor by tasks that print it, join it, loop over it, or use it as a condition."""
    place = inventory.parent
    names = [f"{way}_{number}" for way in WAYS for number in range(len(SOURCES))]
    variables = [*names, "repoman_image", "repoman_repo", "repoman_profiles", "repoman_state", "repoman_created", "group_names"]
    listing = "[" + ", ".join(variables) + "]"
    conditions = ["same_0", "joined_0", "combined_0", "first_0", "repoman_image", "repoman_state"]
    tasks: list[dict[str, Any]] = [
        {"ansible.builtin.debug": {"msg": "{{ " + listing + " }}"}},
        {"ansible.builtin.debug": {"msg": "{{ hostvars | string ~ groups | string }}"}},
        {"ansible.builtin.debug": {"msg": "{{ item }}"}, "loop": "{{ " + listing + " | flatten }}"},
        {"ansible.builtin.debug": {"msg": "{{ inventory_hostname }} {{ groups }} {{ ansible_play_hosts }}"}},
        {"ansible.builtin.set_fact": {"copied": "{{ repoman_image }}"}},
        {"ansible.builtin.debug": {"msg": "{{ copied }}"}},
        *({"ansible.builtin.debug": {}, "when": "{{ " + name + " }}", "ignore_errors": True} for name in conditions),
        *({"ansible.builtin.debug": {}, "when": name, "ignore_errors": True} for name in conditions),
        *({"ansible.builtin.assert": {"that": "{{ " + name + " }}"}, "ignore_errors": True} for name in conditions),
    ]
    book = [{"hosts": "repoman_projects", "gather_facts": False, "tasks": tasks}]
    shown = play(place, book, "-i", str(inventory), "-e", "ansible_connection=local")
    assert shown.count("failed=0") == 4 and "touch" in shown, shown  # the project with an evil name is no host
    assert list((place / "marks").iterdir()) == []


def test_harmless_text_has_no_marks(tmp_path: Path) -> None:
    """``ansible-inventory --list`` shows plain strings for usual values, with every ansible-core."""
    (tmp_path / "repoman.toml").write_text(
        '[repoman]\nschema = 3\n[[project]]\nname = "demo"\nrepo = "~/src/demo@2"\nimage = "images:debian/13"\n'
    )
    options = {
        "plugin": "homelab.repoman.projects",
        "registry_path": str(tmp_path / "repoman.toml"),
        "socket": "/nonexistent",
        "compose": {"label": "repoman_image ~ ' ' ~ repoman_project"},
    }
    (tmp_path / "lab.repoman.yml").write_text(json.dumps(options))
    done = run_ansible("ansible-inventory", tmp_path, "-i", str(tmp_path / "lab.repoman.yml"), "--list")
    demo = json.loads(done.stdout)["_meta"]["hostvars"]["demo"]
    assert (demo["repoman_image"], demo["label"], demo["repoman_repo"]) == (
        "images:debian/13",
        "images:debian/13 demo",
        str(tmp_path / "src/demo@2"),
    )
