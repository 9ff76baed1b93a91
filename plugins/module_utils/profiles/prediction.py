# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Results of ``repoman_profile`` and ``repoman_profile_info`` on a host that has no account or library yet."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.core.results import Action
from ansible_collections.homelab.repoman.plugins.module_utils.profiles.library import ProfileEntry

ACTIONS = {"present": Action.INSTALLED, "absent": Action.ABSENT, "copied": Action.COPIED}
"""The action for each state if Incus has no profiles."""
UNKNOWN = "the template of {!r} cannot be read yet."
"""The error of a profile whose template an earlier task may have yet to write."""


def predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result of ``repoman_profile``. With ``all``, the names are not known yet."""
    action = ACTIONS[params["state"]]
    entry: dict[str, Any] = {"action": action.value, "file_path": ""}
    if action == Action.ABSENT:
        entry["referenced_by"] = []
    else:
        entry["source"] = ""
    profiles = [{"name": name} | entry for name in dict.fromkeys(params["names"] or [])]
    return {"changed": action != Action.ABSENT, "profiles": profiles, "diff": []}


def predict_info(params: dict[str, Any], needs_incus: bool) -> dict[str, Any]:
    """Return the result of ``repoman_profile_info``: none of the named profiles is installed, and their templates are not known yet.

    :param needs_incus: whether the result says what is installed.
    """
    entries = [
        vars(ProfileEntry(name, "", "", False, False)) | {"error": UNKNOWN.format(name)} for name in dict.fromkeys(params["names"] or [])
    ]
    hidden = () if needs_incus else ("installed", "drift")
    return {"changed": False, "profiles": [{key: value for key, value in entry.items() if key not in hidden} for entry in entries]}
