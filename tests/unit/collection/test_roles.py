# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The argument specs of the roles are what their defaults, the modules and the command agree with."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import COMMON_ARGS
from ansible_collections.homelab.repoman.plugins.modules import repoman_profile, repoman_project, repoman_registry, repoman_restore

from repoman.cli.options import Argument
from repoman.cli.verbs import VERBS_BY_WORDS

ROLES = Path(__file__).parents[3] / "roles"
PREFIX = "repoman_"
HANDED = {"vendor_templates"}
"""What no user sets."""
Options = dict[str, dict[str, Any]]


def options_of(role: str) -> Options:
    """Return the options of a role, by name without the prefix."""
    spec = yaml.safe_load((ROLES / role / "meta/argument_specs.yml").read_text())["argument_specs"]["main"]["options"]
    assert all(name.startswith(PREFIX) for name in spec)
    return {name.removeprefix(PREFIX): option for name, option in spec.items()}


def form(option: dict[str, Any]) -> dict[str, Any]:
    """Return what of an option is no text."""
    return {key: option[key] for key in ("type", "elements", "choices", "required") if key in option}


def plain(description: Any) -> str:
    """Return a description as the help of the command would put it."""
    text = description if isinstance(description, str) else description[0]
    text = re.sub(r"[A-Z]\(([^)]*)\)", r"\1", text).rstrip(".")
    return text[:1].lower() + text[1:]


def documented(module: Any) -> Options:
    """Return the documented options of a module."""
    options: Options = yaml.safe_load(module.DOCUMENTATION)["options"]
    return options


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
    assert set(re.findall(r"'(\w+)': repoman_(\w+) \|", handed_on)) == {(name, name) for name in COMMON_ARGS.keys() - HANDED}


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


def test_command_agrees_with_new() -> None:
    """Each argument of ``repoman new`` is a key of the role's projects, explained in its words."""
    projects = options_of("new")["projects"]["options"]
    verb = VERBS_BY_WORDS["new"]
    arguments = {argument.names[-1].lstrip("-"): argument for argument in verb.arguments}
    assert arguments.keys() == {"name", "repo", "image", "profile", "no-backup", "target", "adopt"}
    for name in ("name", "repo", "image", "target", "adopt"):
        assert arguments[name].help == plain(projects[name]["description"])
        assert "choices" not in projects[name] and "choices" not in arguments[name].keywords
    assert arguments["profile"].keywords["action"] == "append" and projects["profiles"]["type"] == "list"
    assert plain(projects["profiles"]["description"]).startswith("profiles of the container")
    assert arguments["profile"].help.startswith("profile of the container")
    assert arguments["no-backup"].keywords["action"] == "store_true" and projects["backup"]["type"] == "bool"


def arguments_of(words: str) -> dict[str, Argument]:
    """Return the arguments of a verb that its help tells of, as the options of a role or module are called."""
    arguments = VERBS_BY_WORDS[words].arguments
    return {argument.names[-1].lstrip("-").replace("-", "_"): argument for argument in arguments if argument.help}


def typed(description: Any) -> str:
    """Return a description as the help puts it: an option of the role as it is typed."""
    return re.sub(r"repoman_sync_(\w+)", lambda option: f"--{option[1].replace('_', '-')}", plain(description))


def test_command_agrees_with_sync() -> None:
    """Each argument of ``repoman sync`` is an option of the role, explained in its words."""
    options, arguments = options_of("sync"), arguments_of("sync")
    told = {name: argument.help.removesuffix("; see below") for name, argument in arguments.items()}
    assert told == {name: typed(options[f"sync_{name}"]["description"]) for name in arguments}
    flags = {name for name, argument in arguments.items() if argument.keywords.get("action") == "store_true"}
    assert flags == {name for name in arguments if options[f"sync_{name}"]["type"] == "bool"}


def test_command_agrees_with_restore() -> None:
    """Each argument of ``repoman restore`` is an option of the module, explained in its words."""
    options, arguments = documented(repoman_restore), arguments_of("restore")
    path = arguments.pop("path")
    assert {name: argument.help for name, argument in arguments.items()} == {
        name: plain(options[name]["description"]) for name in ("name", "to", "from", "overwrite", "objects")
    }
    assert plain(options["paths"]["description"]).startswith("restore only these paths of the repository")
    assert path.help.startswith("restore only this path of the repository") and path.keywords["action"] == "append"


def test_command_agrees_with_profile_install() -> None:
    """What to install is told in the words of the role setup, and of the module."""
    options, arguments = options_of("setup"), arguments_of("profile install")
    assert {name: argument.help for name, argument in arguments.items()} == {
        "names": plain(options["profiles"]["description"]),
        "all": plain(options["all_profiles"]["description"]),
        "force": plain(options["force_profiles"]["description"]),
    }
    assert options["force_profiles"]["description"] == documented(repoman_profile)["force"]["description"]
    assert options["all_profiles"]["description"] == documented(repoman_profile)["all"]["description"]


def test_command_setup_takes_no_option_of_the_role() -> None:
    """All that ``repoman setup`` takes is about asking; what is set up otherwise is set by the role, or in the registry."""
    assert list(arguments_of("setup")) == ["non_interactive"]


def test_roles_need_nothing_that_is_not_there(role: str) -> None:
    """Every module the tasks name exists, and takes the arguments they give."""
    tasks = yaml.safe_load((ROLES / role / "tasks/main.yml").read_text())
    for task in (each for block in tasks for each in block["block"]):
        (name,) = (key for key in task if key.startswith("homelab.repoman."))
        module = import_module(f"ansible_collections.homelab.repoman.plugins.modules.{name.rpartition('.')[2]}")
        assert task[name].keys() <= module.SPEC["argument_spec"].keys()


def test_variables_without_a_value_are_not_set() -> None:
    """Null and empty ones leave the user's module_defaults as they are; zero is a value."""
    given = {"repoman_user": None, "repoman_socket": "", "repoman_timeout": 0, "repoman_user_dir": "/x"}
    shared = ROLES.parent / "playbooks/vars/common_options.yml"
    command = [
        "ansible",
        "localhost",
        "-i",
        "localhost,",
        "-c",
        "local",
        "-m",
        "ansible.builtin.debug",
        "-a",
        "var=__repoman_common_options",
    ]
    done = subprocess.run(
        [str(Path(sys.executable).parent / command[0]), *command[1:], "-e", f"@{shared}", "-e", json.dumps(given)],
        check=True,
        capture_output=True,
        text=True,
    )
    found = json.loads(done.stdout.partition("=>")[2])["__repoman_common_options"]
    assert found == {"timeout": 0, "user_dir": "/x"}
