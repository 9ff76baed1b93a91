# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes of the documentation react to what they name, and let every other failure pass as a failure."""

from __future__ import annotations

import re
import sys
import tempfile
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.inventory import projects as inventory_plugin
from ansible_collections.homelab.repoman.plugins.module_utils.projects.inventory import EXPORTED_KEYS, host_variables
from real_ansible import play, results_of
from scripted_daemon import Daemon, Reply, serve

pytestmark = pytest.mark.xdist_group("recipes")  # one process, so that all tests share the runs

ROOT = Path(__file__).parents[3]
INFO = "homelab.repoman.repoman_project_info"
REGISTRY = '[repoman]\nschema = 3\n[[project]]\nname = "demo"\n'
SHIPPED = {"environment": {"ANYTHING": "1"}}


def recipes() -> list[dict[str, Any]]:
    """Return the plays that the guide shows about failures."""
    guide = (ROOT / "docs/docsite/rst/roles.rst").read_text().partition("\nFailures\n")[2]
    blocks = re.findall(r"^.. code-block:: yaml\n\n((?:   .*\n|\n)+)", guide, re.MULTILINE)
    return [book for block in blocks for book in yaml.safe_load(textwrap.dedent(block))]


def examples(module: str) -> list[dict[str, Any]]:
    """Return the examples of a module as tasks."""
    tasks: list[dict[str, Any]] = yaml.safe_load(import_module(f"ansible_collections.homelab.repoman.plugins.modules.{module}").EXAMPLES)
    return tasks


CASES: list[tuple[str | None, dict[str, Any], int]] = [
    (None, {}, 0),
    (None, SHIPPED, 0),
    (REGISTRY, {}, 0),
    ("not toml", {}, 2),
    ("not toml", SHIPPED, 2),
    (REGISTRY, {"module_defaults": {INFO: {"nosuch": 1}}}, 2),
    (REGISTRY, {"module_defaults": {INFO: {"socket": "/nonexistent"}}}, 2),
    (REGISTRY, {"module_defaults": {INFO: {"user": "nosuch"}}}, 2),
    (REGISTRY, SHIPPED | {"vars": {"ansible_python_interpreter": "/nonexistent/python"}}, 2),
]


def inventory(place: Path, *hosts: str) -> str:
    """Write an inventory of hosts that are this one; return its path."""
    path = place / "hosts"
    path.write_text("".join(f"{host} ansible_connection=local ansible_python_interpreter={sys.executable}\n" for host in hosts))
    return str(path)


@pytest.fixture(scope="module")
def failures(tmp_path_factory: pytest.TempPathFactory) -> list[int]:
    """The number of failed tasks of each case. All cases run in one play, each on a separate host."""
    place = tmp_path_factory.mktemp("recipe")
    blocks = []
    for number, (registry, keywords, _code) in enumerate(CASES):
        path = place / f"registry-{number}.toml"
        if registry is not None:
            path.write_text(registry)
        defaults = {INFO: {"registry_path": str(path)} | keywords.get("module_defaults", {}).get(INFO, {})}
        when = {"when": f"inventory_hostname == 'case-{number}'"}
        blocks.append({"block": recipes()[0]["tasks"]} | when | keywords | {"module_defaults": defaults})
    hosts = inventory(place, *(f"case-{number}" for number in range(len(CASES))))
    book = recipes()[0] | {"hosts": "all", "gather_facts": False, "tasks": blocks}
    with tempfile.TemporaryDirectory(prefix="repoman-test-") as short, serve(f"{short}/unix.socket") as daemon:
        daemon.default = lambda _seen: Reply([])
        shown = play(place, [book], "-i", hosts, code=2, INCUS_SOCKET=daemon.path)
    recap = dict(re.findall(r"^case-(\d+) .*\bfailed=(\d+)", shown, re.MULTILINE))
    return [int(recap[str(number)]) for number in range(len(CASES))]


@pytest.mark.parametrize(("registry", "keywords", "code"), CASES)
def test_only_a_missing_registry_is_no_failure(failures: list[int], registry: str | None, keywords: dict[str, Any], code: int) -> None:
    """Whether the module runs here or is shipped; a crash, a wrong argument and a registry that cannot be read are failures."""
    assert (failures[CASES.index((registry, keywords, code))] == 0) == (code == 0)


def test_a_failure_is_shown_with_its_hints(tmp_path: Path, daemon: Daemon) -> None:
    """And the play fails with the sentence."""
    daemon.default = lambda _seen: Reply([])
    hosts = inventory(tmp_path, "localhost")
    book = recipes()[1] | {"hosts": "localhost", "gather_facts": False}
    shown = play(tmp_path, [book], "-i", hosts, code=2, INCUS_SOCKET=daemon.path)
    assert "repoman setup" in shown and "failed=1" in shown and "rescued=1" in shown
    assert re.search(r"Fail\].*there is no registry", shown, re.DOTALL), shown


STATES: list[tuple[str, int, str, list[dict[str, Any]], bool]] = [
    *(
        ("repoman_project_info", -1, "page", [{"sync_state": state} for state in ("ok", "", *more)], bool(more))
        for more in ((), ("old",), ("never",), ("future",))
    ),
    ("repoman_profile_info", -1, "library", [{"drift": False, "error": ""}], False),
    ("repoman_profile_info", -1, "library", [{"drift": False, "error": ""}, {"drift": True, "error": ""}], True),
    ("repoman_profile_info", -1, "library", [{"drift": False, "error": "it cannot be read"}], True),
]


@pytest.fixture(scope="module")
def asserted(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the assertions of the examples say of each state."""
    tasks = []
    for module, assertion, registered, profiles, _fails in STATES:
        key = "projects" if "project" in module else "profiles"
        host = {"backup": {"state": "ready"}, "directories": profiles[-1:]}
        tasks.append(examples(module)[assertion] | {"vars": {registered: {key: profiles, "host": host}}})
    return results_of(tmp_path_factory.mktemp("asserted"), tasks)


@pytest.mark.parametrize(("module", "assertion", "registered", "profiles", "fails"), STATES)
def test_assertions_of_the_examples(
    asserted: list[dict[str, Any]], module: str, assertion: int, registered: str, profiles: list[dict[str, Any]], fails: bool
) -> None:
    """They fail for each state in their name, and also if the state is unknown."""
    result = asserted[STATES.index((module, assertion, registered, profiles, fails))]
    assert result["failed"] == fails and ("assertion" in result) == fails


def test_documented_variables_of_hosts_exist() -> None:
    """The page of the inventory plugin names each variable of a host, and no other."""
    notes = " ".join(yaml.safe_load(inventory_plugin.DOCUMENTATION)["notes"][:2])
    project = dict.fromkeys(("name", "user", *EXPORTED_KEYS), "x")
    assert set(re.findall(r"C\((\w+)\)", notes)) == set(host_variables(project, "local", False))
