# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A registry that cannot be written: neither the report of a backup nor another error is lost."""

from __future__ import annotations

import shutil

from ansible_collections.homelab.repoman.plugins.module_utils.backup.sync.run import run
from ansible_collections.homelab.repoman.plugins.module_utils.core.module import run_logic
from backup_fixture import BackupHome, actions


def test_the_report_is_not_lost(empty_world: BackupHome) -> None:
    """The backup is complete, with a warning; what failed is still the error."""
    world = empty_world
    for name in ("shark", "whale"):
        world.write(f"{name}/file")
        world.project(name)
    world.registry.with_name(f"{world.registry.name}.lock").symlink_to("/nonexistent")  # so that it cannot be locked
    result = run_logic(run, world.params(init=True, allow_local=True), False)
    assert not result.get("failed") and set(actions(result)) >= {"shark", "whale"}
    assert (world.backup / "shark/file").exists() and world.last_sync("shark") == ""
    assert any("the backup of shark, whale is complete, but the registry does not have its time" in each for each in result["warnings"])
    shutil.rmtree(world.repos / "whale")
    world.write("shark/more")
    result = run_logic(run, world.params(), False)
    assert result["failed"] and "whale is gone" in result["msg"] and actions(result)["shark"] == "synced"
