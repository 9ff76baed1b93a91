# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The inventory plugin: the registry's projects as hosts, and tasks that run inside them."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from proxy import RecordingProxy
from world import CHECKOUT, World, place_for

GENERAL = Path("ansible_collections/community/general")
CONSTRUCTED = """\
plugin: homelab.repoman.projects
strict: true
only_running: true
host_prefix: in-
connect_as: user
keyed_groups:
  - {key: repoman_vcs, prefix: vcs}
  - {key: repoman_profiles, prefix: has}
groups:
  kept: repoman_backup
compose:
  width: repoman_profiles | length
"""


@pytest.fixture(scope="module")
def collections() -> Iterator[Path]:
    """Where the connection plugin is, for any user to read."""
    subprocess.run([CHECKOUT / "scripts/dev-collections", sys.executable], check=True)
    with place_for("repoman-c") as place:
        for part in ("plugins/connection", "meta"):
            shutil.copytree(CHECKOUT / ".dev/collections" / GENERAL / part, place / GENERAL / part)
        shutil.copy2(CHECKOUT / ".dev/collections" / GENERAL / "MANIFEST.json", place / GENERAL)
        yield place


@pytest.fixture
def lab(ready: World) -> World:
    """A world with a running project, one under Mercurial whose container is missing, and an inventory of them."""
    ready.git_repository("demo")
    ready.mkdir(ready.repos / "gone")
    assert ready.run("hg", "init", cwd=ready.repos / "gone").code == 0
    ready.new("demo")
    ready.write(ready.registry, ready.registry.read_text() + '\n[[project]]\nname = "gone"\nrepo = "gone"\nbackup = false\n')
    ready.write(ready.home / "lab.repoman.yml", "plugin: homelab.repoman.projects\n")
    return ready


def listed(world: World, file: str = "lab.repoman.yml", **env: str) -> tuple[dict[str, Any], str]:
    """Return what ``ansible-inventory --list`` says, and its warnings."""
    result = world.run("ansible-inventory", "-i", str(world.home / file), "--list", env=env)
    assert result.code == 0, result
    return json.loads(result.out), result.err


def squeezed(text: str) -> str:
    """Return a text without its blanks: Ansible breaks lines anywhere."""
    return "".join(text.split())


def test_hosts_groups_and_variables(lab: World, proxy: RecordingProxy) -> None:
    """Graph and list; one request."""
    graph = lab.run("ansible-inventory", "-i", str(lab.home / "lab.repoman.yml"), "--graph")
    assert graph.out.splitlines() == ["@all:", "  |--@ungrouped:", "  |--@repoman_projects:", "  |  |--demo", "  |  |--gone"], graph
    proxy.clear()
    found, said = listed(lab)
    assert said == ""
    assert proxy.requests == [("GET", "/1.0/instances?recursion=1&project=repoman")]
    demo, gone = (found["_meta"]["hostvars"][name] for name in ("demo", "gone"))
    assert demo == {
        "ansible_connection": "community.general.incus",
        "ansible_incus_host": "demo",
        "ansible_incus_project": "repoman",
        "ansible_incus_remote": "local",
        "ansible_user": "root",
        "repoman_backup": True,
        "repoman_created": demo["repoman_created"],
        "repoman_image": "busybox",
        "repoman_incus_project": "repoman",
        "repoman_last_sync": "",
        "repoman_profiles": ["default"],
        "repoman_project": "demo",
        "repoman_repo": str(lab.repos / "demo"),
        "repoman_repo_exists": True,
        "repoman_state": "Running",
        "repoman_user": lab.me.name,
        "repoman_vcs": "git",
    }
    assert (gone["repoman_state"], gone["repoman_vcs"], gone["repoman_backup"]) == ("missing", "hg", False)


def test_constructed(lab: World) -> None:
    """Groups, keyed groups and variables are made of what is told; projects that do not run are left out."""
    lab.write(lab.home / "more.repoman.yml", CONSTRUCTED)
    found, _said = listed(lab, "more.repoman.yml")
    assert {group: each["hosts"] for group, each in found.items() if "hosts" in each} == {
        group: ["in-demo"] for group in ("repoman_projects", "vcs_git", "has_default", "kept")
    }
    demo = found["_meta"]["hostvars"]["in-demo"]
    assert (str(demo["width"]), demo["ansible_user"], demo["ansible_incus_host"]) == ("1", lab.me.name, "demo")


