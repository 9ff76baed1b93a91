# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The result of ``repoman_sync`` on a host that has no account, library, registry or backup yet."""

from __future__ import annotations

from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup.results import SyncReport
from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.options import SyncOptions
from ansible_collections.homelab.repoman.plugins.module_utils.registry.backup_root import backup_root
from ansible_collections.homelab.repoman.plugins.module_utils.registry.predicted import predicted_account_and_registry


def predict(params: dict[str, Any]) -> dict[str, Any]:
    """Return the result: the backup would begin. To list versions, or to verify, changes nothing.

    :raises RepomanError: an option is invalid, or the registry cannot be read.
    """
    options = SyncOptions.from_params(params)
    account, registry = predicted_account_and_registry(params)
    source, target = account.expand(registry.defaults.repos_root), backup_root(registry.defaults, account)
    if options.list_versions is not None:
        return {"changed": False, "name": options.list_versions, "kept": [], "target": target}
    report = SyncReport(target, []) if options.verify else SyncReport(target, [], [f"back up {source} to {target}"], [])
    return report.as_result(0.0)
