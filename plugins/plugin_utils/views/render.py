# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Entry point of the views: from the result of a module to lines and an exit code."""

from __future__ import annotations

from dataclasses import replace
from importlib import import_module
from typing import Any

from ansible_collections.homelab.repoman.plugins.plugin_utils.views.common import (
    Mode,
    Rendered,
    Result,
    Views,
    first_sentence,
    render_failure,
)

MODULES = {
    "setup": "projects",
    "new": "projects",
    "start": "projects",
    "stop": "projects",
    "restart": "projects",
    "remove": "projects",
    "shell": "projects",
    "list": "projects",
    "status": "status",
    "doctor": "doctor",
    "sync": "backup",
    "restore": "backup",
    "remount": "backup",
    "profile_list": "profiles",
    "profile_install": "profiles",
    "profile_diff": "profiles",
    "profile_remove": "profiles",
    "profile_show": "profiles",
    "profile_copy": "profiles",
}
"""The view of each verb, as a task's variable ``repoman_view`` names it, and the module that has it. Only that one is imported:
Ansible compiles the files of a collection in every run."""
RESULT_KEYS = {"checks", "profiles", "projects", "units", "kept", "steps"}
"""Keys of results with output. A result without any is a prediction that consists of warnings."""


def render(view: str, result: Result, failed: bool, mode: Mode) -> Rendered:
    """Return the output for a result.

    :param view: a key of :data:`MODULES`.
    :param failed: the task failed.
    """
    if failed and not any(result.get(key) for key in ("profiles", "projects", "units")):
        rendered = render_failure(result)
        return replace(rendered, added=_failed_completion(result)) if view == "remount" else rendered
    if mode.check and view != "remount" and not RESULT_KEYS & result.keys():
        return Rendered()
    views: Views = import_module(f"{__package__}.{MODULES[view]}").VIEWS
    return views[view](result, mode)


def _failed_completion(result: Result) -> dict[str, Any]:
    """Return what a failed task adds to the result of the task that it should complete."""
    return {"failed": True, "msg": first_sentence(result), "hints": list(result.get("hints") or ()), "remounted": []}
