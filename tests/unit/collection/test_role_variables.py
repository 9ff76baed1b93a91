# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Roles and playbooks keep their own variables apart from those of the user."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from backup_fixture import BackupHome
from real_ansible import play
from role_options import options_of

ROOT = Path(__file__).parents[3]
INTERNAL = "__repoman_"
FILES = sorted([*(ROOT / "roles").glob("*/tasks/*.yml"), *(ROOT / "playbooks").glob("*.yml")], key=str)
FOR_THE_CALLBACK = "repoman_view"
OPTION_OF_ROLES = "repoman_predict"


def mappings(value: Any) -> Iterator[dict[str, Any]]:
    """Yield each mapping in a YAML document."""
    if isinstance(value, dict):
        yield value
    for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from mappings(item)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_names_that_are_registered_or_set_are_internal(path: Path) -> None:
    """Whatever a task registers or has as a variable begins with two underscores."""
    names = set()
    for mapping in mappings(yaml.safe_load(path.read_text())):
        names |= {mapping["register"]} if isinstance(mapping.get("register"), str) else set()
        names |= set(mapping["vars"]) if isinstance(mapping.get("vars"), dict) else set()
        names |= set(mapping.get("ansible.builtin.set_fact") or ())
    assert {name for name in names if not name.startswith(INTERNAL)} <= {FOR_THE_CALLBACK, OPTION_OF_ROLES}


def test_shared_variables_are_internal() -> None:
    """What roles and playbooks compute for themselves begins with two underscores."""
    for path in [*(ROOT / "roles").glob("*/vars/*.yml"), *(ROOT / "playbooks/vars").glob("*.yml")]:
        assert all(name.startswith(INTERNAL) for name in yaml.safe_load(path.read_text())), path


CASES: list[dict[str, Any]] = [
    {"repoman_setup": {"text": "no registry"}},
    {"repoman_setup": "a word"},
    {"repoman_setup": True},
    {"repoman_common_options": {"user": "nosuch", "registry_path": "/nowhere"}},
    {"repoman_restore_info": 1, "repoman_restore_result": 2, "repoman_shell_info": 3},
    {"dict": {"user": "nosuch"}, "range": 1, "lookup": "a word", "query": True, "namespace": []},  # functions of templates
]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, bool], tuple[str, bool]]:
    """Return a function that runs the role with the variables of a case, and those of the cases that have other names."""

    def run(variables: dict[str, Any], check: bool) -> tuple[str, bool]:
        place = tmp_path_factory.mktemp("variables")
        home = place / "home"
        home.mkdir()
        world = BackupHome(home)
        world.write("isurus/file")
        role = {
            "role": "homelab.repoman.sync",
            "repoman_registry_path": str(world.registry),
            "repoman_sync_init": True,
            "repoman_sync_allow_local": True,
        }
        book: list[dict[str, Any]] = [{"hosts": "localhost", "gather_facts": False, "roles": [role]}]
        shown = play(place, book, *(["--check"] if check else []), "-e", json.dumps(variables))
        return shown, (world.backup / "isurus/file").exists()

    @cache
    def outcome(number: int, check: bool) -> tuple[str, bool]:
        return run(CASES[number] | {key: value for case in CASES for key, value in case.items() if "repoman_setup" not in case}, check)

    return lambda number, check: outcome(number if "repoman_setup" in CASES[number] else 0, check)


@pytest.mark.parametrize("variables", CASES, ids=lambda variables: next(iter(variables)))
@pytest.mark.parametrize("check", [True, False])
@pytest.mark.xdist_group("role-variables")  # one process, so that the tests share runs
def test_variables_of_the_user_are_not_read(
    outcome: Callable[[int, bool], tuple[str, bool]], variables: dict[str, Any], check: bool
) -> None:
    """A play may define variables with likely names."""
    shown, was_mirrored = outcome(CASES.index(variables), check)
    warnings = re.findall(r"WARNING\S* (?!Found variable using reserved name)", shown)  # ansible warns of functions of templates
    assert "changed=1" in shown and not warnings, shown
    assert was_mirrored != check


def test_words_for_false(tmp_path: Path) -> None:
    """Without ``all`` the role has no projects, so it needs no Incus. On a command line, a variable is text."""
    registry = tmp_path / "repoman.toml"
    registry.write_text("[repoman]\nschema = 3\n")
    roles = [{"role": "homelab.repoman.new"}]
    words = ["-e", "repoman_all=false", "-e", f"repoman_registry_path={registry}", "-e", f"repoman_socket={tmp_path}/none"]
    assert "ok=2" in play(tmp_path, [{"hosts": "localhost", "gather_facts": False, "roles": roles}], *words)


def test_conditions_convert_text() -> None:
    """An option that is true or false is converted before it decides something in a task."""
    for role in sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir()):
        switches = [name for name, option in options_of(role).items() if option.get("type") == "bool"]
        for path in sorted((ROOT / "roles" / role / "tasks").glob("*.yml")):
            for name in switches:
                assert not re.search(rf"(?:if|when:|not|and|or) repoman_{name}\b(?! \| bool| is)", path.read_text()), (path, name)
