# Copyright: (c) 2026, the repoman contributors
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A file system below ``repos_root`` whose server does not answer."""

from __future__ import annotations

import os

import pytest
from ansible_collections.homelab.repoman.plugins.module_utils.core.errors import RepomanError
from ansible_collections.homelab.repoman.plugins.module_utils.host import hung_mounts
from backup_fixture import BackupHome
from hung import hung_mount


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_the_error_names_it_and_not_the_target(empty_world: BackupHome) -> None:
    """A run that waits for it is given up, and the error does not blame the target, which is well."""
    world = empty_world
    world.write("far/file")
    world.write("well/file")
    world.init()
    world.write("well/new")
    with hung_mount(world.repos / "far") as gave_up:
        hung_mounts._served_mounts.cache_clear()
        with pytest.raises(RepomanError) as caught:
            world.sync(probe_timeout=3.0, idle_timeout=3.0)
        assert not gave_up.is_set()
    hung_mounts._served_mounts.cache_clear()
    assert caught.value.message == f"{world.repos}/far does not answer: nothing came from it for 3 s; gave up on it."
    assert f"findmnt {world.repos}/far" in caught.value.hints[0]
    assert not world.sync().get("failed") and world.differences() == []