def test_tasks_run_inside(lab: World, collections: Path) -> None:
    """As root, and as the user in the repository, whose file it is on the host."""
    env = {"ANSIBLE_COLLECTIONS_PATH": str(collections)}
    lab.write(lab.home / "more.repoman.yml", CONSTRUCTED)
    run = ("-m", "ansible.builtin.raw", "-a")
    inside = lab.run("ansible", "-i", str(lab.home / "lab.repoman.yml"), "demo", *run, "hostname; id -un", env=env)
    assert inside.code == 0 and inside.out.splitlines()[1:3] == ["busybox", "root"], inside
    mine = lab.run(
        "ansible", "-i", str(lab.home / "more.repoman.yml"), "kept", *run, "cd {{ repoman_repo }} && touch made && id -un", env=env
    )
    assert mine.code == 0 and mine.out.splitlines()[1] == lab.me.name, mine
    assert (lab.repos / "demo/made").stat().st_uid == lab.me.uid
    gone = lab.run("ansible", "-i", str(lab.home / "lab.repoman.yml"), "gone", *run, "id", env=env)
    assert gone.code == 4 and "gone" in gone.out + gone.err, gone


def test_the_guides_commands(ready: World, collections: Path) -> None:
    """What the guide shows works as it stands there, in a container with Python."""
    ready.git_repository("demo")
    ready.new("demo", image="debian")
    guide = (CHECKOUT / "docs/docsite/rst/several_hosts.rst").read_text().partition("Projects as hosts\n")[2]
    plugin, shown = (re.findall(rf"^.. code-block:: {kind}\n\n((?:   .*\n)+)", guide, re.MULTILINE)[0] for kind in ("yaml", "console"))
    ready.write(ready.home / "lab.repoman.yml", textwrap.dedent(plugin))
    commands = [shlex.split(line.removeprefix("   $ ")) for line in shown.splitlines()]
    graph, log = (
        ready.run(*words, env={"ANSIBLE_COLLECTIONS_PATH": str(collections)}) for words in commands if words[0] != "ansible-galaxy"
    )
    assert graph.code == 0 and "@vcs_git:" in graph.out, graph
    assert log.code == 0 and re.search(r"^[0-9a-f]{7,} first$", log.out, re.MULTILINE), log


def test_daemon_that_does_not_answer(lab: World) -> None:
    """States are unknown, with a warning that says why; with ``strict`` it is an error."""
    lab.socket = "/nonexistent/incus.socket"
    found, said = listed(lab)
    assert {name: each["repoman_state"] for name, each in found["_meta"]["hostvars"].items()} == {"demo": "unknown", "gone": "unknown"}
    assert squeezed("there is no incus socket at /nonexistent/incus.socket") in squeezed(said)
    lab.write(lab.home / "more.repoman.yml", CONSTRUCTED)
    result = lab.run(
        "ansible-inventory", "-i", str(lab.home / "more.repoman.yml"), "--graph", env={"ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "1"}
    )
    assert result.code != 0 and squeezed("there is no incus socket") in squeezed(result.err), result


def test_no_registry(world: World) -> None:
    """It says so, with the way out."""
    file = world.write(world.home / "lab.repoman.yml", "plugin: homelab.repoman.projects\n")
    result = world.run("ansible-inventory", "-i", str(file), "--graph")
    said = squeezed(result.err)
    assert squeezed(f"there is no registry at {world.registry}") in said and squeezed("repoman setup") in said, result


def test_cache(lab: World, proxy: RecordingProxy) -> None:
    """What was read is kept; nothing is where Incus did not answer; without it, it is read again."""
    text = f"plugin: homelab.repoman.projects\ncache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {lab.home}/cache\n"
    lab.write(lab.home / "lab.repoman.yml", text)
    socket, lab.socket = lab.socket, "/nonexistent/incus.socket"
    listed(lab)
    lab.socket = socket
    proxy.clear()
    first, _said = listed(lab)
    assert len(proxy.requests) == 1 and first["_meta"]["hostvars"]["demo"]["repoman_state"] == "Running"
    assert listed(lab)[0] == first
    assert len(proxy.requests) == 1
    shutil.rmtree(lab.home / "cache")
    assert listed(lab)[0] == first
    assert len(proxy.requests) == 2


def test_text_of_the_registry_is_no_template(lab: World, collections: Path) -> None:
    """Braces in a path stay what they are, as a task sees them."""
    lab.write(lab.registry, lab.registry.read_text().replace('repo = "gone"', 'repo = "{{ 1 + 1 }}"'))
    env = {"ANSIBLE_COLLECTIONS_PATH": str(collections)}
    said = lab.run(
        "ansible", "-i", str(lab.home / "lab.repoman.yml"), "gone", "-m", "ansible.builtin.debug", "-a", "var=repoman_repo", env=env
    )
    assert os.path.join(lab.repos, "{{ 1 + 1 }}") in said.out, said
