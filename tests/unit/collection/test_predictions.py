# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check mode with ``predict`` on a host that earlier tasks have yet to set up: each module returns what its documentation says."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.homelab.repoman.plugins.module_utils.core import module as core
from documented import RUNS, problems

ROOT = Path(__file__).parents[3]
MISSING: dict[str, dict[str, Any]] = {"account": {"user": "nosuch"}, "everything": {}, "libraries": {}}
TEXT = '[repoman]\nschema = 3\n[defaults]\nrepos_root = "/srv/repos"\n[[project]]\nname = "demo"\nrepo = "sub/demo"\n'
READS = ("repoman_project_info", "repoman_profile_info", "repoman_doctor_info")


def predict(place: Path, module: str, options: dict[str, Any], check: bool = True) -> dict[str, Any]:
    """Return the result of a module in a home without anything; empty if its arguments are wrong."""
    source = import_module(f"ansible_collections.homelab.repoman.plugins.modules.{module}")
    common = {"socket": f"{place}/nosuch", "predict": True, "vendor_dir": str(ROOT / "profiles")}
    validation = ArgumentSpecValidator(**source.SPEC).validate(common | options)
    if validation.error_messages:
        return {}
    run = source.info if module == "repoman_profile_info" else source.run
    return core.run_logic(run, validation.validated_parameters, check)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without anything, and no Incus."""
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("missing", MISSING)
@pytest.mark.parametrize("module", [*RUNS, "repoman_doctor_info"])
def test_predictions_are_documented(fresh: Path, monkeypatch: pytest.MonkeyPatch, module: str, missing: str) -> None:
    """In every state, every key has its place and type; only what changes something predicts a change, and nothing is written."""
    if missing == "libraries":
        monkeypatch.setattr(core, "find_spec", lambda _name: None)
    found = {}
    for number, options in enumerate(RUNS.get(module, [{}])):
        result = predict(fresh, module, MISSING[missing] | options)
        if result:
            found |= {f"{number} {options}": bad} if (bad := problems(module, result)) else {}
            changes = not result.get("failed") and module not in READS and options.get("state") != "absent"
            changes &= not (
                options.get("list_versions")
                or (options.get("all") and not options.get("create", True))
                or options.get("verify")
                or options == {"projects": []}
            )
            assert result["changed"] == changes or result.get("failed"), (options, result)
    assert not found
    assert os.listdir(fresh) == []


@pytest.mark.parametrize("missing", MISSING)
def test_entries_of_what_is_named(fresh: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Each name has its entry, with the values of the registry that an earlier task would write."""
    if missing == "libraries":
        monkeypatch.setattr(core, "find_spec", lambda _name: None)
    common = MISSING[missing] | {"registry_text": TEXT}
    for status in (False, True):
        result = predict(fresh, "repoman_project_info", common | {"names": ["demo", "new"], "status": status})
        entries = [(entry["name"], entry["state"], entry["registered"], entry["repo"]) for entry in result["projects"]]
        assert entries == [("demo", "missing", True, "/srv/repos/sub/demo"), ("new", "missing", False, "/srv/repos/new")]
        assert "check mode" in result["warnings"][0]
        assert not status or result["host"]["incus_project"] == "repoman"
    profiles = predict(fresh, "repoman_profile_info", MISSING[missing] | {"names": ["dotfiles", "new"]})["profiles"]
    assert [(entry["name"], entry["installed"], entry["drift"]) for entry in profiles] == [
        ("dotfiles", False, False),
        ("new", False, False),
    ]
    (made,) = predict(fresh, "repoman_project", common | {"name": "demo", "profiles": ["a"], "state": "stopped"})["projects"]
    assert (made["action"], made["state"], made["repo"], made["profiles"]) == ("created", "Stopped", "/srv/repos/sub/demo", ["a"])
    gone = predict(fresh, "repoman_project", common | {"projects": [{"name": "demo"}, {"name": "new"}], "state": "absent"})["projects"]
    assert [(entry["action"], entry["changed"]) for entry in gone] == [("removed", True), ("absent", False)]
    assert made["steps"] == [f"create container demo from {made['image']}", "stop demo"]


@pytest.mark.parametrize("missing", MISSING)
def test_wrong_requests_fail_as_for_real(fresh: Path, monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """A malformed project alone fails; with ``state=absent`` nothing does. Options that exclude each other fail the run."""
    if missing == "libraries":
        monkeypatch.setattr(core, "find_spec", lambda _name: None)
    wrong = {"projects": [{"name": "bad", "devices": {"data": "disk"}}, {"name": "good", "config": {"cloud-init.user-data": {"a": 1}}}]}
    result = predict(fresh, "repoman_project", MISSING[missing] | wrong)
    assert result["failed"] and result["exit_code"] == 2 and "the device 'data' must be a mapping" in result["msg"]
    assert [project["action"] for project in result["projects"]] == ["failed", "created"] and result["changed"]
    assert not predict(fresh, "repoman_project", MISSING[missing] | wrong | {"state": "absent"}).get("failed")
    for module, options in (
        ("repoman_sync", {"allow_local": True}),
        ("repoman_restore", {"name": "x", "objects": True, "overwrite": True}),
        ("repoman_profile", {}),
        ("repoman_profile", {"names": ["a/b"]}),
        ("repoman_profile", {"names": ["-x"], "state": "absent"}),
        ("repoman_profile", {"names": ["a:b"], "state": "copied"}),
        ("repoman_project", {"name": "A_b"}),
    ):
        assert predict(fresh, module, MISSING[missing] | options)["exit_code"] == 2, module


def test_restore_of_several(fresh: Path) -> None:
    """What is named would be restored; of everything, nothing is known but that."""
    several = predict(fresh, "repoman_restore", {"names": ["a", "b", "a"], "predict": True})
    assert [(unit["name"], unit["action"]) for unit in several["units"]] == [("a", "restored"), ("b", "restored")]
    assert several["steps"] == ["restore a", "restore b"] and several["changed"]
    everything = predict(fresh, "repoman_restore", {"all": True, "predict": True})
    assert everything["units"] == [] and everything["steps"] == ["restore everything that the backup has"] and everything["changed"]


def test_without_predict_it_is_an_error(fresh: Path) -> None:
    """As for real, with the same error."""
    for module in RUNS:
        options: dict[str, Any] = {"name": "demo"} if module in ("repoman_project", "repoman_restore") else {}
        options |= {"names": ["x"]} if module == "repoman_profile" else {}
        results = [predict(fresh, module, options | {"predict": False}), predict(fresh, module, options, check=False)]
        assert results[0] == results[1] and results[0].get("failed", module == "repoman_profile_info"), (module, results)
