# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The recipes of the documentation react to what they name, and let every other failure pass as a failure."""

from __future__ import annotations

import re
import sys
import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.inventory import projects as inventory_plugin
from ansible_collections.homelab.repoman.plugins.module_utils.projects.inventory import EXPORTED_KEYS, host_variables
from real_ansible import play
from scripted_daemon import Daemon, Reply

ROOT = Path(__file__).parents[3]
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


def run(place: Path, book: dict[str, Any], socket: str, code: int, registry: str | None, **keywords: Any) -> str:
    """Run a recipe on this host, with a registry that may be missing."""
    path = place / ".config/repoman/repoman.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    if registry is not None:
        path.write_text(registry)
    (place / "hosts").write_text(f"[homelab]\nlocalhost ansible_connection=local ansible_python_interpreter={sys.executable}\n")
    facts = {"gather_facts": False}
    return play(place, [book | facts | keywords], "-i", str(place / "hosts"), code=code, INCUS_SOCKET=socket)


@pytest.mark.parametrize(
    ("registry", "keywords", "code"),
    [
        (None, {}, 0),
        (None, SHIPPED, 0),
        (REGISTRY, {}, 0),
        ("not toml", {}, 2),
        ("not toml", SHIPPED, 2),
        (REGISTRY, {"module_defaults": {"homelab.repoman.repoman_project_info": {"nosuch": 1}}}, 2),
        (REGISTRY, {"module_defaults": {"homelab.repoman.repoman_project_info": {"socket": "/nonexistent"}}}, 2),
        (REGISTRY, {"module_defaults": {"homelab.repoman.repoman_project_info": {"user": "nosuch"}}}, 2),
        (REGISTRY, SHIPPED | {"vars": {"ansible_python_interpreter": "/nonexistent/python"}}, 2),
    ],
)
def test_only_a_missing_registry_is_no_failure(
    tmp_path: Path, daemon: Daemon, registry: str | None, keywords: dict[str, Any], code: int
) -> None:
    """Whether the module runs here or is shipped; a crash, a wrong argument and a registry that cannot be read are failures."""
    daemon.default = lambda _seen: Reply([])
    shown = run(tmp_path, recipes()[0], daemon.path, code, registry, **keywords)
    assert ("failed=0" in shown) == (code == 0)


def test_a_failure_is_shown_with_its_hints(tmp_path: Path, daemon: Daemon) -> None:
    """And the play fails with the sentence."""
    shown = run(tmp_path, recipes()[1], daemon.path, 2, None)
    assert "repoman setup" in shown and "failed=1" in shown and "rescued=1" in shown
    assert re.search(r"Fail\].*there is no registry", shown, re.DOTALL), shown


@pytest.mark.parametrize(
    ("module", "assertion", "registered", "profiles", "fails"),
    [
        ("repoman_project_info", -1, "page", [{"backup": True, "sync_age": 5}, {"backup": False, "sync_age": None}], False),
        ("repoman_project_info", -1, "page", [{"backup": True, "sync_age": 5}, {"backup": True, "sync_age": 200000}], True),
        ("repoman_project_info", -1, "page", [{"backup": True, "sync_age": 5}, {"backup": True, "sync_age": None}], True),
        ("repoman_profile_info", -1, "library", [{"drift": False, "error": ""}], False),
        ("repoman_profile_info", -1, "library", [{"drift": False, "error": ""}, {"drift": True, "error": ""}], True),
        ("repoman_profile_info", -1, "library", [{"drift": False, "error": "it cannot be read"}], True),
    ],
)
def test_assertions_of_the_examples(
    tmp_path: Path, module: str, assertion: int, registered: str, profiles: list[dict[str, Any]], fails: bool
) -> None:
    """They fail for each state in their name, and also if the state is unknown."""
    key = "projects" if "project" in module else "profiles"
    book = {"hosts": "localhost", "gather_facts": False, "vars": {registered: {key: profiles}}, "tasks": [examples(module)[assertion]]}
    play(tmp_path, [book], code=2 if fails else 0)


def test_documented_variables_of_hosts_exist() -> None:
    """The page of the inventory plugin names each variable of a host, and no other."""
    notes = " ".join(yaml.safe_load(inventory_plugin.DOCUMENTATION)["notes"][:2])
    project = dict.fromkeys(("name", "user", *EXPORTED_KEYS), "x")
    assert set(re.findall(r"C\((\w+)\)", notes)) == set(host_variables(project, "local", False))
