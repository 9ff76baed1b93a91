# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""``ansible-doc`` is the reference: every option and return value of every plugin and role is told of."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from real_ansible import COLLECTIONS, path_of

ROOT = Path(__file__).parents[3]
NAMESPACE = "homelab.repoman"
MODULES = sorted(path.stem for path in (ROOT / "plugins/modules").glob("*.py"))
KINDS = {"callback": "plugins/callback", "inventory": "plugins/inventory", "connection": "plugins/connection", "lookup": "plugins/lookup"}
PLUGINS = [("module", name) for name in MODULES] + [
    (kind, path.stem) for kind, place in KINDS.items() for path in sorted((ROOT / place).glob("*.py")) if path.stem != "__init__"
]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir())
SHORTEST = 8
"""Letters of a description that says anything."""


def ansible_doc(*arguments: str) -> str:
    """Return what ansible-doc says; it must say it without a warning."""
    environment = os.environ | {"ANSIBLE_COLLECTIONS_PATH": str(COLLECTIONS), "ANSIBLE_COLLECTIONS_PATHS": str(COLLECTIONS)}
    command = [path_of("ansible-doc"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=600)
    assert done.returncode == 0 and "[ERROR]" not in done.stderr and NAMESPACE not in done.stderr, done.stderr
    return done.stdout


@cache
def pages(kind: str) -> dict[str, Any]:
    """Return what ansible-doc knows of all our plugins of one kind, or of the roles."""
    names = ROLES if kind == "role" else [name for each, name in PLUGINS if each == kind]
    found: dict[str, Any] = json.loads(ansible_doc("--type", kind, "--json", *(f"{NAMESPACE}.{name}" for name in names)))
    return found


def leaves(options: dict[str, Any], below: str, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every option or return value with its path, those inside others too."""
    for name, option in options.items():
        path = f"{where}{name}"
        yield path, option
        yield from leaves(option.get(below) or {}, below, f"{path}.")


def told(text: Any) -> bool:
    """Whether a description says anything, as a sentence."""
    sentences = [text] if isinstance(text, str) else list(text or [])
    return bool(sentences) and all(len(each) >= SHORTEST and each.rstrip().endswith((".", ":")) for each in sentences)


def borrowed(source: Path) -> set[str]:
    """Return the options that a plugin has from fragments of Ansible's own, which tells of them as it likes."""
    documentation = re.search(r'^DOCUMENTATION = r?"""(.*?)"""', source.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    assert documentation
    named = yaml.safe_load(documentation[1]).get("extends_documentation_fragment") or []
    fragments = [each.rpartition(".")[2] for each in ([named] if isinstance(named, str) else named) if not each.startswith(NAMESPACE)]
    texts = [importlib.import_module(f"ansible.plugins.doc_fragments.{each}").ModuleDocFragment.DOCUMENTATION for each in fragments]
    return {option for text in texts for option in yaml.safe_load(text)["options"]}


@pytest.mark.parametrize(("kind", "name"), PLUGINS, ids=lambda value: value)
def test_page_of_a_plugin_is_complete(kind: str, name: str) -> None:
    """Options have type and description; return values have type, description, a sample and when they are returned."""
    page = pages(kind)[f"{NAMESPACE}.{name}"]
    options = page["doc"].get("options") or {}
    not_ours = borrowed(ROOT / KINDS.get(kind, "plugins/modules") / f"{name}.py")
    ours = {option: told_of for option, told_of in options.items() if option not in not_ours}
    bad = [path for path, option in leaves(ours, "suboptions") if not told(option.get("description")) or not option.get("type")]
    assert bad == [], "options without a sentence or a type"
    assert page["doc"]["short_description"] and told(page["doc"]["description"]) and page["doc"].get("author")
    if kind != "module":
        return
    assert page["examples"] and yaml.safe_load(page["examples"])
    values = dict(leaves(page["return"], "contains"))
    assert [path for path, value in values.items() if not told(value.get("description")) or not value.get("type")] == []
    top = {path: value for path, value in values.items() if "." not in path}
    assert [path for path, value in values.items() if not value.get("returned")] == []
    assert [path for path, value in top.items() if "sample" not in value and "contains" not in value] == [], "no sample"
    assert {"msg", "hints", "exit_code"} <= set(top), "what a failure returns"
    assert {"check_mode", "diff_mode", "idempotent"} <= set(page["doc"]["attributes"])


@pytest.mark.parametrize("name", MODULES)
def test_documented_options_are_those_the_module_takes(name: str) -> None:
    """The argument spec and the documentation tell the same: names, types, choices, defaults, what is required."""
    taken = importlib.import_module(f"ansible_collections.{NAMESPACE}.plugins.modules.{name}").SPEC["argument_spec"]
    documented = pages("module")[f"{NAMESPACE}.{name}"]["doc"]["options"]
    assert set(documented) == set(taken)
    for option, spec in taken.items():
        for key in ("type", "choices", "default", "elements"):
            assert documented[option].get(key) == spec.get(key), (option, key)
        assert bool(documented[option].get("required")) is bool(spec.get("required")), option


@pytest.mark.parametrize("name", ROLES)
def test_page_of_a_role_is_complete(name: str) -> None:
    """Every option of the argument spec has a type and a sentence; what has a default there has it in the role's defaults."""
    points = pages("role")[f"{NAMESPACE}.{name}"]["entry_points"]
    options = points["main"].get("options") or {}
    assert [path for path, option in leaves(options, "options") if not told(option.get("description")) or not option.get("type")] == []
    defaults = yaml.safe_load((ROOT / "roles" / name / "defaults/main.yml").read_text(encoding="utf-8")) or {}
    assert {option: spec["default"] for option, spec in options.items() if "default" in spec} == defaults
    assert points["main"]["short_description"] and told(points["main"]["description"])
    readme = (ROOT / "roles" / name / "README.md").read_text(encoding="utf-8")
    assert "- hosts: " in readme and re.search(rf"(role|name): {NAMESPACE}.{name}\b", readme), "an example to copy"


@pytest.mark.parametrize("kind", sorted({"role", *(kind for kind, _name in PLUGINS)}))
def test_pages_can_be_read(kind: str) -> None:
    """The pages themselves, as people read them."""
    names = ROLES if kind == "role" else [name for each, name in PLUGINS if each == kind]
    text = ansible_doc("--type", kind, *(f"{NAMESPACE}.{name}" for name in names))
    assert [name for name in names if name not in text] == []


def test_action_group_has_every_module() -> None:
    """``module_defaults`` of the group reach every module."""
    runtime = yaml.safe_load((ROOT / "meta/runtime.yml").read_text(encoding="utf-8"))
    assert sorted(runtime["action_groups"]["repoman"]) == MODULES
