# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result of ``repoman_restore`` on a host that has no account, library, registry or backup yet."""

from __future__ import annotations

import os
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore.options import RestoreOptions
from ansible_collections.homelab.repoman.plugins.module_utils.registry.predicted import predicted_account_and_registry


def predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result: something would be restored.

    :raises RepomanError: an option is invalid, or the registry cannot be read.
    """
    account, registry = predicted_account_and_registry(params)
    if params["settings"]:
        from ansible_collections.homelab.repoman.plugins.module_utils.backup.restore import host_settings

        return host_settings.predict(params, registry.path)
    options = RestoreOptions.from_params(params)
    if options.is_several:
        return _predict_several(options)
    name, entry = options.name, registry.projects.get(options.name)
    repository = os.path.join(account.expand(registry.defaults.repos_root), entry.repo if entry else name)
    to = account.expand(options.to) if options.to else repository
    restored: dict[str, Any] = {"name": name, "to": to, "from": options.from_version or "", "files": 0, "bytes": 0, "saved": ""}
    restored |= {"has_container": False, "replaces_directory": False} | ({"objects": []} if options.objects else {})
    step = f"restore objects of {name} in {to}" if options.objects else f"restore {name} to {to}"
    return {"changed": True, "steps": [step], "diff": [], "restored": restored}


def _predict_several(options: RestoreOptions) -> dict[str, Any]:
    """Return the result for several: those that are named; none for everything, because the backup is unknown."""
    facts: dict[str, Any] = {"to": "", "files": 0, "bytes": 0, "saved": "", "has_container": False, "replaces_directory": False}
    facts |= {"objects": []} if options.objects else {}
    what = "objects of " if options.objects else ""
    names = list(dict.fromkeys(options.names))
    return {
        "changed": True,
        "steps": [f"restore {what}{name}" for name in names or ["everything that the backup has"]],
        "diff": [],
        "units": [{"name": name, "action": "restored", **facts} for name in names],
        "summary": ({"restored": len(names)} if names else {}) | {"files": 0, "bytes": 0, "seconds": 0.0},
    }
