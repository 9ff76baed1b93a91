# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the results of modules with their documentation, and options with which that is done."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import yaml

OF_ANSIBLE = {"changed", "failed", "diff", "warnings", "deprecations", "invocation", "exception", "skipped", "failed_when_result"}
"""Keys that Ansible itself documents for every module."""
TYPES = {"str": str, "list": list, "dict": dict, "int": int, "float": (int, float), "bool": bool}

RUNS: dict[str, list[dict[str, Any]]] = {
    "repoman_registry": [{}, {}, {"user": "nosuch"}, {"output": "loud"}, {"timeout": -1}],
    "repoman_profile": [
        {"names": ["tiny"]},
        {"names": ["tiny"]},
        {"names": ["tiny", "nosuch"], "lan_ip": "192.0.2.7"},
        {"names": ["a/b"]},
        {"all": True},
        {"names": ["tiny"], "all": True},
        {},
        {"names": ["llm-share"], "state": "copied"},
        {"names": ["llm-share"], "state": "copied"},
        {"names": ["dotfiles"], "state": "copied", "new_name": "own"},
        {"names": ["tiny", "nosuch"], "state": "absent"},
        {"names": ["default"], "state": "absent"},
    ],
    "repoman_profile_info": [
        {},
        {"names": ["dotfiles", "tiny", "broken"]},
        {"names": ["dotfiles", "nosuch", "a/b"]},
        {"names": ["tiny", "dotfiles"], "rendered": True, "raw": True, "diff": True},
        {"names": ["tiny", "broken"], "raw": True},
        {"names": ["tiny", "broken"], "rendered": True},
        {"names": ["dotfiles"], "vendor_diff": True},
        {"rendered": True},
        {"names": ["tiny"], "raw": True, "socket": "/nonexistent"},
        {"names": ["tiny"], "diff": True, "socket": "/nonexistent"},
    ],
    "repoman_project": [
        {"name": "demo", "image": "busybox", "state": "started"},
        {"name": "demo"},
        {"name": "demo", "config": {"limits.processes": 500}},
        {"projects": [{"name": "demo"}, {"name": "gone"}, {"name": "other", "config": {"x": []}}]},
        {"name": "demo", "state": "stopped"},
        {"name": "demo", "state": "stopped"},
        {"name": "demo", "state": "restarted", "add_profiles": ["default"]},
        {"name": "demo", "state": "restarted"},
        {"all": True, "state": "stopped", "create": False},
        {"all": True, "state": "absent"},
        {"name": "gone", "state": "started", "create": False},
        {"name": "dem", "state": "absent"},
        {"name": "gone", "predict": True, "image": "busybox"},
        {"projects": []},
        {"name": "A"},
        {"name": "demo", "state": "absent"},
        {"name": "demo", "state": "absent"},
    ],
    "repoman_project_info": [
        {},
        {"status": True},
        {"names": ["demo"], "status": True},
        {"names": ["nosuch"]},
        {"vcs": True},
        {"vcs_timeout": 0},
    ],
    "repoman_sync": [
        {},
        {"init": True, "allow_local": True},
        {},
        {"verify": True},
        {"take_over": True},
        {"full": True, "names": ["demo"]},
        {"names": ["nosuch"]},
        {"list_versions": "demo"},
        {"jobs": -1},
        {"idle_timeout": 0},
    ],
    "repoman_restore": [
        {"name": "nosuch"},
        {"name": "demo", "to": "~/copy"},
        {"name": "demo", "paths": ["README"], "overwrite": True},
        {"name": "demo", "objects": True},
        {"name": "demo", "to": "~/copy"},
        {"all": True, "to": "~/everything"},
        {"names": ["demo", "nosuch"]},
        {"names": ["demo"], "objects": True},
        {"all": True, "from": "2001-01-01"},
        {},
        {"name": "demo", "probe_timeout": -3},
        {"settings": True},
        {"settings": True, "name": "demo"},
    ],
}
"""Options for each module: in this order, they take a home with repositories through every state, and some are wrong."""


def problems(module: str, result: dict[str, Any]) -> list[str]:
    """Return how a result differs from the documentation of the module: missing and undocumented keys, and other types."""
    source = import_module(f"ansible_collections.homelab.repoman.plugins.modules.{module}")
    is_present = {"always", "failure" if result.get("failed") else "success"}
    values = yaml.safe_load(source.RETURN)
    return list(_compare({key: value for key, value in result.items() if key not in OF_ANSIBLE or key in values}, values, is_present, ""))


def _compare(found: dict[str, Any], documented: dict[str, Any], is_present: set[str], place: str) -> Iterator[str]:
    yield from (f"{place}{key} is not documented" for key in found.keys() - documented.keys())
    yield from (f"{place}{key} is missing" for key, value in documented.items() if value["returned"] in is_present and key not in found)
    for key in found.keys() & documented.keys():
        value, description = found[key], documented[key]
        if value is not None and not isinstance(value, TYPES[description["type"]]):
            yield f"{place}{key} is {type(value).__name__}"
        for item in value if isinstance(value, list) else [value]:
            if "contains" in description and isinstance(item, dict):
                yield from _compare(item, description["contains"], {"always"}, f"{place}{key}.")
