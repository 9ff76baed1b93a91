# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The part of the result of ``status`` that is about the backup."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ansible_collections.homelab.repoman.plugins.module_utils.backup import left_out, staleness
from ansible_collections.homelab.repoman.plugins.module_utils.backup.context import BackupContext
from ansible_collections.homelab.repoman.plugins.module_utils.backup.target.state import target_state
from ansible_collections.homelab.repoman.plugins.module_utils.host.account import Account
from ansible_collections.homelab.repoman.plugins.module_utils.registry.backup_root import backup_root
from ansible_collections.homelab.repoman.plugins.module_utils.registry.model import Registry


@dataclass(frozen=True)
class BackupStatus:
    """The backup of one account.

    :param registry_path: path of the registry.
    """

    account: Account
    registry_path: str
    registry: Registry

    def complete(self, read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Return the result of ``status`` with the part about the backup.

        :param read: reads the other parts. Meanwhile the target is read, which takes seconds if it does not answer.
        """
        with ThreadPoolExecutor() as pool:
            target = pool.submit(self.read_target)
            result = read()
        self.add_to(result, target.result())
        return result

    def read_target(self) -> dict[str, Any]:
        """Return the state of the target; see :func:`target_state`. It takes seconds if the target does not answer."""
        return target_state(backup_root(self.registry.defaults, self.account), self.account)

    def add_to(self, result: dict[str, Any], target: dict[str, Any]) -> None:
        """Add to the result of ``status`` the target, what backups leave out, and when everything was last backed up."""
        result["host"]["backup"] = target
        left_out.add_to_status(result, self.account, self.registry_path, self.registry)
        context = BackupContext(self.account, self.registry_path, self.registry)
        staleness.add_to_status(result, staleness.BackupTimes(context, target, datetime.fromisoformat(result["time"])))


def add_unknown(result: dict[str, Any]) -> None:
    """Add the same keys for a host that is not set up yet."""
    times = {"last_sync": "", "sync_age": None, "sync_state": "ok"}
    backup = {"path": "", "state": "missing", "detail": "", "free": 0} | times
    result["host"] |= {"backup": backup, "directories": [], "skipped_mounts": [], "unverified": []}
    result["projects"] = [project | {"left_out": left_out.NOTHING} for project in result["projects"]]
