# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Modules that only read, in check mode on a host that earlier tasks have yet to set up."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from real_ansible import results_of
from scripted_daemon import Daemon, Reply, Seen

REGISTRY = '[repoman]\nschema = 3\n[[project]]\nname = "demo"\nrepo = "demo"\n'
MISSING = {
    "account": {"user": "nosuch"},
    "incus": {"socket": "/nonexistent"},
    "registry": {"registry_path": "/nonexistent/repoman.toml"},
}
READERS = {
    "repoman_project_info": [{}, {"names": ["demo"]}, {"status": True}],
    "repoman_profile_info": [{}, {"names": ["dotfiles"], "diff": True}],
    "repoman_doctor_info": [{}],
}
RESULTS = {"repoman_project_info": "projects", "repoman_profile_info": "profiles", "repoman_doctor_info": "checks"}


@pytest.fixture
def host(tmp_path: Path, daemon: Daemon) -> Path:
    """A home with a registry, and an Incus without any instance."""

    def answer(seen: Seen) -> Reply:
        return Reply({"environment": {"server_version": "6.0"}}) if seen.target == "/1.0" else Reply([])

    daemon.default = answer
    (tmp_path / "repoman.toml").write_text(REGISTRY)
    (tmp_path / "socket").symlink_to(daemon.path)
    return tmp_path


def expected_names(module: str, missing: str, names: list[str] | None) -> list[str]:
    """Return the names in a result: those that were requested; otherwise those of the registry and of the bundled templates, if known."""
    if names or missing == "registry" or module == "repoman_doctor_info":
        return names or []
    if module == "repoman_project_info":
        return ["demo"]
    return [] if missing == "account" else ["claude-share", "dotfiles", "llm-share"]


@pytest.mark.parametrize("missing", MISSING)
def test_what_an_earlier_task_may_create_is_a_warning(host: Path, missing: str) -> None:
    """With ``predict`` and in check mode only; nothing has changed, and the entries of names and of known files are there."""
    present: dict[str, Any] = {"socket": f"{host}/socket", "registry_path": f"{host}/repoman.toml"}
    tasks: list[dict[str, Any]] = []
    for module, cases in READERS.items():
        for case in cases:
            for predict, check in ((True, True), (False, True), (True, False)):
                arguments = present | MISSING[missing] | case | {"predict": predict}
                tasks.append({f"homelab.repoman.{module}": arguments, "check_mode": check})
    results = results_of(host, tasks)
    for task, result in zip(tasks, results, strict=True):
        (module, arguments), check = next(iter(task.items())), task["check_mode"]
        module = module.rpartition(".")[2]
        if (missing, module) == ("registry", "repoman_profile_info"):
            assert not result.get("failed"), result  # the library needs none
        elif module == "repoman_doctor_info" and missing != "account":
            assert not result.get("failed") and result["summary"]["fail"], result
        elif arguments["predict"] and check:
            assert not result.get("failed") and not result["changed"], result
            assert "check mode" in " ".join(result["warnings"])
            names = [entry["name"] for entry in result[RESULTS[module]]]
            assert names == expected_names(module, missing, arguments.get("names")), (arguments, result)
        else:
            assert result["failed"] and result["exit_code"] and result["hints"], result


def test_names_that_do_not_exist_yet(host: Path) -> None:
    """For a project or profile that an earlier task would make, the known part is returned, with a warning."""
    common = {"socket": f"{host}/socket", "registry_path": f"{host}/repoman.toml", "predict": True}
    tasks = [
        {"homelab.repoman.repoman_project_info": common | {"names": ["demo", "new"]}},
        {"homelab.repoman.repoman_profile_info": common | {"names": ["dotfiles", "new"]}},
        {"homelab.repoman.repoman_project_info": common | {"names": ["demo", "new"], "status": True}},
    ]
    projects, profiles, status = results_of(host, tasks, "--check")
    for result in (projects, status):
        assert [(project["name"], project["state"]) for project in result["projects"]] == [("demo", "missing"), ("new", "missing")]
        assert [project["registered"] for project in result["projects"]] == [True, False]
    assert [(profile["name"], bool(profile["error"])) for profile in profiles["profiles"]] == [("dotfiles", False), ("new", True)]
    assert all("'new'" in " ".join(result["warnings"]) for result in (projects, profiles, status))


def test_the_registry_that_setup_would_write(host: Path) -> None:
    """Its text takes the place of the file, as for the modules that change something."""
    path = f"{host}/later.toml"
    options = {"socket": f"{host}/socket", "registry_path": path, "predict": True, "registry_text": REGISTRY, "registry_text_path": path}
    (result,) = results_of(host, [{"homelab.repoman.repoman_project_info": options}], "--check")
    assert [project["name"] for project in result["projects"]] == ["demo"] and not result.get("warnings")


def test_predict_can_be_a_default_of_all_modules() -> None:
    """So that one line of a play's ``module_defaults`` is enough."""
    from importlib import import_module

    for path in (Path(__file__).parents[3] / "plugins/modules").glob("*.py"):
        spec = import_module(f"ansible_collections.homelab.repoman.plugins.modules.{path.stem}").SPEC
        assert spec["argument_spec"]["predict"] == {"type": "bool", "default": False}, path.stem
