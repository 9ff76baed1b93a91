# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compares the results of modules with their documentation."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import yaml

OF_ANSIBLE = {"changed", "failed", "diff", "warnings", "deprecations", "invocation", "exception", "skipped", "failed_when_result"}
"""Keys that Ansible itself documents for every module."""
TYPES = {"str": str, "list": list, "dict": dict, "int": int, "float": (int, float), "bool": bool}


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
