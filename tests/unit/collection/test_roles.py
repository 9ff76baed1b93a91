# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specs of the roles are what their defaults and the modules agree with."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS
from ansible_collections.homelab.repoman.plugins.modules import repoman_project, repoman_registry
from real_ansible import results_of
from role_options import HANDED, PREFIX, ROLES, documented, form, options_of


@pytest.fixture(params=sorted(path.name for path in ROLES.iterdir()))
def role(request: pytest.FixtureRequest) -> str:
    """Each of the roles."""
    name: str = request.param
    return name


def test_defaults_are_those_of_the_spec(role: str) -> None:
    """Values stand in both; what has none is there as a comment with an example of its type."""
    options = options_of(role)
    text = (ROLES / role / "defaults/main.yml").read_text()
    assert yaml.safe_load(text) == {PREFIX + name: option["default"] for name, option in options.items() if "default" in option}
    examples = yaml.safe_load("\n".join(re.findall(rf"^# ({PREFIX}\w+:.*)$", text, re.MULTILINE)))
    assert set(examples) == {PREFIX + name for name, option in options.items() if "default" not in option}
    kinds = {"str": str, "list": list, "float": int, "bool": bool}
    assert all(isinstance(value, kinds[options[name.removeprefix(PREFIX)]["type"]]) for name, value in examples.items())


def test_common_options_are_those_of_the_modules(role: str) -> None:
    """A role takes what every module does, and hands all of it on."""
    options = options_of(role)
    assert {name: options[name]["type"] for name in COMMON_ARGS.keys() - HANDED} == {
        name: option["type"] for name, option in COMMON_ARGS.items() if name not in HANDED
    }
    for block in yaml.safe_load((ROLES / role / "tasks/main.yml").read_text()):  # by name: the group's are the play's
        used = {key for task in block["block"] for key in task if key.startswith("homelab.repoman.")}
        assert block["module_defaults"] == dict.fromkeys(used, "{{ __repoman_common_options }}")
    handed_on = yaml.safe_load((ROLES / role / "vars/main.yml").read_text())["__repoman_common_options"]
    assert set(re.findall(r"'key': '(\w+)', 'value': repoman_(\w+)}", handed_on)) == {(name, name) for name in COMMON_ARGS.keys() - HANDED}


def test_common_options_are_written_once(role: str) -> None:
    """Roles and playbooks share one file with the options of all modules."""
    shared = ROLES.parent / "playbooks/vars/common_options.yml"
    assert (ROLES / role / "vars/main.yml").resolve() == shared.resolve()
    for path in sorted((ROLES.parent / "playbooks").glob("*.yml")):
        (play,) = yaml.safe_load(path.read_text())
        if "tasks" in play:
            assert play["vars_files"] == ["vars/common_options.yml"]
            assert play["module_defaults"] == {"group/homelab.repoman.repoman": "{{ __repoman_common_options }}"}


def test_every_option_is_used_and_told(role: str) -> None:
    """The tasks name each option, and the README the way to the list of them."""
    tasks = "".join((ROLES / role / part / "main.yml").read_text() for part in ("tasks", "vars"))
    assert {name for name in options_of(role) if f"repoman_{name}" not in tasks} == set()
    readme = (ROLES / role / "README.md").read_text()
    assert f"ansible-doc -t role homelab.repoman.{role}" in readme and f"role: homelab.repoman.{role}" in readme


def test_setup_is_the_registry() -> None:
    """The role setup has what the module has, in its words; the profiles of the defaults are called default_profiles."""
    options, module = options_of("setup"), documented(repoman_registry)
    keys = {("default_profiles" if name == "profiles" else name): option for name, option in module["defaults"]["suboptions"].items()}
    keys["output"] = module["output"]
    for name, option in keys.items():
        assert (form(options[name]), options[name]["description"]) == (form(option), option["description"])
    assert set(options) - keys.keys() - COMMON_ARGS.keys() == {"profiles", "all_profiles", "force_profiles", "lan_ip", "predict"}


def test_new_is_the_project() -> None:
    """A project of the role new takes what one of the module does."""
    projects = options_of("new")["projects"]["options"]
    module = repoman_project.SPEC["argument_spec"]["projects"]["options"]
    assert {name: form(option) for name, option in projects.items()} == {name: form(option) for name, option in module.items()}


def test_roles_need_nothing_that_is_not_there(role: str) -> None:
    """Every module the tasks name exists, and takes the arguments they give."""
    tasks = yaml.safe_load((ROLES / role / "tasks/main.yml").read_text())
    for task in (each for block in tasks for each in block["block"]):
        (name,) = (key for key in task if key.startswith("homelab.repoman."))
        module = import_module(f"ansible_collections.homelab.repoman.plugins.modules.{name.rpartition('.')[2]}")
        assert task[name].keys() <= module.SPEC["argument_spec"].keys()


def test_variables_without_a_value_are_not_set(tmp_path: Path) -> None:
    """Null and empty ones leave the user's module_defaults as they are; zero is a value. Each of them can be the only one."""
    names = sorted(COMMON_ARGS.keys() - HANDED)
    unset = {"repoman_user": None, "repoman_socket": "", "repoman_timeout": 0, "repoman_user_dir": "/x"}
    cases = [{}, unset, *({PREFIX + name: f"/{name}"} for name in names), {PREFIX + name: f"/{name}" for name in names}]
    tasks = [{"ansible.builtin.debug": {"msg": "{{ __repoman_common_options }}"}, "vars": variables} for variables in cases]
    shared = ROLES.parent / "playbooks/vars/common_options.yml"
    found = [result["msg"] for result in results_of(tmp_path, tasks, "-e", f"@{shared}")]
    assert found[:2] == [{}, {"timeout": 0, "user_dir": "/x"}]
    assert found[2:-1] == [{name: f"/{name}"} for name in names]
    assert found[-1] == {name: f"/{name}" for name in names}
