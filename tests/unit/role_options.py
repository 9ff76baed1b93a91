# Copyright: (c) 2026, the repoman contributors
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of the roles and of the modules, as their documentation has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).parents[2] / "roles"
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
    """Return the keys of an option other than its texts."""
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
